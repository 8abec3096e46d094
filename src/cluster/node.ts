/**
 * One database of a cluster, as the gate reaches it: where it listens, whether TLS goes there, and
 * how the gate signs in.
 */
import type { SecureContext } from 'node:tls'
import type { Dialect } from '../wire/options.ts'
import type { RoleCertificates } from './role_certificates.ts'
import type { RoleSecrets } from './scram.ts'

export type Address = { host: string; port: number } | { path: string }

export interface NodeTls {
  secureContext: SecureContext
  /** The name that the node's certificate must have. */
  serverName: string
  /** TLS from the first byte (PostgreSQL 17 and newer), not after SSLRequest. */
  direct: boolean
}

/**
 * How the gate proves the granted role to the node. `peer`: the node asks the kernel who we are and
 * its ident map allows the role. `certificate`: one that the gate's authority signed for minutes.
 * `scram`: a secret a role, which never leaves the gate. `trust`: the node asks nothing. `forward`: the
 * node judges the token.
 */
export type SignIn = 'peer' | 'certificate' | 'scram' | 'trust' | 'forward'

export interface Node {
  name: string
  /** The gate itself answers in its place: nothing is dialled. */
  isVirtual?: true
  address: Address
  tls: NodeTls | undefined
  signIn: SignIn
  /** Only for sign-in by `certificate`. */
  certificates: RoleCertificates | undefined
  /** Only for sign-in by `scram`. */
  secrets: RoleSecrets | undefined
  dialect: Dialect
  /** CockroachDB is told the client's address. */
  sendRemoteAddress: boolean
  connectTimeoutMs: number
}
