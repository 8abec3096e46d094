/**
 * Walks the headers of one leg's stream: chunks go in, cut anywhere; the type of every message comes
 * out, and the status byte of ReadyForQuery. No other byte of a body is read.
 * https://www.postgresql.org/docs/18/protocol-message-formats.html
 * Rule: nothing is allocated a message or a chunk, and nothing kept but a header that was cut off.
 */
import { Failure } from '../failure.ts'

export interface HeaderSink {
  /**
   * A message has begun, any but DataRow and CopyData: they come in millions and change nothing.
   * `status` is that of ReadyForQuery, which is told when it is whole; else 0.
   */
  header(type: number, status: number): void
}

const HEADER_BYTES = 5
const LENGTH_MIN = 4

const DATA_ROW = 0x44
const COPY_DATA = 0x64
const FLUSH = 0x48
const SYNC = 0x53
const READY_FOR_QUERY = 0x5a
const READY_FOR_QUERY_LENGTH = 5

export class Headers {
  /** The last offset in the chunk just pushed that lies between two messages, -1 if none does. */
  lastBoundary = 0
  readonly #fromNode: boolean
  /** What this side sends most of. A client's 0x44 is Describe. */
  readonly #rows: number
  readonly #sink: HeaderSink
  /** Where the message under way ends, counted from the start of the next chunk. */
  #rest = 0
  readonly #cut = new Uint8Array(HEADER_BYTES)
  #cutBytes = 0

  constructor(side: 'client' | 'node', sink: HeaderSink) {
    this.#fromNode = side === 'node'
    this.#rows = this.#fromNode ? DATA_ROW : COPY_DATA
    this.#sink = sink
  }

  /** All that was pushed are whole messages. */
  get atBoundary(): boolean {
    return this.#rest === 0 && this.#cutBytes === 0
  }

  push(chunk: Uint8Array): void {
    this.lastBoundary = -1
    if (this.#cutBytes > 0 && !this.#completeHeader(chunk)) return
    const end = chunk.length
    let at = this.#rest
    while (at + HEADER_BYTES <= end) {
      const type = chunk[at] ?? 0
      const length = int32(chunk, at + 1)
      if (length < LENGTH_MIN) throw invalid(type, length)
      if (type !== this.#rows && !this.#tell(type, length, chunk[at + HEADER_BYTES])) break
      this.lastBoundary = at
      at += 1 + length
    }
    this.#keep(chunk, at)
  }

  /** The header that the last chunk cut off. @returns whether this chunk holds the rest of it. */
  #completeHeader(chunk: Uint8Array): boolean {
    let at = 0
    while (this.#cutBytes < HEADER_BYTES) {
      const byte = chunk[at]
      if (byte === undefined) return false
      this.#cut[this.#cutBytes++] = byte
      at++
    }
    const type = this.#cut[0] ?? 0
    const length = int32(this.#cut, 1)
    if (length < LENGTH_MIN) throw invalid(type, length)
    if (!this.#tell(type, length, chunk[at])) return false
    this.#cutBytes = 0
    this.#rest = at + length - LENGTH_MIN
    return true
  }

  /**
   * `first` is the body's first byte. @returns false where it must be known and isn't here yet.
   *
   * A Sync or Flush with a body is refused because PostgreSQL answers it with an error, and skips
   * what follows a Flush: a client could leave a session that looks quiet and isn't (see phase.ts).
   */
  #tell(type: number, length: number, first: number | undefined): boolean {
    if (type === COPY_DATA) return true
    if (!this.#fromNode) {
      if ((type === SYNC || type === FLUSH) && length !== LENGTH_MIN) throw invalid(type, length)
    } else if (type === READY_FOR_QUERY) {
      if (length !== READY_FOR_QUERY_LENGTH) throw invalid(type, length)
      if (first === undefined) return false
      this.#sink.header(type, first)
      return true
    } else if (type === DATA_ROW) return true
    this.#sink.header(type, 0)
    return true
  }

  /** What the next chunk must know: `at` is where the next header begins, perhaps beyond the end. */
  #keep(chunk: Uint8Array, at: number): void {
    const end = chunk.length
    if (at <= end) this.lastBoundary = at
    this.#rest = Math.max(at - end, 0)
    for (let i = at; i < end; i++) this.#cut[this.#cutBytes++] = chunk[i] ?? 0
  }
}

/** Signed as PostgreSQL's: what is too long for it is negative, and so too short. */
function int32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) << 24) |
    ((bytes[at + 1] ?? 0) << 16) |
    ((bytes[at + 2] ?? 0) << 8) |
    (bytes[at + 3] ?? 0)
  )
}

function invalid(type: number, length: number): Failure {
  const hex = type.toString(16).padStart(2, '0')
  return new Failure('protocol_violation', {
    values: { problem: `message type 0x${hex} has length ${length}` },
  })
}
