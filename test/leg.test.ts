/** A leg over real sockets: its waits and what ends them, TLS, the flow, the last words. */
import { getEventListeners, once } from 'node:events'
import { writeSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { Readable, type Writable } from 'node:stream'
import {
  type ConnectionOptions,
  connect as connectTls,
  createSecureContext,
  type SecureContext,
  TLSSocket,
} from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { issue, makeCa } from '../src/dev/certificates.ts'
import { Failure } from '../src/failure.ts'
import { Leg, LegEnded, type Side, type Sink } from '../src/leg.ts'
import { type ClientTls, openClientTls } from '../src/sql/client_tls.ts'
import { refusalIn } from './support/decoding.ts'
import { message, startup } from './support/wire_client.ts'

const LIMIT = 128 * 1024
const KIB = 1024
const MIB = 1024 * KIB

let server: Server
let secureContext: SecureContext
let clientTls: ClientTls
let ca: string
const sockets: Socket[] = []

beforeAll(async () => {
  server = createServer({ allowHalfOpen: true, noDelay: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const authority = await makeCa()
  const { certPem, keyPem } = await issue(authority, { cn: 'localhost', sans: ['localhost'] })
  secureContext = createSecureContext({ cert: certPem, key: keyPem })
  clientTls = openClientTls({
    certificates: [{ certPem, keyPem, names: ['localhost'] }],
    clientCaPem: undefined,
  })
  ca = authority.certPem
})
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
})
afterAll(() => void server.close())

interface Pair {
  leg: Leg
  /** The leg's own socket, under any TLS. */
  socket: Socket
  /** The other side. */
  peer: Socket
  abort: AbortController
}

async function openPair(side: Side = 'client'): Promise<Pair> {
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  const peer = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  peer.on('error', () => undefined)
  const [socket] = (await once(server, 'connection')) as [Socket]
  sockets.push(peer, socket)
  const abort = new AbortController()
  return { leg: new Leg(socket, side, abort.signal), socket, peer, abort }
}

/** What is not so yet, but will be. */
const soon = <T>(get: () => T) => expect.poll(get, { interval: 1 })

/** Waits until so many bytes of the peer's have reached the leg. */
async function arrived({ leg }: Pair, bytes: number): Promise<void> {
  await soon(() => leg.waiting).toBe(bytes)
}

async function closed(socket: Socket): Promise<void> {
  await soon(() => socket.closed).toBe(true)
}

/** All that the socket is sent until the other side ends. */
function everything(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => void chunks.push(chunk))
  return new Promise((resolve) => socket.once('end', () => resolve(Buffer.concat(chunks))))
}

/** How it was rejected: with a refusal, or with the leg's end. */
async function rejection(promise: Promise<unknown>): Promise<unknown> {
  const thrown: unknown = await promise.then(
    () => 'it was not',
    (reason: unknown) => reason,
  )
  if (thrown instanceof Failure) return refusalIn(thrown)
  return thrown instanceof LegEnded ? `${thrown.side}: ${thrown.message}` : thrown
}

const nextBody = async (leg: Leg) => (await leg.message(LIMIT)).body.toString()

const CLOSED = 'client: the client closed the connection'
const RESET = 'client: the client broke the connection: ECONNRESET'
const timeout = new Failure('login_timeout')
const timeoutSaid = { sqlstate: '57014', says: 'canceling authentication due to timeout' }

describe('waits', () => {
  test('a packet, then messages, however they come', async () => {
    const pair = await openPair()
    const { leg, peer } = pair
    const hello = startup({ user: 'alice' })
    const packet = leg.packet(LIMIT)
    peer.write(hello.subarray(0, 5))
    await arrived(pair, 5)
    peer.write(
      Buffer.concat([hello.subarray(5), message('p', 'a'), message('Q', 'b').subarray(0, 5)]),
    )
    expect(await packet).toEqual(hello.subarray(4))
    expect(await nextBody(leg)).toBe('a')
    const last = nextBody(leg)
    await arrived(pair, 5)
    peer.write('b')
    expect(await last).toBe('b')
    expect(leg.waiting).toBe(0)
  })

  test('one byte, as the answer to SSLRequest', async () => {
    const pair = await openPair('node')
    pair.peer.write('S')
    expect(await pair.leg.byte()).toBe('S'.charCodeAt(0))
    pair.peer.write('SE')
    await arrived(pair, 2)
    const broken = { sqlstate: '08006', says: 'the database broke the protocol' }
    expect(await rejection(pair.leg.byte())).toEqual(broken)
  })

  test('what breaks the bound is refused', async () => {
    const { leg, peer } = await openPair()
    peer.write(message('p', 'xxx'))
    const says = 'message size 3 out of bounds (0..2)'
    expect(await rejection(leg.message(2))).toEqual({ sqlstate: '08P01', says })
  })

  test.each<[wait: string, start: (leg: Leg) => Promise<unknown>]>([
    ['a packet', (leg) => leg.packet(LIMIT)],
    ['a message', (leg) => leg.message(LIMIT)],
    ['a byte', (leg) => leg.byte()],
    ['TLS', (leg) => leg.upgrade(clientTls.accept)],
  ])('the deadline ends the wait for %s, before it and in it', async (_name, start) => {
    const { leg, abort } = await openPair()
    const pending = rejection(start(leg))
    abort.abort(timeout)
    expect(await pending).toEqual(timeoutSaid)
    const late = await openPair()
    late.abort.abort(timeout)
    expect(await rejection(start(late.leg))).toEqual(timeoutSaid)
  })

  test.each<[how: string, letGo: (leg: Leg) => void]>([
    ['flow', (leg) => leg.flow(recorder().sink)],
    ['close', (leg) => leg.close()],
    ['destroy', (leg) => leg.destroy()],
  ])('after %s the deadline holds the leg no more', async (_how, letGo) => {
    const { leg, abort } = await openPair()
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(1)
    letGo(leg)
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0)
  })

  test('of what nobody asks for, no more than a bound is taken', async () => {
    const pair = await openPair()
    const { leg, socket, peer } = pair
    const each = message('d', Buffer.alloc(100 * KIB))
    const count = Math.ceil((100 * MIB) / each.length)
    Readable.from(Array.from({ length: count }, () => each)).pipe(peer)
    await soon(() => socket.isPaused()).toBe(true)
    await soon(() => peer.writableNeedDrain).toBe(true)
    expect(leg.waiting + socket.readableLength).toBeLessThan(512 * KIB)
    expect(socket.bytesRead).toBeLessThan(512 * KIB)
    for (let read = 0; read < count; read++) {
      const { whole } = await leg.message(LIMIT)
      expect(whole.length).toBe(each.length)
      expect(leg.waiting + socket.readableLength).toBeLessThan(512 * KIB)
    }
    expect(await rejection(leg.message(LIMIT))).toBe(CLOSED)
  })
})

describe('the end of the other side', () => {
  const ways: [how: string, end: (peer: Socket) => unknown, says: string][] = [
    ['says so', (peer) => peer.end(), 'closed the connection'],
    ['closes', (peer) => peer.destroy(), 'closed the connection'],
    ['resets', (peer) => peer.resetAndDestroy(), 'broke the connection: ECONNRESET'],
  ]
  const cases = (['client', 'node'] as const).flatMap((side) =>
    ways.map(([how, end, says]) => [side, how, end, `${side}: the ${side} ${says}`] as const),
  )
  test.each(cases)('a %s that %s', async (side, _how, end, says) => {
    const pair = await openPair(side)
    pair.peer.write('half a message')
    const pending = rejection(pair.leg.message(2 ** 31))
    await arrived(pair, 14)
    end(pair.peer)
    expect(await pending).toBe(says)
    expect(await rejection(pair.leg.message(2 ** 31))).toBe(says)
  })

  test('what came before it can be read', async () => {
    const pair = await openPair()
    pair.peer.end(Buffer.concat([message('a', '1'), message('b', '2')]))
    await arrived(pair, 12)
    expect([await nextBody(pair.leg), await nextBody(pair.leg)]).toEqual(['1', '2'])
    expect(await rejection(pair.leg.message(LIMIT))).toBe(CLOSED)
  })

  test('our own end ends the wait', async () => {
    const { leg } = await openPair()
    const pending = rejection(leg.message(LIMIT))
    leg.destroy()
    expect(await pending).toBe(CLOSED)
  })
})

/** A leg with TLS on it, and the peer's end of that. */
async function openTlsPair(options: ConnectionOptions = {}): Promise<Pair & { tls: TLSSocket }> {
  const pair = await openPair()
  const tls = connectTls({ socket: pair.peer, host: 'localhost', ca, ...options })
  tls.on('error', () => undefined)
  await Promise.all([pair.leg.upgrade(clientTls.accept), once(tls, 'secureConnect')])
  return { ...pair, tls }
}

describe('TLS with a client', () => {
  test('messages go both ways', async () => {
    const { leg, socket, tls } = await openTlsPair({ ALPNProtocols: ['postgresql'] })
    expect([leg.encrypted, tls.alpnProtocol]).toEqual([true, 'postgresql'])
    expect(socket.listenerCount('data')).toBe(0)
    tls.write(message('p', 'token'))
    expect(await nextBody(leg)).toBe('token')
    leg.send(Buffer.from('welcome'))
    const [answer] = await once(tls, 'data')
    expect(String(answer)).toBe('welcome')
  })

  test('bytes glued before the handshake are refused', async () => {
    const pair = await openPair()
    pair.peer.write('x')
    await arrived(pair, 1)
    expect(await rejection(pair.leg.upgrade(clientTls.accept))).toEqual({
      sqlstate: '08P01',
      says: 'received unencrypted data after SSL request',
    })
    expect(pair.leg.encrypted).toBe(false)
  })

  const broke = (code: string) => `client: the client broke the connection: ${code}`
  const shake = (options: ConnectionOptions) => (peer: Socket) =>
    void connectTls({ socket: peer, host: 'localhost', ca, ...options }).on(
      'error',
      () => undefined,
    )
  const obsolete = {
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT:@SECLEVEL=0',
  } as const
  const failures: [how: string, act: (peer: Socket) => unknown, says: string][] = [
    ['speaks HTTP', (peer) => peer.write('GET / HTTP/1.1\r\n\r\n'), broke('ERR_SSL_HTTP_REQUEST')],
    [
      'speaks PostgreSQL',
      (peer) => peer.write(startup({ user: 'a' })),
      broke('ERR_SSL_WRONG_VERSION_NUMBER'),
    ],
    [
      'speaks another protocol',
      shake({ ALPNProtocols: ['h2'] }),
      broke('ERR_SSL_NO_APPLICATION_PROTOCOL'),
    ],
    ['speaks TLS 1.1', shake(obsolete), broke('ERR_SSL_UNSUPPORTED_PROTOCOL')],
    ['ends', (peer) => peer.end(), broke('closed during the TLS handshake')],
    ['resets', (peer) => peer.resetAndDestroy(), broke('ECONNRESET')],
  ]
  test.each(failures)('a client that %s in the handshake', async (_how, act, says) => {
    const { leg, socket, peer } = await openPair()
    const pending = rejection(leg.upgrade(clientTls.accept))
    act(peer)
    expect(await pending).toEqual(says)
    leg.close(Buffer.from('words that nobody could read'))
    expect([leg.encrypted, leg.socket.destroyed]).toEqual([false, true])
    await closed(socket)
  })

  test.each([
    ['ended', (peer: Socket) => peer.end(), CLOSED],
    ['reset', (peer: Socket) => peer.resetAndDestroy(), RESET],
  ])('a client that has %s before the handshake', async (_how, end, says) => {
    const { leg, peer } = await openPair()
    const gone = rejection(leg.packet(LIMIT))
    end(peer)
    expect(await gone).toBe(says)
    expect(await rejection(leg.upgrade(clientTls.accept))).toBe(says)
  })

  test('a client that is silent in the handshake loses its place at the deadline', async () => {
    const { leg, socket, abort } = await openPair()
    const pending = rejection(leg.upgrade(clientTls.accept))
    abort.abort(timeout)
    expect(await pending).toEqual(timeoutSaid)
    leg.close(Buffer.from('words that nobody could read'))
    await closed(socket)
  })

  const versions = [{ maxVersion: 'TLSv1.2' }, { maxVersion: 'TLSv1.3' }] as const
  /** A record that was never encrypted, past the peer's TLS. */
  const forge = (peer: Socket) => {
    const handle: unknown = Reflect.get(peer, '_handle')
    const fd = Number(Reflect.get(Object(handle), 'fd'))
    writeSync(fd, Buffer.from('1703030005' + '0102030405', 'hex'))
  }
  test.each(versions)('a bad record ends a wait: %o', async (options) => {
    const { leg, socket, peer } = await openTlsPair(options)
    const pending = rejection(leg.message(LIMIT))
    forge(peer)
    expect(await pending).toMatch(/^client: the client broke the connection: ERR_SSL_/)
    leg.close(Buffer.from('words that nobody could read'))
    await closed(socket)
  })
  test.each(versions)('a bad record ends the flow: %o', async (options) => {
    const { leg, peer } = await openTlsPair(options)
    const { sink, told } = recorder()
    leg.flow(sink)
    forge(peer)
    await soon(told).toEqual([expect.stringMatching(/^broken: .*: ERR_SSL_/)])
  })

  test('a client may not renegotiate', async () => {
    const { leg, tls } = await openTlsPair({ maxVersion: 'TLSv1.2' })
    const pending = rejection(leg.message(LIMIT))
    tls.renegotiate({}, () => undefined)
    expect(await pending).toBe(broke('ERR_TLS_RENEGOTIATION_DISABLED'))
  })

  test('the end is heard through TLS', async () => {
    const { leg, tls } = await openTlsPair()
    const pending = rejection(leg.message(LIMIT))
    tls.end()
    expect(await pending).toBe(CLOSED)
  })
})

describe('TLS with a node', () => {
  const toNode = async (socket: Socket, options: ConnectionOptions): Promise<TLSSocket> => {
    const secure = connectTls({ socket, ...options })
    await once(secure, 'secureConnect')
    return secure
  }

  const broke = (code: string) => `node: the node broke the connection: ${code}`
  test.each<[name: string, options: () => ConnectionOptions, says: string | undefined]>([
    ['whose name is right', () => ({ host: 'localhost', ca }), undefined],
    ['of another name', () => ({ host: 'db.example', ca }), broke('ERR_TLS_CERT_ALTNAME_INVALID')],
    ['of an unknown CA', () => ({ host: 'localhost' }), broke('UNABLE_TO_VERIFY_LEAF_SIGNATURE')],
  ])('%s', async (_name, options, says) => {
    const { leg, peer } = await openPair('node')
    const node = new TLSSocket(peer, { isServer: true, secureContext })
    node.on('error', () => undefined)
    const started = leg.upgrade((socket) => toNode(socket, options()))
    if (says === undefined) await started
    else expect(await rejection(started)).toBe(says)
    expect(leg.encrypted).toBe(says === undefined)
  })

  test('that resets before the handshake', async () => {
    const { leg, peer } = await openPair('node')
    const says = broke('ECONNRESET')
    const gone = rejection(leg.byte())
    peer.resetAndDestroy()
    expect(await gone).toBe(says)
    const started = leg.upgrade((socket) => toNode(socket, { host: 'localhost', ca }))
    expect(await rejection(started)).toBe(says)
    leg.close()
    expect(leg.socket.destroyed).toBe(true)
  })
})

/** Keeps what a sink is told; chunks that follow each other are one. */
function recorder(keeps?: Writable) {
  const events: string[] = []
  let inChunk = false
  const sink: Sink = {
    chunk(bytes) {
      const before = inChunk ? events.pop() : ''
      events.push(`${before}${bytes.toString('latin1')}`)
      inChunk = true
      return keeps
    },
    end: () => void events.push('end'),
    broken: (how) => void events.push(`broken: ${how}`),
  }
  return { sink, told: () => events }
}

describe('the flow', () => {
  const CLOSED_LEG = 'broken: the client closed the connection'
  const RESET_LEG = 'broken: the client broke the connection: ECONNRESET'

  test('has first what was waiting, then what comes, then the end', async () => {
    const pair = await openPair()
    const { leg, peer, abort } = pair
    peer.write(Buffer.concat([message('a', '1'), Buffer.from('first,')]))
    await arrived(pair, 12)
    expect(await nextBody(leg)).toBe('1')
    const { sink, told } = recorder()
    leg.flow(sink)
    expect(told()).toEqual(['first,'])
    abort.abort(timeout)
    peer.write('second,')
    await soon(told).toEqual(['first,second,'])
    peer.end('third')
    await soon(told).toEqual(['first,second,third', 'end'])
    leg.close()
    await closed(pair.socket)
    expect(told()).toEqual(['first,second,third', 'end'])
  })

  test('is told that the leg is gone when it goes by itself', async () => {
    const { leg, socket, peer } = await openPair()
    const { sink, told } = recorder()
    leg.flow(sink)
    peer.end('all')
    await soon(told).toEqual(['all', 'end'])
    socket.end()
    await soon(told).toEqual(['all', 'end', CLOSED_LEG])
  })

  test('is told of a reset once, and of no end', async () => {
    const { leg, socket, peer } = await openPair()
    const { sink, told } = recorder()
    leg.flow(sink)
    peer.resetAndDestroy()
    await closed(socket)
    expect(told()).toEqual([RESET_LEG])
  })

  test.each<[how: string, end: (pair: Pair) => unknown, expected: string[]]>([
    ['ended', ({ peer }) => peer.end(), ['rest', 'end']],
    ['reset', ({ peer }) => peer.resetAndDestroy(), ['rest', RESET_LEG]],
    ['was closed', ({ socket }) => socket.destroy(), ['rest', CLOSED_LEG]],
  ])('of a leg that %s before', async (_how, end, expected) => {
    const pair = await openPair()
    pair.peer.write('rest')
    await arrived(pair, 4)
    const over = rejection(pair.leg.message(2 ** 31))
    end(pair)
    await over
    if (expected[1] !== 'end') await closed(pair.socket)
    const { sink, told } = recorder()
    pair.leg.flow(sink)
    expect(told()).toEqual(expected)
    expect(pair.leg.waiting).toBe(0)
  })

  test('goes on where more was waiting than a leg takes', async () => {
    const { leg, socket, peer } = await openPair()
    const all = 'x'.repeat(MIB)
    peer.end(all)
    await soon(() => socket.isPaused()).toBe(true)
    const { sink, told } = recorder()
    leg.flow(sink)
    await soon(() => told().at(-1)).toBe('end')
    expect(told()[0] === all).toBe(true)
  })

  test('stays paused by a sink that was full with what was waiting', async () => {
    const pair = await openPair()
    const { leg, socket, peer } = pair
    peer.write('first,')
    await arrived(pair, 6)
    const { sink, told } = recorder()
    const chunk = (bytes: Buffer) => {
      if (told().length === 0) socket.pause()
      return sink.chunk(bytes)
    }
    leg.flow({ ...sink, chunk })
    expect(socket.isPaused()).toBe(true)
    peer.end('second')
    await soon(() => socket.readableLength).toBe(6)
    expect(told()).toEqual(['first,'])
    socket.resume()
    await soon(told).toEqual(['first,second', 'end'])
  })

  test('says where the memory of a chunk is still needed', async () => {
    const { leg, peer } = await openPair()
    const token = Buffer.from('a token')
    expect(leg.receive(token)).toBe(undefined)
    expect(token).toEqual(Buffer.alloc(7))
    for (const keeps of [peer, undefined]) {
      leg.flow(recorder(keeps).sink)
      expect(leg.receive(Buffer.from('row'))).toBe(keeps)
    }
  })
})

describe('messages again', () => {
  test('come whole to who asks, from the next byte on, within another deadline', async () => {
    const { leg, peer, abort } = await openPair('node')
    const { sink, told } = recorder()
    leg.flow(sink)
    peer.write('to the sink')
    await soon(told).toEqual(['to the sink'])
    const late = new AbortController()
    leg.speak(late.signal)
    abort.abort(new Error('of another time'))
    peer.write(message('C', 'to who asks'))
    expect((await leg.message(LIMIT)).body.toString()).toBe('to who asks')
    const never = leg.message(LIMIT)
    late.abort(new Error('late'))
    await expect(never).rejects.toThrow('late')
    for (const signal of [abort.signal, late.signal])
      expect(getEventListeners(signal, 'abort').length).toBeLessThanOrEqual(1)
  })

  test('and then chunks again, first what nobody asked for', async () => {
    const { leg, peer } = await openPair('node')
    leg.flow(recorder().sink)
    leg.speak(new AbortController().signal)
    const all = Buffer.concat([message('C', 'asked'), message('A', 'not asked')])
    peer.write(all)
    await leg.message(LIMIT)
    const { sink, told } = recorder()
    leg.flow(sink)
    await soon(told).toEqual([message('A', 'not asked').toString('latin1')])
  })

  test('or the end that came meanwhile', async () => {
    const { leg, peer } = await openPair('node')
    const { sink, told } = recorder()
    leg.flow(sink)
    peer.end()
    await soon(told).toEqual(['end'])
    leg.speak(new AbortController().signal)
    expect(await rejection(leg.message(LIMIT))).toBe('node: the node closed the connection')
  })
})

describe('the last words', () => {
  const WORDS = Buffer.from('the last words')

  test('reach a peer that then ends, and that is all', async () => {
    const { leg, socket, peer } = await openPair()
    const read = everything(peer)
    leg.close(WORDS)
    leg.close(WORDS)
    leg.send(WORDS)
    expect(await read).toEqual(WORDS)
    expect(socket.destroyed).toBe(false)
    peer.end()
    await closed(socket)
  })

  test('reach a peer through TLS, which then ends', async () => {
    const { leg, socket, tls } = await openTlsPair()
    const read = everything(tls)
    leg.close(WORDS)
    expect(await read).toEqual(WORDS)
    tls.end()
    await closed(socket)
  })

  test('reach a peer that has ended', async () => {
    const { leg, socket, peer } = await openPair()
    const read = everything(peer)
    peer.end()
    await rejection(leg.message(LIMIT))
    leg.close(WORDS)
    expect(await read).toEqual(WORDS)
    await closed(socket)
  })

  test('reach a peer that is still sending, of which no more than a bound is read', async () => {
    const { leg, socket, peer } = await openPair()
    const read = everything(peer)
    peer.write(Buffer.alloc(100 * MIB))
    await soon(() => socket.isPaused()).toBe(true)
    leg.close(WORDS)
    expect(await read).toEqual(WORDS)
    await soon(() => socket.isPaused()).toBe(true)
    expect(socket.bytesRead).toBeLessThan(2 * MIB)
  })

  test('follow what was sent before them, and what was sent before our own end', async () => {
    const long = Buffer.alloc(8 * MIB, 'x')
    for (const ended of [true, false]) {
      const { leg, socket, peer } = await openPair()
      const errors: unknown[] = []
      socket.on('error', (error) => errors.push(error))
      leg.send(long)
      if (ended) socket.end()
      leg.close(ended ? undefined : WORDS)
      const read = await everything(peer)
      expect(read.length).toBe(long.length + (ended ? 0 : WORDS.length))
      expect(errors).toEqual([])
    }
  })

  test.each<[name: string, waitMs: number, say: (leg: Leg) => void]>([
    ['has them, but does not end', 2_000, (leg) => leg.close(WORDS)],
    [
      'does not read them',
      30_000,
      (leg) => {
        leg.send(Buffer.alloc(50 * MIB))
        leg.close(WORDS)
      },
    ],
  ])('a peer that %s is waited for so long', async (_name, waitMs, say) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const { leg, socket, peer } = await openPair()
    if (waitMs === 2_000) peer.resume()
    say(leg)
    leg.close(WORDS)
    expect(vi.getTimerCount()).toBe(1)
    if (waitMs === 2_000) await once(socket, 'finish')
    vi.advanceTimersByTime(waitMs - 1)
    expect(socket.destroyed).toBe(false)
    vi.advanceTimersByTime(1)
    expect(socket.destroyed).toBe(true)
    await once(socket, 'close')
    expect(vi.getTimerCount()).toBe(0)
  })

  test.each<[how: string, end: (leg: Leg) => void]>([
    ['closed', (leg) => leg.close(WORDS)],
    ['destroyed', (leg) => leg.destroy()],
  ])('a leg that is %s keeps nothing, and can be told more', async (_how, end) => {
    const pair = await openPair()
    pair.peer.write('half a token')
    await arrived(pair, 12)
    end(pair.leg)
    expect(pair.leg.waiting).toBe(0)
    pair.leg.send(WORDS)
    pair.leg.close(WORDS)
    pair.leg.destroy()
    await closed(pair.socket)
  })
})
