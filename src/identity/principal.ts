/**
 * Who a verified token says it is. Only `authenticate` makes one, after signature and times hold.
 * Whether its audience, its users and its role are let in here is for `policy` to decide.
 */

export interface Principal {
  issuer: string
  /** The principals of the claim, in the order of the token. */
  names: readonly string[]
  /** Users that the identity map makes of them; the names themselves where the issuer has no map. */
  users: readonly string[]
  /** The issuer has an identity map of its own. */
  mapped: boolean
  audiences: readonly string[]
  /** Of the groups' claim; undefined where nobody asks for them, or the token has no such claim. */
  groups: readonly string[] | undefined
  /** `scope` (RFC 8693 section 4.2) or `scp`, as some issuers call it. */
  scopes: readonly string[]
  /** `sub`, where the token has one. */
  subject: string | undefined
  /** `jti`, where the issuer gives one. */
  tokenId: string | undefined
  /** SHA-256 of header and payload, in hex: a signature can be written in more than one way. */
  digest: string
  keyId: string
  /** Seconds since the epoch, as the token says. */
  issuedAt: number | undefined
  until: number | undefined
  notBefore: number | undefined
}
