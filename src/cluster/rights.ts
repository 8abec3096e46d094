/**
 * What the doctor finds of the management role's own rights: those that the settings ask for, to make
 * users and to make them members of the roles that groups become.
 * https://www.postgresql.org/docs/18/role-membership.html
 * Rule: it is judged as at a login (`memberships`); each right that is missing is told with its GRANT.
 */
import { normalizeUsername } from '../identity/username.ts'
import type { Rules } from '../policy/decide.ts'
import type { Authorization } from '../policy/groups.ts'
import type { Dialect } from '../wire/options.ts'
import type { Check } from './doctor.ts'
import { IS_MISSING, NOT_GRANTABLE, whyNot } from './memberships.ts'
import { identifier, literal } from './paste.ts'
import { GROUP, type SetUp } from './setup.ts'
import { readStanding } from './standing.ts'
import type { Ask } from './visit.ts'

export interface RightsAsked extends Pick<SetUp, 'provisioning' | 'authorization'> {
  dialect: Dialect
  /** Who asks. */
  management: string
  rules: Pick<Rules, 'allowRoles'>
}

export async function lookAtRights(ask: Ask, asked: RightsAsked): Promise<Check[]> {
  const { provisioning, authorization, dialect, management } = asked
  if (!provisioning && authorization === undefined) return []
  const option = dialect === 'postgresql' && (await isModern(ask)) ? ALONE : 'ADMIN OPTION'
  const adminOf = (role: string) =>
    `GRANT ${identifier(role)} TO ${identifier(management)} WITH ${option}`
  return [
    ...(provisioning ? [await usersCheck(ask, asked, adminOf)] : []),
    ...(authorization === undefined ? [] : await groupChecks(ask, asked, authorization, adminOf)),
  ]
}

/** A statement by which the management role may grant a role. */
type AdminOf = (role: string) => string

/** As `postern cluster setup` has it: to grant a role, nobody needs the role's own rights. */
const ALONE = 'ADMIN TRUE, INHERIT FALSE, SET FALSE'

/** PostgreSQL 16 and newer. */
async function isModern(ask: Ask): Promise<boolean> {
  const [server] = await ask("SELECT current_setting('server_version_num') AS number")
  return Number(server?.['number']) >= 160_000
}

async function usersCheck(
  ask: Ask,
  { dialect, management }: RightsAsked,
  adminOf: AdminOf,
): Promise<Check> {
  const name = 'users'
  const [row] = await ask(MAY_MAKE[dialect])
  const missing = [
    ...(row?.['makes'] === 't'
      ? []
      : [{ what: 'make users', todo: `ALTER ROLE ${identifier(management)} ${OPTIONS[dialect]}` }]),
    ...(row?.['lets_in'] === 'f'
      ? [{ what: `make users members of ${GROUP}`, todo: adminOf(GROUP) }]
      : []),
  ]
  if (missing.length === 0)
    return { name, mark: 'ok', says: `${management} may make them at their first sign-in` }
  const says = `${management} may not ${missing.map(({ what }) => what).join(', nor ')}`
  return { name, mark: 'bad', says, todo: missing.map(({ todo }) => todo).join('; ') }
}

const OPTIONS: Record<Dialect, string> = {
  postgresql: 'CREATEROLE',
  cockroachdb: 'WITH CREATEROLE CREATELOGIN',
}

const MAKES = 'SELECT us.rolcreaterole OR us.rolsuper AS makes'
const MAY_MAKE: Record<Dialect, string> = {
  // Before PostgreSQL 16 CREATEROLE rules every group.
  postgresql: `${MAKES}, us.rolcreaterole AND current_setting('server_version_num')::int < 160000
      OR pg_has_role(us.oid, wanted.oid, 'MEMBER WITH ADMIN OPTION') AS lets_in
    FROM pg_roles us LEFT JOIN pg_roles wanted ON wanted.rolname = ${literal(GROUP)}
    WHERE us.rolname = current_user`,
  cockroachdb: `${MAKES} FROM pg_roles us WHERE us.rolname = current_user`,
}

const SHOWN_MAX = 10

async function groupChecks(
  ask: Ask,
  { dialect, management, rules }: RightsAsked,
  authorization: Pick<Authorization, 'roles'>,
  adminOf: AdminOf,
): Promise<Check[]> {
  const { named, fitting } = await rolesMeant(ask, authorization, dialect === 'cockroachdb')
  const others = [...named, ...fitting]
  const { allowRoles } = rules
  const { roles } = await readStanding(ask, { role: '', others, dialect, allowRoles })
  const reasons = others.map((role) => [role, whyNot(role, '', roles.get(role), rules)] as const)
  const problems = reasons.flatMap(([role, why]): Check[] => {
    const mark = named.includes(role) ? 'bad' : 'warning'
    // A pattern may well fit what no group is meant to become.
    if (why === undefined || (mark === 'warning' && why !== NOT_GRANTABLE)) return []
    return [{ name: 'groups', mark, says: `${role} ${why}`, todo: howTo(role, why, adminOf) }]
  })
  const grantable = reasons.filter(([, why]) => why === undefined).length
  const says = `${management} may grant ${grantable} of the roles that they become`
  const more = problems.length - SHOWN_MAX
  return [
    ...(problems.length === 0 ? [{ name: 'groups', mark: 'ok', says } as const] : []),
    ...problems.slice(0, SHOWN_MAX),
    ...(more > 0 ? [{ name: 'groups', mark: 'unchecked', says: `and ${more} more` } as const] : []),
  ]
}

/** Those that the file names, and those on the node that its patterns fit. */
async function rolesMeant(ask: Ask, { roles }: Pick<Authorization, 'roles'>, foldCase: boolean) {
  const named = roles
    .filter(({ literal }) => literal)
    .map(({ text }) => (foldCase ? normalizeUsername(text) : text))
  const patterns = roles.filter(({ literal }) => !literal)
  const there = patterns.length === 0 ? [] : await ask(GROUPS)
  const fitting = there
    .map((row) => String(row['name']))
    .filter(
      (name) => !named.includes(name) && patterns.some((each) => each.matches(name, foldCase)),
    )
  return { named, fitting }
}

const GROUPS = `SELECT rolname AS name FROM pg_roles
  WHERE NOT rolcanlogin AND rolname NOT LIKE 'pg\\_%' ORDER BY rolname LIMIT 1000`

function howTo(role: string, why: string, adminOf: AdminOf): string {
  if (why === NOT_GRANTABLE) return adminOf(role)
  if (why === IS_MISSING) return `CREATE ROLE ${identifier(role)} NOLOGIN; ${adminOf(role)}`
  return "a group becomes a role with NOLOGIN and a user's rights: mend it, or name it in allow_roles"
}
