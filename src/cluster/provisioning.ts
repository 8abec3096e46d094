/**
 * A user who is not there yet is made by the management role at the first sign-in, and marked with
 * where it came from. https://www.postgresql.org/docs/18/sql-createrole.html
 * Rule: only once the whole token has passed; never a reserved name, nor one that a group may become:
 * whoever took it would be granted to that group's members.
 */
import { NODE_SAYS } from '../failure.ts'
import type { GroupRules } from '../policy/groups.ts'
import { isReserved } from '../policy/reserved.ts'
import type { Dialect } from '../wire/options.ts'
import { identifier, literal } from './paste.ts'
import { GROUP } from './setup.ts'
import { NodeRefused } from './sign_in.ts'
import type { Ask } from './visit.ts'

export interface ProvisioningRules extends Pick<GroupRules, 'roles' | 'ownRoles'> {
  dialect: Dialect
}

/** Why a role of this name is never made; undefined where it may be. */
export function whyNotMade(role: string, rules: ProvisioningRules): string | undefined {
  if (isReserved(role, rules.ownRoles) || role === GROUP) return RESERVED
  const foldCase = rules.dialect === 'cockroachdb'
  return rules.roles.some((pattern) => pattern.matches(role, foldCase)) ? MAY_BE_GROUP : undefined
}

export const RESERVED = 'the name is reserved'
export const MAY_BE_GROUP = 'the name is one that a group may become'

/** Marks a role with where it came from: `jwt_token:` and the issuer. */
export interface NewRole {
  role: string
  source: string
}

/** @throws NodeRefused, where another gate was quicker, too. */
export async function makeRole(ask: Ask, wanted: NewRole, dialect: Dialect): Promise<void> {
  await CREATE[dialect](ask, wanted)
}

const CREATE: Record<Dialect, (ask: Ask, wanted: NewRole) => Promise<unknown>> = {
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
