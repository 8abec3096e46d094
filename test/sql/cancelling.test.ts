/** What becomes of cancels in a worker: to which node, how many at a time, and how many may ask elsewhere. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import type { Node } from '../../src/cluster/node.ts'
import { type CancelTarget, openCancelKeys } from '../../src/sql/cancel_keys.ts'
import { openCancelling } from '../../src/sql/cancelling.ts'
import type { Logger } from '../../src/telemetry/log.ts'

const HERE = '192.0.2.1'
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** A node that takes cancels, and is done with them when it is told to be. */
async function startNode() {
  const arrived: Socket[] = []
  const server = createServer((socket) => {
    socket.on('error', () => undefined).resume()
    arrived.push(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    for (const socket of arrived) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const address = { host: '127.0.0.1', port }
  const node = { name: `node ${port}`, address, connectTimeoutMs: 10_000 } as Node
  const target = (): CancelTarget => ({ node, key: 'nodekey!', wanted: false })
  const done = () => {
    for (const socket of arrived.splice(0)) socket.end()
  }
  return { target, arrived, done }
}

/** A worker before such a node. */
async function open() {
  const node = await startNode()
  const counted: string[] = []
  const elsewhere: string[] = []
  const clock = { ms: 1_000_000 }
  const cancelKeys = openCancelKeys(1)
  const cancelling = openCancelling({
    cancelKeys,
    primary: {
      audit: async () => undefined,
      count: (metric) => void counted.push('result' in metric ? metric.result : metric.name),
      mayTry: async () => ({ waitMs: 0, beganMs: 0 }),
      settle: async () => true,
      cancel: async (_key, from) => void elsewhere.push(from),
      console: async () => ({ ok: true, answered: { tag: '' } }),
    },
    log: { warn: () => undefined } as unknown as Logger,
    now: () => clock.ms,
  })
  return { ...node, cancelKeys, cancelling, counted, elsewhere, clock }
}

describe('a session', () => {
  it('has one cancel under way, and one more for all that came meanwhile, from wherever', async () => {
    const { cancelKeys, cancelling, target, arrived, done, counted } = await open()
    const { key } = cancelKeys.issue(target(), HERE, 2)
    const first = cancelling.request(key, HERE)
    await expect.poll(() => arrived.length).toBe(1)
    const later = [cancelling.found(key, HERE), cancelling.found(key, '192.0.2.2')]
    done()
    await first
    expect(counted).toEqual(['sent'])
    await expect.poll(() => arrived.length).toBe(1)
    done()
    expect(await Promise.all(later)).toEqual([true, true])
    expect(counted).toEqual(['sent', 'sent'])
    const again = cancelling.request(key, HERE)
    await expect.poll(() => arrived.length).toBe(1)
    done()
    await again
    expect(counted).toEqual(['sent', 'sent', 'sent'])
  })

  it('that is flooded takes no other session’s places', async () => {
    const { cancelKeys, cancelling, target, arrived, done } = await open()
    const [one, other] = [cancelKeys.issue(target(), HERE, 0), cancelKeys.issue(target(), HERE, 0)]
    const flood = Array.from({ length: 500 }, () => cancelling.request(one.key, HERE))
    flood.push(cancelling.request(other.key, HERE))
    await expect.poll(() => arrived.length).toBe(2)
    done()
    await expect.poll(() => arrived.length).toBe(1)
    done()
    await Promise.all(flood)
  })

  it('is cut by the gate itself, whatever a client has under way', async () => {
    const { cancelKeys, cancelling, target, arrived, done } = await open()
    const one = target()
    const { key } = cancelKeys.issue(one, HERE, 0)
    const cancels = [cancelling.request(key, HERE)]
    await expect.poll(() => arrived.length).toBe(1)
    cancels.push(cancelling.cut(one))
    await expect.poll(() => arrived.length).toBe(2)
    done()
    await Promise.all(cancels)
  })

  it('is one of at most 32 that are cancelled on a node at a time, and waits', async () => {
    const { cancelKeys, cancelling, target, arrived, done, counted } = await open()
    const keys = Array.from({ length: 70 }, () => cancelKeys.issue(target(), HERE, 0).key)
    const cancels = keys.map((key) => cancelling.request(key, HERE))
    for (const many of [32, 32, 6]) {
      await expect.poll(() => arrived.length).toBe(many)
      done()
    }
    await Promise.all(cancels)
    expect(counted).toEqual(keys.map(() => 'sent'))
  })

  it('waits neither for another node’s nor, where the gate cuts it, for clients', async () => {
    const { cancelKeys, cancelling, target, arrived, done, counted } = await open()
    const other = await startNode()
    const keys = Array.from({ length: 40 }, () => cancelKeys.issue(target(), HERE, 0).key)
    const cancels = keys.map((key) => cancelling.request(key, HERE))
    await expect.poll(() => arrived.length).toBe(32)
    const elsewhere = cancelling.request(cancelKeys.issue(other.target(), HERE, 0).key, HERE)
    await expect.poll(() => other.arrived.length).toBe(1)
    other.done()
    await elsewhere
    const cut = cancelling.cut(target())
    await expect.poll(() => arrived.length).toBe(33)
    done()
    await cut
    await expect.poll(() => arrived.length).toBe(8)
    done()
    await Promise.all(cancels)
    expect(counted.toSorted()).toEqual(['own', ...Array.from({ length: 41 }, () => 'sent')])
  })

  it('whose node stands still is given up, and so are those that wait for it', async () => {
    const { cancelKeys, cancelling, target, counted } = await open()
    const keys = Array.from({ length: 40 }, () => cancelKeys.issue(target(), HERE, 0).key)
    await Promise.all(keys.map((key) => cancelling.request(key, HERE)))
    expect(counted).toEqual(keys.map(() => 'failed'))
  })
})

describe('a key that is not known here', () => {
  it('is asked about elsewhere, a hundred times at once and then twenty a second', async () => {
    const { cancelling, counted, elsewhere, clock } = await open()
    const flood = async (from: string) => {
      for (let at = 0; at < 300; at++) await cancelling.request(Buffer.alloc(8), from)
      return elsewhere.splice(0).length
    }
    expect([await flood(HERE), counted.length]).toEqual([100, 200])
    clock.ms += 1_000
    expect(await flood(HERE)).toBe(20)
    expect(await flood('192.0.2.2')).toBe(100)
    // Whoever has one address of an IPv6 network has them all.
    expect(await flood('2001:db8::1')).toBe(100)
    expect(await flood('2001:db8::2')).toBe(0)
    expect(await flood('local')).toBe(100)
  })

  it('is asked about nowhere where it came from elsewhere', async () => {
    const { cancelling, counted, elsewhere } = await open()
    expect(await cancelling.found(Buffer.alloc(8), HERE)).toBe(false)
    expect([counted, elsewhere]).toEqual([[], []])
  })

  it.each([0, 4, 7, 9, 35, 37, 256])('of %i bytes is nobody’s', async (bytes) => {
    const { cancelling, counted, elsewhere } = await open()
    await cancelling.request(Buffer.alloc(bytes), HERE)
    expect([counted, elsewhere]).toEqual([['unknown'], []])
  })

  it('of eight bytes is one of another address’s, too', async () => {
    const { cancelKeys, cancelling, target, elsewhere, arrived } = await open()
    const { key } = cancelKeys.issue(target(), HERE, 0)
    await cancelling.request(key, '192.0.2.2')
    expect([elsewhere, arrived]).toEqual([['192.0.2.2'], []])
  })
})
