/**
 * Names, values and addresses as the places take them that `postern cluster setup` writes for: SQL,
 * pg_hba.conf and pg_ident.conf. https://www.postgresql.org/docs/18/auth-pg-hba-conf.html
 */
import { isIP } from 'node:net'

/** Stands for an address that we can't know. No file that holds it is read, so nobody is let in. */
export const NO_ADDRESS = 'GATE-ADDRESS/32'

export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

/** A name as pg_hba.conf and pg_ident.conf take it: in quotes no word has a meaning of its own. */
export function inFile(name: string): string {
  const plain = /^[a-z_][a-z0-9_]*$/.test(name) && !KEYWORDS.includes(name)
  return plain ? name : identifier(name)
}

const KEYWORDS = ['all', 'replication', 'sameuser', 'samerole', 'samegroup']

/** An address in the form that pg_hba.conf takes: an IP address alone has no mask yet. */
export function withMask(address: string): string {
  const version = isIP(address)
  return version === 0 ? address : `${address}/${version === 4 ? 32 : 128}`
}
