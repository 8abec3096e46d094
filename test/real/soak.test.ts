/**
 * Clients that come, ask, cancel and vanish in every way, for seconds: `npm run soak` does it for minutes.
 * In the end nothing of them is left, and the gate has counted each of them once.
 */
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { connectionsOf, metricsOf, startOf, total, wrongIn } from '../support/books.ts'
import { APPLICATION, CHURN_SQL, churn } from '../support/churn.ts'
import { startServe } from '../support/serve.ts'
import { sharedPostgres } from '../support/shared_postgres.ts'
import { goodClaims, makeKey, mint } from '../support/tokens.ts'
import { expectNoToken, pgConfig } from '../support/tools.ts'

const SECONDS = 8
const CLIENTS = 40

const { node, admin } = sharedPostgres('defaultdb')

beforeAll(async () => {
  for (const statement of CHURN_SQL) await admin.query(statement)
})
afterAll(async () => {
  await admin.query('drop table churned')
})

/** So few that clients wait for each other, and kept for so short that none is left in the end. */
const POOL = { mode: 'session', size: 10, idle_timeout: '500ms', max_age: '2s' }

it.each([
  { workers: 1, kept: 'none', pool: {} },
  { workers: 2, kept: 'none', pool: {} },
  { workers: 1, kept: 'some', pool: POOL },
])(
  'nothing is left of them, with $workers workers, $kept of their sessions kept',
  { timeout: 60_000 },
  async ({ workers, pool }) => {
    const gate = await startServe(
      {
        node,
        cluster: { pool },
        listener: { allow_plaintext: true },
        limits: { handshake_timeout: '3s' },
      },
      { workers },
    )
    const where = { pid: gate.child.pid ?? 0, opsPort: gate.opsPort }
    // What is opened once and stays is open after these.
    const first = 4 * workers
    for (let at = 0; at < first; at++) {
      const client = new pg.Client(pgConfig(gate, 'maxroach', await gate.token('maxroach')))
      await client.connect()
      await client.end()
    }
    await expect.poll(() => connectionsOf(gate.opsPort), { timeout: 5_000 }).toEqual([first, 0])
    await expect.poll(() => pooled(gate.opsPort, 'idle'), { timeout: 5_000 }).toBe(0)
    const start = await startOf(where.pid, where.opsPort)
    const strangers = await makeKey('nobody')
    const done = await churn({
      ...gate,
      clients: CLIENTS,
      stop: AbortSignal.timeout((SECONDS * 1_000) / workers),
      awayMs: 50,
      token: () => gate.token('maxroach'),
      badToken: () => mint(strangers, { claims: goodClaims('maxroach') }),
    })
    expect(done.troubles).toEqual([])
    await expect.poll(() => wrongIn(where, start, done), { timeout: 15_000 }).toEqual([])
    await expect.poll(sessions, { timeout: 5_000 }).toBe(0)
    for (const gauge of ['idle', 'waiting'])
      await expect.poll(() => pooled(gate.opsPort, gauge)).toBe(0)
    const warm = await pooled(gate.opsPort, 'sessions_total', 'warm')
    expect(warm > 0).toBe(pool === POOL)
    expect((await admin.query('select count(*)::int as n from churned')).rows).toEqual([{ n: 0 }])
    gate.child.kill('SIGTERM')
    const { code, stderr } = await gate.ended
    expect(code).toBe(0)
    expectNoToken(gate.minted, stderr, await gate.auditText())
  },
)

async function pooled(opsPort: number, name: string, labels = ''): Promise<number> {
  return total(await metricsOf(opsPort), `postern_pool_${name}`, labels)
}

/** On the node. */
async function sessions(): Promise<number> {
  const sql = 'select count(*)::int as n from pg_stat_activity where application_name = $1'
  return (await admin.query(sql, [APPLICATION])).rows[0].n
}
