/**
 * `console` in the configuration file: the gate's own console, a database that is none, and who may use it.
 * Rule: without admins there is no console; and where there are several clusters it is said whose admins they are,
 * for a name in one is somebody else's in another.
 */
import { z } from 'zod'
import { shown } from './mistakes.ts'
import type { Complain } from './trust_settings.ts'
import { roleName } from './values.ts'

export const consoleKeys = {
  database: z
    .string()
    .regex(/^[^\0]{1,63}$/, 'write the name of a database, at most 63 characters')
    .default('postern'),
  admins: z.array(roleName).default([]),
  clusters: z.array(z.string()).min(1, 'name at least one cluster').optional(),
  may_change_trust: z.boolean().default(false),
}

const section = z.object(consoleKeys)
export type ConsoleSection = z.output<typeof section>

/** Who may use it, and by which name of a database it is reached. */
export interface ConsoleConfig {
  database: string
  /** Roles, in the cluster's spelling. */
  admins: ReadonlySet<string>
  /** Whose admins these are: who signs in to another one is none, whatever the name. */
  clusters: ReadonlySet<string>
}

/** Of that cluster: its issuers say who has the role. */
export function isAdmin(
  role: string,
  cluster: string,
  { admins, clusters }: ConsoleConfig,
): boolean {
  return admins.has(role) && clusters.has(cluster)
}

/** @param all - the names of the clusters that there are */
export function consoleOf(
  { database, admins, clusters }: ConsoleSection,
  all: readonly string[],
): ConsoleConfig | undefined {
  if (admins.length === 0) return undefined
  return { database, admins: new Set(admins), clusters: new Set(clusters ?? all) }
}

/** What no key can know by itself. */
export function checkConsole(
  { database, admins, clusters }: ConsoleSection,
  all: readonly string[],
  state: { database: string } | undefined,
  complain: Complain,
): void {
  if (admins.length > 0 && state?.database === database)
    complain(
      ['console', 'database'],
      'this is the database of the shared state; the console is none, and needs another name',
    )
  if (admins.length > 0 && clusters === undefined && all.length > 1)
    complain(
      ['console', 'admins'],
      'admins of which cluster? each has issuers of its own, and the console rules them all: add clusters: [name]',
    )
  for (const [at, name] of (clusters ?? []).entries())
    if (!all.includes(name))
      complain(['console', 'clusters', at], `there is no cluster ${shown(name)}`)
}
