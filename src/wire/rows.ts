/**
 * A node's answer to a Query: names of columns, and rows of text, read by pg-protocol behind our
 * names. https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-SIMPLE-QUERY
 * Rule: as in node_messages.ts, pg-protocol gets one whole message whose strings end inside it.
 */
import type { DataRowMessage, RowDescriptionMessage } from 'pg-protocol/dist/messages.js'
import { Parser } from 'pg-protocol/dist/parser.js'
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

/** @returns undefined for a message that is neither RowDescription nor DataRow. */
export function decodeRowMessage({ type, body, whole }: Frame): RowMessage | undefined {
  const name = String.fromCharCode(type)
  const shape = SHAPES[name]
  if (shape === undefined) return undefined
  if (!shape(body)) throw new Failure('node_protocol', { log: `malformed '${name}' message` })
  let read: RowMessage | undefined
  new Parser().parse(whole, (said) => {
    read =
      name === 'T'
        ? { kind: 'columns', names: (said as RowDescriptionMessage).fields.map(({ name }) => name) }
        : { kind: 'row', values: [...(said as DataRowMessage).fields] }
  })
  return read
}

/** Of a field of RowDescription, behind its name. */
const FIELD_BYTES = 18

const SHAPES: Record<string, (body: Buffer) => boolean> = {
  T: (body) => walk(body, (at) => body.indexOf(0, at) + 1 + FIELD_BYTES),
  D: (body) =>
    walk(body, (at) => {
      if (at + 4 > body.length) return 0
      const size = body.readInt32BE(at)
      return size < -1 ? 0 : at + 4 + Math.max(size, 0)
    }),
}

/** A count, then so many parts, which fill the body exactly. */
function walk(body: Buffer, next: (at: number) => number): boolean {
  if (body.length < 2) return false
  let at = 2
  for (let parts = body.readUInt16BE(0); parts > 0; parts--) {
    const end = next(at)
    if (end <= at || end > body.length) return false
    at = end
  }
  return at === body.length
}
