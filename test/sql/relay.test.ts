/** The relay between two real sockets: pressure, half-closes, deaths, notices, and stopping in time. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { Failure } from '../../src/failure.ts'
import { Leg } from '../../src/leg.ts'
import { Relay } from '../../src/sql/relay.ts'
import { readyForQuery } from '../support/scripted_node.ts'
import { message, query, uint32 } from '../support/wire_client.ts'

interface Ends {
  /** What the client and the node hold in their hands. */
  client: Socket
  node: Socket
  relay: Relay
  legs: { client: Leg; node: Leg }
}

const open: Socket[] = []
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy()
})

async function pair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  const outer = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  const [inner] = (await once(server, 'connection')) as [Socket]
  server.close()
  open.push(outer, inner)
  outer.on('error', () => undefined)
  return [outer, inner]
}

async function openRelay(keepNode = false): Promise<Ends> {
  const { signal } = new AbortController()
  const [client, clientInner] = await pair()
  const [node, nodeInner] = await pair()
  const legs = {
    client: new Leg(clientInner, 'client', signal),
    node: new Leg(nodeInner, 'node', signal),
  }
  const relay = new Relay(legs.client, legs.node, keepNode)
  relay.begin()
  return { client, node, legs, relay }
}

const notice = message('N', 'SNOTICE\0Mhello\0\0')
const why = new Failure('shutting_down')

describe('the end of a session', () => {
  it.each<[string, (ends: Ends) => void, object]>([
    [
      'the client leaves, the node follows',
      ({ client, node }) => {
        node.once('end', () => node.end()).resume()
        client.end(message('X', ''))
      },
      { by: 'client', how: 'the client closed the connection' },
    ],
    [
      'the node leaves',
      ({ node }) => node.end(),
      { by: 'node', how: 'the node closed the connection', atBoundary: true, explained: false },
    ],
    [
      'the node leaves with a reason',
      ({ node }) => node.end(message('E', 'SFATAL\0\0')),
      { by: 'node', explained: true },
    ],
    [
      'the node leaves in the middle of a row',
      ({ node }) => node.end(message('D', 'abc').subarray(0, 6)),
      { by: 'node', atBoundary: false },
    ],
    [
      'the client is reset',
      ({ client }) => client.resetAndDestroy(),
      { by: 'client', how: 'the client broke the connection: ECONNRESET' },
    ],
    [
      'the node is reset',
      ({ node }) => node.resetAndDestroy(),
      { by: 'node', how: 'the node broke the connection: ECONNRESET' },
    ],
    [
      'the client breaks the framing',
      ({ client }) => client.write(Buffer.concat([Buffer.from('Q'), uint32(2)])),
      { by: 'client', why: expect.objectContaining({ code: 'protocol_violation' }) },
    ],
    ['the gate stops it', ({ relay }) => relay.stop(why), { by: 'gate', why }],
  ])('%s', async (_name, act, ended) => {
    const ends = await openRelay()
    act(ends)
    expect(await ends.relay.ended).toMatchObject(ended)
  })

  it('lets a half-closed client read what it asked for', async () => {
    const { client, node, relay } = await openRelay()
    const answer = Buffer.concat([message('D', 'x'.repeat(100_000)), readyForQuery()])
    node.once('end', () => node.end(answer)).resume()
    client.end(query('select 1'))
    const chunks: Buffer[] = []
    client.on('data', (chunk: Buffer) => chunks.push(chunk))
    expect(await relay.ended).toMatchObject({ by: 'client' })
    await expect.poll(() => Buffer.concat(chunks).equals(answer)).toBe(true)
  })
})

describe("a node's session that may be kept", () => {
  const TERMINATE = message('X', '')
  const answer = Buffer.concat([message('C', 'SELECT 0\0'), readyForQuery()])
  const ask = async ({ client, node }: Ends, said = answer) => {
    client.write(query('select 1'))
    await once(node, 'data')
    node.write(said)
    await once(client, 'data')
  }

  it.each<[string, (client: Socket) => void]>([
    ['says so', (client) => void client.write(TERMINATE)],
    ['half closes', (client) => void client.end()],
    ['is reset', (client) => void client.resetAndDestroy()],
  ])('is left quiet by a client that %s: the node hears nothing of it', async (_name, leave) => {
    const ends = await openRelay(true)
    await ask(ends)
    const { relay, client, node, legs } = ends
    let heard = 0
    node.on('data', () => heard++).on('end', () => heard++)
    leave(client)
    expect(await relay.ended).toMatchObject({ by: 'client', why: undefined })
    expect([relay.leftQuiet, relay.parametersTold]).toEqual([true, false])
    legs.node.speak(new AbortController().signal)
    node.write(readyForQuery())
    expect((await legs.node.message(16)).type).toBe('Z'.charCodeAt(0))
    expect([heard, legs.node.socket.listenerCount('drain')]).toEqual([0, 0])
  })

  it.each<[string, Buffer[], Buffer]>([
    ['in one go with a question', [Buffer.concat([query('select 1'), TERMINATE])], Buffer.alloc(0)],
    ['in pieces', [TERMINATE.subarray(0, 3), TERMINATE.subarray(3)], Buffer.alloc(0)],
    ['with more behind it', [Buffer.concat([TERMINATE, query('select 1')])], Buffer.alloc(0)],
    ['in a transaction', [TERMINATE], readyForQuery('T')],
    ['in a failed one', [TERMINATE], readyForQuery('E')],
    ['before it was answered', [query('select 1'), TERMINATE], Buffer.alloc(0)],
    ['in the middle of a message', [TERMINATE], message('N', 'SNOTICE\0\0').subarray(0, 7)],
  ])('is not, where a client says so %s: the node is told', async (_name, bytes, said) => {
    const { relay, client, node } = await openRelay(true)
    const heard: Buffer[] = []
    node.on('data', (chunk: Buffer) => heard.push(chunk))
    if (said.length > 0) {
      node.write(said)
      await once(client, 'data')
    }
    for (const [at, each] of bytes.entries()) {
      client.write(each)
      const size = bytes.slice(0, at + 1).reduce((sum, { length }) => sum + length, 0)
      await expect.poll(() => Buffer.concat(heard).length).toBe(size)
    }
    expect(Buffer.concat(heard)).toEqual(Buffer.concat(bytes))
    node.end()
    expect((await relay.ended).by).toBe('client')
    expect(relay.leftQuiet).toBe(false)
  })

  it('is spoiled by a byte that the node says before somebody listens again', async () => {
    const { relay, client, node } = await openRelay(true)
    client.write(TERMINATE)
    await relay.ended
    expect(relay.leftQuiet).toBe(true)
    node.write(notice.subarray(0, 3))
    await expect.poll(() => relay.leftQuiet).toBe(false)
  })

  it('is spoiled by its end', async () => {
    const { relay, client, node } = await openRelay(true)
    client.write(TERMINATE)
    await relay.ended
    node.end()
    await expect.poll(() => relay.leftQuiet).toBe(false)
  })

  it('is not left by a gate that ends it', async () => {
    const { relay } = await openRelay(true)
    relay.stop(why)
    await relay.ended
    expect(relay.leftQuiet).toBe(false)
  })

  it('tells whether the node told of a setting', async () => {
    const ends = await openRelay(true)
    await ask(ends, Buffer.concat([message('S', 'TimeZone\0UTC\0'), answer]))
    expect(ends.relay.parametersTold).toBe(true)
  })
})

describe('pressure', () => {
  const flood = (to: Socket, type: string, megabytes: number) => {
    const row = message(type, 'r'.repeat(64 * 1024))
    let left = (megabytes * 1024 * 1024) / row.length
    let sent = 0
    const more = () => {
      while (left-- > 0) {
        sent += row.length
        if (!to.write(row)) return void to.once('drain', more)
      }
    }
    more()
    return () => sent
  }

  it.each([
    ['a client that does not read', 'node', 'client'],
    ['a node that does not read', 'client', 'node'],
  ] as const)('stops the other side: %s', async (_name, from, to) => {
    const { relay, legs, ...ends } = await openRelay()
    ends[to].pause()
    const sent = flood(ends[from], from === 'node' ? 'D' : 'd', 64)
    let before = -1
    while (before !== sent()) {
      before = sent()
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(sent()).toBeLessThan(32 * 1024 * 1024)
    expect(legs[to].socket.writableLength).toBeLessThan(256 * 1024)
    let received = 0
    ends[to].on('data', (chunk: Buffer) => {
      received += chunk.length
    })
    ends[to].resume()
    await expect
      .poll(() => received === sent() && received > 60 * 1024 * 1024, { timeout: 5_000 })
      .toBe(true)
  })

  it('lets others have their turn while one side streams', async () => {
    const { client, node, relay } = await openRelay()
    const row = message('d', 'x'.repeat(64 * 1024))
    const all = 400 * row.length
    for (let sent = 0; sent < all; sent += row.length) node.write(row)
    client.resume()
    let most = 0
    for (let before = 0; before < all; before = relay.bytes.toClient) {
      await new Promise((resolve) => setImmediate(resolve))
      most = Math.max(most, relay.bytes.toClient - before)
    }
    expect(most).toBeLessThanOrEqual(2 * 64 * 1024)
  })

  it('lets a client that pipelines without an end wait for answers', async () => {
    const { client, node, relay } = await openRelay()
    const pipeline = Buffer.concat(
      Array.from({ length: 1_000 }, () => [query(''), message('S', '')]).flat(),
    )
    let seen = 0
    node.on('data', (chunk: Buffer) => {
      seen += chunk.length
    })
    for (let round = 0; round < 1_000; round++) client.write(pipeline)
    let before = -1
    while (before !== seen) {
      before = seen
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(seen).toBeLessThan(pipeline.length * 200)
    client.resume()
    const pair = query('').length + message('S', '').length
    const answer = Buffer.concat([message('I', ''), readyForQuery(), readyForQuery()])
    let answered = 0
    const answerAll = () => {
      const due = Math.floor(seen / pair) - answered
      answered += due
      node.write(Buffer.concat(Array(due).fill(answer)))
    }
    node.on('data', answerAll)
    answerAll()
    await expect.poll(() => seen, { timeout: 10_000 }).toBe(pipeline.length * 1_000)
    await expect.poll(() => relay.phase, { timeout: 5_000 }).toBe('quiet')
  })
})

describe('inject', () => {
  it.each<[string, Buffer[], number]>([
    ['at once, where nothing is on its way', [readyForQuery()], 0],
    [
      'behind the message that is on its way',
      [
        message('D', 'abcdef').subarray(0, 7),
        Buffer.concat([message('D', 'abcdef').subarray(7), readyForQuery()]),
      ],
      1,
    ],
    [
      'and not into a header',
      [Buffer.concat([message('D', 'ab'), Buffer.from('Z')]), readyForQuery().subarray(1)],
      1,
    ],
  ])('puts a notice %s', async (_name, pieces, after) => {
    const { client, node, relay } = await openRelay()
    const received: Buffer[] = []
    client.on('data', (chunk: Buffer) => received.push(chunk))
    for (const [index, piece] of pieces.entries()) {
      if (index === after) relay.inject(notice)
      node.write(piece)
      const size = pieces.slice(0, index + 1).reduce((sum, { length }) => sum + length, 0)
      await expect.poll(() => Buffer.concat(received).length >= size).toBe(true)
    }
    const all = Buffer.concat(received)
    const at = all.indexOf(notice)
    expect(at).toBeGreaterThanOrEqual(0)
    expect(Buffer.concat([all.subarray(0, at), all.subarray(at + notice.length)])).toEqual(
      Buffer.concat(pieces),
    )
    expect(types(all)).toContain('N')
  })
})

describe('stopAtQuiet', () => {
  it.each<[string, string[], string]>([
    ['a quiet session at once', [], 'I'],
    ['a busy one when it is answered', ['I'], 'I'],
    ['one in a transaction when that is over', ['T', 'E', 'I'], 'I'],
  ])('ends %s', async (_name, statuses) => {
    const { client, node, relay } = await openRelay()
    client.resume()
    let over = false
    void relay.ended.then(() => {
      over = true
    })
    let asked = 0
    node.on('data', () => asked++)
    if (statuses.length > 0) {
      client.write(query('select 1'))
      await expect.poll(() => asked).toBe(1)
    }
    relay.stopAtQuiet(why)
    for (const [index, status] of statuses.entries()) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      expect(over).toBe(false)
      node.write(Buffer.concat([message('C', 'SELECT 1\0'), readyForQuery(status)]))
      if (index === statuses.length - 1) break
      await expect.poll(() => relay.phase).not.toBe('busy')
      client.write(query('select 1'))
      await expect.poll(() => asked).toBe(index + 2)
    }
    expect(await relay.ended).toMatchObject({ by: 'gate', why, atBoundary: true })
  })
})

describe('whenQuiet', () => {
  it('calls back once, at the first quiet moment, for each who asked', async () => {
    const { client, node, relay } = await openRelay()
    const called: string[] = []
    relay.whenQuiet(() => called.push('quiet already'))
    expect(called).toEqual(['quiet already'])
    let asked = ''
    node.on('data', (chunk: Buffer) => {
      asked += chunk.toString('latin1')
    })
    client.write(query('begin'))
    await expect.poll(() => asked).toContain('begin')
    for (const name of ['one', 'two']) relay.whenQuiet(() => called.push(name))
    const received: Buffer[] = []
    client.on('data', (chunk: Buffer) => received.push(chunk))
    for (const status of ['T', 'I', 'I']) {
      node.write(Buffer.concat([message('C', `${status}\0`), readyForQuery(status)]))
      await expect
        .poll(() => Buffer.concat(received).toString('latin1'))
        .toMatch(new RegExp(`C[^C]*${status}.*Z[^Z]*${status}$`, 's'))
      if (status === 'T') expect(called).toEqual(['quiet already'])
    }
    expect(called).toEqual(['quiet already', 'one', 'two'])
  })
})

describe('stopWhenIdle', () => {
  it('is nothing where the session is over already', async () => {
    const { client, relay } = await openRelay()
    client.resetAndDestroy()
    await relay.ended
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    relay.stopWhenIdle(20, why)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('ends a session that carries nothing', async () => {
    const { relay } = await openRelay()
    relay.stopWhenIdle(50, why)
    expect(await relay.ended).toMatchObject({ by: 'gate', why, atBoundary: true })
  })

  it('waits while the session is busy', async () => {
    const { client, node, relay } = await openRelay()
    client.resume()
    client.write(query('select 1'))
    await once(node, 'data')
    relay.stopWhenIdle(20, why)
    const busy = new Promise((resolve) => setTimeout(resolve, 200, 'busy'))
    expect(await Promise.race([relay.ended, busy])).toBe('busy')
    node.write(Buffer.concat([message('C', 'SELECT 1\0'), readyForQuery()]))
    expect(await relay.ended).toMatchObject({ by: 'gate', why })
  })
})

function types(bytes: Buffer): string {
  let at = 0
  let found = ''
  while (at < bytes.length) {
    found += String.fromCharCode(bytes.readUInt8(at))
    at += 1 + bytes.readUInt32BE(at + 1)
  }
  return found
}
