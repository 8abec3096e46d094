/**
 * Which sessions on a node are as good as each other: same role, same database, same principal, and the
 * same startup packet altogether. Pure.
 * Rule: what a session began with and can't be undone is part of the key.
 */
import type { Grant } from '../policy/decide.ts'

export interface Sharing {
  /** Whoever may be the role gets what another principal has left. */
  shareBetweenPrincipals: boolean
}

/**
 * @param parameters - of the startup packet as the node gets it, user and database among them.
 * @returns undefined for a session that is nobody else's: one for replication.
 */
export function poolKey(
  { principal }: Pick<Grant, 'principal'>,
  parameters: ReadonlyMap<string, string>,
  { shareBetweenPrincipals }: Sharing,
): string | undefined {
  if (parameters.has('replication')) return undefined
  const { issuer, subject, names, users } = principal
  const who = shareBetweenPrincipals ? [] : [issuer, subject ?? null, names, users]
  // In the client's order: of `timezone` and `TimeZone` the last one counts.
  return JSON.stringify([who, ...parameters])
}
