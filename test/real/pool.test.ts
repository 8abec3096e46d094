/**
 * Node sessions that one client leaves and the next one gets: who gets which, what it is told, which are
 * not kept, and how many there are; on PostgreSQL 18 and 15.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { FreshNode } from '../support/fresh_node.ts'
import {
  type Guest,
  type PooledGate,
  SECRET,
  startPooledGate,
  startPooledNode,
  TERMINATE,
  VERSIONS,
} from '../support/pooled.ts'
import { cancelRequest, JWT_OPTION, message, openPlain, query } from '../support/wire_client.ts'

const SWITCH = JWT_OPTION.options

describe.each(VERSIONS)('on PostgreSQL %i', (version) => {
  let node: FreshNode
  const gates: PooledGate[] = []
  const open = async (...options: [Record<string, unknown>?, Record<string, unknown>?]) => {
    const gate = await startPooledGate(node, ...options)
    gates.push(gate)
    return gate
  }
  /** Comes and leaves. @returns the process that it had */
  const visit = async (gate: PooledGate, ...who: Parameters<PooledGate['enter']>) => {
    const guest = await gate.enter(...who)
    const pid = await guest.pid()
    await guest.leave()
    return pid
  }

  beforeAll(async () => {
    node = await startPooledNode(version)
    await node.sql('CREATE DATABASE other')
  })
  afterEach(async () => {
    await Promise.all(gates.splice(0).map((gate) => gate.close()))
  })
  afterAll(() => node.close())

  describe('the next client', () => {
    it('of the same principal gets it, with a key of its own and all that a first one is told', async () => {
      const gate = await open()
      const first = await gate.enter()
      const pid = await first.pid()
      await first.leave()
      await gate.idle(1)
      const second = await gate.enter()
      expect(await second.pid()).toBe(pid)
      expect(second.settings).toEqual(first.settings)
      expect(second.cancelKey).toHaveLength(8)
      expect(second.cancelKey).not.toEqual(first.cancelKey)
      expect(await gate.count('postern_pool_sessions_total{cluster="test",how="warm"}')).toBe(1)
      const sessions = ['new', 'warm']
      for (const NodeSession of sessions)
        await gate.gate.event('client_authentication_ok', { NodeSession })
      await second.leave()
    })

    it.each<[string, Parameters<PooledGate['enter']>]>([
      ['another principal as the same role', ['shared', {}, 'carl']],
      ['as another role', ['maxroach', {}, 'maxroach']],
      ['in another database', ['shared', { database: 'other' }, 'maxroach']],
      ['under another application_name', ['shared', { application_name: 'x' }, 'maxroach']],
      ['with other options', ['shared', { options: `${SWITCH} -c geqo=off` }, 'maxroach']],
    ])('%s gets a session of its own', async (_name, who) => {
      const gate = await open()
      const pid = await visit(gate, 'shared', {}, 'maxroach')
      await gate.idle(1)
      expect(await visit(gate, ...who)).not.toBe(pid)
      await gate.idle(2)
      expect(await visit(gate, 'shared', {}, 'maxroach')).toBe(pid)
    })

    it('may be another principal where the settings say so, as the same role alone', async () => {
      const gate = await open({ share_between_principals: true })
      const pid = await visit(gate, 'shared', {}, 'maxroach')
      await gate.idle(1)
      expect(await visit(gate, 'shared', {}, 'carl')).toBe(pid)
      await gate.idle(1)
      expect(await visit(gate, 'carl')).not.toBe(pid)
    })

    it("can't foresee random(), whatever seed was left", async () => {
      const gate = await open()
      const numbers = new Set<unknown>()
      for (let at = 0; at < 3; at++) {
        const guest = await gate.enter()
        numbers.add((await guest.ask('SELECT random()'))[0]?.[0])
        await guest.ask('SELECT setseed(0.5)')
        await guest.leave()
        await gate.idle(1)
      }
      const seeded = (
        await node.sql('SELECT setseed(0.5)').then(() => node.sql('SELECT random() AS it'))
      )[0]
      numbers.add(String(seeded?.['it']))
      expect(numbers.size).toBe(4)
    })
  })

  describe('a client that leaves', () => {
    it('does so at once, without a word, by half closing, or with a reset', async () => {
      const gate = await open()
      const ways: ((guest: Guest) => void)[] = [
        ({ client }) => client.write(TERMINATE),
        ({ client }) => client.socket.end(),
        ({ client }) => client.close(),
        ({ client }) => client.socket.resetAndDestroy(),
      ]
      const pids: number[] = []
      for (const leave of ways) {
        const guest = await gate.enter()
        pids.push(await guest.pid())
        leave(guest)
        await gate.gate.event('client_session_end')
        await gate.idle(1)
      }
      expect(new Set(pids).size).toBe(1)
    })

    it.each<[string, (guest: Guest) => Promise<void>]>([
      ['in a transaction', async ({ ask }) => void (await ask('BEGIN'))],
      [
        'in a transaction that failed',
        async ({ ask }) => void (await ask('BEGIN; SELECT 1/0').catch(() => undefined)),
      ],
      [
        'in the middle of a statement',
        async ({ client }) => client.write(query('SELECT pg_sleep(0.2)')),
      ],
      [
        'in the middle of a message',
        async ({ client }) => client.write(query('SELECT 1').subarray(0, 8)),
      ],
      ['without a Sync', async ({ client }) => client.write(message('P', 'p\0SELECT 1\0\0\0'))],
      [
        'in a COPY',
        async ({ ask, client }) => {
          await ask('CREATE TEMP TABLE t (a text)')
          client.write(query('COPY t FROM STDIN'))
          await client.until('G')
          client.write(message('d', 'a row'))
        },
      ],
    ])('%s leaves nothing to keep', async (_name, act) => {
      const gate = await open()
      const guest = await gate.enter()
      const pid = await guest.pid()
      await act(guest)
      guest.client.write(TERMINATE)
      guest.client.socket.destroySoon()
      await gate.gate.event('client_session_end')
      await expect.poll(() => gate.closedFor('unclean')).toBe(1)
      expect(await visit(gate)).not.toBe(pid)
    })

    it('together with its last question is answered, and its session is closed', async () => {
      const gate = await open()
      const guest = await gate.enter()
      guest.client.write(Buffer.concat([query("SELECT 'asked'"), TERMINATE]))
      expect((await guest.client.until('Z')).map(({ type }) => type)).toEqual(['T', 'D', 'C', 'Z'])
      await expect.poll(() => gate.closedFor('unclean')).toBe(1)
    })

    it('with its token: a session that the gate ends is not kept', async () => {
      const gate = await open({}, { cluster: { session: { end_at_token_expiry: 'when_idle' } } })
      const exp = Math.ceil(Date.now() / 1000) + 1
      const guest = await gate.enter('maxroach', {}, await gate.gate.token('maxroach', { exp }))
      while ((await guest.client.next()) !== undefined);
      await gate.gate.event('client_session_end', {
        Ended: 'terminating connection because the token has expired',
      })
      await expect.poll(() => gate.closedFor('unclean')).toBe(1)
    })

    it('was cancelled once: nobody gets a session that a signal may still be under way to', async () => {
      const gate = await open()
      const guest = await gate.enter()
      const pid = await guest.pid()
      await cancel(gate, guest.cancelKey)
      await guest.leave()
      await expect.poll(() => gate.closedFor('canceled')).toBe(1)
      expect(await visit(gate)).not.toBe(pid)
    })

    it('has no say in it any more: its cancel key is worth nothing', async () => {
      const gate = await open()
      const first = await gate.enter()
      const pid = await first.pid()
      await first.leave()
      await gate.idle(1)
      await cancel(gate, first.cancelKey)
      const second = await gate.enter()
      expect(await second.pid()).toBe(pid)
      await cancel(gate, first.cancelKey)
      second.client.write(query('SELECT pg_sleep(0.05)'))
      await cancel(gate, first.cancelKey)
      expect((await second.client.until('Z')).map(({ type }) => type)).toEqual(['T', 'D', 'C', 'Z'])
      expect(await gate.count('postern_cancels_total{result="unknown"}')).toBe(3)
      await second.leave()
      await gate.idle(1)
    })
  })

  describe('what changes on the node', () => {
    afterEach(() => node.sql('ALTER ROLE carl RESET ALL'))
    const refused = { S: 'FATAL', C: '28P01', M: 'password authentication failed for user carl' }

    it.each<[string, string, string, unknown]>([
      ['the role may not log in', 'ALTER ROLE carl NOLOGIN', 'ALTER ROLE carl LOGIN', refused],
      [
        'the role has another name',
        'ALTER ROLE carl RENAME TO dora; CREATE ROLE carl',
        'DROP ROLE carl; ALTER ROLE dora RENAME TO carl',
        refused,
      ],
      [
        'the role may not connect to the database',
        'REVOKE CONNECT ON DATABASE other FROM PUBLIC',
        'GRANT CONNECT ON DATABASE other TO PUBLIC',
        { C: '42501', M: 'permission denied for database "other"' },
      ],
      [
        'the database takes nobody',
        'ALTER DATABASE other ALLOW_CONNECTIONS false',
        'ALTER DATABASE other ALLOW_CONNECTIONS true',
        { C: '55000', M: 'database "other" is not currently accepting connections' },
      ],
      [
        'the role may have no session at all',
        'ALTER ROLE carl CONNECTION LIMIT 0',
        'ALTER ROLE carl CONNECTION LIMIT -1',
        { C: '53300', M: 'too many connections for role "carl"' },
      ],
      [
        'the database may have no session at all',
        'ALTER DATABASE other CONNECTION LIMIT 0',
        'ALTER DATABASE other CONNECTION LIMIT -1',
        { C: '53300', M: 'too many connections for database "other"' },
      ],
    ])('is seen at hand-out: %s', async (_name, change, back, refusal) => {
      const gate = await open()
      const database = { database: 'other' }
      await visit(gate, 'carl', database)
      await gate.idle(1)
      await node.sql(change)
      try {
        expect(await gate.refusal('carl', database)).toMatchObject(refusal as object)
      } finally {
        await node.sql(back)
      }
      expect(await gate.closedFor('check_failed')).toBe(1)
      await visit(gate, 'carl', database)
    })

    it('is seen at hand-out: the role was dropped, and one of its name was made', async () => {
      await node.sql('CREATE ROLE erin LOGIN')
      const gate = await open()
      const pid = await visit(gate, 'erin')
      await gate.idle(1)
      await node.sql('DROP ROLE erin; CREATE ROLE erin LOGIN')
      expect(await visit(gate, 'erin')).not.toBe(pid)
      expect(await gate.closedFor('check_failed')).toBe(1)
    })

    it('is seen at hand-out: the password is good no more, for who signs in by one', async () => {
      const scram = { sign_in: 'scram', scram: { secrets: { sam: SECRET } } }
      const gate = await open({}, { cluster: scram })
      const pid = await visit(gate, 'sam')
      await gate.idle(1)
      expect(await visit(gate, 'sam')).toBe(pid)
      await gate.idle(1)
      await node.sql("ALTER ROLE sam VALID UNTIL 'yesterday'")
      const refusal = await gate.refusal('sam')
      await node.sql("ALTER ROLE sam VALID UNTIL 'infinity'")
      expect(refusal).toMatchObject({ C: '28P01' })
      expect(await gate.closedFor('check_failed')).toBe(1)
      await visit(gate, 'sam')
    })

    it('is seen when the session is too old: the settings of a role', async () => {
      const gate = await open({ max_age: '300ms' })
      await visit(gate, 'carl')
      await gate.idle(1)
      await node.sql("ALTER ROLE carl SET application_name = 'of the role'")
      await gate.idle(0)
      expect(await gate.closedFor('old')).toBe(1)
      expect((await gate.enter('carl')).settings['application_name']).toBe('of the role')
    })

    it('is told to the next client: a reload, while the session was idle or in use', async () => {
      const gate = await open()
      const guest = await gate.enter()
      const pids = [await guest.pid()]
      await reloadWith("SET TimeZone = 'Europe/Zurich'")
      expect(await guest.ask('SHOW TimeZone')).toEqual([['Europe/Zurich']])
      await guest.leave()
      await expect.poll(() => gate.closedFor('reset_failed')).toBe(1)
      const second = await gate.enter()
      pids.push(await second.pid())
      expect(second.settings['TimeZone']).toBe('Europe/Zurich')
      await second.leave()
      await gate.idle(1)
      await reloadWith("SET TimeZone = 'Asia/Tokyo'")
      const third = await gate.enter()
      pids.push(await third.pid())
      expect(third.settings['TimeZone']).toBe('Asia/Tokyo')
      expect(await gate.closedFor('check_failed')).toBe(1)
      expect(new Set(pids).size).toBe(3)
      await reloadWith('RESET TimeZone')
    })

    it('costs nobody a login: sessions that the node ends', async () => {
      const gate = await open()
      const pid = await visit(gate)
      await gate.idle(1)
      await node.sql(`SELECT pg_terminate_backend(${pid})`)
      await gate.idle(0)
      expect(await gate.closedFor('lost')).toBe(1)
      expect(await visit(gate)).not.toBe(pid)
    })

    async function reloadWith(setting: string) {
      await node.sql(`ALTER SYSTEM ${setting}`)
      await node.reload()
    }
  })

  describe('sizes', () => {
    it('one session serves many clients, first come, first served', async () => {
      const gate = await open({ size: 1 })
      const first = await gate.enter()
      const pid = await first.pid()
      const order: number[] = []
      const others = [1, 2, 3, 4].map(async (each) => {
        await waiting(gate, each - 1)
        const guest = await gate.enter()
        order.push(each)
        expect(await guest.pid()).toBe(pid)
        await guest.leave()
      })
      await waiting(gate, 4)
      await first.leave()
      await Promise.all(others)
      expect(order).toEqual([1, 2, 3, 4])
      await gate.idle(1)
    })

    it('who waits too long is told so, and who is gone waits no more', async () => {
      const gate = await open({ size: 1, wait_timeout: '200ms' })
      const first = await gate.enter()
      expect(await gate.refusal('maxroach')).toMatchObject({
        S: 'FATAL',
        C: '53300',
        M: 'timed out waiting for a database connection',
      })
      await gate.gate.event('client_authentication_failed', { Failure: 'pool_timeout' })
      await waiting(gate, 0)
      // Another role has room of its own.
      expect(await visit(gate, 'carl')).toBeGreaterThan(0)
      await first.leave()
      await visit(gate)
    })

    it("somebody else's idle session makes room on a node that is full", async () => {
      const gate = await open({ max_node_connections: 2 })
      await visit(gate, 'maxroach')
      await gate.idle(1)
      const kept = await visit(gate, 'carl')
      await gate.idle(2)
      await visit(gate, 'shared')
      expect(await gate.closedFor('room')).toBe(1)
      await gate.idle(2)
      expect(await visit(gate, 'carl')).toBe(kept)
      await gate.idle(2)
      expect(await backends()).toBe(2)
    })

    it('a session that waits long enough is closed', async () => {
      const gate = await open({ idle_timeout: '50ms' })
      await visit(gate)
      await expect.poll(() => gate.closedFor('idle')).toBe(1)
      await expect.poll(backends).toBe(0)
    })

    it('a gate that ends leaves nothing on the node', async () => {
      const gate = await open()
      await Promise.all(['maxroach', 'carl', 'shared'].map((user) => visit(gate, user)))
      await gate.idle(3)
      await gate.close()
      gates.splice(gates.indexOf(gate), 1)
      await expect.poll(backends).toBe(0)
    })

    async function waiting(gate: PooledGate, clients: number) {
      const now = () => gate.count('postern_pool_waiting{cluster="test"}')
      await expect.poll(now, { interval: 2, timeout: 5_000 }).toBe(clients)
    }

    async function backends(): Promise<number> {
      const [row] = await node.sql(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> 'admin'",
      )
      return Number(row?.['n'])
    }
  })
})

/** Sent in clear, as libpq does; returns when the gate is done with it. */
async function cancel({ gate }: PooledGate, key: Buffer): Promise<void> {
  const client = await openPlain({ host: '127.0.0.1', port: gate.port })
  client.write(cancelRequest(key))
  expect(await client.bytes(1)).toHaveLength(0)
  client.close()
}
