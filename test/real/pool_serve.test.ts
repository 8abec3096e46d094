/**
 * A `postern serve` that keeps node sessions, while it is reloaded, drained, ended, or loses a worker: what
 * it kept is closed when nobody can get it any more.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Served, startServe } from '../support/serve.ts'
import { expectNoToken } from '../support/tools.ts'
import {
  message,
  openPlain,
  openTls,
  query,
  refusalOf,
  signIn,
  type WireClient,
} from '../support/wire_client.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
const admin = new pg.Client({ host: postgres.socketDir, port: postgres.port, user: 'postgres' })
const NAME = 'kept by serve'
const USER = { user: 'maxroach', database: 'defaultdb', application_name: NAME }
const POOL = { mode: 'session', idle_timeout: '10m', max_age: '10m' }

/** For a minute, which is longer than a test may take. */
const HEEDLESS = `do $$ declare until timestamptz := clock_timestamp() + interval '1 minute'; begin
  while clock_timestamp() < until loop
    begin perform pg_sleep(1); exception when query_canceled then null; end;
  end loop; end $$`

let gate: Served | undefined
const clients: WireClient[] = []
beforeAll(() => admin.connect())
afterAll(() => admin.end())
afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  gate?.child.kill('SIGTERM')
  const ended = await gate?.ended
  if (gate !== undefined && ended !== undefined) {
    expect(ended.code).toBe(0)
    expectNoToken(gate.minted, ended.stderr, await gate.auditText())
  }
  gate = undefined
  await expect.poll(pids).toEqual([])
})

async function open(
  more: Record<string, unknown> = {},
  pool: Record<string, unknown> = {},
): Promise<Served> {
  const cluster = { pool: { ...POOL, ...pool } }
  gate = await startServe({ node, cluster, listener: { allow_plaintext: true } }, more)
  return gate
}

async function enter(gate: Served, how?: 'plain'): Promise<WireClient> {
  const { port, caPem } = gate
  const client = await (how ? openPlain({ host: '127.0.0.1', port }) : openTls(port, caPem))
  clients.push(client)
  expect(refusalOf(await signIn(client, USER, await gate.token('maxroach')))).toBeUndefined()
  return client
}

async function leave(client: WireClient): Promise<void> {
  client.write(message('X', ''))
  while ((await client.next()) !== undefined);
  client.close()
}

async function ask(client: WireClient, sql: string): Promise<void> {
  client.write(query(sql))
  await client.until('Z')
}

/** Of the sessions that the node has of the gate, the oldest first. */
async function pids(): Promise<number[]> {
  const sql = 'select pid from pg_stat_activity where application_name = $1 order by backend_start'
  return (await admin.query(sql, [NAME])).rows.map(({ pid }) => pid)
}

async function state(pid: number | undefined): Promise<unknown> {
  const { rows } = await admin.query('select state from pg_stat_activity where pid = $1', [pid])
  return rows[0]?.state
}

async function metric({ opsPort }: Served, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text()
  const lines = text.split('\n').filter((line) => line.startsWith(name))
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

async function idle(gate: Served, sessions: number): Promise<void> {
  const now = () => metric(gate, 'postern_pool_idle{')
  await expect.poll(now, { timeout: 5_000 }).toBe(sessions)
}

async function change(gate: Served, cluster: Record<string, unknown>): Promise<void> {
  const file = JSON.parse(await readFile(gate.configFile, 'utf8'))
  Object.assign(file.clusters.test, cluster)
  await writeFile(gate.configFile, JSON.stringify(file))
  gate.child.kill('SIGHUP')
  await gate.until('the configuration was read again')
}

describe('a gate that keeps sessions', () => {
  it('closes them when the cluster is another one, those in use at their end', async () => {
    const gate = await open()
    const live = await enter(gate)
    await leave(await enter(gate))
    await idle(gate, 1)
    const [first] = await pids()
    await change(gate, { connect_timeout: '6s' })
    await idle(gate, 0)
    await expect.poll(pids).toEqual([first])
    await ask(live, 'select 1')
    await leave(live)
    await expect.poll(pids).toEqual([])
    // The new one has a pool of its own.
    await leave(await enter(gate))
    await idle(gate, 1)
    await leave(await enter(gate))
    expect(await pids()).toHaveLength(1)
  })

  it('tells those who wait for one to come again, when the cluster is another one', async () => {
    const gate = await open({}, { size: 1 })
    const live = await enter(gate)
    const late = await openTls(gate.port, gate.caPem)
    clients.push(late)
    const refused = signIn(late, USER, await gate.token('maxroach')).then(refusalOf)
    await expect.poll(() => metric(gate, 'postern_pool_waiting{')).toBe(1)
    await change(gate, { connect_timeout: '6s' })
    expect(await refused).toMatchObject({
      C: '57P03',
      M: 'the cluster was configured anew: try again',
    })
    // The new one has room of its own.
    await leave(await enter(gate))
    await leave(live)
    await idle(gate, 1)
  })

  it('keeps them when nothing of their cluster changes', async () => {
    const gate = await open()
    await leave(await enter(gate))
    await idle(gate, 1)
    const before = await pids()
    await change(gate, {})
    await leave(await enter(gate))
    expect(await pids()).toEqual(before)
    await idle(gate, 1)
  })

  it('closes them as soon as it is asked to end, whoever is still at work', async () => {
    const gate = await open()
    const busy = await enter(gate)
    await ask(busy, 'begin')
    const [kept] = await pids()
    await leave(await enter(gate))
    await idle(gate, 1)
    gate.child.kill('SIGTERM')
    await gate.until('"the gate is closing')
    await expect.poll(pids).toEqual([kept])
    await ask(busy, 'commit')
    expect((await gate.ended).code).toBe(0)
  })

  it.each([
    ['is told to end', false],
    ['has left', true],
  ])(
    'ends without waiting for a statement that heeds no cancel, whose client %s',
    async (_name, left) => {
      const gate = await open({ shutdown: { grace: '0s' } })
      const client = await enter(gate, 'plain')
      client.write(query(HEEDLESS))
      const [pid] = await pids()
      await expect.poll(() => state(pid)).toBe('active')
      try {
        if (left) {
          client.socket.resetAndDestroy()
          const own = () => metric(gate, 'postern_cancels_total{result="own"')
          await expect.poll(own).toBe(1)
        }
        gate.child.kill('SIGTERM')
        expect((await gate.ended).code).toBe(0)
        expect(await state(pid)).toBe('active')
      } finally {
        await admin.query('select pg_terminate_backend($1)', [pid])
      }
    },
  )

  it('counts them as one gate, and forgets those of a worker that is lost', async () => {
    const gate = await open({ workers: 2 })
    const guests = await Promise.all(Array.from({ length: 8 }, () => enter(gate)))
    await Promise.all(guests.map(leave))
    await idle(gate, 8)
    const said = await gate.until(/"worker":1,"pid":\d+/)
    process.kill(Number(/"worker":1,"pid":(\d+)/.exec(said)?.[1]), 'SIGKILL')
    await gate.until('a worker was lost')
    const left = async () => (await metric(gate, 'postern_pool_idle{')) - (await pids()).length
    await expect.poll(left).toBe(0)
  })

  it('closes those of workers that are replaced', async () => {
    const gate = await open({ workers: 2 })
    await Promise.all(Array.from({ length: 4 }, async () => leave(await enter(gate))))
    await expect.poll(() => metric(gate, 'postern_pool_idle{')).toBeGreaterThan(0)
    gate.child.kill('SIGUSR2')
    await gate.until('the workers are fresh ones')
    await expect.poll(pids, { timeout: 5_000 }).toEqual([])
    await idle(gate, 0)
  })
})
