/**
 * The two legs of a session, as every row of the comparison names them: how the client comes to the
 * peer, and how the peer goes to the node. Who connects directly has one leg.
 */

/** TLS is 1.3, by an ECDSA P-256 certificate. */
export type ClientLeg = 'unix' | 'plaintext' | 'TLS'

/** `TLS` begins after SSLRequest, `direct TLS` at once; both sign in by a certificate. */
export type NodeLeg = 'unix' | 'plaintext' | 'TLS' | 'direct TLS'

export interface Legs {
  client: ClientLeg
  /** None, where the client is connected to the node itself. */
  node: NodeLeg | undefined
}

/** As in the names of measured figures: `plaintext > unix`. */
export function nameOf({ client, node }: Legs): string {
  return node === undefined ? client : `${client} > ${node}`
}
