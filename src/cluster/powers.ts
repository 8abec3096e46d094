/**
 * What a role may do beyond a user's rights, its own or by inheritance, as SQL: such a role is never
 * granted, whatever a token says (DESIGN: who may never be granted).
 * https://www.postgresql.org/docs/18/role-attributes.html
 */
import { literal } from './paste.ts'
import type { Row } from './query.ts'

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

/** SELECT items, over the roles `held` that a role holds. @param which - of them count */
export function powerColumns(which = 'true'): string {
  return Object.entries(POWERS)
    .map(([name, held]) => `bool_or(${held} AND ${which}) AS ${name}`)
    .join(', ')
}

/**
 * FROM items: each of some roles, as `role`, with every role that it holds, itself included, as `held`.
 * Unlike pg_has_role it costs nothing for the roles that none of them holds.
 * @param oids - a SELECT of the roles' oids
 * @param allowed - roles that are not walked through: `holds.plain` says that none is on the way
 */
export function holding(oids: string, allowed: Iterable<string> = []): string {
  const named = ['', ...allowed].map(literal).join(', ')
  return `(
    WITH RECURSIVE holds(holder, what, plain) AS (
      SELECT oid, oid, true FROM (${oids}) asked
      UNION SELECT holds.holder, m.roleid, holds.plain AND passed.rolname NOT IN (${named})
      FROM holds JOIN pg_auth_members m ON m.member = holds.what
      JOIN pg_roles passed ON passed.oid = m.roleid
    ) SELECT holder, what, plain FROM holds
  ) holds JOIN pg_roles role ON role.oid = holds.holder JOIN pg_roles held ON held.oid = holds.what`
}

/** In a row with the columns of `powerColumns`. */
export function powersIn(row: Row | undefined): string[] {
  return POWER_NAMES.filter((name) => row?.[name] === 't')
}
