/** What one client may take: connections from an address, sessions of a role, time without a word. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterEach, describe, expect, inject, it, test, vi } from 'vitest'
import { openPlaces, type Places } from '../../src/sql/limits.ts'
import { outcome } from '../support/decoding.ts'
import type { TestGate } from '../support/gate.ts'
import { proxyFor } from '../support/proxy_header.ts'
import { scriptedGates } from '../support/scripted_gates.ts'
import { authenticationOk, startScriptedNode } from '../support/scripted_node.ts'
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
  sslRequest,
  startup,
  type WireClient,
} from '../support/wire_client.ts'

const fullAddress = { sqlstate: '53300', says: 'too many connections from this address' }
const fullRole = { sqlstate: '53300', says: 'too many connections for role "maxroach"' }

describe('places', () => {
  const bounds = { connectionsPerAddress: 2, sessionsPerUser: 3 }
  const full = (take: () => void) => outcome(take) !== undefined

  test('are an address’s own, twice as many for those who only come to cancel', () => {
    const enter = openPlaces()
    const guests = Array.from({ length: 5 }, () => enter(bounds))
    const arrived = guests.map((guest) => outcome(() => guest.arrive('192.0.2.1')))
    expect(arrived).toEqual([undefined, undefined, undefined, undefined, fullAddress])
    const stay = guests.slice(0, 4).map((guest) => outcome(() => guest.stay('192.0.2.1')))
    expect(stay).toEqual([undefined, undefined, fullAddress, fullAddress])
    expect(full(() => enter(bounds).arrive('192.0.2.2'))).toBe(false)
  })

  test('are a role’s own in each cluster', () => {
    const enter = openPlaces()
    const sessions = ['a', 'a', 'a', 'a', 'b'].map((cluster) =>
      outcome(() => enter(bounds).ofRole(cluster, 'maxroach')),
    )
    expect(sessions).toEqual([undefined, undefined, undefined, fullRole, undefined])
    expect(full(() => enter(bounds).ofRole('a', 'carl'))).toBe(false)
  })

  test.each<[one: string, other: string, same: boolean]>([
    ['192.0.2.1', '::ffff:192.0.2.1', true],
    ['192.0.2.1', '192.0.2.2', false],
    ['2001:db8:1:2::1', '2001:db8:1:2:ffff:ffff:ffff:ffff', true],
    ['2001:db8:1:2::1', '2001:db8:1:3::1', false],
    ['2001:db8::1', '2001:db8:0:0:5::', true],
    ['2001:db8::1', '2001:db8:0:1::', false],
    ['::1', '::2', true],
    ['::1', '1::', false],
    ['1::', '1:0:0:0:8::', true],
    ['64:ff9b::192.0.2.1', '64:ff9b::c000:202', true],
    ['fe80::1%eth0', 'fe80::2%eth1', true],
  ])('%s and %s are one: %s', (one, other, same) => {
    const enter = openPlaces()
    const single = { connectionsPerAddress: 1, sessionsPerUser: undefined }
    enter(single).stay(one)
    expect(full(() => enter(single).stay(other))).toBe(same)
  })

  test('without bounds are for everybody', () => {
    const enter = openPlaces()
    const free = { connectionsPerAddress: undefined, sessionsPerUser: undefined }
    for (let i = 0; i < 1_000; i++) enter(free).arrive('192.0.2.1')
  })

  test('are counted right after ten thousand that came and went', () => {
    const enter = openPlaces()
    const addresses = ['192.0.2.1', '192.0.2.2', '::1']
    const counts = new Map<string, number>()
    const live: { places: Places; taken: string[] }[] = []
    const attempt = (taken: string[], key: string, bound: number, take: () => void) => {
      const count = counts.get(key) ?? 0
      expect(full(take)).toBe(count >= bound)
      if (count >= bound) return
      counts.set(key, count + 1)
      taken.push(key)
    }
    const leave = (at: number) => {
      const [gone] = live.splice(at, 1)
      for (const key of gone?.taken ?? []) counts.set(key, (counts.get(key) ?? 0) - 1)
      gone?.places.leave()
      gone?.places.leave()
    }
    const step = fc.record({
      opens: fc.boolean(),
      address: fc.constantFrom(...addresses),
      role: fc.constantFrom('carl', 'maxroach'),
      at: fc.nat(),
      stages: fc.integer({ min: 1, max: 3 }),
    })
    const steps = fc.sample(
      fc.array(step, { minLength: 10_000, maxLength: 10_000, size: 'max' }),
      1,
    )
    for (const { opens, address, role, at, stages } of steps[0] ?? []) {
      if (!opens) {
        if (live.length > 0) leave(at % live.length)
        continue
      }
      const places = enter(bounds)
      const taken: string[] = []
      attempt(taken, `arrive ${address}`, 4, () => places.arrive(address))
      if (stages > 1) attempt(taken, `stay ${address}`, 2, () => places.stay(address))
      if (stages > 2) attempt(taken, `role ${role}`, 3, () => places.ofRole('main', role))
      live.push({ places, taken })
    }
    while (live.length > 0) leave(0)
    expect([...counts.values()].filter((count) => count !== 0)).toEqual([])
    for (const address of addresses) {
      const guests = Array.from({ length: 3 }, () => full(() => enter(bounds).stay(address)))
      expect(guests).toEqual([false, false, true])
    }
  })
})

const gates = scriptedGates()
afterEach(() => void vi.useRealTimers())
const { open } = gates

const enter = async (gate: TestGate, client: WireClient, user = 'maxroach') =>
  refusalOf(await signIn(client, { user }, await gate.token(user)))

describe('connections_per_address', () => {
  const plain = { tls: undefined, allow_plaintext: true }

  it('refuses a client after its startup packet, and takes it when another one has left', async () => {
    const gate = await open({ limits: { connections_per_address: 2 } })
    const clients = [await openTls(gate.port, gate.caPem), await openTls(gate.port, gate.caPem)]
    for (const client of clients) expect(await enter(gate, client)).toBeUndefined()
    expect(await enter(gate, await openTls(gate.port, gate.caPem))).toMatchObject({
      S: 'FATAL',
      C: '53300',
      M: 'too many connections from this address',
    })
    expect(gate.log.at(-1)).toMatchObject({ failure: 'too_many_from_address', level: 'warn' })
    clients[0]?.close()
    await expect
      .poll(async () => enter(gate, await openTls(gate.port, gate.caPem)), { timeout: 5_000 })
      .toBeUndefined()
  })

  it('lets a cancel through where no client gets in any more, up to twice the bound', async () => {
    const gate = await open({ limits: { connections_per_address: 1 }, listener: plain })
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(startup({ user: 'maxroach', ...JWT_OPTION }))
    await client.next()
    client.write(message('p', `${await gate.token('maxroach')}\0`))
    const said = await client.until('Z')
    const key = said.find(({ type }) => type === 'K')?.body ?? Buffer.alloc(0)
    const cancel = await openPlain({ host: '127.0.0.1', port: gate.port })
    cancel.write(cancelRequest(Buffer.from(key)))
    await expect.poll(() => gates.node.cancels.length).toBe(1)
    while ((await cancel.bytes(1)).length > 0);
    cancel.close()
    const silent = async () => {
      const another = await openPlain({ host: '127.0.0.1', port: gate.port })
      another.write(sslRequest())
      const answer = (await another.bytes(1)).toString()
      if (answer !== 'N') another.close()
      return answer
    }
    await expect.poll(silent).toBe('N')
    const third = await openPlain({ host: '127.0.0.1', port: gate.port })
    expect(fields((await third.next())?.body ?? Buffer.alloc(0))).toMatchObject({ C: '53300' })
  })

  it.each<[string, (gate: TestGate, client: WireClient) => Promise<unknown>]>([
    [
      'a refusal',
      async (_gate, client) => refusalOf(await signIn(client, { user: 'maxroach' }, 'no token')),
    ],
    [
      'a session',
      async (gate, client) => {
        const sessions = gates.node.sockets.length
        expect(await enter(gate, client)).toBeUndefined()
        gates.node.sockets[sessions]?.destroy()
        return refusalOf(await client.until('E'))
      },
    ],
  ])('counts a socket to its end: behind %s whose client stays', async (_name, end) => {
    const gate = await open({ limits: { connections_per_address: 1 }, listener: plain })
    const come = () => openPlain({ host: '127.0.0.1', port: gate.port })
    const client = await come()
    // The gate's patience with a client that has heard its last words doesn't end here.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    expect(await end(gate, client)).toMatchObject({ S: 'FATAL' })
    const isOver = async () => {
      const text = await (await fetch(`${gate.opsUrl}/metrics`)).text()
      return text.includes('\npostern_connections 0\n')
    }
    await expect.poll(isOver).toBe(true)
    expect(await enter(gate, await come())).toMatchObject({ C: '53300' })
    client.close()
    await expect.poll(async () => enter(gate, await come()), { timeout: 5_000 }).toBeUndefined()
  })

  it('counts those that a proxy speaks for, not the proxy', async () => {
    const listener = { proxy_protocol: { from: ['127.0.0.1'] } }
    const gate = await open({ limits: { connections_per_address: 1 }, listener })
    const from = async (address: string) =>
      await enter(gate, await openTls(gate.port, gate.caPem, proxyFor(address)))
    expect(await from('192.0.2.1')).toBeUndefined()
    expect(await from('192.0.2.2')).toBeUndefined()
    expect(await from('192.0.2.1')).toMatchObject({ C: '53300' })
  })
})

describe('sessions_per_user', () => {
  it('refuses one more of a role, as PostgreSQL does, and says so in the audit stream', async () => {
    const gate = await open({ limits: { sessions_per_user: 1 } })
    const first = await openTls(gate.port, gate.caPem)
    expect(await enter(gate, first)).toBeUndefined()
    const startups = gates.node.startups.length
    expect(await enter(gate, await openTls(gate.port, gate.caPem))).toMatchObject({
      C: '53300',
      M: 'too many connections for role "maxroach"',
    })
    expect(gates.node.startups).toHaveLength(startups)
    expect(await gate.event('login_decision', { Result: 'refused' })).toMatchObject({
      Failure: 'too_many_sessions',
    })
    expect(await enter(gate, await openTls(gate.port, gate.caPem), 'carl')).toBeUndefined()
    first.close()
    await expect
      .poll(async () => enter(gate, await openTls(gate.port, gate.caPem)), { timeout: 5_000 })
      .toBeUndefined()
  })

  it('gives the place back where the node refuses', async () => {
    const away = await startScriptedNode({ greet: ({ socket }) => socket.destroy() })
    const gate = await open({ node: away.address, limits: { sessions_per_user: 1 } })
    for (let round = 0; round < 3; round++)
      expect(await enter(gate, await openTls(gate.port, gate.caPem))).toMatchObject({ C: '08006' })
    await away.close()
  })
})

describe('a login that the node stalls behind its AuthenticationOk', () => {
  it.each<[string, Record<string, unknown>, Record<string, unknown>, string]>([
    ['of sessions_per_user', { sessions_per_user: 1 }, {}, 'too many connections for role'],
    [
      'of a pool',
      {},
      { pool: { mode: 'session', size: 1, wait_timeout: '100ms' } },
      'timed out waiting for a database connection',
    ],
  ])('holds a place %s until the node has closed it', async (_name, limits, cluster, says) => {
    // A process that sleeps doesn't see that the gate has closed its side.
    const stalling = await startScriptedNode({
      greet({ socket, send }) {
        socket.removeAllListeners('end')
        send(authenticationOk)
      },
    })
    const gate = await open({
      node: stalling.address,
      limits,
      cluster: { connect_timeout: '300ms', ...cluster },
    })
    const come = async () => await enter(gate, await openTls(gate.port, gate.caPem))
    expect(await come()).toMatchObject({ C: '08006' })
    expect(await come()).toMatchObject({ C: '53300', M: expect.stringContaining(says) })
    for (const socket of stalling.sockets) socket.destroy()
    await expect.poll(come, { timeout: 5_000 }).toMatchObject({ C: '08006' })
    await stalling.close()
  })
})

describe('handshake_timeout', () => {
  const limits = { handshake_timeout: '200ms', authentication_timeout: '20s' }

  it.each<[string, Buffer]>([
    ['silence', Buffer.alloc(0)],
    ['half a startup packet', startup({ user: 'maxroach' }).subarray(0, 11)],
    ['SSLRequest and silence', sslRequest()],
  ])('ends %s', async (_name, bytes) => {
    const gate = await open({ limits })
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(bytes)
    while ((await client.bytes(1)).length > 0);
    const line = gate.log.find(({ failure }) => failure === 'login_timeout')
    expect(line?.msg).toContain('limits.handshake_timeout')
  })

  it('is over with the startup packet: the rest is the login’s', async () => {
    const gate = await open({ limits: { ...limits, authentication_timeout: '600ms' } })
    const client = await openTls(gate.port, gate.caPem)
    client.write(startup({ user: 'maxroach', ...JWT_OPTION }))
    expect((await client.next())?.type).toBe('R')
    const refusal = fields((await client.next())?.body ?? Buffer.alloc(0))
    expect(refusal).toMatchObject({ C: '57014', M: 'canceling authentication due to timeout' })
    const line = gate.log.find(({ failure }) => failure === 'login_timeout')
    expect(line?.msg).toContain('limits.authentication_timeout')
  })
})

describe('idle_timeout', () => {
  const { host, port } = inject('postgres')
  const limits = { idle_timeout: '1s' }
  const session = async () => {
    const gate = await open({ node: `${host}:${port}`, limits })
    const client = await openTls(gate.port, gate.caPem)
    const parameters = { user: 'maxroach', database: 'trustdb' }
    expect(
      refusalOf(await signIn(client, parameters, await gate.token('maxroach'))),
    ).toBeUndefined()
    return { gate, client }
  }

  it('ends a session that carries nothing, in PostgreSQL’s words', async () => {
    const { gate, client } = await session()
    expect(fields((await client.next())?.body ?? Buffer.alloc(0))).toMatchObject({
      S: 'FATAL',
      C: '57P05',
      M: 'terminating connection due to idle-session timeout',
    })
    expect(await client.next()).toBeUndefined()
    expect(await gate.event('client_session_end')).toMatchObject({
      Ended: 'terminating connection due to idle-session timeout',
    })
  })

  it('waits for a long statement and for a transaction', async () => {
    const { client } = await session()
    client.write(Buffer.concat([query('select pg_sleep(2)'), query('begin')]))
    await client.until('Z')
    expect((await client.until('Z')).at(-1)?.body.toString()).toBe('T')
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    client.write(query('commit'))
    expect((await client.until('Z')).map(({ type }) => type)).toEqual(['C', 'Z'])
    expect((await client.next())?.type).toBe('E')
  })
})

describe('keepalive', () => {
  const KEEPALIVE = '02'
  const HERTZ = 100

  it('is asked of the system for each connection', async () => {
    const gate = await open({ listener: { keepalive: '7m' } })
    const { socket } = await openPlain({ host: '127.0.0.1', port: gate.port })
    const hex = (port = 0) => `:${port.toString(16).toUpperCase().padStart(4, '0')}`
    const ours = () =>
      readFileSync('/proc/net/tcp', 'utf8')
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .find(
          ([, here, there]) =>
            here?.endsWith(hex(gate.port)) && there?.endsWith(hex(socket.localPort)),
        )
    const [timer, jiffies = ''] = (await poll(ours))[5]?.split(':') ?? []
    expect(timer).toBe(KEEPALIVE)
    expect(Number.parseInt(jiffies, 16) / HERTZ).toBeGreaterThan(6 * 60)
    expect(Number.parseInt(jiffies, 16) / HERTZ).toBeLessThanOrEqual(7 * 60)
  })
})

/** What there is as soon as there is something. */
async function poll<T>(look: () => T | undefined): Promise<T> {
  const found: { value?: T | undefined } = {}
  await expect.poll(() => (found.value = look()), { timeout: 5_000 }).toBeDefined()
  return found.value as T
}
