/**
 * A leg of a session: a socket that speaks in messages while somebody signs in (`packet`,
 * `message`), and then only in chunks (`flow`). It is the one place where bytes, time and TLS meet.
 * Rule: every wait names its bound; the deadline is the signal that the leg was made with.
 */
import type { Socket } from 'node:net'
import { type SecureContext, TLSSocket } from 'node:tls'
import { Failure } from './failure.ts'
import { type Frame, Framing } from './wire/framing.ts'

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
  /** @returns whether the chunk's memory is still needed when the call is over. */
  chunk(bytes: Buffer): boolean
  /** The other side will send no more; it may still read. */
  end(): void
  /** The leg is gone. */
  broken(how: LegEnded): void
}

/** Bytes that may wait here before the socket stops reading: what the caller waits for, or this. */
const WAITING_BYTES_MIN = 16 * 1024
/** How long, and for how many bytes, we go on reading so that our last words are not lost. */
const LINGER_MS = 2_000
/** How long the other side may take for what is still to be written. */
const FLUSH_MS = 30_000
const LINGER_BYTES_MAX = 1024 * 1024

/** https://www.iana.org/assignments/tls-extensiontype-values (application-layer protocols) */
const ALPN = 'postgresql'

type Wait = { resolve: () => void; reject: (error: unknown) => void }

export class Leg {
  readonly side: Side
  socket: Socket
  /** TLS is on. */
  encrypted = false
  #framing = new Framing()
  #waitingMax = WAITING_BYTES_MIN
  #wait: Wait | undefined
  #ended: LegEnded | undefined
  #broken = false
  #sink: Sink | undefined
  #closing = false
  readonly #signal: AbortSignal
  readonly #expire = () => this.#settle(this.#signal.reason)

  constructor(socket: Socket, side: Side, signal: AbortSignal) {
    this.socket = socket
    this.side = side
    this.#signal = signal
    signal.addEventListener('abort', this.#expire, { once: true })
    this.#listen(socket)
  }

  /** The next untagged packet, without its length. */
  async packet(limit: number): Promise<Buffer> {
    return await this.#until(() => this.#framing.packet(limit), limit)
  }

  /** The next tagged message; its body is a view, good until the next one is asked for. */
  async message(limit: number): Promise<Frame> {
    return await this.#until(() => this.#framing.message(limit), limit)
  }

  /** The next byte, which stays where it is. */
  async peek(): Promise<number> {
    return await this.#until(() => this.#framing.peek())
  }

  /** Waits for one byte of an answer that is no message (`S` or `N`), and takes it. */
  async byte(): Promise<number> {
    await this.peek()
    const rest = this.#framing.rest()
    if (rest.length > 1)
      throw new Failure('node_protocol', { log: 'bytes before the TLS handshake' })
    return rest.readUInt8(0)
  }

  /** Bytes that arrived and that nobody asked for yet. */
  get waiting(): number {
    return this.#framing.size
  }

  send(bytes: Buffer): void {
    if (this.socket.writable) this.socket.write(bytes)
  }

  /**
   * Makes this the server's end of TLS. Bytes that came before the handshake are nobody's: with any
   * of them here the upgrade is refused (CVE-2021-23214).
   */
  async acceptTls(secureContext: SecureContext): Promise<void> {
    if (this.waiting > 0) throw new Failure('unencrypted_data', { values: { request: 'SSL' } })
    await this.#acceptTls(secureContext)
  }

  /**
   * The same without SSLRequest: what has come is the handshake's beginning. Who doesn't ask for
   * PostgreSQL by ALPN may be talking to another server (the ALPACA attack).
   */
  async acceptDirectTls(secureContext: SecureContext): Promise<void> {
    await this.#acceptTls(secureContext, this.#framing.rest())
    if ((this.socket as TLSSocket).alpnProtocol !== ALPN)
      throw new Failure('tls_handshake_failed', { log: 'direct TLS without ALPN "postgresql"' })
  }

  /** @param begun - the handshake's first bytes; a TLS socket reads first what is given back here. */
  async #acceptTls(secureContext: SecureContext, begun?: Buffer): Promise<void> {
    await this.#upgrade((raw) => {
      if (begun !== undefined) raw.pause().unshift(begun)
      const tls = new TLSSocket(raw, {
        isServer: true,
        secureContext,
        ALPNProtocols: [ALPN],
      })
      tls.disableRenegotiation()
      // A bad record after the handshake is told so and in no other way, unless a tls.Server made
      // the socket: without this the leg would be deaf, and open.
      tls.on('_tlsError', this.#onError)
      return tls
    }, 'secure')
  }

  /** Makes this the client's end of TLS; `connect` verifies who the other end is. */
  async startTls(connect: (raw: Socket) => TLSSocket): Promise<void> {
    await this.#upgrade(connect, 'secureConnect')
  }

  async #upgrade(wrap: (raw: Socket) => TLSSocket, event: 'secure' | 'secureConnect') {
    const raw = this.socket
    raw.off('data', this.#onData)
    raw.off('end', this.#onEnd)
    raw.off('close', this.#onClose)
    const tls = wrap(raw)
    this.socket = tls
    let secure = false
    tls.once(event, () => {
      secure = true
      this.#settle()
    })
    this.#listen(tls)
    // Asks for an end or an abort that came before, too: TLS would never hear of them.
    await this.#until(() => secure || undefined)
    this.encrypted = true
  }

  /** From here on everything goes to the sink, first what was waiting. */
  flow(sink: Sink): void {
    this.#signal.removeEventListener('abort', this.#expire)
    this.#sink = sink
    const ended = this.#ended
    const broken = this.#broken
    const rest = this.#framing.rest()
    // Before the sink is called: one that is full at once pauses the socket again.
    if (ended === undefined) this.socket.resume()
    if (rest.length > 0) sink.chunk(rest)
    if (ended === undefined) return
    if (broken) sink.broken(ended)
    else sink.end()
  }

  /** Our last words, then the end. Reads on for a moment: a reset would take the words back. */
  close(lastWords?: Buffer): void {
    if (this.#closing) return
    this.#closing = true
    const { socket } = this
    // In the middle of a TLS handshake there is no way to say anything.
    if (socket.destroyed || (socket instanceof TLSSocket && !this.encrypted)) {
      this.destroy()
      return
    }
    this.#letGo()
    this.#sink = discard(socket)
    const destroyIn = (ms: number) => setTimeout(() => socket.destroy(), ms)
    let timer = destroyIn(FLUSH_MS)
    socket.once('close', () => clearTimeout(timer))
    if (lastWords !== undefined) this.send(lastWords)
    socket.end(() => {
      clearTimeout(timer)
      timer = destroyIn(LINGER_MS)
    })
    socket.resume()
  }

  /** Ends it without a word. */
  destroy(): void {
    this.#letGo()
    this.socket.destroy()
  }

  /** What arrived. @returns whether its memory is still needed afterwards (see `Sink.chunk`). */
  receive(bytes: Buffer): boolean {
    if (this.#sink !== undefined) return this.#sink.chunk(bytes)
    this.#framing.push(bytes)
    if (this.#framing.size > this.#waitingMax) this.socket.pause()
    this.#settle()
    return false
  }

  /** Of the deadline, and of what nobody will ask for any more: it may be half a token. */
  #letGo(): void {
    this.#signal.removeEventListener('abort', this.#expire)
    this.#framing.wipe()
  }

  /** @param limit - bytes that `take` may need; not many more are taken in. */
  async #until<T>(take: () => T | undefined, limit = 0): Promise<T> {
    this.#waitingMax = Math.max(limit, WAITING_BYTES_MIN)
    for (;;) {
      const taken = take()
      if (taken !== undefined) return taken
      this.#signal.throwIfAborted()
      if (this.#ended !== undefined) throw this.#ended
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
  readonly #onEnd = () => this.#end(new LegEnded(this.side, 'closed the connection'))
  readonly #onClose = () => this.#end(new LegEnded(this.side, 'closed the connection'), true)
  readonly #onError = (error: NodeJS.ErrnoException) =>
    this.#end(new LegEnded(this.side, `broke the connection: ${error.code ?? error.message}`), true)

  /** Told at most twice: that no more will come, and that the leg is gone. */
  #end(ended: LegEnded, broken = false): void {
    const first = this.#ended === undefined
    if (this.#broken || (!first && !broken)) return
    this.#ended ??= ended
    this.#broken = broken
    this.#settle(this.#ended)
    if (broken) this.#sink?.broken(ended)
    else this.#sink?.end()
  }
}

/** One that sends on and on is read no further, but still told. Once both have ended, Node closes. */
function discard(socket: Socket): Sink {
  let bytes = 0
  return {
    chunk(chunk) {
      bytes += chunk.length
      if (bytes > LINGER_BYTES_MAX) socket.pause()
      return false
    },
    end: () => undefined,
    broken: () => undefined,
  }
}
