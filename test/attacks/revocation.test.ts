/**
 * Lesson 5.21 once more, with what a revocation leaves its holder: a token that the gate remembers, a session that
 * is busy, one that is kept for him, one that he is just signing in to, another way in, another gate's door.
 */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import type { GateOptions, TestGate } from '../support/gate.ts'
import { letIn, startScriptedNode } from '../support/scripted_node.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'
import { goodClaims, ISSUER, mint } from '../support/tokens.ts'
import {
  JWT_OPTION,
  openTls,
  password,
  query,
  refusalOf,
  signIn,
  startup,
  type WireClient,
} from '../support/wire_client.ts'
import { attempt, battlefield, bearing, outcome, value } from './attempt.ts'

const ENDED = FAILURES.access_withdrawn.say
const REVOKED = `28000: ${FAILURES.token_revoked.say}`

describe('5.21 who was revoked a moment ago', () => {
  let node: StateNode
  let place: { role: string; database: string }
  const clients: WireClient[] = []
  beforeAll(async () => {
    node = await startStateNode(18)
    place = await node.make('gatestate')
  })
  afterEach(() => {
    for (const client of clients.splice(0)) client.close()
  })
  // Behind the gates, which are closed before it.
  afterAll(() => node.close())
  const field = battlefield()

  const gate = (cluster: Record<string, unknown> = {}, more: Partial<GateOptions> = {}) =>
    field.gate({
      node: node.address,
      cluster: { sign_in: 'trust', ...cluster },
      top: { state: { cluster: 'test', ...place } },
      ...more,
    })

  /** A user of this test alone. */
  async function somebody(): Promise<string> {
    const user = `attacks_${randomUUID().slice(0, 8)}`
    await node.sql(`CREATE ROLE ${user} LOGIN`)
    return user
  }

  async function revoke(kind: string, value: string, issuer = ''): Promise<void> {
    await node.sql(
      `BEGIN; INSERT INTO postern.revocations (kind, issuer, value) VALUES ('${kind}', '${issuer}', '${value}');
       UPDATE postern.changes SET number = number + 1; NOTIFY postern_state; COMMIT`,
      place.database,
    )
  }

  const metrics = async (at: TestGate) => await (await fetch(`${at.opsUrl}/metrics`)).text()

  /** Until the gate has heard of all that was revoked. */
  async function knows(at: TestGate): Promise<void> {
    const [row] = await node.sql('SELECT count(*) AS all FROM postern.revocations', place.database)
    const line = new RegExp(`^postern_revocations ${row?.['all']}$`, 'm')
    await expect.poll(() => metrics(at), { interval: 5 }).toMatch(line)
  }

  const as = (user: string) => ({ user, database: 'postgres' })

  async function enter(at: TestGate, user: string, token: string): Promise<WireClient> {
    const client = await openTls(at.port, at.caPem)
    clients.push(client)
    expect(refusalOf(await signIn(client, as(user), token))).toBeUndefined()
    return client
  }

  /** What its session is told at the end. */
  async function lastWords(client: WireClient): Promise<string | undefined> {
    const said = []
    for (let each = await client.next(); each !== undefined; each = await client.next())
      said.push(each)
    return refusalOf(said.slice(-1))?.['M']
  }

  /** As PostgreSQL 18's clients give a token. */
  async function byBearer(at: TestGate, user: string, token: string): Promise<string> {
    const client = await openTls(at.port, at.caPem)
    clients.push(client)
    client.write(startup(as(user)))
    expect((await client.next())?.type).toBe('R')
    client.write(bearing(token))
    return await outcome(client, await client.until('E'))
  }

  const sessionsOf = async (user: string) =>
    (await node.sql(`SELECT state FROM pg_stat_activity WHERE usename = '${user}'`)).length

  it('has nothing of sessions that were busy, on this gate or on another one: they are over on the node as well', async () => {
    const user = await somebody()
    const gates = [await gate(), await gate()]
    const busy: WireClient[] = []
    for (const each of gates)
      for (const sql of ['SELECT pg_sleep(60)', 'BEGIN; SELECT 1', 'COPY (SELECT 1) TO STDOUT']) {
        const client = await enter(each, user, await each.token(user))
        client.write(query(sql))
        if (!sql.includes('sleep')) await client.until('Z')
        busy.push(client)
      }
    await revoke('subject', user, ISSUER)
    for (const client of busy) expect(await lastWords(client)).toBe(ENDED)
    await expect.poll(() => sessionsOf(user), { interval: 10, timeout: 5_000 }).toBe(0)
  })

  it('has nothing of a token that is remembered, of a newer one, nor of another way to give it', async () => {
    const user = await somebody()
    const at = await gate({ 'server.oauthbearer_authentication.enabled': true })
    const token = await at.token(user)
    for (let time = 0; time < 2; time++)
      expect(await attempt(at, token, as(user))).toBe(`in as ${user}`)
    await revoke('subject', user, ISSUER)
    await expect.poll(() => attempt(at, token, as(user)), { interval: 10 }).toBe(REVOKED)
    const now = Math.floor(Date.now() / 1000)
    const fresh = await at.token(user, { iat: now, jti: randomUUID() })
    expect(await attempt(at, fresh, as(user))).toBe(REVOKED)
    for (const each of [token, fresh]) expect(await byBearer(at, user, each)).toBe(REVOKED)
  })

  it('has nothing of the session that was kept for him, which nobody else gets by it either', async () => {
    const [user, other] = [await somebody(), await somebody()]
    const at = await gate({ pool: { mode: 'session' } })
    const token = await at.token(user)
    const client = await enter(at, user, token)
    const pid = await value(client, 'SELECT pg_backend_pid()')
    client.write(Buffer.from([0x58, 0, 0, 0, 4]))
    await expect.poll(() => metrics(at), { interval: 10 }).toMatch(/^postern_pool_idle\{[^}]*\} 1/m)
    await revoke('subject', user, ISSUER)
    await expect.poll(() => attempt(at, token, as(user)), { interval: 10 }).toBe(REVOKED)
    const next = await enter(at, other, await at.token(other))
    expect(await value(next, 'SELECT pg_backend_pid()')).not.toBe(pid)
  })

  it.each([
    ['SystemIdentity', 'subject'],
    ['Subject', 'subject'],
    ['TokenID', 'token'],
    ['TokenDigest', 'digest'],
  ])(
    'is out by what the audit stream has of him, who has several principals: %s',
    async (field, kind) => {
      const user = await somebody()
      const at = await gate({ 'server.jwt_authentication.claim': 'names' })
      const claims = { names: [user, 'everybody', 'x y'], jti: `the id of ${user}` }
      const client = await enter(at, user, await at.token(`the subject ${user}`, claims))
      const { [field]: value } = await at.event('client_authentication_ok')
      await revoke(kind, String(value), kind === 'subject' ? ISSUER : '')
      expect(await lastWords(client)).toBe(ENDED)
    },
  )

  it('has a mark where the audit stream is too short for him', async () => {
    const user = await somebody()
    const at = await gate({ 'server.jwt_authentication.claim': 'names' })
    const names = [user, 'n'.repeat(300)]
    const token = await at.token('s'.repeat(256), { names, jti: 'j'.repeat(257) })
    await enter(at, user, token)
    expect(await at.event('client_authentication_ok')).toMatchObject({
      SystemIdentity: `${user} ${'n'.repeat(255 - user.length)}…`,
      Subject: 's'.repeat(256),
      TokenID: `${'j'.repeat(256)}…`,
    })
  })

  it('runs no statement that he sent ahead while he was signing in', async () => {
    const ready = Promise.withResolvers<() => void>()
    let heard = ''
    const slow = field.keep(
      await startScriptedNode({
        greet: (conversation) => ready.resolve(() => letIn(conversation)),
        session: (chunk) => (heard += chunk.toString('latin1')),
      }),
    )
    const at = await gate(
      {},
      {
        clusters: { slow: { nodes: [{ address: slow.address }], sign_in: 'trust' } },
      },
    )
    const token = await at.token('maxroach', { jti: 'signing in' })
    const client = await openTls(at.port, at.caPem)
    clients.push(client)
    client.write(startup({ user: 'maxroach', database: 'slow.d', ...JWT_OPTION }))
    expect((await client.next())?.type).toBe('R')
    client.write(Buffer.concat([password(token), query('DROP TABLE everything')]))
    const greet = await ready.promise
    await revoke('token', 'signing in')
    await knows(at)
    greet()
    expect(await lastWords(client)).toBe(ENDED)
    await expect.poll(() => slow.sockets.every((socket) => socket.readableEnded)).toBe(true)
    expect(heard).not.toContain('DROP')
  })

  it('is not let in again by what he says of himself: another spelling, another issuer’s name, a copied id', async () => {
    const user = await somebody()
    const at = await gate()
    const token = await at.token(user, { jti: `id of ${user}` })
    expect(await attempt(at, token, as(user))).toBe(`in as ${user}`)
    await revoke('token', `id of ${user}`, ISSUER)
    await expect.poll(() => attempt(at, token, as(user)), { interval: 10 }).toBe(REVOKED)
    const [header, claims, signature] = token.split('.')
    const again = [
      `${token} `,
      ` ${token}`,
      `${token}=`,
      `${header}=.${claims}.${signature}`,
      `${token}.`,
    ]
    for (const each of again) expect(await attempt(at, each, as(user))).not.toMatch(/^in as/)
    const spelled = { ...goodClaims(user), iss: `${ISSUER}/`, jti: `id of ${user}` }
    expect(await attempt(at, await mint(at.key, { claims: spelled }), as(user))).not.toMatch(
      /^in as/,
    )
  })
})
