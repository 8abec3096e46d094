/**
 * docs/ and README.md: every command that isn't marked does what it says, as it stands there; every whole
 * configuration has no mistake; links lead somewhere, and docs/README.md to every page.
 */
import { existsSync } from 'node:fs'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { inspectConfig } from '../../src/config/config.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { exampleFiles, exampleText, outsideWith } from '../support/example.ts'
import { isRun, type Page, readPages, scriptOf } from '../support/pages.ts'
import { makeKey, mint } from '../support/tokens.ts'
import {
  describeWith,
  makeDirectory,
  type Program,
  PYTHON,
  ROOT,
  start,
  startPostern,
} from '../support/tools.ts'
import { runIn } from '../support/world.ts'

const DATA = '../postern-data'
const SOCKET = '/var/run/postgresql/.s.PGSQL.5432'
/** Another gate's, of a page that starts one. */
const OWN_OPS = '8081'
const RUN = '/run/postern'
const PAGE_MS = 50_000
const LANGUAGES = 'sh text yaml json sql promql haproxy js python java go ts'.split(' ')
const MARKS = ['not-run', 'fails']

const pages = readPages()
const named = filesNamed()
const page = (path: string) => pages.find((each) => each.path === path)
const issuerPages = pages.filter(({ path }) => path.startsWith('docs/issuers/'))

describe.each(pages)('$path', ({ path, text, blocks, links }) => {
  it('leads somewhere', () => {
    const lost = links.filter(({ path: to, anchor }) => {
      const target = page(to)
      if (target === undefined) return !existsSync(join(ROOT, to))
      return anchor !== '' && !target.anchors.has(anchor)
    })
    expect(lost).toEqual([])
  })

  it('says of each block what it is', () => {
    expect(text.match(/^```/gm)?.length ?? 0).toBe(2 * blocks.length)
    for (const { language, marks } of blocks) {
      expect(LANGUAGES).toContain(language)
      for (const mark of marks) expect(MARKS).toContain(mark)
    }
  })

  it('has no mistake in a configuration', async () => {
    const outside = outsideWith(await named)
    for (const { language, text: yaml } of blocks) {
      const config = language === 'yaml' ? parse(yaml) : {}
      if (!('listeners' in config && 'clusters' in config)) continue
      inspectConfig(`/etc/postern/${path.replaceAll('/', '_')}`, yaml, outside)
    }
  })
})

it('every page is reached from docs/README.md', () => {
  const reached = new Set(['docs/README.md'])
  for (const path of reached) for (const link of page(path)?.links ?? []) reached.add(link.path)
  const paths = pages.map(({ path }) => path).filter((path) => path !== 'README.md')
  expect(paths.filter((path) => !reached.has(path))).toEqual([])
})

describe.each(issuerPages)('$path', ({ path, blocks }) => {
  const name = `${path.slice('docs/issuers/'.length, -'.md'.length)}.yaml`
  const [lines, claims] = ['yaml', 'json'].map(
    (wanted) => blocks.find(({ language }) => language === wanted)?.text ?? '',
  ) as [string, string]

  it('has the lines of its example', () => {
    const [, believed = ''] = exampleText(name).split(
      /^(?= {4}server\.jwt_authentication\.enabled)/m,
    )
    const own = believed.split('\n').filter((line) => !/^\s*(?:#|$)/.test(line))
    expect(lines).toBe(own.map((line) => `${line.slice(4)}\n`).join(''))
  })

  it('shows a token that is let in by them', async () => {
    const dir = await makeDirectory()
    await mkdir(join(dir, 'ca'))
    for (const [path, text] of Object.entries(await exampleFiles()))
      if (path.startsWith('/etc/postern/'))
        await writeFile(join(dir, path.slice('/etc/postern/'.length)), text, { mode: 0o600 })
    const key = await makeKey('a')
    const config = parse(exampleText(name))
    // Nobody fetches keys here.
    const { issuer_options, ...main } = config.clusters.main
    const trust = { 'server.jwt_authentication.jwks': { keys: [key.jwk] } }
    config.clusters.main = { ...main, ...trust }
    delete config.clusters.main['server.jwt_authentication.jwks_auto_fetch.enabled']
    const file = join(dir, name)
    await writeFile(file, stringify(config))
    const token = await mint(key, { claims: { ...JSON.parse(claims), ...timely() } })
    const [, user = ''] = /--user (\w+) < token\.txt/.exec(page(path)?.text ?? '') ?? []
    const world = {
      stdin: () => Readable.from([Buffer.from(token)]),
      stop: new AbortController().signal,
    }
    const ended = await runIn(dir, ['explain', '--config', file, '--user', user], world)
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(ended.stdout).toMatch(new RegExp(`^decision {10}granted at .*: ${user}`, 'm'))
  })
})

/** What configurations name. */
async function filesNamed(): Promise<Record<string, string>> {
  const files = await exampleFiles()
  const as = (name: string) => files[`/etc/postern/${name}`] ?? ''
  const made = {
    'server.crt': as('gate.crt'),
    'server.key': as('gate.key'),
    'google-jwks.json': as('issuer.jwks.json'),
    'gates-ca/trusted.crt': as('ca/ca.crt'),
    'gates-ca/ca.key': as('ca/ca.key'),
    'audit.key': 'x'.repeat(64),
    'secrets/maxroach': 'x'.repeat(44),
  }
  for (const [name, text] of Object.entries(made)) files[`/etc/postern/${name}`] = text
  return files
}

function timely() {
  const now = Math.floor(Date.now() / 1000)
  return { iat: now - 5, nbf: now - 5, exp: now + 600 }
}

interface Reader {
  /** Where what is on the PATH is. */
  bin: string
  data: string
  port: number
  opsPort: string
  socket: string
  /** Maxroach's. */
  token: string
}

/** Pages with commands, and what those need beside psql. */
const TOOLS = {
  'docs/drivers.md': ['psycopg2', 'JDBC'],
  'docs/load-balancer.md': ['haproxy'],
} as const
const followed = pages.filter(({ blocks }) => blocks.some(isRun))
const plain = followed.filter(({ path }) => !(path in TOOLS))

describeWith('psql', 'what the pages say to do', () => {
  let dev: Program
  let reader: Reader
  beforeAll(async () => {
    const [dir, port] = [await makeDirectory(), await freePort()]
    const data = join(dir, 'postern-data')
    dev = startPostern(['dev', '--port', String(port), '--data', data])
    const bin = await makePath()
    await dev.until(/^Ctrl-C ends it.*$/m)
    const opsPort = /^Status page .*:(\d+)\/$/m.exec(dev.said())?.[1] ?? ''
    const { clusters } = parse(await readFile(join(data, 'postern.yaml'), 'utf8'))
    const token = /^PGPASSWORD=(e\S+)/m.exec(dev.said())?.[1] ?? ''
    reader = { bin, data, port, opsPort, socket: clusters.dev.nodes[0].address, token }
    return async () => {
      dev.child.kill('SIGTERM')
      await dev.ended
    }
  }, 60_000)

  const follows = async (each: Page) => {
    const { code, said } = await follow(each, reader)
    expect(code, said).toBe(0)
  }
  describeWith('curl', 'with curl', () =>
    describeWith('openssl', 'and openssl', () =>
      it.concurrent.each(plain)('$path', follows, 60_000),
    ),
  )
  describeWith('psycopg2', 'with psycopg2', () =>
    describeWith('JDBC', 'and JDBC', () =>
      it('docs/drivers.md', () => follows(page('docs/drivers.md') as Page), 60_000),
    ),
  )
  describeWith('haproxy', 'with haproxy', () =>
    it('docs/load-balancer.md', () => follows(page('docs/load-balancer.md') as Page), 60_000),
  )
})

/** Programs by the names that people call them by. */
async function makePath(): Promise<string> {
  const bin = await makeDirectory()
  const programs = {
    postern: `exec '${process.execPath}' '${join(ROOT, 'src/main.ts')}' "$@"`,
    node: `exec '${process.execPath}' "$@"`,
    python3: `exec ${PYTHON} "$@"`,
  }
  for (const [name, line] of Object.entries(programs))
    await writeFile(join(bin, name), `#!/bin/sh\n${line}\n`, { mode: 0o755 })
  return bin
}

/** Does all of a page, in a directory that has what a configuration names, and looks like a clone. */
async function follow(each: Page, reader: Reader) {
  const { bin, data, port, opsPort, socket, token } = reader
  const dir = await makeDirectory()
  for (const name of ['node_modules', 'src', 'package.json'])
    await symlink(join(ROOT, name), join(dir, name))
  for (const [name, text] of Object.entries(await filesOf(data)))
    await writeFile(join(dir, name), text, { mode: 0o600 })
  const script = scriptOf(each)
    .replaceAll(OWN_OPS, String(await freePort()))
    .replaceAll('8080', opsPort)
    .replaceAll('26257', String(port))
    .replaceAll('gate.example.com', 'localhost')
    .replaceAll(SOCKET, socket)
    .replaceAll(RUN, dir)
    .replaceAll(DATA, data)
  const env = { PATH: `${bin}:/usr/sbin:${process.env['PATH']}`, TOKEN: token }
  const shell = start('sh', ['-c', script], { cwd: dir, env, detached: true })
  shell.child.stdin.end()
  // What it has started ends with it, however it ends.
  const end = () => {
    try {
      process.kill(-(shell.child.pid ?? 0), 'SIGKILL')
    } catch {}
  }
  const late = setTimeout(end, PAGE_MS)
  shell.child.once('exit', end)
  const { code } = await shell.ended
  clearTimeout(late)
  return { code, said: shell.said() }
}

/** For the commands of any page; those that make their own write over them. */
async function filesOf(data: string): Promise<Record<string, string | Buffer>> {
  const files = await named
  const kept = ['gate.crt', 'gate.key', 'cluster-ca.crt']
  const ofDev = ['ca.crt', 'server.crt', 'server.key']
  const config = parse(await readFile(join(data, 'postern.yaml'), 'utf8'))
  const { dev } = config.clusters
  const issuer = dev['server.jwt_authentication.issuers.configuration']
  dev['server.identity_map.configuration'] = `${issuer} /^(.*)$ \\1`
  config.listeners[0].tls = { cert_file: 'gate.crt', key_file: 'gate.key' }
  config.access = [{ user: 'carl', database: 'app', action: 'deny' }, { action: 'allow' }]
  return {
    ...Object.fromEntries(kept.map((name) => [name, files[`/etc/postern/${name}`] ?? ''])),
    ...Object.fromEntries(
      await Promise.all(
        ofDev.map(async (name) => [name, await readFile(join(data, name))] as const),
      ),
    ),
    'postern.yaml': stringify(config),
    'issuer.jwks.json': JSON.stringify(dev['server.jwt_authentication.jwks']),
    'custom-issuer.yaml': exampleText('custom-issuer.yaml'),
  }
}
