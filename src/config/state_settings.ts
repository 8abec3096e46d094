/**
 * `state` in the configuration file: which cluster keeps what gates share, and as whom the gate has it.
 * Rule: the gate signs in there as a role of its own, in the way of that cluster, which must be able to.
 */
import { z } from 'zod'
import { shown } from './mistakes.ts'
import type { Complain } from './trust_settings.ts'
import { roleName, timeout } from './values.ts'

/** Where nobody is told of a change, it is asked for every ten seconds. */
const MAX_AGE_MS_MIN = 15_000

export const state = z.strictObject({
  cluster: z.string(),
  role: roleName.default('postern_state'),
  database: z
    .string()
    .regex(/^[^\0]+$/, 'write the name of a database')
    .default('postern_state'),
  max_age: timeout
    .refine((ms) => ms >= MAX_AGE_MS_MIN, 'write at least 15s: the gate itself looks every 10s')
    .default(60_000),
})

export type StateSection = z.output<typeof state>

interface KeepingCluster {
  sign_in: string
  management?: { role: string } | undefined
  scram?: { secrets: Record<string, unknown> } | undefined
}

/** What no key can know by itself. */
export function checkState(
  { cluster, role }: StateSection,
  clusters: Record<string, KeepingCluster>,
  complain: Complain,
): void {
  const keeping = Object.hasOwn(clusters, cluster) ? clusters[cluster] : undefined
  if (keeping === undefined) {
    complain(['state', 'cluster'], `there is no cluster ${shown(cluster)}`)
    return
  }
  if (keeping.sign_in === 'forward')
    complain(
      ['state', 'cluster'],
      'the gate has no token of its own to forward; choose a cluster with another sign_in',
    )
  if (keeping.management?.role === role)
    complain(['state', 'role'], 'this is the management role; the state needs a role of its own')
  if (keeping.sign_in === 'scram' && !Object.hasOwn(keeping.scram?.secrets ?? {}, role))
    complain(
      ['state', 'role'],
      `scram.secrets of ${shown(cluster)} has none for ${shown(role)}, which signs in as every role does`,
    )
}
