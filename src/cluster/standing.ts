/**
 * Where a role stands on its node: whether it is there, what it may do, whose member it is, and what
 * there is to say of the roles that it could become a member of. Asked in one text, as the management
 * role. https://www.postgresql.org/docs/18/catalog-pg-auth-members.html
 */
import type { Dialect } from '../wire/options.ts'
import { literal } from './paste.ts'
import { holding, powerColumns, powersIn } from './powers.ts'
import type { Ask } from './visit.ts'

export interface Standing {
  there: boolean
  /** The role's own, whomever it is a member of. */
  powers: readonly string[]
  /** The roles that it is a direct member of, and those that were asked for and are there. */
  roles: ReadonlyMap<string, OtherRole>
}

export interface OtherRole {
  /** Who made the role its direct member, if anybody did; CockroachDB doesn't know, so somebody else. */
  grantedBy: { us: boolean; others: boolean } | undefined
  /** Its own and inherited; what it has only by a role that is allowed by name doesn't count. */
  powers: readonly string[]
  /** It may log in: it is somebody, and no group. */
  login: boolean
  /** It is the role, or a member of it. */
  circle: boolean
  /** The management role may grant it. */
  grantable: boolean
}

export interface AskedOf {
  role: string
  /** Other roles to look at. */
  others: readonly string[]
  dialect: Dialect
  allowRoles: ReadonlySet<string>
}

export async function readStanding(ask: Ask, of: AskedOf): Promise<Standing> {
  const rows = await ask(`${itself(of.role)}; ${others(of)}`)
  const own = rows.find((row) => row['itself'] !== undefined)
  const roles = new Map<string, OtherRole>()
  for (const row of rows) {
    if (row === own) continue
    const us = row['us'] === 't'
    const others = row['others'] === 't'
    roles.set(String(row['name']), {
      grantedBy: us || others ? { us, others } : undefined,
      powers: powersIn(row),
      login: row['login'] === 't',
      circle: row['circle'] === 't',
      grantable: row['grantable'] === 't',
    })
  }
  return { there: own !== undefined, powers: powersIn(own), roles }
}

function itself(role: string): string {
  return `SELECT held.rolname AS itself, ${powerColumns()} FROM pg_roles held
    WHERE held.rolname = ${literal(role)} GROUP BY held.rolname`
}

function others({ role, others, dialect, allowRoles }: AskedOf): string {
  const names = others.map(literal).join(', ')
  const named = names === '' ? '' : `UNION SELECT oid FROM pg_roles WHERE rolname IN (${names})`
  return `WITH direct AS (
      SELECT m.roleid AS oid, bool_or(grantor.rolname = current_user) AS us,
        bool_or(grantor.rolname IS DISTINCT FROM current_user) AS others
      FROM pg_roles member JOIN pg_auth_members m ON m.member = member.oid
      LEFT JOIN pg_roles grantor ON grantor.oid = m.grantor
      WHERE member.rolname = ${literal(role)} GROUP BY m.roleid
    )
    SELECT role.rolname AS name, direct.us, direct.others, role.rolcanlogin AS login,
      bool_or(held.rolname = ${literal(role)}) AS circle, ${GRANTABLE[dialect]} AS grantable,
      ${powerColumns('holds.plain')}
    FROM ${holding(`SELECT oid FROM direct ${named}`, allowRoles)}
    LEFT JOIN direct ON direct.oid = role.oid
    GROUP BY role.oid, role.rolname, role.rolcanlogin, direct.us, direct.others`
}

/**
 * A grantor has to have the option itself: since PostgreSQL 16 it doesn't count where another role has
 * it, which pg_has_role would tell as well. CockroachDB says so when it is tried.
 */
const GRANTABLE: Record<Dialect, string> = {
  postgresql: `EXISTS (
        SELECT FROM pg_roles us LEFT JOIN pg_auth_members own ON own.member = us.oid AND own.roleid = role.oid
        WHERE us.rolname = current_user AND (us.rolsuper OR own.admin_option))`,
  cockroachdb: 'true',
}
