/**
 * What came to light of a token while it was judged, check by check, for the decision record. A
 * token that was refused has only what was known by then, and until `verified` it is what the token
 * says of itself. Rule: observers read it; nothing is decided by it.
 */
import { quoted } from './quoted.ts'

export interface Findings {
  issuer?: string
  /** `typ` */
  type?: string
  algorithm?: string
  keyId?: string
  /** Where the issuer's keys are from, and when they were fetched (milliseconds since the epoch). */
  keysFrom?: string
  keysFetched?: number
  /** The signature holds: what is listed here was signed by the issuer. */
  verified?: true
  /** The same token was verified before, by a key that is still good. */
  remembered?: true
  /** Seconds since the epoch. */
  issuedAt?: number
  notBefore?: number
  expires?: number
  audiences?: readonly string[]
  /** `jti` */
  tokenId?: string
  digest?: string
  /** The claim that was asked for, and what was in it. */
  claim?: string
  names?: readonly string[]
  /** The issuer has an identity map, and which of its lines matched. */
  mapped?: boolean
  mapLines?: readonly number[]
  users?: readonly string[]
  /** How many there are: the lists above hold the first twenty. */
  userCount?: number
  /** The token's groups, or those that the issuer's userinfo endpoint named. */
  groups?: readonly string[]
  groupsFrom?: 'token' | 'userinfo'
  groupCount?: number
  /** The roles that the groups made the user a member of; where no node was asked, that they stand for. */
  roles?: readonly string[]
  roleCount?: number
  /** Roles that the groups stand for, and that the user is no member of: `name: why`. */
  left?: readonly string[]
}

/** Of a long list, this many are recorded. */
export const LISTED_MAX = 20

export function listed(names: readonly string[]): readonly string[] {
  return names.slice(0, LISTED_MAX).map(quoted)
}

export function noteGroups(
  groups: readonly string[],
  from: 'token' | 'userinfo',
  found: Findings,
): void {
  found.groups = listed(groups)
  found.groupsFrom = from
  found.groupCount = groups.length
}

export function noteRoles(
  roles: readonly string[],
  found: Findings,
  left: readonly string[] = [],
): void {
  found.roles = listed(roles)
  found.roleCount = roles.length
  if (left.length > 0) found.left = listed(left)
}
