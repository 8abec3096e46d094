/**
 * Sign-in by certificate to real servers, set up as `postern ca` says: PostgreSQL 18, over TLS after
 * SSLRequest and from the first byte, and Debian's PostgreSQL 15. Whom they let in and as whom, whom
 * they don't, a rotation with sign-ins after every step, cancels, and COPY both ways.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { issueLeaf, keyPem, makeLeafKey, openAuthority } from '../../src/cluster/authority.ts'
import type { CertificateAndKey } from '../../src/dev/certificates.ts'
import { FAILURES } from '../../src/failure.ts'
import {
  makeClientCa,
  type Negotiation,
  reasonOf,
  startCertificateGate,
  toldBy,
} from '../support/certificate_gate.ts'
import { type CertificateServer, startCertificateServer } from '../support/certificate_servers.ts'
import type { TestGate } from '../support/gate.ts'
import { ODD_ROLES } from '../support/odd_roles.ts'
import { describeWith, makeDirectory, pgConfig } from '../support/tools.ts'
import {
  cancelRequest,
  fields,
  type Message,
  message,
  openPlain,
  openTls,
  query,
  signIn,
  type WireClient,
} from '../support/wire_client.ts'
import { runIn } from '../support/world.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** What `postern ca` keeps in a directory. */
async function readCa(dir: string) {
  const read = (name: string) => readFile(join(dir, 'ca', name), 'utf8')
  const [certPem, keyPem, trusted] = await Promise.all(
    ['ca.crt', 'ca.key', 'trusted.crt'].map(read),
  )
  return { authority: { certPem: certPem ?? '', keyPem: keyPem ?? '' }, trusted: trusted ?? '' }
}

async function ca(dir: string, command: string) {
  const { code, stderr } = await runIn(dir, ['ca', command])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return await readCa(dir)
}

async function startWith(
  { address, caPem }: CertificateServer,
  authority: CertificateAndKey,
  sslnegotiation: Negotiation = 'postgres',
): Promise<TestGate> {
  const parts = { authority, nodeCaPem: caPem, sslnegotiation }
  const gate = await startCertificateGate({ node: address, ...parts })
  closing.push(() => gate.close())
  return gate
}

async function currentUser(gate: TestGate, user: string): Promise<string> {
  const more = { database: 'defaultdb' }
  const client = new pg.Client(pgConfig(gate, user, await gate.token(user), more))
  await client.connect()
  const { rows } = await client.query('select current_user as me, session_user as i')
  await client.end()
  expect(rows[0].i).toBe(rows[0].me)
  return rows[0].me
}

function tests(kind: '15' | '18', negotiations: Negotiation[]): void {
  let server: CertificateServer
  let dir: string
  let authority: CertificateAndKey

  beforeAll(async () => {
    dir = await makeDirectory()
    const made = await ca(dir, 'init')
    authority = made.authority
    server = await startCertificateServer(kind, made.trusted)
    const { admin } = server
    const quoted = ODD_ROLES.map((role) => pg.escapeIdentifier(role))
    await admin.query(`create role postern_users nologin;
      ${quoted.map((role) => `create role ${role} login in role postern_users;`).join('\n')}
      create role maxroach login in role postern_users;
      create role outsider login;
      create role sleeper nologin in role postern_users;`)
    await admin.query('create database defaultdb')
  })
  afterAll(() => server.stop())

  describe.each(negotiations)('sslnegotiation: %s', (negotiation) => {
    it('signs in as the role, whatever its name', async () => {
      const gate = await startWith(server, authority, negotiation)
      for (const role of ['maxroach', ...ODD_ROLES])
        expect(await currentUser(gate, role)).toBe(role)
    })

    it.each([
      ['a role outside postern_users', 'outsider', 'no pg_hba.conf entry for host'],
      ['a role that may not log in', 'sleeper', 'role "sleeper" is not permitted to log in'],
      ['no role', 'nobody_at_all', 'no pg_hba.conf entry for host'],
    ])("doesn't sign in as %s", async (_name, user, why) => {
      const gate = await startWith(server, authority, negotiation)
      expect(await toldBy(gate, user)).toEqual({
        sqlstate: FAILURES.role_refused.sqlstate,
        says: `password authentication failed for user ${user}`,
      })
      expect(await reasonOf(gate)).toContain(why)
    })

    it('cancels what the session is doing, and no more', async () => {
      const gate = await startWith(server, authority, negotiation)
      const client = await enter(gate)
      client.write(query('select pg_sleep(30)'))
      const asleep = "select count(*)::int n from pg_stat_activity where wait_event = 'PgSleep'"
      const sleepers = async () => (await server.admin.query(asleep)).rows[0].n
      await expect.poll(sleepers, { interval: 10 }).toBe(1)
      const canceller = await openPlain({ host: '127.0.0.1', port: gate.port })
      canceller.write(cancelRequest(client.key))
      expect(await canceller.bytes(1)).toHaveLength(0)
      const said = (await client.until('E')).at(-1)
      expect(fields(said?.body ?? Buffer.alloc(0))).toMatchObject({
        C: '57014',
        M: 'canceling statement due to user request',
      })
      await client.until('Z')
      client.write(query('select 1'))
      expect((await client.until('Z')).map(({ type }) => type).join('')).toBe('TDCZ')
    })

    it('copies megabytes both ways, to a client that reads slowly too', async () => {
      const gate = await startWith(server, authority, negotiation)
      const client = await enter(gate)
      await copyIn(client)
      await copyOut(client)
    })
  })

  it("refuses a certificate with another's name", async () => {
    // The gate has no way to ask for it; a client with such a certificate has.
    const opened = openAuthority(authority.certPem, authority.keyPem, Date.now())
    if (!opened.ok) throw new Error(opened.problem)
    const leafKey = await makeLeafKey()
    const { certPem: cert } = await issueLeaf(opened.authority, 'maxroach', leafKey, Date.now())
    const key = await keyPem(leafKey)
    const connectAs = async (user: string) => {
      const [host = '', port] = server.address.split(':')
      const ssl = { ca: server.caPem, cert, key }
      const direct = new pg.Client({ host, port: Number(port), user, database: 'defaultdb', ssl })
      await direct.connect()
      await direct.end()
    }
    await connectAs('maxroach')
    for (const user of ['a"postgres"', 'CN=postgres'])
      await expect(connectAs(user)).rejects.toMatchObject({
        code: '28000',
        message: `certificate authentication failed for user "${user}"`,
      })
  })

  it('refuses an authority that it does not know; the log says so', async () => {
    const gate = await startWith(server, await makeClientCa(), negotiations.at(-1))
    expect(await toldBy(gate, 'maxroach')).toEqual({
      sqlstate: '08006',
      says: 'the gate could not sign in to the database',
    })
    expect(await reasonOf(gate)).toMatch(/UNKNOWN_CA/)
  })

  it('goes on signing in at every step of a rotation', async () => {
    const [negotiation] = negotiations
    const old = await startWith(server, authority, negotiation)
    const begun = await ca(dir, 'rotate')
    expect(begun.authority).toEqual(authority)
    expect(await currentUser(old, 'maxroach')).toBe('maxroach')
    await server.trust(begun.trusted)
    expect(await currentUser(old, 'maxroach')).toBe('maxroach')

    const switched = await ca(dir, 'rotate')
    expect(switched.trusted).toBe(begun.trusted)
    const next = await startWith(server, switched.authority, negotiation)
    for (const gate of [old, next]) expect(await currentUser(gate, 'maxroach')).toBe('maxroach')

    const finished = await ca(dir, 'rotate')
    expect(finished).toEqual({ ...switched, trusted: switched.authority.certPem })
    await server.trust(finished.trusted)
    expect(await currentUser(next, 'maxroach')).toBe('maxroach')
    expect(await toldBy(old, 'maxroach')).toMatchObject({ sqlstate: '08006' })
    expect(await reasonOf(old)).toMatch(/UNKNOWN_CA/)
    authority = switched.authority
  })

  if (!negotiations.includes('direct'))
    it("can't be reached by TLS from the first byte; the log says what it takes", async () => {
      const gate = await startWith(server, authority, 'direct')
      expect(await toldBy(gate, 'maxroach')).toEqual({
        sqlstate: FAILURES.node_unreachable.sqlstate,
        says: FAILURES.node_unreachable.say,
      })
      expect(await reasonOf(gate)).toContain(
        'sslnegotiation: direct needs PostgreSQL 17 or newer, with TLS on',
      )
    })
}

describe('PostgreSQL 18', () => tests('18', ['postgres', 'direct']))
describeWith('PostgreSQL15', "Debian's PostgreSQL 15", () => tests('15', ['postgres']))

/** Signed in as maxroach, with the key for cancels. */
async function enter(gate: TestGate): Promise<WireClient & { key: Buffer }> {
  const client = await openTls(gate.port, gate.caPem)
  closing.push(() => client.close())
  const parameters = { user: 'maxroach', database: 'defaultdb' }
  const said = await signIn(client, parameters, await gate.token('maxroach'))
  const key = said.find(({ type }) => type === 'K')?.body ?? Buffer.alloc(0)
  return { ...client, key: Buffer.from(key) }
}

const ROWS = 6_000
/** About a thousand bytes each, none like another. */
const rowOf = (n: number) =>
  `${n} ${createHash('md5').update(String(n)).digest('hex').repeat(32)}\n`
const ROW_SQL = "n || ' ' || repeat(md5(n::text), 32)"
const COPIED = Array.from({ length: ROWS }, (_, n) => rowOf(n)).join('')

/** The server counts and sums up what has arrived. */
async function copyIn(client: WireClient): Promise<void> {
  client.write(query('create temp table lines (line text); copy lines from stdin'))
  await client.until('G')
  const all = Buffer.from(COPIED)
  // Messages that fit neither rows nor records of TLS.
  for (let at = 0; at < all.length; at += 70_001)
    client.write(message('d', all.subarray(at, at + 70_001)))
  client.write(message('c', ''))
  await client.until('Z')
  const sum = `select count(*) filter (where line = ${ROW_SQL}), max(n), md5(string_agg(line, E'\\n' order by n) || E'\\n')
    from (select line, split_part(line, ' ', 1)::int as n from lines) as l`
  client.write(query(sum))
  const row = (await client.until('Z')).find(({ type }) => type === 'D')
  expect(values(row)).toEqual([String(ROWS), String(ROWS - 1), md5(COPIED)])
}

/** The client reads nothing at first, and stops again and again: chunks wait, in memory of their own. */
async function copyOut({ socket, write }: WireClient): Promise<void> {
  socket.removeAllListeners('data').pause()
  write(query(`copy (select ${ROW_SQL} from generate_series(0, ${ROWS - 1}) as n) to stdout`))
  await delay(100)
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    const before = bytes
    bytes += chunk.length
    if (Math.floor(bytes / 1_000_000) > Math.floor(before / 1_000_000)) await delay(20)
    chunks.push(chunk)
    if (chunk.subarray(-6).equals(message('Z', 'I'))) break
  }
  const all = Buffer.concat(chunks)
  const types = new Map<string, number>()
  const lines: Buffer[] = []
  for (let at = 0; at < all.length; at += 1 + all.readUInt32BE(at + 1)) {
    const type = String.fromCharCode(all.readUInt8(at))
    types.set(type, (types.get(type) ?? 0) + 1)
    if (type === 'd') lines.push(all.subarray(at + 5, at + 1 + all.readUInt32BE(at + 1)))
  }
  expect(Object.fromEntries(types)).toEqual({ H: 1, d: ROWS, c: 1, C: 1, Z: 1 })
  expect(md5(Buffer.concat(lines))).toBe(md5(COPIED))
}

function md5(data: string | Buffer): string {
  return createHash('md5').update(data).digest('hex')
}

/** A DataRow's columns as text. */
function values(row: Message | undefined): string[] {
  const found: string[] = []
  const body = row?.body ?? Buffer.alloc(0)
  for (let at = 2; at < body.length; ) {
    const size = body.readInt32BE(at)
    found.push(body.toString('utf8', at + 4, at + 4 + size))
    at += 4 + size
  }
  return found
}
