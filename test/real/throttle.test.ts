/**
 * Failed logins, with real processes and a real PostgreSQL: all workers of a gate have one throttle, and a wrong
 * password that a node refuses makes whoever gave it wait as a wrong token does.
 */
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import { type FreshNode, startFreshNode } from '../support/fresh_node.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { audited, metric, onEachWorker } from '../support/on_workers.ts'
import { type Served, startServe } from '../support/serve.ts'
import { describeWith, keepFile, psql, url } from '../support/tools.ts'
import { openTls, refusalOf, signIn, type WireClient } from '../support/wire_client.ts'

const THROTTLED = FAILURES.too_many_failures.say
const postgres = inject('postgres')

describe('two workers', () => {
  let gate: Served
  const clients: WireClient[] = []
  beforeAll(async () => {
    gate = await startServe({
      node: `${postgres.socketDir}/.s.PGSQL.${postgres.port}`,
      limits: { failed_login_delay: '10m' },
      top: { workers: 2 },
    })
  })
  afterEach(() => {
    for (const client of clients.splice(0)) client.close()
  })
  afterAll(async () => {
    gate.child.kill('SIGTERM')
    await gate.ended
  })

  async function login(user: string, token: string): Promise<string | undefined> {
    const client = await openTls(gate.port, gate.caPem)
    clients.push(client)
    const said = await signIn(client, { user, database: 'defaultdb' }, token)
    return refusalOf(said)?.['M']
  }

  /** By how many workers somebody was told to wait so far. */
  async function throttledBy(): Promise<number> {
    const lines = (await audited(gate, 'client_authentication_failed')).filter(
      ({ Failure }) => Failure === 'too_many_failures',
    )
    return new Set(lines.map(({ InstanceID }) => InstanceID)).size
  }

  it('have whoever failed at one of them wait at both, and nobody else', async () => {
    expect(await login('carl', await gate.token('maxroach'))).toMatch(/invalid principal/)
    for (let tries = 0; (await throttledBy()) < 2; tries++) {
      expect(tries, 'all connections come to one worker').toBeLessThan(20)
      const all = Array.from({ length: 4 }, async () => login('carl', await gate.token('carl')))
      expect(await Promise.all(all)).toEqual(Array(4).fill(THROTTLED))
    }
    expect(await metric(gate, 'postern_throttle_entries')).toBe(1)
    await onEachWorker(gate, clients, 2)
  })

  it('both let go on who came in at one of them, whatever fails beside him', async () => {
    expect(await login('maxroach', await gate.token('maxroach'))).toBeUndefined()
    const wrong = await Promise.all(
      Array.from({ length: 8 }, async () => login('maxroach', await gate.token('carl'))),
    )
    expect(new Set(wrong)).toEqual(new Set(['JWT authentication: invalid principal']))
    await onEachWorker(gate, clients, 2)
  })

  it('judge guesses side by side as one', async () => {
    const token = await gate.token('carl')
    const guesses = Array.from({ length: 24 }, () => login('postern_nobody', token))
    const said = await Promise.all(guesses)
    const [judged, waited] = ['JWT authentication: invalid principal', THROTTLED].map(
      (text) => said.filter((each) => each === text).length,
    )
    expect([judged, waited]).toEqual([1, 23])
  })
})

describeWith('psql', 'a password that a node judges', () => {
  const PASSWORD = 'the password of the database'
  const clock = { ms: 0 }
  let node: FreshNode
  let gate: TestGate
  let ca: string
  beforeAll(async () => {
    node = await startFreshNode(18, ['local all admin trust', 'local all all scram-sha-256'])
    await node.sql(`CREATE ROLE carl LOGIN PASSWORD '${PASSWORD}'`)
    await node.sql(`CREATE ROLE uma LOGIN PASSWORD '${PASSWORD}'`)
    gate = await startGate({
      node: `${node.socketDir}/.s.PGSQL.${node.port}`,
      cluster: { non_jwt_logins: 'passthrough' },
      limits: { failed_login_delay: '1s' },
      elapsed: () => clock.ms,
    })
    ca = await keepFile('ca.crt', gate.caPem)
  }, 60_000)
  afterAll(async () => {
    await gate.close()
    await node.close()
  })

  async function login(user: string, password: string): Promise<string> {
    const more = { database: 'postgres', options: '', sslrootcert: ca }
    const env = { PGPASSWORD: password }
    const args = [url(gate.port, user, more), '-Atc', 'SELECT system_user']
    const { stdout, stderr } = await psql(args, { env })
    return (stdout + stderr).trim()
  }
  const WRONG = 'FATAL:  password authentication failed for user carl'

  it('has whoever gave a wrong one wait, right or wrong, and nobody else', async () => {
    expect(await login('carl', 'wrong')).toContain(WRONG)
    expect(await login('carl', PASSWORD)).toContain(`FATAL:  ${THROTTLED}`)
    expect(await login('carl', 'wrong')).toContain(`FATAL:  ${THROTTLED}`)
    expect(await login('uma', PASSWORD)).toBe('scram-sha-256:uma')
  })

  it('waits twice as long after another one, and not at all when the right one came', async () => {
    clock.ms += 1_000
    expect(await login('carl', 'wrong')).toContain(WRONG)
    clock.ms += 1_999
    expect(await login('carl', PASSWORD)).toContain(`FATAL:  ${THROTTLED}`)
    clock.ms += 1
    expect(await login('carl', PASSWORD)).toBe('scram-sha-256:carl')
    expect(await login('carl', 'wrong')).toContain(WRONG)
    expect(await login('carl', PASSWORD)).toBe('scram-sha-256:carl')
  })
})
