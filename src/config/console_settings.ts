/**
 * `console` in the configuration file: the gate's own console, a database that is none, and who may use it.
 * Rule: without admins there is no console.
 */
import { z } from 'zod'
import type { Complain } from './trust_settings.ts'
import { roleName } from './values.ts'

export const consoleKeys = {
  database: z
    .string()
    .regex(/^[^\0]{1,63}$/, 'write the name of a database, at most 63 characters')
    .default('postern'),
  admins: z.array(roleName).default([]),
  may_change_trust: z.boolean().default(false),
}

const section = z.object(consoleKeys)
export type ConsoleSection = z.output<typeof section>

/** Who may use it, and by which name of a database it is reached. */
export interface ConsoleConfig {
  database: string
  /** Roles, in the cluster's spelling. */
  admins: ReadonlySet<string>
  mayChangeTrust: boolean
}

export function consoleOf({ database, admins, may_change_trust }: ConsoleSection) {
  if (admins.length === 0) return undefined
  return { database, admins: new Set(admins), mayChangeTrust: may_change_trust }
}

/** What no key can know by itself. */
export function checkConsole(
  { database, admins }: ConsoleSection,
  state: { database: string } | undefined,
  complain: Complain,
): void {
  if (admins.length > 0 && state?.database === database)
    complain(
      ['console', 'database'],
      'this is the database of the shared state; the console is none, and needs another name',
    )
}
