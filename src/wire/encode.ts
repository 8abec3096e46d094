/**
 * Values become messages: a type byte, a length that counts itself, and fields in network order.
 * https://www.postgresql.org/docs/18/protocol-message-types.html
 */
import { Failure } from '../failure.ts'

/** A string is written with its closing NUL, a number as four bytes, bytes as they are. */
export type Field = string | number | Buffer

/** A tagged message. */
export function message(type: string, ...fields: Field[]): Buffer {
  const bytes = Buffer.allocUnsafe(5 + sizeOf(fields))
  bytes[0] = type.charCodeAt(0)
  bytes.writeUInt32BE(bytes.length - 1, 1)
  write(bytes, 5, fields)
  return bytes
}

/** An untagged packet: startup, cancel, the requests for encryption. */
export function packet(...fields: Field[]): Buffer {
  const bytes = Buffer.allocUnsafe(4 + sizeOf(fields))
  bytes.writeUInt32BE(bytes.length, 0)
  write(bytes, 4, fields)
  return bytes
}

function sizeOf(fields: Field[]): number {
  let size = 0
  for (const field of fields) {
    if (typeof field === 'number') size += 4
    else size += typeof field === 'string' ? sizeOfString(field) : field.length
  }
  return size
}

/** A NUL would end the string early, and let who wrote it write the fields that follow. */
function sizeOfString(field: string): number {
  if (field.includes('\0'))
    throw new Failure('internal_error', { log: 'a string of a message has a NUL in it' })
  return Buffer.byteLength(field) + 1
}

function write(bytes: Buffer, at: number, fields: Field[]): void {
  for (const field of fields) {
    if (typeof field === 'number') at = bytes.writeInt32BE(field | 0, at)
    else if (typeof field === 'string') {
      at += bytes.write(field, at)
      bytes[at++] = 0
    } else at += field.copy(bytes, at)
  }
}
