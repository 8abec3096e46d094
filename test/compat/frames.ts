/**
 * A client's messages after sign-in, as bytes, beside those of test/support/wire_client.ts.
 * https://www.postgresql.org/docs/18/protocol-message-formats.html
 */
import { message, uint32 } from '../support/wire_client.ts'

export type Value = string | Buffer | null
/** 0 is text, 1 is binary: none for all text, one for all, or one each. */
export type Formats = number[]

export const SYNC = message('S', '')
export const FLUSH = message('H', '')
export const COPY_DONE = message('c', '')
export const TERMINATE = message('X', '')

export function parse(name: string, sql: string, types: number[] = []): Buffer {
  const oids = types.map(uint32)
  return message(
    'P',
    Buffer.concat([zeroEnded(name), zeroEnded(sql), int16(types.length), ...oids]),
  )
}

export function bind(
  portal: string,
  statement: string,
  values: Value[] = [],
  formats: Formats = [],
  resultFormats: Formats = [],
): Buffer {
  return message(
    'B',
    Buffer.concat([
      zeroEnded(portal),
      zeroEnded(statement),
      list(formats.map(int16)),
      list(values.map(sized)),
      list(resultFormats.map(int16)),
    ]),
  )
}

export function describe(kind: 'S' | 'P', name: string): Buffer {
  return message('D', `${kind}${name}\0`)
}

export function close(kind: 'S' | 'P', name: string): Buffer {
  return message('C', `${kind}${name}\0`)
}

/** @param rows - how many at most, 0 for all of them */
export function execute(portal: string, rows = 0): Buffer {
  return message('E', Buffer.concat([zeroEnded(portal), uint32(rows)]))
}

export function copyData(bytes: Buffer | string): Buffer {
  return message('d', bytes)
}

export function copyFail(why: string): Buffer {
  return message('f', zeroEnded(why))
}

export function functionCall(
  oid: number,
  values: Value[],
  formats: Formats = [],
  resultFormat = 0,
): Buffer {
  const body = [list(formats.map(int16)), list(values.map(sized)), int16(resultFormat)]
  return message('F', Buffer.concat([uint32(oid), ...body]))
}

export function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value & 0xffff)
  return bytes
}

export function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(value)
  return bytes
}

/** Parse, Bind, Describe of the portal, Execute: what most drivers send for a statement. */
export function extended(sql: string, values: Value[] = [], formats: Formats = []): Buffer {
  return Buffer.concat([
    parse('', sql),
    bind('', '', values, [], formats),
    describe('P', ''),
    execute(''),
  ])
}

function zeroEnded(text: string): Buffer {
  return Buffer.from(`${text}\0`)
}

function list(parts: Buffer[]): Buffer {
  return Buffer.concat([int16(parts.length), ...parts])
}

function sized(value: Value): Buffer {
  if (value === null) return uint32(0xffffffff)
  const bytes = Buffer.from(value)
  return Buffer.concat([uint32(bytes.length), bytes])
}
