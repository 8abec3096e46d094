/**
 * The embedded PostgreSQL as its users meet it: it starts as root and as an ordinary user, lets the
 * right roles in, keeps its data, says what is wrong, and leaves nothing behind.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, cp, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import {
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  startEmbeddedPostgres,
} from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { SAMPLE_SQL, sampleHba, sampleIdent } from '../../src/dev/sample.ts'

const NOBODY = 65534
const uid = process.getuid?.() ?? -1
const isRoot = uid === 0

let base: string
beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'postern-pg-'))
  await chmod(base, 0o711)
})
afterAll(() => rm(base, { recursive: true, force: true }))

async function options(dir: string): Promise<EmbeddedPostgresOptions> {
  return {
    dir: join(base, dir),
    port: await freePort(),
    uid,
    platform: process.platform,
    arch: process.arch,
    hba: sampleHba(),
    ident: sampleIdent(userInfo().username),
    sql: SAMPLE_SQL,
  }
}

describe('one life', () => {
  // Root can check both; an ordinary user only itself.
  const starters = isRoot
    ? [
        { as: 'root', start: startEmbeddedPostgres, owner: NOBODY },
        { as: 'user', start: startElsewhere, owner: NOBODY },
      ]
    : [{ as: 'user', start: startEmbeddedPostgres, owner: uid }]

  it.each(starters)('as $as', async ({ as, start, owner }) => {
    const home = join(base, as)
    await mkdir(home)
    if (isRoot && as === 'user') await chown(home, NOBODY, NOBODY)
    const o = { ...(await options(`${as}/pg`)), uid: as === 'user' ? owner : uid }

    const first = await start(o)
    expect((await stat(first.dataDir)).uid).toBe(owner)
    expect(await ask(first, 'maxroach', 'SELECT current_user AS me')).toEqual([{ me: 'maxroach' }])
    await ask(first, 'carl', 'CREATE TABLE kept AS SELECT 42 AS value')
    await first.stop()
    await first.stop()
    expectGone(first.pid)
    expect(await readdir(first.socketDir)).toEqual([])

    const second = await start({ ...o, sql: [{ database: 'postgres', statements: ['not SQL'] }] })
    expect(await ask(second, 'carl', 'SELECT value FROM kept')).toEqual([{ value: 42 }])
    await second.stop()
    expectGone(second.pid)

    await rm(o.dir, { recursive: true })
    expect(await readdir(home)).toEqual([])
  })
})

it('does not outlive who started it', async () => {
  const server = await startElsewhere(await options('orphan'))
  expect(await readdir(server.socketDir)).not.toEqual([])
  server.kill()
  await expect.poll(() => readdir(server.socketDir), { timeout: 10_000 }).toEqual([])
})

describe('the sample cluster', () => {
  let server: EmbeddedPostgres
  const log: string[] = []
  beforeAll(async () => {
    server = await startEmbeddedPostgres({
      ...(await options('sample')),
      settings: { 'postern.note': "it's a back\\slash" },
      onLog: (line) => log.push(line),
    })
  })

  const outside = (user: string) =>
    `pg_hba.conf rejects connection for host "[local]", user "${user}"`
  it.each([
    { user: 'maxroach', says: 'maxroach' },
    { user: 'carl', says: 'carl' },
    { user: 'postgres', says: 'postgres' },
    { user: 'nologin_user', says: 'role "nologin_user" is not permitted to log in' },
    { user: 'app_reader', says: outside('app_reader') },
    { user: 'nobody_such', says: outside('nobody_such') },
  ])('by the socket, $user: $says', async ({ user, says }) => {
    const answer = await ask(server, user, 'SELECT current_user AS me').then(
      (rows) => rows[0]?.me,
      (refusal: unknown) => String(refusal),
    )
    expect(answer).toContain(says)
  })

  it.each([
    { sql: 'SELECT count(*)::int AS n FROM orders', rows: [{ n: 100 }] },
    { sql: 'SELECT count(*)::int AS n FROM accounts', rows: [{ n: 20 }] },
    { sql: 'UPDATE orders SET amount = 1 WHERE id = 1 RETURNING id', rows: [{ id: 1 }] },
    { sql: 'CREATE SCHEMA mine', rows: [] },
    { sql: 'SHOW server_encoding', rows: [{ server_encoding: 'UTF8' }] },
    { sql: "SELECT upper('é') AS up", rows: [{ up: 'É' }] },
    { sql: 'SHOW listen_addresses', rows: [{ listen_addresses: '127.0.0.1' }] },
    { sql: 'SHOW "postern.note"', rows: [{ 'postern.note': "it's a back\\slash" }] },
  ])('a member of postern_users may $sql', async ({ sql, rows }) => {
    expect(await ask(server, 'maxroach', sql)).toEqual(rows)
  })

  it('lets nobody in over TCP', async () => {
    await expect(ask(server, 'maxroach', 'SELECT 1', { host: '127.0.0.1' })).rejects.toThrow(
      'pg_hba.conf rejects connection for host "127.0.0.1"',
    )
  })

  it('gives its log, and tells when it ends by itself', async () => {
    expect(log.join('\n')).toContain('database system is ready to accept connections')
    process.kill(server.pid, 'SIGINT')
    expect(await server.exited).toEqual({ code: 0 })
    await server.stop()
  })
})

describe('what is wrong is said', () => {
  beforeAll(async () => {
    await mkdir(join(base, 'shut'), { mode: 0o700 })
    await mkdir(join(base, 'theirs'))
    if (isRoot) await chown(join(base, 'theirs'), NOBODY, NOBODY)
    await writeFile(join(base, 'file'), '')
  })

  const broken = { sql: [{ database: 'postgres', statements: ['CREATE ROLE a', 'SELEC 1'] }] }
  const forRoot = isRoot
    ? [
        { wrong: 'a closed directory', give: { dir: 'shut/pg' }, says: 'for root as uid 65534' },
        { wrong: "another's directory", give: { dir: 'theirs' }, says: 'must belong to root' },
      ]
    : []
  it.each([
    ...forRoot,
    { wrong: 'a mistake in the SQL', give: broken, says: 'syntax error at or near "SELEC"' },
    { wrong: 'no package', give: { arch: 'vax' }, says: '-vax is not installed: npm install' },
    { wrong: 'Windows', give: { platform: 'win32' }, says: 'peer, which Windows lacks' },
    {
      wrong: 'a deep directory',
      give: { dir: 'x'.repeat(99) },
      says: 'choose a shorter directory',
    },
    { wrong: 'a file as directory', give: { dir: 'file/pg' }, says: 'not a directory' },
    {
      wrong: 'a setting',
      give: { settings: { fsync: 'maybe' } },
      says: '"fsync" requires a Boolean',
    },
  ])('$wrong', async ({ give, says }) => {
    const o = { ...(await options('wrong')), ...give }
    const dir = 'dir' in give ? join(base, give.dir) : o.dir
    await expect(startEmbeddedPostgres({ ...o, dir })).rejects.toMatchObject({
      code: 'dev_failed',
      message: expect.stringContaining(says),
    })
  })

  it('a busy port; and another one is enough to go on', async () => {
    const o = await options('wrong')
    const other = createServer().listen(o.port, '127.0.0.1')
    await once(other, 'listening')
    await expect(startEmbeddedPostgres(o)).rejects.toMatchObject({
      code: 'dev_failed',
      message: `port ${o.port} is already in use`,
    })
    other.close()
    const server = await startEmbeddedPostgres({ ...o, port: await freePort() })
    const rows = await ask(server, 'maxroach', "SELECT 1 FROM pg_roles WHERE rolname = 'a'")
    await server.stop()
    expect(rows).toEqual([])
  })
})

describe('the PostgreSQL of this run', () => {
  const server = inject('postgres')
  const tls = { ssl: { ca: server.caPem } }
  const tcp = { host: server.host, ssl: false }
  const inTrust = { ...tcp, database: 'trustdb' }
  const inForward = { ...tcp, database: 'forwarddb' }
  it.each([
    { user: 'postgres', by: {}, says: 'postgres false' },
    { user: 'maxroach', by: {}, says: 'maxroach false' },
    { user: 'app_reader', by: {}, says: 'pg_hba.conf rejects' },
    { user: 'postgres', by: tcp, says: 'postgres false' },
    { user: 'postgres', by: { ...tcp, ...tls }, says: 'postgres true' },
    { user: 'carl', by: inTrust, says: 'carl false' },
    { user: 'carl', by: { ...inTrust, ...tls }, says: 'carl true' },
    { user: 'carl', by: tcp, says: 'no pg_hba.conf entry' },
    { user: 'carl', by: inForward, says: 'no pg_hba.conf entry' },
    {
      user: 'carl',
      by: { ...inForward, ...tls, password: 'x' },
      says: 'password authentication failed',
    },
  ])('$user by $by.host $by.database: $says', async ({ user, by, says }) => {
    const sql =
      "SELECT current_user || ' ' || ssl AS seen FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    const answer = await ask(server, user, sql, by).then(
      (rows) => rows[0]?.seen,
      (refusal: unknown) => String(refusal),
    )
    expect(answer).toContain(says)
  })
})

type Rows = Record<string, unknown>[]

async function ask(
  server: { socketDir: string; port: number },
  user: string,
  sql: string,
  by: pg.ClientConfig = {},
): Promise<Rows> {
  const { socketDir: host, port } = server
  const client = new pg.Client({ host, port, user, database: 'defaultdb', ...by })
  try {
    await client.connect()
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

interface Elsewhere extends EmbeddedPostgres {
  kill(): void
}

/** In a process of its own, which stops being root if it is told so, from files that it may read. */
async function startElsewhere(o: EmbeddedPostgresOptions): Promise<Elsewhere> {
  tree ??= copyTree(`@embedded-postgres/${o.platform}-${o.arch}`)
  const program = `
    const o = JSON.parse(process.argv[1])
    if (o.uid !== process.getuid()) {
      process.setgroups([]); process.setgid(o.uid); process.setuid(o.uid)
    }
    const { startEmbeddedPostgres } = await import('./src/dev/embedded_postgres.ts')
    const server = await startEmbeddedPostgres(o)
    console.log(JSON.stringify(server))
    process.stdin.on('end', () => server.stop()).resume()`
  const flags = ['--no-warnings', '--input-type=module', '-e', program, JSON.stringify(o)]
  const child = spawn(process.execPath, flags, {
    cwd: await tree,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close')
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const stop = async () => {
    child.stdin.end()
    expect(await ended).toEqual([0, null])
  }
  return { ...JSON.parse(line), stop, kill: () => child.kill('SIGKILL') }
}

let tree: Promise<string> | undefined

async function copyTree(machine: string): Promise<string> {
  const to = join(base, 'tree')
  const main = createRequire(import.meta.url).resolve(machine)
  const copy = { recursive: true, verbatimSymlinks: true }
  await cp(dirname(dirname(main)), join(to, 'node_modules', machine), copy)
  await cp(join(import.meta.dirname, '../../src'), join(to, 'src'), copy)
  return to
}

function expectGone(pid: number): void {
  expect(() => process.kill(pid, 0)).toThrow('ESRCH')
}
