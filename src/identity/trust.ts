/**
 * Whom a cluster believes: the `server.jwt_authentication.*` settings, parsed. Unset means nobody.
 * Each cluster has a Trust of its own; a token for one of them says nothing to another.
 */
import type { IdentityMap } from './identity_map.ts'
import type { KeySet } from './keys.ts'

export interface Trust {
  enabled: boolean
  /** Accepted `iss` values, compared exactly. */
  issuers: ReadonlySet<string>
  /** Keys that may sign for any accepted issuer that has none of its own. */
  keys: KeySet
  /** Keys bound to one issuer: for it they are the only ones. */
  issuerKeys: ReadonlyMap<string, KeySet>
  /** The claim that holds the principals; `sub` where the setting is empty. */
  claim: string
  requireExpiry: boolean
  clockToleranceMs: number
  identityMap: IdentityMap
  /** The cluster's names have no case (CockroachDB); PostgreSQL's have. */
  foldCase: boolean
}
