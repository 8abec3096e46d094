/**
 * A leg of a session: a socket that speaks in messages while somebody signs in (`packet`,
 * `message`), and then only in chunks (`flow`), until somebody wants messages again (`speak`). It is the
 * one place where bytes, time and TLS meet.
 * Rule: every wait names its bound; the deadline is the signal that the leg was last given.
 */
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { Failure } from './failure.ts'
import { type Frame, Framing } from './wire/framing.ts'
import { decodeProxyHeader, type Peer, PROXY_HEADER_BYTES_MAX } from './wire/proxy_header.ts'

export type Side = 'client' | 'node'

/** How a leg came to its end, when it was not we who ended it. */
export class LegEnded extends Error {
  readonly side: Side

  constructor(side: Side, how: string) {
    super(`the ${side} ${how}`)
    this.side = side
  }
}

/** Takes what arrives once the leg flows. */
export interface Sink {
  /** @returns where the chunk waits to be written when the call is over: its memory is needed until then. */
  chunk(bytes: Buffer): Writable | undefined
  /** The other side will send no more; it may still read. */
  end(): void
  /** The leg is gone. */
  broken(how: string): void
}

/** How long, and for how many bytes, a leg that we end is read on. */
export interface Linger {
  ms: number
  bytes: number
}

/** Bytes that may wait here before the socket stops reading: what the caller waits for, or this. */
const WAITING_BYTES_MIN = 16 * 1024
/** So that our last words are not lost. */
const LINGER: Linger = { ms: 2_000, bytes: 1024 * 1024 }
/** How long the other side may take for what is still to be written. */
const FLUSH_MS = 30_000

type Wait = { resolve: () => void; reject: (error: unknown) => void }

export class Leg {
  readonly side: Side
  socket: Socket
  /** TLS is on. */
  encrypted = false
  #framing = new Framing()
  #waitingMax = WAITING_BYTES_MIN
  #wait: Wait | undefined
  /** How; the error is made for who has to hear it: a session's usual end costs no stack. */
  #ended: string | undefined
  #broken = false
  #sink: Sink | undefined
  #closing = false
  #handshaking = false
  /** None while it flows: a session of days keeps nothing of its login. */
  #signal: AbortSignal | undefined
  readonly #expire = () => this.#settle(this.#signal?.reason)

  /** @param signal - the deadline, where it isn't given to `speak`. */
  constructor(socket: Socket, side: Side, signal?: AbortSignal) {
    this.socket = socket
    this.side = side
    this.#heed(signal)
    this.#listen(socket)
  }

  /** What the proxy in front says of the client; undefined where it says nothing. */
  async proxyHeader(): Promise<Peer | undefined> {
    const take = () => this.#framing.leading(decodeProxyHeader)
    const [client] = await this.#until(take, PROXY_HEADER_BYTES_MAX)
    return client
  }

  /** The next untagged packet, without its length. */
  packet(limit: number): Promise<Buffer> {
    return this.#until(() => this.#framing.packet(limit), limit)
  }

  /** The next tagged message; its body is a view, good until the next one is asked for. */
  message(limit: number): Promise<Frame> {
    return this.#until(() => this.#framing.message(limit), limit)
  }

  /** The next byte, which stays where it is. */
  peek(): Promise<number> {
    return this.#until(() => this.#framing.peek())
  }

  /** Waits for one byte of an answer that is no message (`S` or `N`), and takes it. */
  async byte(): Promise<number> {
    await this.peek()
    const rest = this.#framing.rest()
    if (rest.length > 1)
      throw new Failure('node_protocol', { log: 'bytes before the TLS handshake' })
    return rest.readUInt8(0)
  }

  /** The other side will send no more, or is gone. */
  get ended(): boolean {
    return this.#ended !== undefined
  }

  /** Bytes that arrived and that nobody asked for yet. */
  get waiting(): number {
    return this.#framing.size
  }

  send(bytes: Buffer): void {
    if (this.socket.writable) this.socket.write(bytes)
  }

  /**
   * TLS from here on: `secure` makes it of the raw socket, and settles when the handshake is over.
   * Bytes that came before it are nobody's: with any of them here it is refused (CVE-2021-23214),
   * but for those that begin the handshake itself, where nobody asked for it first.
   */
  async upgrade(
    secure: (raw: Socket) => Promise<TLSSocket>,
    from?: 'first byte',
  ): Promise<TLSSocket> {
    if (from === undefined && this.waiting > 0)
      throw new Failure('unencrypted_data', { values: { request: 'SSL' } })
    this.#signal?.throwIfAborted()
    if (this.#ended !== undefined) throw new LegEnded(this.side, this.#ended)
    const raw = this.socket
    raw.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose)
    // TLS reads first what is given back to a socket that doesn't flow.
    if (this.waiting > 0) raw.pause().unshift(this.#framing.rest())
    this.#handshaking = true
    const tls = await this.#secured(secure(raw))
    if (tls.destroyed) throw new LegEnded(this.side, CLOSED)
    this.#handshaking = false
    this.socket = tls
    this.encrypted = true
    this.#listen(tls)
    return tls
  }

  /** The handshake's end, or the deadline's, or the raw socket's. */
  async #secured(handshake: Promise<TLSSocket>): Promise<TLSSocket> {
    return await new Promise<TLSSocket>((resolve, reject) => {
      this.#wait = { resolve: () => undefined, reject }
      handshake.then(resolve, (error: NodeJS.ErrnoException) =>
        reject(new LegEnded(this.side, broke(error))),
      )
    })
  }

  /** From here on everything goes to the sink, first what was waiting. */
  flow(sink: Sink): void {
    this.#heed(undefined)
    this.#sink = sink
    const ended = this.#ended
    const broken = this.#broken
    const rest = this.#framing.rest()
    // Before the sink is called: one that is full at once pauses the socket again.
    if (ended === undefined) this.socket.resume()
    if (rest.length > 0) sink.chunk(rest)
    if (ended === undefined) return
    if (broken) sink.broken(`the ${this.side} ${ended}`)
    else sink.end()
  }

  /** Back to messages, within another deadline: between two of them, and from the very next byte on. */
  speak(signal: AbortSignal): void {
    this.#heed(signal)
    this.#sink = undefined
  }

  /** Our last words, then the end. Reads on for a moment: a reset would take the words back. */
  close(lastWords?: Buffer, linger = LINGER): void {
    if (this.#closing) return
    this.#closing = true
    const { socket } = this
    // In the middle of a TLS handshake there is no way to say anything.
    if (socket.destroyed || this.#handshaking) {
      this.destroy()
      return
    }
    this.#letGo()
    this.#sink = discard(socket, linger.bytes)
    const destroyIn = (ms: number) => setTimeout(() => socket.destroy(), ms)
    let timer = destroyIn(FLUSH_MS)
    socket.once('close', () => clearTimeout(timer))
    if (lastWords !== undefined) this.send(lastWords)
    socket.end(() => {
      clearTimeout(timer)
      timer = destroyIn(linger.ms)
    })
    socket.resume()
  }

  /** Ends it without a word. */
  destroy(): void {
    this.#letGo()
    this.socket.destroy()
  }

  /** What arrived. @returns where its memory is still needed afterwards (see `Sink.chunk`). */
  receive(bytes: Buffer): Writable | undefined {
    if (this.#sink !== undefined) return this.#sink.chunk(bytes)
    this.#framing.push(bytes)
    if (this.#framing.size > this.#waitingMax) this.socket.pause()
    this.#settle()
    return undefined
  }

  #heed(signal: AbortSignal | undefined): void {
    this.#signal?.removeEventListener('abort', this.#expire)
    this.#signal = signal
    signal?.addEventListener('abort', this.#expire, { once: true })
  }

  /** Of the deadline, and of what nobody will ask for any more: it may be half a token. */
  #letGo(): void {
    this.#signal?.removeEventListener('abort', this.#expire)
    this.#framing.wipe()
  }

  /** @param limit - bytes that `take` may need; not many more are taken in. */
  async #until<T>(take: () => T | undefined, limit = 0): Promise<T> {
    this.#waitingMax = Math.max(limit, WAITING_BYTES_MIN)
    for (;;) {
      const taken = take()
      if (taken !== undefined) return taken
      this.#signal?.throwIfAborted()
      if (this.#ended !== undefined) throw new LegEnded(this.side, this.#ended)
      this.socket.resume()
      await new Promise<void>((resolve, reject) => {
        this.#wait = { resolve, reject }
      })
    }
  }

  #settle(error?: unknown): void {
    const wait = this.#wait
    this.#wait = undefined
    if (error === undefined) wait?.resolve()
    else wait?.reject(error)
  }

  #listen(socket: Socket): void {
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('error', this.#onError)
    socket.on('close', this.#onClose)
  }

  readonly #onData = (chunk: Buffer) => void this.receive(chunk)
  readonly #onEnd = () => this.#end(CLOSED)
  readonly #onClose = () => this.#end(CLOSED, true)
  readonly #onError = (error: NodeJS.ErrnoException) => this.#end(broke(error), true)

  /** Told at most twice: that no more will come, and that the leg is gone. */
  #end(how: string, broken = false): void {
    const first = this.#ended === undefined
    if (this.#broken || (!first && !broken)) return
    this.#ended ??= how
    this.#broken = broken
    if (this.#wait !== undefined) this.#settle(new LegEnded(this.side, this.#ended))
    if (broken) this.#sink?.broken(`the ${this.side} ${how}`)
    else this.#sink?.end()
  }
}

const CLOSED = 'closed the connection'

function broke(error: NodeJS.ErrnoException): string {
  return `broke the connection: ${error.code ?? error.message}`
}

/** One that sends on and on is read no further, but still told. Once both have ended, Node closes. */
function discard(socket: Socket, bytesMax: number): Sink {
  let bytes = 0
  return {
    chunk(chunk) {
      bytes += chunk.length
      if (bytes > bytesMax) socket.pause()
      return undefined
    },
    end: () => undefined,
    broken: () => undefined,
  }
}
