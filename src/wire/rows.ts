/**
 * A node's answer to a Query: names of columns, and rows of text.
 * https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-SIMPLE-QUERY
 * Rule: a message is what it says of itself, to the byte, or it is refused.
 */
import { Failure } from '../failure.ts'
import { message } from './encode.ts'
import type { Frame } from './framing.ts'

export type RowMessage =
  | { kind: 'columns'; names: string[] }
  | { kind: 'row'; values: (string | null)[] }

/** A Query message: one statement by the simple protocol. */
export function query(sql: string): Buffer {
  return message('Q', sql)
}

const ROW_DESCRIPTION = 'T'.charCodeAt(0)
const DATA_ROW = 'D'.charCodeAt(0)
/** Of a field of RowDescription, behind its name. */
const FIELD_BYTES = 18

/** @returns undefined for a message that is neither RowDescription nor DataRow. */
export function decodeRowMessage({ type, body }: Frame): RowMessage | undefined {
  if (type === ROW_DESCRIPTION) return { kind: 'columns', names: decode(type, body, readName) }
  if (type === DATA_ROW) return { kind: 'row', values: decode(type, body, readValue) }
  return undefined
}

/** One of a message's parts, and where it ends; undefined where it has no end. */
type Part<T> = { value: T; end: number } | undefined

/** A count, then so many parts, which fill the body exactly. */
function decode<T>(type: number, body: Buffer, read: (body: Buffer, at: number) => Part<T>): T[] {
  if (body.length < 2) throw malformed(type)
  const values: T[] = []
  let at = 2
  for (let parts = body.readUInt16BE(0); parts > 0; parts--) {
    const part = read(body, at)
    if (part === undefined || part.end > body.length) throw malformed(type)
    values.push(part.value)
    at = part.end
  }
  if (at !== body.length) throw malformed(type)
  return values
}

function readName(body: Buffer, at: number): Part<string> {
  const nul = body.indexOf(0, at)
  if (nul < 0) return undefined
  return { value: body.toString('utf8', at, nul), end: nul + 1 + FIELD_BYTES }
}

function readValue(body: Buffer, at: number): Part<string | null> {
  const start = at + 4
  if (start > body.length) return undefined
  const size = body.readInt32BE(at)
  if (size === -1) return { value: null, end: start }
  if (size < 0) return undefined
  return { value: body.toString('utf8', start, start + size), end: start + size }
}

function malformed(type: number): Failure {
  return new Failure('node_protocol', { log: `malformed '${String.fromCharCode(type)}' message` })
}
