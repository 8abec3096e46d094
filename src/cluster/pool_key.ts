/**
 * Which sessions on a node are as good as each other: same role, same database, same principal, and the
 * same startup packet altogether. Pure.
 * Rule: what a session began with and can't be undone is part of the key.
 */
import type { SecureContext } from 'node:tls'
import type { Grant } from '../policy/decide.ts'
import type { Node } from './node.ts'

export interface Sharing {
  /** Whoever may be the role gets what another principal has left. */
  shareBetweenPrincipals: boolean
}

/** Who leaves sessions that nobody else gets. */
export function principalKey({ principal }: Pick<Grant, 'principal'>): string {
  const { issuer, subject, names, users } = principal
  return JSON.stringify([issuer, subject ?? null, names, users])
}

/**
 * @param parameters - of the startup packet as the node gets it, user and database among them.
 * @returns undefined for a session that is nobody else's: one for replication.
 */
export function poolKey(
  grant: Pick<Grant, 'principal'>,
  parameters: ReadonlyMap<string, string>,
  { shareBetweenPrincipals }: Sharing,
): string | undefined {
  if (parameters.has('replication')) return undefined
  const who = shareBetweenPrincipals ? '' : principalKey(grant)
  // In the client's order: of `timezone` and `TimeZone` the last one counts.
  return JSON.stringify([who, ...parameters])
}

/**
 * Which node it is, for sessions that wait there. A look-up makes new objects of the same nodes, and a name
 * may be told of by two entries that want other TLS.
 */
export function openPlaces(): (node: Pick<Node, 'name' | 'address' | 'tls'>) => string {
  const contexts = new WeakMap<SecureContext, number>()
  let known = 0
  const numberOf = (context: SecureContext) => {
    const number = contexts.get(context) ?? known++
    contexts.set(context, number)
    return number
  }
  return ({ name, address, tls }) =>
    JSON.stringify([
      name,
      address,
      tls && [tls.serverName, tls.direct, numberOf(tls.secureContext)],
    ])
}
