/**
 * How long a name may be: PostgreSQL's NAMEDATALEN - 1, which is CockroachDB's bound on users as well.
 * Rule: nodes cut longer names (in silence) or refuse them, and what is judged must be what arrives, or
 * two principals become one role.
 */

import { Buffer } from 'node:buffer'
import type { Dialect } from '../wire/options.ts'

const NAME_BYTES_MAX = 63

export function isTooLong(name: string): boolean {
  return Buffer.byteLength(name) > NAME_BYTES_MAX
}

/** Where a client names no database. */
export function defaultDatabase(user: string, dialect: Dialect): string {
  return dialect === 'cockroachdb' ? 'defaultdb' : user
}
