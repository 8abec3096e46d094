/**
 * Who may come in and who may stay, with real sessions: two gates that share a state, one of them with two
 * workers; rules and lists that change while sessions are there; failures that make others wait.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { Revocation } from '../../src/policy/revocation.ts'
import { openState, type State } from '../../src/state/state.ts'
import { openLog } from '../../src/telemetry/log.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { type Served, startServe } from '../support/serve.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'
import { goodClaims, ISSUER, mint } from '../support/tokens.ts'
import { JWT_OPTION } from '../support/wire_client.ts'

const postgres = inject('postgres')
const node = `${postgres.socketDir}/.s.PGSQL.${postgres.port}`
const ENDED = 'terminating connection due to administrator command'

interface Session {
  client: pg.Client
  /** What the gate said when it ended it. */
  ended: Promise<string>
}

async function enter(port: number, user: string, token: string): Promise<Session> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port,
    user,
    database: 'postgres',
    password: token,
    ...JWT_OPTION,
  })
  const ended = new Promise<string>((resolve) =>
    client.on('error', ({ message }) => resolve(message)),
  )
  await client.connect()
  return { client, ended }
}

async function refusal(port: number, user: string, token: string) {
  return await enter(port, user, token).then(
    async ({ client }) => client.end().then(() => 'let in'),
    (thrown: Error) => thrown.message,
  )
}

/** It goes on. */
async function isThere({ client }: Session) {
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
}

describe('revocation, on two gates that share a state', () => {
  let shared: StateNode
  let state: State
  let gates: [TestGate, TestGate]

  beforeAll(async () => {
    shared = await startStateNode(18)
    await shared.sql('CREATE ROLE carl LOGIN; CREATE ROLE maxroach LOGIN; CREATE ROLE uma LOGIN')
    const place = await shared.make('gatestate')
    const top = { state: { cluster: 'test', ...place } }
    const options = { node: shared.address, listener: { allow_plaintext: true }, top }
    const trust = { cluster: { sign_in: 'trust' } }
    gates = [await startGate({ ...options, ...trust }), await startGate({ ...options, ...trust })]
    state = await openState(
      { ...place, maxAgeMs: 60_000 },
      {
        nodes: shared.nodes,
        log: openLog({ write: () => undefined }, 'error', Date.now),
        now: Date.now,
        elapsed: () => performance.now(),
      },
    )
  })
  afterAll(async () => {
    await state.close()
    for (const gate of gates) await gate.close()
    await shared.close()
  })

  const row = (what: Partial<Revocation> & Pick<Revocation, 'kind'>): Revocation => ({
    issuer: '',
    value: '',
    before: undefined,
    until: undefined,
    why: 'a test',
    ...what,
  })

  it.each<[string, string, (gate: TestGate) => Promise<Revocation> | Revocation]>([
    ['its id', 'by id', () => row({ kind: 'token', issuer: ISSUER, value: 'by id' })],
    [
      'its digest',
      'by digest',
      async (gate) => {
        const { TokenDigest } = await gate.event('client_authentication_ok', {
          TokenID: 'by digest',
        })
        return row({ kind: 'digest', value: String(TokenDigest) })
      },
    ],
  ])('of a token by %s ends its sessions, and nobody comes in by it', async (_, jti, what) => {
    const [first] = gates
    const token = await first.token('carl', { jti })
    const others = await Promise.all(gates.map((gate) => gate.token('carl', { jti: 'another' })))
    const sessions: Session[] = []
    const stay: Session[] = []
    for (const [at, gate] of gates.entries()) {
      sessions.push(await enter(gate.port, 'carl', token))
      stay.push(await enter(gate.port, 'carl', others[at] ?? ''))
    }
    await state.revoke(await what(first), 'tester')
    for (const { ended } of sessions) expect(await ended).toBe(ENDED)
    for (const gate of gates)
      expect(await refusal(gate.port, 'carl', token)).toBe(
        'JWT authentication: the token is revoked',
      )
    for (const session of stay) await isThere(session)
    for (const { client } of stay) await client.end()
  })

  it('of a session ends that one alone', async () => {
    const [gate] = gates
    const token = await gate.token('carl', { jti: 'a session' })
    const before = gate.audit.length
    const one = await enter(gate.port, 'carl', token)
    const other = await enter(gate.port, 'carl', token)
    const [opened] = gate.audit
      .slice(before)
      .filter(({ EventType }) => EventType === 'client_authentication_ok')
    await state.revoke(row({ kind: 'session', value: String(opened?.['SessionID']) }), 'tester')
    expect(await one.ended).toBe(ENDED)
    await isThere(other)
    await other.client.end()
  })

  it("of a subject ends its sessions on both, and nobody else's", async () => {
    const sessions: Session[] = []
    const others: Session[] = []
    for (const gate of gates) {
      sessions.push(await enter(gate.port, 'maxroach', await gate.token('maxroach')))
      others.push(await enter(gate.port, 'carl', await gate.token('carl')))
    }
    await state.revoke(row({ kind: 'subject', issuer: ISSUER, value: 'maxroach' }), 'tester')
    for (const { ended } of sessions) expect(await ended).toBe(ENDED)
    for (const session of others) await isThere(session)
    for (const { client } of others) await client.end()
    for (const gate of gates)
      expect(await refusal(gate.port, 'maxroach', await gate.token('maxroach'))).toContain(
        'revoked',
      )
  })

  it('of what an issuer issued before a moment lets later tokens in, and none without that', async () => {
    const early = { iat: 1_700_000_000, jti: 'early' }
    const late = { iat: 1_760_000_000, jti: 'late' }
    const never = { iat: undefined, jti: 'never' }
    const sessions: [Session, boolean][] = []
    for (const gate of gates)
      for (const [claims, goes] of [
        [early, true],
        [late, false],
        [never, true],
      ] as const)
        sessions.push([await enter(gate.port, 'uma', await gate.token('uma', claims)), goes])
    const before = 1_750_000_000
    await state.revoke(row({ kind: 'issuer', issuer: ISSUER, before }), 'tester')
    for (const [session, goes] of sessions)
      if (goes) expect(await session.ended).toBe(ENDED)
      else await isThere(session)
    for (const gate of gates) {
      expect(await refusal(gate.port, 'uma', await gate.token('uma', early))).toContain('revoked')
      expect(await refusal(gate.port, 'uma', await gate.token('uma', never))).toContain('revoked')
      expect(await refusal(gate.port, 'uma', await gate.token('uma', late))).toBe('let in')
    }
    for (const [{ client }, goes] of sessions) if (!goes) await client.end()
  })

  it('by an entry of the shared denylist ends who comes from there', async () => {
    const [gate] = gates
    const token = await gate.token('uma', { iat: 1_760_000_000, jti: 'listed' })
    const session = await enter(gate.port, 'uma', token)
    await shared.sql(
      `INSERT INTO postern.access_entries (list, cluster, item, kind, why, sequence)
         VALUES ('deny', '', '127.0.0.0/8', 'ip', 'a scanner', 1);
       UPDATE postern.changes SET number = number + 1; NOTIFY postern_state`,
      'gatestate',
    )
    expect(await session.ended).toBe(ENDED)
    expect(await refusal(gate.port, 'uma', token)).toBe(
      'no access entry for host "127.0.0.1", user "uma", database "postgres"',
    )
    expect(await gate.event('login_decision', { Failure: 'access_denied' })).toMatchObject({
      Why: expect.stringContaining("ip '127.0.0.1' denied: a scanner"),
    })
  })
})

describe('rules and lists, which are read again', () => {
  let served: Served
  const change = (edit: (config: Record<string, unknown>) => void) => {
    const config = JSON.parse(readFileSync(served.configFile, 'utf8'))
    edit(config)
    writeFileSync(served.configFile, JSON.stringify(config))
  }

  beforeAll(async () => {
    served = await startServe({
      node,
      listener: { allow_plaintext: true },
      cluster: { jwt_revoked_ids: ['gone'] },
      top: {
        workers: 2,
        access: [
          { user: 'carl', database: 'postgres', address: '127.0.0.0/8', action: 'allow' },
          { user: '/^max.*$', issuer: ISSUER, action: 'jwt' },
        ],
        access_lists: { denylist_file: 'denylist.yaml' },
      },
      files: { 'denylist.yaml': 'SequenceNumber: 5\ndenylist: []\n' },
    })
  })
  afterAll(async () => {
    served.child.kill('SIGTERM')
    await served.ended
  })

  it.each<[string, string, string]>([
    ['whom the first rule fits', 'carl', 'let in'],
    ['whom a rule of its issuer fits', 'maxroach', 'let in'],
    [
      'whom none fits',
      'postern_nobody',
      'no access entry for host "127.0.0.1", user "postern_nobody", database "postgres"',
    ],
  ])('%s', async (_, user, said) => {
    expect(await refusal(served.port, user, await served.token(user))).toBe(said)
  })

  it('says which rule it was in the audit stream', async () => {
    await refusal(served.port, 'maxroach', await served.token('maxroach'))
    await expect
      .poll(() => served.auditText())
      .toMatch(
        /"login_decision","Result":"granted".*"AccessRule":"access\[1\] \([^"]*postern\.yaml:\d+:\d+\)"/,
      )
  })

  it('ends who is no longer allowed, on every worker, and nobody else', async () => {
    const carls = await Promise.all(
      Array.from({ length: 6 }, async () => enter(served.port, 'carl', await served.token('carl'))),
    )
    const other = await enter(served.port, 'maxroach', await served.token('maxroach'))
    change((config) => {
      const [first, ...rest] = config['access'] as object[]
      config['access'] = [{ ...first, action: 'deny' }, ...rest]
    })
    for (const { ended } of carls) expect(await ended).toBe(ENDED)
    await isThere(other)
    await other.client.end()
  })

  it('ends who comes from where a list now keeps everybody out; an older list changes nothing', async () => {
    const session = await enter(served.port, 'maxroach', await served.token('maxroach'))
    const list = served.configFile.replace('postern.yaml', 'denylist.yaml')
    const entry = (sequence: number, item: string) =>
      `SequenceNumber: ${sequence}\ndenylist:\n- {entity: {item: ${item}, type: ip}, reason: moved}\n`
    writeFileSync(list, entry(4, '127.0.0.1'))
    await served.until(/SequenceNumber 4 is lower than 5, which is in use/)
    await isThere(session)
    writeFileSync(list, entry(6, '127.0.0.1'))
    expect(await session.ended).toBe(ENDED)
    writeFileSync(list, entry(7, '192.0.2.1'))
    await expect
      .poll(async () => await refusal(served.port, 'maxroach', await served.token('maxroach')), {
        timeout: 8_000,
      })
      .toBe('let in')
  })
})

describe('who failed', () => {
  it('waits before the next attempt, right or wrong; others do not', async () => {
    const clock = { ms: 0, wallMs: Date.now() }
    const gate = await startGate({
      node,
      listener: { allow_plaintext: true },
      limits: { failed_login_delay: '1s' },
      now: () => clock.wallMs,
      elapsed: () => clock.ms,
    })
    try {
      const wrong = await mint(gate.key, { claims: { ...goodClaims('carl'), aud: 'another' } })
      expect(await refusal(gate.port, 'carl', wrong)).toBe('JWT authentication: invalid audience')
      const throttled = 'too many failed authentication attempts'
      expect(await refusal(gate.port, 'carl', await gate.token('carl'))).toBe(throttled)
      expect(await refusal(gate.port, 'maxroach', await gate.token('maxroach'))).toBe('let in')
      // A clock that is set ends no wait, and makes none longer.
      clock.wallMs += 3_600_000
      expect(await refusal(gate.port, 'carl', await gate.token('carl'))).toBe(throttled)
      clock.wallMs -= 7_200_000
      clock.ms += 1_000
      expect(await refusal(gate.port, 'carl', await gate.token('carl'))).toBe('let in')
      expect(await refusal(gate.port, 'carl', wrong)).toBe('JWT authentication: invalid audience')
      expect(await refusal(gate.port, 'carl', await gate.token('carl'))).toBe('let in')
    } finally {
      await gate.close()
    }
  })
})
