/**
 * One database of a cluster, as the gate reaches it: where it listens, whether TLS goes there, and
 * how the gate signs in. A cluster has one node for now.
 */
import type { SecureContext } from 'node:tls'
import type { Dialect } from '../wire/options.ts'

export type Address = { host: string; port: number } | { path: string }

export interface NodeTls {
  secureContext: SecureContext
  /** The name that the node's certificate must have. */
  serverName: string
}

/**
 * How the gate proves the granted role to the node. `peer`: the node asks the kernel who we are and
 * its ident map allows the role. `trust`: the node asks nothing. `forward`: the node judges the token.
 */
export type SignIn = 'peer' | 'trust' | 'forward'

export interface Node {
  name: string
  address: Address
  tls: NodeTls | undefined
  signIn: SignIn
  dialect: Dialect
  connectTimeoutMs: number
}
