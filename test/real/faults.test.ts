/**
 * What a network and a cluster may do to a gate in a process of its own: clients that close one side, or
 * are gone without a word; a cancel while the gate ends, by either of its workers; a cluster that has no
 * room left. Faults of nodes are in faults_nodes.test.ts, those of workers in workers.test.ts.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { metricsOf, total } from '../support/books.ts'
import { type Served, startServe } from '../support/serve.ts'
import { sharedPostgres } from '../support/shared_postgres.ts'
import {
  describeWith,
  expectNoToken,
  JWT_SWITCH,
  keepFile,
  PYTHON,
  pgConfig,
  run,
} from '../support/tools.ts'
import {
  cancelRequest,
  fields,
  JWT_OPTION,
  message,
  openPlain,
  openTls,
  query,
  refusalOf,
  signIn,
  startup,
  type WireClient,
} from '../support/wire_client.ts'

const { node, admin } = sharedPostgres('defaultdb')
const USER = { user: 'maxroach', database: 'defaultdb', application_name: 'faulty' }

let gate: Served
const clients: WireClient[] = []
afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  gate.child.kill('SIGTERM')
  const { code, stderr } = await gate.ended
  expect(code).toBe(0)
  expectNoToken(gate.minted, stderr, await gate.auditText())
})

describe('a client that closes its side', () => {
  beforeEach(async () => {
    // Without TLS, which would close both sides.
    gate = await startServe({ node, listener: { allow_plaintext: true } })
  })

  it('in a statement still gets its answer, and the end', async () => {
    const { client } = await comeIn(plain)
    client.write(asleep(0.5))
    await client.until('N')
    client.socket.end()
    expect((await rest(client)).map(({ type }) => type)).toEqual(['C', 'Z'])
    await expectNobody('the client closed the connection')
  })

  it('in a COPY is told that it came to nothing, and nothing is committed', async () => {
    await admin.query('create table halves (line text)')
    await admin.query('grant insert on halves to maxroach')
    const { client } = await comeIn(plain)
    client.write(query('copy halves from stdin'))
    await client.until('G')
    client.write(message('d', 'one\n'))
    client.socket.end(message('d', 'another\n').subarray(0, 9))
    const said = (await rest(client)).find(({ type }) => type === 'E')
    expect(fields(said?.body ?? Buffer.alloc(0))).toMatchObject({
      C: '08006',
      M: 'unexpected EOF on client connection with an open transaction',
    })
    await expectNobody('the client closed the connection')
    expect((await admin.query('select * from halves')).rows).toEqual([])
    await admin.query('drop table halves')
  })

  it('in its login is gone', async () => {
    // There must be a token that isn't in the log.
    await gate.token('maxroach')
    const client = await plain()
    client.write(startup({ ...USER, ...JWT_OPTION }))
    await client.until('R')
    client.socket.end()
    expect(await rest(client)).toEqual([])
    await expect.poll(() => count('postern_logins_total', 'result="client_gone"')).toBe(1)
    await expect.poll(() => count('postern_connections')).toBe(0)
  })
})

/** Where the system lets it (CAP_NET_ADMIN), its socket ends without telling the other side. */
const GONE = `
import os, socket, sys, psycopg2
host, port, root, how = sys.argv[1:]
c = psycopg2.connect(host=host, port=port, user='maxroach', dbname='defaultdb', sslmode='verify-full',
                     sslrootcert=root, options='${JWT_SWITCH}', application_name='faulty')
c.cursor().execute('create temp table seen (n int)' if how == 'transaction' else 'commit')
s = socket.socket(fileno=os.dup(c.fileno()))
try:
    s.setsockopt(socket.IPPROTO_TCP, 19, 1)
    print('without a word')
except PermissionError:
    print('with a word')
sys.stdout.flush()
os._exit(0)
`

describeWith('psycopg2', 'a client that is gone without a word', () => {
  it.each(['quiet', 'transaction'])('(%s) is missed', async (how) => {
    gate = await startServe({ node, listener: { keepalive: '1s' } })
    const script = await keepFile('gone.py', GONE)
    const args = [script, '127.0.0.1', String(gate.port), gate.caFile, how]
    const env = { PGPASSWORD: await gate.token('maxroach') }
    const { stdout, stderr } = await run(PYTHON, args, { env })
    expect(stderr).toBe('')
    const ended = stdout.startsWith('without')
      ? 'the client broke the connection: ECONNRESET'
      : 'the client closed the connection'
    await expectNobody(ended)
  })
})

it('a cancel reaches its session by either worker, while the gate ends', async () => {
  gate = await startServe({ node }, { workers: 2 })
  // Of each worker, which a key has in its first twelve bits. The system gives a connection to whom it likes.
  const sessions = new Map<number, Session[]>()
  const isReady = () => sessions.size === 2 && [...sessions.values()].every((of) => of.length > 1)
  for (let tries = 0; !isReady(); tries++) {
    expect(tries, 'all connections come to one worker').toBeLessThan(100)
    const session = await comeIn()
    const worker = session.key.readUInt16BE(0) >>> 4
    sessions.set(worker, [...(sessions.get(worker) ?? []), session])
  }
  const busy = [...sessions.values()].flatMap((of) => of.slice(0, 1))
  const quiet = [...sessions.values()].flatMap((of) => of.slice(1))
  for (const { client } of busy) {
    client.write(asleep(60))
    await client.until('N')
  }
  gate.child.kill('SIGTERM')
  // When these are told, each worker knows.
  for (const { client } of quiet) await expectEnd(client)
  for (const { client, key } of busy) {
    const canceller = await plain()
    canceller.write(cancelRequest(key))
    expect(fields((await client.until('E')).at(-1)?.body ?? Buffer.alloc(0))).toMatchObject({
      C: '57014',
    })
    await client.until('Z')
    await expectEnd(client)
  }
  expect((await gate.ended).code).toBe(0)
})

describe('a cluster without room', () => {
  const ROOM = 3
  let full: EmbeddedPostgres
  let dir: string
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'postern-full-'))
    await chmod(dir, 0o711)
    full = await startEmbeddedPostgres({
      dir,
      port: await freePort(),
      uid: process.getuid?.() ?? 0,
      platform: process.platform,
      arch: process.arch,
      hba: ['host all all 127.0.0.1/32 trust'],
      ident: [],
      settings: { max_connections: String(ROOM + 1), superuser_reserved_connections: '1' },
      sql: [
        {
          database: 'postgres',
          statements: ['CREATE ROLE maxroach LOGIN', 'CREATE DATABASE defaultdb'],
        },
      ],
    })
  })
  afterAll(async () => {
    await full.stop()
    await rm(dir, { recursive: true, force: true, maxRetries: 5 })
  })

  it.each([
    [
      'but what it keeps for itself',
      'remaining connection slots are reserved for roles with the SUPERUSER attribute',
    ],
    ['at all', 'sorry, too many clients already'],
  ])('%s says so itself; it is nobody’s fault, and passes', async (name, words) => {
    gate = await startServe({ node: `127.0.0.1:${full.port}` })
    const inside: pg.Client[] = []
    for (let at = 0; at < ROOM; at++) inside.push(await logIn())
    const superuser = new pg.Client(asSuperuser())
    superuser.on('error', () => undefined)
    if (name === 'at all') await superuser.connect()
    for (let at = 0; at < 3; at++)
      await expect(logIn()).rejects.toMatchObject({
        severity: 'FATAL',
        code: '53300',
        // A process that has just refused somebody may still be in a place that is kept.
        message:
          at === 0 ? words : expect.stringMatching(`^(?:${words}|sorry, too many clients.*)$`),
        // A gate has no source file of PostgreSQL's.
        file: expect.stringMatching(/\.c$/),
      })
    await expect.poll(() => count('postern_logins_total', 'result="node_refused"')).toBe(3)
    expect(await count('postern_logins_total', 'result="ok"')).toBe(ROOM)
    expect(await count('postern_logins_total')).toBe(ROOM + 3)
    const refused = (await audited()).filter(
      ({ EventType }) => EventType === 'client_authentication_failed',
    )
    expect(refused).toHaveLength(3)
    for (const event of refused)
      expect(event).toMatchObject({ Failure: 'node_refused', SystemIdentity: 'maxroach' })
    // Who is in stays in, and who leaves makes room.
    for (const client of inside) await client.query('select 1')
    await superuser.end()
    await inside.pop()?.end()
    const again = async () => {
      inside.push(await logIn())
      return inside.length
    }
    await expect.poll(() => again().catch(String), { timeout: 5_000 }).toBe(ROOM)
    for (const client of inside) await client.end()
    await expect.poll(() => count('postern_sessions')).toBe(0)
  })

  const asSuperuser = () => ({
    host: '127.0.0.1',
    port: full.port,
    user: 'postgres',
    database: 'postgres',
  })
})

interface Session {
  client: WireClient
  key: Buffer
}

async function plain(): Promise<WireClient> {
  const client = await openPlain({ host: '127.0.0.1', port: gate.port })
  clients.push(client)
  return client
}

async function tls(): Promise<WireClient> {
  const client = await openTls(gate.port, gate.caPem)
  clients.push(client)
  return client
}

async function comeIn(by = tls): Promise<Session> {
  const client = await by()
  const said = await signIn(client, USER, await gate.token('maxroach'))
  expect(refusalOf(said)).toBeUndefined()
  return { client, key: said.find(({ type }) => type === 'K')?.body ?? Buffer.alloc(0) }
}

async function logIn(): Promise<pg.Client> {
  const client = new pg.Client(pgConfig(gate, 'maxroach', await gate.token('maxroach')))
  client.on('error', () => undefined)
  await client.connect()
  return client
}

/** The notice says that the node is at it. */
function asleep(seconds: number): Buffer {
  return query(`do $$ begin raise notice 'asleep'; perform pg_sleep(${seconds}); end $$`)
}

/** The gate's last words, and nothing after them. */
async function expectEnd(client: WireClient): Promise<void> {
  const said = await rest(client)
  expect(said.map(({ body }) => fields(body))).toMatchObject([{ S: 'FATAL', C: '57P01' }])
}

/** What comes until the end. */
async function rest(client: WireClient): Promise<{ type: string; body: Buffer }[]> {
  const said = []
  for (;;) {
    const next = await client.next()
    if (next === undefined) return said
    said.push(next)
  }
}

/** Neither the gate nor the node has anybody any more, and the one session ended so. */
async function expectNobody(ended: string): Promise<void> {
  const sql = "select count(*)::int as n from pg_stat_activity where application_name = 'faulty'"
  const here = async () => [
    await count('postern_connections'),
    await count('postern_sessions'),
    (await admin.query(sql)).rows[0].n,
  ]
  await expect.poll(here, { timeout: 15_000 }).toEqual([0, 0, 0])
  const ends = (await audited()).filter(({ EventType }) => EventType === 'client_session_end')
  expect(ends.map(({ Ended }) => Ended)).toEqual([ended])
}

async function count(name: string, labels?: string): Promise<number> {
  return total(await metricsOf(gate.opsPort), name, labels)
}

async function audited(): Promise<Record<string, unknown>[]> {
  const lines = (await gate.auditText()).split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line))
}
