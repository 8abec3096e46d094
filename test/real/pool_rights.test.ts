/**
 * What a session got from its beginning, and what a client leaves running, must not outlive the right to
 * it: such sessions are not kept, and the bounds of a pool hold; on PostgreSQL 18 and 15.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { FreshNode } from '../support/fresh_node.ts'
import {
  type Guest,
  type PooledGate,
  startPooledGate,
  startPooledNode,
  VERSIONS,
} from '../support/pooled.ts'
import { JWT_OPTION, openPlain, query, signIn } from '../support/wire_client.ts'

const SWITCH = JWT_OPTION.options
const WHO = 'SELECT current_user, session_user'

describe.each(VERSIONS)('on PostgreSQL %i', (version) => {
  let node: FreshNode
  const gates: PooledGate[] = []
  const open = async (pool: Record<string, unknown> = {}) => {
    const gate = await startPooledGate(node, pool)
    gates.push(gate)
    return gate
  }

  beforeAll(async () => {
    node = await startPooledNode(version)
    await node.sql(
      'CREATE ROLE payroll; CREATE ROLE robin LOGIN; CREATE ROLE limited LOGIN CONNECTION LIMIT 1',
    )
    await node.sql('CREATE TABLE long AS SELECT generate_series(1, 200000) AS line')
    await node.sql('GRANT SELECT ON long TO PUBLIC')
  })
  afterEach(async () => {
    await Promise.all(gates.splice(0).map((gate) => gate.close()))
    await expect.poll(backends).toBe(0)
  })
  afterAll(() => node.close())

  async function backends(): Promise<number> {
    const [row] = await node.sql(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> 'admin'",
    )
    return Number(row?.['n'])
  }

  describe('a role of the beginning', () => {
    it.each(['SELECT 1', 'SET ROLE maxroach', 'SET ROLE none', 'RESET ROLE'])(
      "by options is nobody else's, after %s",
      async (sql) => {
        await node.sql('GRANT payroll TO maxroach')
        const gate = await open()
        const as = { options: `${SWITCH} -c role=payroll` }
        const first = await gate.enter('maxroach', as)
        expect(await first.ask(WHO)).toEqual([['payroll', 'maxroach']])
        await first.ask(sql)
        await first.leave()
        await expect.poll(() => gate.closedFor('reset_failed')).toBe(1)
        const second = await gate.enter('maxroach', as)
        expect(await second.ask(WHO)).toEqual([['payroll', 'maxroach']])
        await second.leave()
        await expect.poll(() => gate.closedFor('reset_failed')).toBe(2)
        await node.sql('REVOKE payroll FROM maxroach')
        expect(await gate.refusal('maxroach', as)).toMatchObject({
          M: 'permission denied to set role "payroll"',
        })
      },
    )

    it("by a setting of the role's is nobody else's", async () => {
      await node.sql('GRANT payroll TO carl; ALTER ROLE carl SET role = payroll')
      const gate = await open()
      const first = await gate.enter('carl')
      expect(await first.ask(WHO)).toEqual([['payroll', 'carl']])
      await first.leave()
      await expect.poll(() => gate.closedFor('reset_failed')).toBe(1)
      await node.sql('REVOKE payroll FROM carl')
      const second = await gate.enter('carl')
      expect(await second.ask(WHO)).toEqual([['carl', 'carl']])
      await node.sql('ALTER ROLE carl RESET role')
      await second.leave()
    })
  })

  describe('a power', () => {
    it('to make a setting is not kept with the setting', async () => {
      await node.sql('GRANT SET ON PARAMETER session_replication_role TO maxroach')
      const gate = await open()
      const as = { options: `${SWITCH} -c session_replication_role=replica` }
      const first = await gate.enter('maxroach', as)
      expect(await first.ask('SHOW session_replication_role')).toEqual([['replica']])
      await first.leave()
      await expect.poll(() => gate.closedFor('reset_failed')).toBe(1)
      await node.sql('REVOKE SET ON PARAMETER session_replication_role FROM maxroach')
      expect(await gate.refusal('maxroach', as)).toMatchObject({ C: '42501' })
    })

    it('of a superuser that is taken back or given is seen, be the session in use or idle', async () => {
      const gate = await open()
      const told = async () => {
        const guest = await gate.enter('robin')
        const { is_superuser } = guest.settings
        return { guest, is_superuser }
      }
      const plain = await told()
      expect(plain.is_superuser).toBe('off')
      await plain.guest.leave()
      await gate.idle(1)
      await node.sql('ALTER ROLE robin SUPERUSER')
      const mighty = await told()
      expect([mighty.is_superuser, await gate.closedFor('check_failed')]).toEqual(['on', 1])
      await node.sql('ALTER ROLE robin NOSUPERUSER')
      await mighty.guest.leave()
      const last = await told()
      expect(last.is_superuser).toBe('off')
      await last.guest.leave()
    })

    it('to replicate leaves slots behind: no session of the role is kept', async () => {
      await node.sql('ALTER ROLE robin REPLICATION')
      const gate = await open()
      const guest = await gate.enter('robin')
      await guest.ask("SELECT pg_create_physical_replication_slot('mine', false, true)")
      await guest.leave()
      await expect.poll(() => gate.closedFor('reset_failed')).toBe(1)
      await expect.poll(() => node.sql('SELECT slot_name FROM pg_replication_slots')).toEqual([])
      await node.sql('ALTER ROLE robin NOREPLICATION')
    })

    it('to replicate that was lent by another role is not kept with the slot', async () => {
      await node.sql('CREATE ROLE copier REPLICATION; GRANT copier TO maxroach')
      const gate = await open()
      const guest = await gate.enter()
      await guest.ask('SET ROLE copier')
      await guest.ask("SELECT pg_create_physical_replication_slot('lent', true, true)")
      await guest.leave()
      await expect.poll(() => gate.closedFor('reset_failed')).toBe(1)
      await expect.poll(() => node.sql('SELECT slot_name FROM pg_replication_slots')).toEqual([])
      await node.sql('DROP ROLE copier')
    })
  })

  describe('a process that hangs', () => {
    it('is no way to more sessions than there may be: a reset that waits is cancelled', async () => {
      await node.sql('GRANT CREATE ON SCHEMA public TO maxroach')
      const gate = await open({ size: 2, max_node_connections: 2 })
      const blocker = await gate.enter()
      await blocker.ask('BEGIN')
      const next = await gate.enter()
      await next.ask(
        `CREATE TEMP TABLE locked (a int);
         CREATE FUNCTION public.of_locked(locked) RETURNS int LANGUAGE sql AS 'SELECT 1'`,
      )
      await blocker.ask(`COMMENT ON FUNCTION public.of_locked IS 'held'`)
      await next.leave()
      await expect.poll(() => gate.closedFor('reset_failed'), { timeout: 8_000 }).toBe(1)
      // Its end has to wait for the same lock; meanwhile there is no third one.
      const last = gate.enter()
      await node.sql('SELECT pg_sleep(0.5)')
      const sql = `SELECT count(*)::int AS backends FROM pg_stat_activity WHERE usename = 'maxroach'`
      expect(await node.sql(sql)).toEqual([{ backends: 2 }])
      await blocker.ask('ROLLBACK')
      await (await last).leave()
      await blocker.leave()
    })

    it('costs nobody a place that is idle', async () => {
      const gate = await open({ size: 1 })
      const stopped: number[] = []
      const stop = (pid: number) => {
        process.kill(pid, 'SIGSTOP')
        stopped.push(pid)
      }
      try {
        const first = await gate.enter()
        const pid = await first.pid()
        await first.leave()
        await gate.idle(1)
        stop(pid)
        const second = await gate.enter()
        expect(await gate.closedFor('check_failed')).toBe(1)
        await second.leave()
      } finally {
        for (const pid of stopped) process.kill(pid, 'SIGCONT')
      }
    })
  })

  describe('what is left running', () => {
    it.each<[string, string]>([
      ['a long statement', 'SELECT pg_sleep(300)'],
      ['more rows than anybody reads', 'SELECT * FROM long, long AS more'],
    ])('ends with its client, and the bounds hold: %s', async (_name, sql) => {
      const gate = await open({ size: 1 })
      for (let at = 0; at < 3; at++) {
        const guest = await gate.enter()
        guest.client.write(query(sql))
        const busy = () =>
          node.sql(
            "SELECT 1 AS it FROM pg_stat_activity WHERE state = 'active' AND usename = 'maxroach'",
          )
        await expect.poll(busy, { interval: 5 }).toHaveLength(1)
        guest.client.socket.resetAndDestroy()
        const next = await gate.enter()
        expect(await backends()).toBe(1)
        await next.leave()
      }
    })
  })

  describe('room', () => {
    it('is not waited for by those who have left', async () => {
      const gate = await open({ size: 1, wait_timeout: '30s' })
      const holder = await gate.enter()
      const token = await gate.gate.token('maxroach')
      const waiting = () => gate.count('postern_pool_waiting{cluster="test"}')
      for (let at = 0; at < 3; at++) {
        const client = await openPlain({ host: '127.0.0.1', port: gate.gate.port })
        const entering = signIn(client, { user: 'maxroach', database: 'postgres' }, token)
        const over = entering.catch(() => undefined)
        await expect.poll(waiting, { interval: 2 }).toBe(1)
        client.close()
        await over
        await expect.poll(waiting, { interval: 2 }).toBe(0)
      }
      await holder.leave()
      await gate.idle(1)
    })

    it('of a session that is not good any more is free before the next one is opened', async () => {
      const gate = await open()
      const first = await gate.enter('limited')
      await first.leave()
      await gate.idle(1)
      await node.sql("ALTER SYSTEM SET TimeZone = 'Asia/Tokyo'")
      await node.reload()
      const second = await gate.enter('limited')
      expect(second.settings['TimeZone']).toBe('Asia/Tokyo')
      expect(await gate.closedFor('check_failed')).toBe(1)
      await second.leave()
      await node.sql('ALTER SYSTEM RESET TimeZone')
      await node.reload()
    })

    it('is made by idle sessions where the node says that a role has too many', async () => {
      await node.sql('ALTER ROLE shared CONNECTION LIMIT 2')
      const gate = await open()
      const guests: Guest[] = []
      for (const sub of ['maxroach', 'carl']) {
        const guest = await gate.enter('shared', {}, sub)
        await guest.leave()
      }
      await gate.idle(2)
      for (const sub of ['dora', 'erin']) guests.push(await gate.enter('shared', {}, sub))
      expect(await gate.closedFor('room')).toBe(2)
      expect(await gate.refusal('shared')).toMatchObject({ C: '53300' })
      for (const guest of guests) await guest.leave()
      await node.sql('ALTER ROLE shared CONNECTION LIMIT -1')
    })

    it("is made once of others' for a role that is at its own limit, and not again", async () => {
      const gate = await open()
      const subs = ['maxroach', 'carl', 'dora', 'erin']
      const guests = await Promise.all(subs.map((sub) => gate.enter('shared', {}, sub)))
      for (const guest of guests) await guest.leave()
      await gate.idle(4)
      const holder = await gate.enter('limited')
      for (let at = 0; at < 3; at++) {
        expect(await gate.refusal('limited')).toMatchObject({ C: '53300' })
        await gate.idle(3)
      }
      expect(await gate.closedFor('room')).toBe(1)
      await holder.leave()
    })
  })
})
