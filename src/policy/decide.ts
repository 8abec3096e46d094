/**
 * May this principal do what it asks? A pure function of values; without a reason to say yes, no.
 * The order of the checks and their texts are CockroachDB's, the audience last. What the principal
 * is, signature and times included, was settled before it came here.
 */
import type { FailureCode } from '../failure.ts'
import type { Principal } from '../identity/principal.ts'
import { quotedList } from '../identity/quoted.ts'
import type { Secret } from '../secret.ts'
import { isReserved } from './reserved.ts'

/** What a client asked for, in the cluster's own spelling of names. */
export interface Ask {
  user: string
  database: string
  replication: boolean
}

export interface Rules {
  /** Accepted `aud` values; empty accepts none. */
  audiences: ReadonlySet<string>
  /** What the token must have been given leave for, all of it. */
  scopes: readonly string[]
  /** Reserved roles that may be granted all the same. */
  allowRoles: ReadonlySet<string>
  /** The gate's own roles, which are reserved like the cluster's. */
  ownRoles: ReadonlySet<string>
  /** Roles that may ask for replication. */
  replicationRoles: ReadonlySet<string>
}

/** Leave to sign in to a cluster as one role. There is no way to a node without it. */
export interface Grant {
  role: string
  database: string
  principal: Principal
  /** The token itself, only for sign-in by `forward`. */
  token?: Secret
}

/** Leave for a client without a token to be judged by the node itself; a Grant of the role and no more. */
export type Passage = Pick<Grant, 'role' | 'database'>

export type Denial = { code: FailureCode; detail?: string; log?: string }

export type Decision<Leave = Grant> =
  | { granted: true; grant: Leave }
  | { granted: false; denial: Denial }

export function decide(principal: Principal, ask: Ask, rules: Rules): Decision {
  const { user, database } = ask
  if (!principal.users.includes(user))
    return deny('invalid_principal', notThisUser(principal, user))
  if (isReserved(user, rules.ownRoles) && !rules.allowRoles.has(user))
    return deny('invalid_identity', `cannot use JWT auth to login to a reserved user ${user}`)
  if (!principal.audiences.some((audience) => rules.audiences.has(audience)))
    return deny(
      'invalid_audience',
      `token issued with an audience of ${quotedList(principal.audiences)}`,
    )
  if (!rules.scopes.every((scope) => principal.scopes.includes(scope)))
    return deny(
      'insufficient_scope',
      `token issued with a scope of ${quotedList(principal.scopes)}`,
    )
  if (ask.replication && !rules.replicationRoles.has(user)) return deny('replication_refused')
  return { granted: true, grant: { role: user, database, principal } }
}

/** Nobody has been identified yet: what no token is enough for, no password of the node's is either. */
export function decidePassage(ask: Ask, rules: Rules): Decision<Passage> {
  const { user, database } = ask
  if (isReserved(user, rules.ownRoles) && !rules.allowRoles.has(user))
    return refuse({ code: 'password_authentication_failed', log: 'a reserved role' })
  if (ask.replication && !rules.replicationRoles.has(user))
    return refuse({ code: 'replication_refused' })
  return { granted: true, grant: { role: user, database } }
}

function notThisUser(principal: Principal, user: string): string {
  const names = quotedList(principal.names)
  return principal.mapped && principal.users.length === 0
    ? `the value ${names} for the issuer ${principal.issuer} is invalid`
    : `token issued for ${names} and login was for ${user}`
}

function deny(code: FailureCode, detail?: string): Decision<never> {
  return refuse(detail === undefined ? { code } : { code, detail })
}

function refuse(denial: Denial): Decision<never> {
  return { granted: false, denial }
}
