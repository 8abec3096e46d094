/**
 * `postern dev` as people meet it: it starts, shows that it refuses what it must, its lines work as
 * pasted, and when it ends there is nothing left of it. As root, and as an ordinary user.
 */
import { spawnSync } from 'node:child_process'
import { cp, readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { beforeAll, describe, expect, it } from 'vitest'
import { freePort } from '../../src/dev/free_port.ts'
import {
  describeWith,
  expectNoToken,
  type How,
  MAIN,
  makeDirectory,
  type Program,
  pgConfig,
  psql,
  ROOT,
  run,
  startPostern,
  url,
} from '../support/tools.ts'

const NOBODY = { uid: 65534, gid: 65534 }
const isRoot = process.getuid?.() === 0

/** Root can be both; an ordinary user only itself. */
const users: { who: string; as?: typeof NOBODY }[] = isRoot
  ? [{ who: 'root' }, { who: 'an ordinary user', as: NOBODY }]
  : [{ who: 'an ordinary user' }]

const TRIALS = [
  [/✓ a good token +in +signed in/],
  [/✓ expired +refused +28000 JWT authentication: invalid token/, /"exp" not satisfied/],
  [/✓ wrong audience +refused +28000 JWT authentication: invalid audience/, /\[another-service\]/],
  [
    /✓ wrong issuer +refused +28000 JWT authentication: invalid issuer/,
    /https:\/\/issuer\.example/,
  ],
  [/✓ alg: none +refused +28000 JWT authentication: invalid token/, /could not verify/],
  [/✓ HS256 with the public key +refused +28000 JWT authentication: invalid/, /could not verify/],
  [/✓ bad signature +refused +28000 JWT authentication: invalid token/, /could not verify/],
  [/✓ wrong user +refused +28000 JWT authentication: invalid principal/, /login was for carl/],
  [
    /✓ sub: postgres +refused +28000 JWT authentication: invalid identity/,
    /reserved user postgres/,
  ],
].flat()

/** A gate that has said everything. */
interface Dev extends Program {
  port: number
  how: How & { copy: string | undefined }
  /** What stands after the words at the beginning of a line. */
  line(words: string): string
}

describe.each(users)('postern dev as $who', ({ as }) => {
  let tmp: string
  let dev: Dev
  let token = ''

  beforeAll(async () => {
    tmp = await makeDirectory(as)
    dev = await startDev(tmp, await freePort(), [], as)
  })

  it('shows what it lets in and what it refuses', () => {
    for (const trial of TRIALS) expect(dev.said()).toMatch(trial)
    expect(dev.said()).not.toContain('✗')
    expect(dev.said()).toContain('Ctrl-C ends it and removes everything.')
  })

  it('has a line for a fresh token', async () => {
    token = await freshToken(dev)
    const rows = await ask(dev, token, 'select current_user as me')
    expect(rows).toEqual([{ me: 'maxroach' }])
  })

  it('has a line that says why a token is refused', async () => {
    const explain =
      dev
        .said()
        .split('\n')
        .find((line) => line.includes(' explain ')) ?? ''
    const ask = (...args: string[]) =>
      run('sh', ['-c', [explain, ...args].join(' ')], { ...dev.how, input: token })
    const granted = await ask()
    expect(granted).toMatchObject({ code: 0, stderr: '' })
    expect(granted.stdout).toMatch(/^decision {10}granted at .* UTC: maxroach$/m)
    const refused = await ask('--user carl')
    expect(refused.code).toBe(1)
    expect(refused.stdout).toMatch(/^✗ user {9}asked for carl; the token may be maxroach$/m)
    expectNoToken([token], granted.stdout, refused.stdout)
  })

  describeWith('psql', 'and psql', () => {
    it('signs in with the line that it prints', async () => {
      const input = 'select current_user, current_database();\n'
      const ended = await run('sh', ['-c', signInLines(dev)], { ...dev.how, input })
      expect(ended).toMatchObject({ code: 0, stderr: '' })
      expect(ended.stdout).toMatch(/^ maxroach +\| defaultdb$/m)
    })

    it('signs in with the fresh token', async () => {
      const to = url(dev.port, 'maxroach', { sslrootcert: dev.line('CA certificate') })
      const ended = await psql([to, '-c', 'select 1'], { env: { PGPASSWORD: token } })
      expect(ended).toMatchObject({ code: 0, stdout: '1\n', stderr: '' })
    })
  })

  it('says so to a second one on its port', async () => {
    const second = startPostern(['dev', '--port', String(dev.port)], dev.how)
    const { code, stderr } = await second.ended
    expect(stderr).toMatch(/^postern: a development gate \(process \d+\) already uses .+\n$/)
    expect([code, stderr]).toEqual([1, expect.stringContaining(`process ${dev.child.pid})`)])
  })

  it('has a status page, and a console for ops', async () => {
    const page = await fetch(dev.line('Status page'))
    expect(await page.text()).toContain('Sessions')
    expect(dev.line('Console')).toBe('the database postern, as the user ops')
  })

  it('writes no token down', async () => {
    const [log = '', audit = ''] = dev.line('Log and audit').split(', ')
    const printed = /^PGPASSWORD=(e\S+)/m.exec(dev.said())?.[1] ?? ''
    expectNoToken([token, printed], await readFile(log, 'utf8'), await readFile(audit, 'utf8'))
  })

  it('is gone after Ctrl-C, and so is everything of it', async () => {
    expect(await readdir(tmp)).toEqual([expect.stringMatching(/^postern-dev-\d+-\d+$/)])
    if (process.platform === 'linux') expect(await processesIn(tmp)).not.toEqual([])
    const { code, stderr } = await ctrlC(dev)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(await readdir(tmp)).toEqual([])
    expect(await processesIn(tmp)).toEqual([])
  })
})

describe('postern dev', { timeout: 60_000 }, () => {
  it('keeps the data and the issuer with --data, in a directory of any name', async () => {
    const tmp = await makeDirectory()
    const port = await freePort()
    const data = ['--data', "the owner's data & more"]
    const first = await startDev(tmp, port, data)
    expect(first.said()).toContain(
      `Ctrl-C ends it; the data stay in ${tmp}/the owner's data & more.`,
    )
    const token = await freshToken(first)
    await ask(first, token, 'create table kept as select 42 as value')
    const { code, stdout } = await run('sh', ['-c', await readmeLines()], {
      cwd: ROOT,
      env: { ...first.how.env, DATA: join(tmp, "the owner's data & more") },
    })
    expect(code).toBe(1)
    const shown = (await readFile(join(ROOT, 'README.md'), 'utf8')).match(/^[✓✗·] .*$/gm) ?? []
    expect(shown).toHaveLength(5)
    for (const line of shown) expect(stdout.split('\n')).toContain(line)
    first.child.kill('SIGTERM')
    expect((await first.ended).code).toBe(0)
    expect((await readdir(join(tmp, "the owner's data & more"))).sort()).toEqual(KEPT)
    expect(await processesIn(tmp)).toEqual([])

    const second = await startDev(tmp, port, data)
    expect(await ask(second, token, 'table kept')).toEqual([{ value: 42 }])
    const session = await signIn(second, token)
    const ended = new Promise((resolve) => session.on('error', resolve))
    const other = ['dev', '--port', String(port), '--data', 'other']
    expect(await startPostern(other, second.how).ended).toMatchObject({
      code: 1,
      stderr: `postern: cannot listen on 127.0.0.1:${port}: listen EADDRINUSE: address already in use 127.0.0.1:${port}\n`,
    })
    expect((await ctrlC(second)).code).toBe(0)
    expect(await ended).toMatchObject({ code: '57P01' })
    expect(await processesIn(tmp)).toEqual([])
  })

  it('leaves no server behind when it is killed, and starts again', async () => {
    const tmp = await makeDirectory()
    const port = await freePort()
    const first = await startDev(tmp, port)
    first.child.kill('SIGKILL')
    await first.ended
    const second = await startDev(tmp, port)
    expect(second.said()).not.toContain('✗')
    expect((await ctrlC(second)).code).toBe(0)
    await expect.poll(() => processesIn(tmp), { timeout: 10_000 }).toEqual([])
    expect(await readdir(tmp)).toEqual([])
  })

  it('can be stopped before it is there', async () => {
    const tmp = await makeDirectory()
    const how = { env: { TMPDIR: tmp }, detached: true }
    const early = startPostern(['dev', '--port', String(await freePort())], how)
    await early.until('Starting PostgreSQL')
    const { code, stderr } = await ctrlC(early)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(await readdir(tmp)).toEqual([])
    expect(await processesIn(tmp)).toEqual([])
  })

  it('signs for no issuer but its own', async () => {
    const tmp = await makeDirectory()
    await writeFile(join(tmp, 'issuer.json'), '{"issuer":"https://login.example"}')
    const how = { env: { TMPDIR: tmp } }
    const token = ['token', '--sub', 'maxroach']
    const foreign = await startPostern([...token, '--data', tmp], how).ended
    const nobody = await startPostern([...token, '--port', '1'], how).ended
    expect([foreign.code, foreign.stdout, foreign.stderr]).toEqual([
      1,
      '',
      'postern: https://login.example is not the development issuer; postern token signs for no other\n',
    ])
    expect([nobody.code, nobody.stdout, nobody.stderr]).toEqual([
      1,
      '',
      'postern: no development gate of yours runs on port 1: start one with postern dev\n',
    ])
  })
})

const KEPT = [
  'audit.log',
  'ca.crt',
  'issuer.json',
  'pg',
  'postern.log',
  'postern.yaml',
  'server.crt',
  'server.key',
]

async function startDev(
  tmp: string,
  port: number,
  args: string[] = [],
  as?: How['as'],
): Promise<Dev> {
  const copy = as && (await copyFor(as))
  const PATH = `${join(copy ?? ROOT, 'node_modules/.bin')}:${process.env['PATH']}`
  const HOME = await makeDirectory(as)
  const env = { PATH, HOME, TMPDIR: tmp, NODE_DISABLE_COMPILE_CACHE: '1' }
  const how = { env, cwd: tmp, copy, ...(as && { as }) }
  const program = startPostern(['dev', '--port', String(port), ...args], { ...how, detached: true })
  await program.until(/^Ctrl-C ends it.*$/m)
  const line = (words: string) =>
    program
      .said()
      .split('\n')
      .find((each) => each.startsWith(words))
      ?.slice(words.length)
      .trim() ?? ''
  return { ...program, port, how, line }
}

/** A copy of the tree for a user who can't read ours, or can't run its Node. */
async function copyFor(as: NonNullable<How['as']>): Promise<string | undefined> {
  if (spawnSync(process.execPath, [MAIN, 'version'], { ...as, cwd: '/' }).status === 0) return
  const to = await makeDirectory()
  for (const name of ['src', 'package.json', 'node_modules'])
    await cp(join(ROOT, name), join(to, name), { recursive: true, verbatimSymlinks: true })
  return to
}

/** As the terminal does it: to the whole job. */
async function ctrlC(program: Program) {
  process.kill(-(program.child.pid ?? 0), 'SIGINT')
  return await program.ended
}

/** How the README asks why a token is refused. */
async function readmeLines(): Promise<string> {
  const text = await readFile(join(ROOT, 'README.md'), 'utf8')
  const [lines = ''] = /^npm run -s postern -- token .*\n.* explain .*$/m.exec(text) ?? []
  return lines.replaceAll('../postern-data', '"$DATA"')
}

/** By the line that it prints, as pasted. */
async function freshToken(dev: Dev): Promise<string> {
  const { code, stdout, stderr } = await run(
    'sh',
    ['-c', dev.line('PGPASSWORD=$').slice(1, -1)],
    dev.how,
  )
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout.trim()
}

function signInLines(dev: Dev): string {
  return /^PGPASSWORD=e.*\\\n.*psql ".*"$/m.exec(dev.said())?.[0] ?? ''
}

async function signIn(dev: Dev, token: string): Promise<pg.Client> {
  const caPem = await readFile(dev.line('CA certificate'), 'utf8')
  const client = new pg.Client(pgConfig({ port: dev.port, caPem }, 'maxroach', token))
  await client.connect()
  return client
}

async function ask(dev: Dev, token: string, sql: string): Promise<unknown[]> {
  const client = await signIn(dev, token)
  const { rows } = await client.query(sql)
  await client.end()
  return rows
}

/** Command lines of processes that work in a directory, or below it (Linux). */
async function processesIn(dir: string): Promise<string[]> {
  const found: string[] = []
  for (const pid of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(pid)) continue
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '')
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (cwd.startsWith(dir) || command.includes(dir)) found.push(command.replaceAll('\0', ' '))
  }
  return found
}
