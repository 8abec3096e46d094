/**
 * What a client says to have statements run, by the simple and the extended protocol.
 * https://www.postgresql.org/docs/18/protocol-message-formats.html
 * Rule: a message is what it says of itself, to the byte, or it is refused.
 */
import { Failure } from '../failure.ts'
import type { Format } from './answer_messages.ts'
import type { Frame } from './framing.ts'

export type StatementMessage =
  | { kind: 'query'; sql: string }
  | { kind: 'parse'; name: string; sql: string; types: number[] }
  | {
      kind: 'bind'
      portal: string
      statement: string
      /** One for each parameter, one for all of them, or none: text. */
      formats: Format[]
      /** Undefined is NULL. */
      parameters: (Buffer | undefined)[]
      results: Format[]
    }
  | { kind: 'describe' | 'close'; what: 'statement' | 'portal'; name: string }
  | { kind: 'execute'; portal: string /** 0: all. */; rows: number }
  | { kind: 'sync' | 'flush' | 'terminate' }
  /** What belongs to a COPY that there is not. */
  | { kind: 'copy' }

/** @returns undefined for what is no such message. @throws Failure `protocol_violation` */
export function decodeStatementMessage({ type, body }: Frame): StatementMessage | undefined {
  const name = String.fromCharCode(type)
  const decode = DECODERS[name]
  if (decode === undefined) return undefined
  const read = reader(body, name)
  const decoded = decode(read)
  read.end()
  return decoded
}

const DECODERS: Record<string, (read: Reader) => StatementMessage> = {
  Q: (read) => ({ kind: 'query', sql: read.text() }),
  P: (read) => ({
    kind: 'parse',
    name: read.text(),
    sql: read.text(),
    types: read.list(() => read.int32()),
  }),
  B: (read) => ({
    kind: 'bind',
    portal: read.text(),
    statement: read.text(),
    formats: read.list(() => read.format()),
    parameters: read.list(() => read.value()),
    results: read.list(() => read.format()),
  }),
  D: (read) => ({ kind: 'describe', ...named(read) }),
  C: (read) => ({ kind: 'close', ...named(read) }),
  E: (read) => ({ kind: 'execute', portal: read.text(), rows: read.int32() }),
  S: () => ({ kind: 'sync' }),
  H: () => ({ kind: 'flush' }),
  X: () => ({ kind: 'terminate' }),
  d: copy,
  c: copy,
  f: copy,
}

function copy(read: Reader): StatementMessage {
  read.rest()
  return { kind: 'copy' }
}

function named(read: Reader) {
  const what = read.byte()
  if (what !== 'S' && what !== 'P') throw read.malformed()
  return { what: what === 'S' ? ('statement' as const) : ('portal' as const), name: read.text() }
}

type Reader = ReturnType<typeof reader>

function reader(body: Buffer, name: string) {
  let at = 0
  const malformed = () =>
    new Failure('protocol_violation', { values: { problem: `malformed '${name}' message` } })
  const take = (size: number) => {
    if (size < 0 || at + size > body.length) throw malformed()
    at += size
    return body.subarray(at - size, at)
  }
  const int16 = () => take(2).readInt16BE()
  const int32 = () => take(4).readInt32BE()
  return {
    malformed,
    int32,
    byte: () => take(1).toString('latin1'),
    text() {
      const end = body.indexOf(0, at)
      if (end < 0) throw malformed()
      const text = take(end - at).toString('utf8')
      take(1)
      return text
    },
    format(): Format {
      const format = int16()
      if (format !== 0 && format !== 1) throw malformed()
      return format
    },
    /** Of its own: the message's bytes are gone with the next one. */
    value() {
      const size = int32()
      return size === -1 ? undefined : Buffer.from(take(size))
    },
    list<T>(item: () => T): T[] {
      // Two bytes say how many there are, and each takes some of the body: no list is longer than that.
      const count = take(2).readUInt16BE()
      const items: T[] = []
      while (items.length < count) items.push(item())
      return items
    },
    rest: () => void take(body.length - at),
    end() {
      if (at !== body.length) throw malformed()
    },
  }
}
