/**
 * Who a session is, for those who read the node's own logs and views: a suffix to application_name with the
 * session's id and a digest of the principal, as the audit stream names both.
 * https://www.postgresql.org/docs/18/runtime-config-logging.html#GUC-APPLICATION-NAME
 * Rule: it tells and proves nothing: a client may set the name to what it likes, at any time.
 */
import { createHash } from 'node:crypto'
import type { SessionParameters } from '../cluster/connect.ts'
import type { Principal } from '../identity/principal.ts'
import type { Asked } from './ask.ts'

export interface Attributing {
  attribution: 'off' | 'application_name'
  /** What is kept for the next client is not one session's. */
  pool: object | undefined
}

export interface Attributed {
  id: string
  cluster: Attributing
  report: { remoteAddress: string }
}

const NAME = 'application_name'
/** PostgreSQL cuts what is longer. */
const NAME_BYTES_MAX = 63
const DIGEST_HEX = 12
const UNSAID = '-'

/**
 * What a node session begins with.
 * @param principal - undefined where the node itself judges
 */
export function sessionParameters(
  asked: Asked,
  { id, cluster, report }: Attributed,
  principal?: Pick<Principal, 'issuer' | 'names'>,
): SessionParameters {
  const { options, replication, others } = asked
  const rest = { options, replication, remoteAddress: report.remoteAddress }
  // A standby is known to its primary by this very name (synchronous_standby_names).
  if (cluster.attribution === 'off' || replication !== undefined) return { ...rest, others }
  const kept = cluster.pool !== undefined && principal !== undefined
  const digest = principal === undefined ? UNSAID : principalDigest(principal)
  return { ...rest, others: named(others, `postern/${kept ? UNSAID : id}/${digest}`) }
}

/** `SystemIdentity` of the audit stream has the names. */
export function principalDigest({ issuer, names }: Pick<Principal, 'issuer' | 'names'>): string {
  const said = `${issuer}\n${names.join(' ')}`
  return createHash('sha256').update(said).digest('hex').slice(0, DIGEST_HEX)
}

/** PostgreSQL reads the names of parameters without their case, and takes the last of several. */
function named(others: ReadonlyMap<string, string>, suffix: string): ReadonlyMap<string, string> {
  const all = [...others]
  const isName = ([name]: [string, string]) => name.toLowerCase() === NAME
  const own = all.findLast(isName)?.[1] ?? ''
  const room = NAME_BYTES_MAX - suffix.length - 1
  const value = own === '' ? suffix : `${cut(own, room)} ${suffix}`
  return new Map([...all.filter((each) => !isName(each)), [NAME, value]])
}

/** Where no character is cut in two. */
function cut(text: string, bytesMax: number): string {
  const bytes = Buffer.from(text)
  if (bytes.length <= bytesMax) return text
  let end = bytesMax
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return bytes.toString('utf8', 0, end).trimEnd()
}
