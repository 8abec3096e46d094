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
  /** `jti`, where the issuer gives one. */
  tokenId: string | undefined
  /** SHA-256 of header and payload, in hex: a signature can be written in more than one way. */
  digest: string
  keyId: string
  /** Seconds since the epoch, as the token says. */
  issuedAt: number | undefined
  until: number | undefined
}
