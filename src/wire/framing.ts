/**
 * Chunks become whole messages, each within a bound that the waiting caller names. Used while a
 * session signs in; afterwards the relay passes bytes on without assembling them.
 * https://www.postgresql.org/docs/18/protocol-message-formats.html
 * Rule: bytes that were handed out or outgrown are wiped, for one of the messages is a token.
 */
import { Failure } from '../failure.ts'

const LENGTH_BYTES = 4
const HEADER_BYTES = 5
const FIRST_BYTES = 1024
/** What was made for a larger message goes with it: a token, and then a wait for what it is good for. */
const KEPT_BYTES = 4096
/** What every framing begins with, and ends with: most legs' are empty for as long as a session is. */
const EMPTY = Buffer.alloc(0)

/** One message: views of its body and of the whole of it, good until the next one is asked for. */
export interface Frame {
  type: number
  body: Buffer
  /** Type byte and length as well: what is passed on as it came. */
  whole: Buffer
}

export class Framing {
  #bytes = EMPTY
  #start = 0
  #end = 0
  /** Bytes of the message under way, once its header is here: no more room is made than that. */
  #declared = Infinity

  /** Bytes received and not yet taken. */
  get size(): number {
    return this.#end - this.#start
  }

  /** Takes the chunk's bytes over; the chunk itself is wiped. */
  push(chunk: Buffer): void {
    if (this.#end + chunk.length > this.#bytes.length) this.#grow(chunk.length)
    chunk.copy(this.#bytes, this.#end)
    this.#end += chunk.length
    chunk.fill(0)
  }

  /** The first unread byte, if there is one. */
  peek(): number | undefined {
    return this.size > 0 ? this.#bytes[this.#start] : undefined
  }

  /** What a decoder finds at the start of what is here; undefined until that is whole. */
  leading<T>(decode: (bytes: Buffer) => { size: number; value: T } | undefined): [T] | undefined {
    const found = decode(this.#bytes.subarray(this.#start, this.#end))
    if (found === undefined) return undefined
    this.#start += found.size
    return [found.value]
  }

  /** An untagged packet (startup and its kin), without its length; undefined until it is whole. */
  packet(limit: number): Buffer | undefined {
    if (this.size < LENGTH_BYTES) return undefined
    const length = this.#bytes.readUInt32BE(this.#start)
    if (length < LENGTH_BYTES + 4 || length > limit) throw new Failure('not_postgres')
    if (!this.#isWhole(length)) return undefined
    const packet = this.#bytes.subarray(this.#start + LENGTH_BYTES, this.#start + length)
    this.#start += length
    return packet
  }

  /** A tagged message whose whole body is at most `limit` bytes; undefined until it is whole. */
  message(limit: number): Frame | undefined {
    if (this.size < HEADER_BYTES) return undefined
    const size = this.#bytes.readUInt32BE(this.#start + 1) - LENGTH_BYTES
    if (size < 0 || size > limit)
      throw new Failure('message_too_large', { values: { size, limit } })
    if (!this.#isWhole(HEADER_BYTES + size)) return undefined
    const whole = this.#bytes.subarray(this.#start, this.#start + HEADER_BYTES + size)
    this.#start += whole.length
    if (this.size === 0 && whole.length > KEPT_BYTES) this.#forget()
    return { type: whole.readUInt8(0), body: whole.subarray(HEADER_BYTES), whole }
  }

  /** Everything not yet taken, as a copy of its own; the framing is empty afterwards. */
  rest(): Buffer {
    const rest = Buffer.from(this.#bytes.subarray(this.#start, this.#end))
    this.wipe()
    return rest
  }

  /** Forgets everything. */
  wipe(): void {
    this.#bytes.fill(0)
    this.#forget()
  }

  #isWhole(bytes: number): boolean {
    const whole = this.size >= bytes
    this.#declared = whole ? Infinity : bytes
    return whole
  }

  #forget(): void {
    this.#bytes = EMPTY
    this.#start = this.#end = 0
  }

  #grow(more: number): void {
    const old = this.#bytes
    const size = this.size
    const wanted = Math.max(FIRST_BYTES, size + more, Math.min(size * 2, this.#declared))
    this.#bytes = Buffer.allocUnsafeSlow(wanted)
    old.copy(this.#bytes, 0, this.#start, this.#end)
    old.fill(0)
    this.#start = 0
    this.#end = size
  }
}
