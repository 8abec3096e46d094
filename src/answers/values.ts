/**
 * Values as PostgreSQL sends them, as text and in its binary forms: drivers ask for either.
 * https://www.postgresql.org/docs/18/protocol-overview.html#PROTOCOL-FORMAT-CODES
 */
import type { FieldDescription, Format } from '../wire/answer_messages.ts'
import type { Column, ColumnType, Value } from './view.ts'

/** In pg_type: OID and size. */
const TYPES: Record<ColumnType, { oid: number; size: number }> = {
  text: { oid: 25, size: -1 },
  int8: { oid: 20, size: 8 },
  float8: { oid: 701, size: 8 },
  bool: { oid: 16, size: 1 },
  timestamptz: { oid: 1184, size: 8 },
}

export const TEXT_OID = TYPES.text.oid
/** Those whose binary form is their text: unspecified, text, varchar, bpchar, name, unknown. */
export const TEXT_OIDS: ReadonlySet<number> = new Set([0, TEXT_OID, 1043, 1042, 19, 705])

/** @param formats - one for each column, one for all of them, or none: text. */
export function fieldsOf(
  columns: readonly Column[],
  formats: readonly Format[] = [],
): FieldDescription[] {
  return columns.map(({ name, type }, at) => ({
    name,
    ...TYPES[type],
    format: formatAt(formats, at),
  }))
}

export function formatAt(formats: readonly Format[], at: number): Format {
  return (formats.length === 1 ? formats[0] : formats[at]) ?? 0
}

export function encoded(value: Value, type: ColumnType, format: Format): Buffer | undefined {
  if (value === undefined) return undefined
  return format === 1 ? binary(value, type) : Buffer.from(asText(value, type))
}

/** A NUL has no place in PostgreSQL's text. */
export function asText(value: NonNullable<Value>, type: ColumnType): string {
  if (type === 'timestamptz') return moment(Number(value))
  if (typeof value === 'boolean') return value ? 't' : 'f'
  return String(value).replaceAll('\0', '\ufffd')
}

/** ISO 8601 as PostgreSQL writes it, in UTC. */
function moment(ms: number): string {
  const date = new Date(ms)
  if (Number.isNaN(date.getTime())) return 'infinity'
  const [day = '', time = ''] = date.toISOString().split('T')
  return `${day} ${time.replace('Z', '').replace('.000', '')}+00`
}

/** 2000-01-01, from which PostgreSQL counts microseconds. */
const EPOCH_MS = 946_684_800_000
const INFINITY = 0x7fff_ffff_ffff_ffffn

function binary(value: NonNullable<Value>, type: ColumnType): Buffer {
  if (type === 'bool') return Buffer.from([value === true ? 1 : 0])
  if (type === 'text') return Buffer.from(asText(value, type))
  const bytes = Buffer.alloc(8)
  if (type === 'float8') bytes.writeDoubleBE(Number(value))
  else if (type === 'int8') bytes.writeBigInt64BE(BigInt(Math.trunc(Number(value))))
  else bytes.writeBigInt64BE(microseconds(Number(value)))
  return bytes
}

function microseconds(ms: number): bigint {
  return Number.isNaN(new Date(ms).getTime()) ? INFINITY : BigInt(Math.trunc(ms) - EPOCH_MS) * 1000n
}
