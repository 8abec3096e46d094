/**
 * What came to light of a token while it was judged, check by check, for the decision record. A
 * token that was refused has only what was known by then, and until `verified` it is what the token
 * says of itself. Rule: observers read it; nothing is decided by it.
 */

export interface Findings {
  issuer?: string
  algorithm?: string
  keyId?: string
  /** The signature holds: all below was signed by the issuer. */
  verified?: true
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
}
