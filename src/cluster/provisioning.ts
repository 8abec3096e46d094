/**
 * A user who is not there yet is made by the management role at the first sign-in, and marked with
 * where it came from. https://www.postgresql.org/docs/18/sql-createrole.html
 * Rule: only once the whole token has passed; never a reserved name, nor one that a group may become:
 * whoever took it would be granted to that group's members.
 */
import { LRUCache } from 'lru-cache'
import { Failure, NODE_SAYS } from '../failure.ts'
import type { GroupRules } from '../policy/groups.ts'
import { isReserved } from '../policy/reserved.ts'
import type { Dialect } from '../wire/options.ts'
import type { Management } from './management.ts'
import { identifier, literal } from './paste.ts'
import { wordsOf } from './refusals.ts'
import { GROUP } from './setup.ts'
import { NodeRefused } from './sign_in.ts'
import type { Ask } from './visit.ts'

export interface ProvisioningRules extends Pick<GroupRules, 'roles' | 'ownRoles'> {
  dialect: Dialect
}

/**
 * Makes the role, unless it is there; that it is there is remembered for half a minute.
 * @param source - `jwt_token:` and the issuer
 * @param before - awaited when the role will be made; what it throws leaves everything as it is
 * @returns whether it was made
 * @throws Failure `provisioning_failed`
 */
export type Provision = (role: string, source: string, before: () => unknown) => Promise<boolean>

const ROLES_MAX = 1_000
const GOOD_FOR_MS = 30_000

export function openProvisioning(
  management: Management,
  rules: ProvisioningRules,
  now: () => number,
): Provision {
  const thereUntilMs = new LRUCache<string, number>({ max: ROLES_MAX })
  return async (role, source, before) => {
    if (now() < (thereUntilMs.get(role) ?? 0)) return false
    const job = (ask: Ask) => make(ask, { role, source, rules }, before)
    const made = await management.run(job).catch((thrown: unknown) => {
      throw explained(thrown, role)
    })
    thereUntilMs.set(role, now() + GOOD_FOR_MS)
    return made
  }
}

interface Asked {
  role: string
  source: string
  rules: ProvisioningRules
}

async function make(ask: Ask, asked: Asked, before: () => unknown): Promise<boolean> {
  const { role, rules } = asked
  if (await isThere(ask, role)) return false
  if (isReserved(role, rules.ownRoles) || role === GROUP) throw failed(role, 'the name is reserved')
  if (rules.roles.some((pattern) => pattern.matches(role, rules.dialect === 'cockroachdb')))
    throw failed(role, 'the name is one that a group may become')
  await before()
  try {
    await CREATE[rules.dialect](ask, asked)
    return true
  } catch (thrown) {
    if (!(thrown instanceof NodeRefused)) throw thrown
    // Another gate was quicker.
    if (await isThere(ask, role)) return false
    throw thrown
  }
}

async function isThere(ask: Ask, role: string): Promise<boolean> {
  const rows = await ask(`SELECT 1 AS there FROM pg_roles WHERE rolname = ${literal(role)}`)
  return rows.length > 0
}

const CREATE: Record<Dialect, (ask: Ask, asked: Asked) => Promise<unknown>> = {
  /** One text, so one transaction. */
  async postgresql(ask, { role, source }) {
    const name = identifier(role)
    return await ask(
      [
        `CREATE ROLE ${name} LOGIN`,
        `GRANT ${GROUP} TO ${name}`,
        `COMMENT ON ROLE ${name} IS ${literal(`PROVISIONSRC=${source}`)}`,
      ].join('; '),
    )
  },
  async cockroachdb(ask, { role, source }) {
    const statement = `CREATE USER ${identifier(role)} WITH LOGIN`
    try {
      return await ask(`${statement} PROVISIONSRC ${literal(source)}`)
    } catch (thrown) {
      const unknown = thrown instanceof NodeRefused && thrown.refusal.sqlstate === NODE_SAYS.syntax
      if (!unknown) throw thrown
      // Before 25.3 there is no such option, and no place for the mark.
      return await ask(statement)
    }
  },
}

function explained(thrown: unknown, role: string): unknown {
  if (thrown instanceof Failure && thrown.code === 'provisioning_failed') return thrown
  if (!(thrown instanceof NodeRefused || thrown instanceof Failure)) return thrown
  return failed(role, wordsOf(thrown), thrown)
}

function failed(role: string, why: string, cause?: unknown): Failure {
  return new Failure('provisioning_failed', { log: `role ${JSON.stringify(role)}: ${why}`, cause })
}
