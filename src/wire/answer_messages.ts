/**
 * What a server says to statements, by the simple and the extended protocol: for those that the gate
 * answers itself. https://www.postgresql.org/docs/18/protocol-message-formats.html
 */
import { type Field, message } from './encode.ts'

export type TransactionStatus = 'I' | 'T' | 'E'

/** 0 for text, 1 for binary. */
export type Format = 0 | 1

export interface FieldDescription {
  name: string
  /** Of its type, in pg_type. */
  oid: number
  /** Of a value in bytes; -1 where it varies. */
  size: number
  format: Format
}

export const PARSE_COMPLETE = message('1')
export const BIND_COMPLETE = message('2')
export const CLOSE_COMPLETE = message('3')
export const NO_DATA = message('n')
export const EMPTY_QUERY = message('I')
export const PORTAL_SUSPENDED = message('s')

export function readyForQuery(status: TransactionStatus): Buffer {
  return message('Z', Buffer.from(status))
}

export function parameterStatus(name: string, value: string): Buffer {
  return message('S', clean(name), clean(value))
}

export function commandComplete(tag: string): Buffer {
  return message('C', tag)
}

export function parameterDescription(oids: readonly number[]): Buffer {
  return message('t', int16(oids.length), ...oids)
}

export function rowDescription(fields: readonly FieldDescription[]): Buffer {
  const described = fields.flatMap(({ name, oid, size, format }): Field[] => [
    name,
    // No table, and so no place in one.
    0,
    int16(0),
    oid,
    int16(size),
    -1,
    int16(format),
  ])
  return message('T', int16(fields.length), ...described)
}

/** @param values - undefined is NULL. */
export function dataRow(values: readonly (Buffer | undefined)[]): Buffer {
  const fields = values.flatMap((value): Field[] =>
    value === undefined ? [-1] : [value.length, value],
  )
  return message('D', int16(values.length), ...fields)
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

function clean(text: string): string {
  return text.replaceAll('\0', '\ufffd')
}
