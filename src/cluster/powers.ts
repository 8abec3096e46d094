/**
 * What a role may do beyond a user's rights, its own or by inheritance, asked of the node by the
 * management role: such a role is never granted, whatever a token says (DESIGN: who may never be
 * granted). https://www.postgresql.org/docs/18/role-attributes.html
 * Rule: no answer is no leave; an answer is good for half a minute.
 */
import { LRUCache } from 'lru-cache'
import type { Management } from './management.ts'
import { literal } from './paste.ts'
import type { Row } from './query.ts'
import type { Ask } from './visit.ts'

export interface Powers {
  /** Their names; empty for a role like any other, and for one that is not there. */
  of(role: string): Promise<readonly string[]>
}

/** Roles that reach the node's files and programs, or stand for its superuser on managed services. */
export const SERVER_ROLES = [
  'pg_execute_server_program',
  'pg_read_server_files',
  'pg_write_server_files',
  'rds_superuser',
  'cloudsqlsuperuser',
  'azure_pg_admin',
]
/** Each power's name, and how one of the roles that are held (`held`) has it. */
const POWERS = {
  superuser: 'held.rolsuper',
  replication: 'held.rolreplication',
  createrole: 'held.rolcreaterole',
  createdb: 'held.rolcreatedb',
  bypassrls: 'held.rolbypassrls',
  server: `held.rolname IN (${SERVER_ROLES.map(literal).join(', ')})`,
  // Who asks: what it may grant, its members could take.
  management: 'held.rolname = current_user',
}
export const POWER_NAMES = Object.keys(POWERS)

/** SELECT items, over the roles `held` that a role is a member of. */
export const POWER_COLUMNS = Object.entries(POWERS)
  .map(([name, held]) => `bool_or(${held}) AS ${name}`)
  .join(', ')
/** Joins the roles that `role` holds. A superuser counts as a member of every role: then only itself. */
export const HELD = `JOIN pg_roles held ON held.oid = role.oid
  OR (pg_has_role(role.oid, held.oid, 'MEMBER') AND NOT role.rolsuper)`

/**
 * FROM items: each of the roles that is there, as `role`, with every role that it holds, itself
 * included, as `held`. Unlike pg_has_role it costs nothing for the roles that none of them holds.
 */
export function holding(roles: readonly string[]): string {
  return `(
    WITH RECURSIVE holds(holder, what) AS (
      SELECT oid, oid FROM pg_roles WHERE rolname IN (${roles.map(literal).join(', ')})
      UNION SELECT holds.holder, m.roleid FROM holds JOIN pg_auth_members m ON m.member = holds.what
    ) SELECT holder, what FROM holds
  ) holds JOIN pg_roles role ON role.oid = holds.holder JOIN pg_roles held ON held.oid = holds.what`
}

/** In a row with POWER_COLUMNS. */
export function powersIn(row: Row | undefined): string[] {
  return POWER_NAMES.filter((name) => row?.[name] === 't')
}

const ROLES_MAX = 1_000
const GOOD_FOR_MS = 30_000

export function openPowers(management: Management, now: () => number): Powers {
  const known = new LRUCache<string, { untilMs: number; powers: Promise<readonly string[]> }>({
    max: ROLES_MAX,
  })
  return {
    /** Those who ask at the same time wait for one answer. */
    of(role) {
      const remembered = known.get(role)
      if (remembered !== undefined && now() < remembered.untilMs) return remembered.powers
      const powers = management.run((ask) => look(ask, role))
      const fresh = { untilMs: now() + GOOD_FOR_MS, powers }
      known.set(role, fresh)
      powers.catch(() => {
        if (known.peek(role) === fresh) known.delete(role)
      })
      return powers
    },
  }
}

async function look(ask: Ask, role: string): Promise<string[]> {
  const [row] = await ask(`SELECT ${POWER_COLUMNS} FROM ${holding([role])}`)
  return powersIn(row)
}
