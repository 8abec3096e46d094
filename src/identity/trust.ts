/**
 * Whom a cluster believes: the `server.jwt_authentication.*` settings, parsed. Unset means nobody.
 * Each cluster has a Trust of its own; a token for one of them says nothing to another.
 */
import type { IdentityMap } from './identity_map.ts'
import type { KeySource } from './key_source.ts'
import type { VerifiedTokens } from './verified_tokens.ts'

export interface Trust {
  enabled: boolean
  /** Accepted `iss` values, compared exactly. */
  issuers: ReadonlySet<string>
  /** Where the keys of each accepted issuer come from; an issuer that is not here has none. */
  keySources: ReadonlyMap<string, KeySource>
  /** The claim that holds the principals; `sub` where the setting is empty. */
  claim: string
  /** The claim that holds the groups; undefined where nobody asks for them. */
  groupClaim: string | undefined
  requireExpiry: boolean
  clockToleranceMs: number
  identityMap: IdentityMap
  /** The cluster's names have no case (CockroachDB); PostgreSQL's have. */
  foldCase: boolean
  /** Those judged by these very settings. */
  verified: VerifiedTokens
}
