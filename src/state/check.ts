/**
 * Whether the database of the shared state is ours alone: whoever else could write there could take a
 * revocation back, and whoever could read there would know whom to imitate.
 * https://www.postgresql.org/docs/18/ddl-priv.html
 * Rule: what is wrong is told with the statement that mends it, and nothing is mended here.
 */
import { identifier } from '../cluster/paste.ts'
import type { Row } from '../cluster/query.ts'
import type { Ask } from '../cluster/visit.ts'
import { Failure } from '../failure.ts'
import type { Dialect } from '../wire/options.ts'
import { SCHEMA } from './tables.ts'

export interface StatePlace {
  role: string
  database: string
}

export interface Problem {
  says: string
  todo: string
}

/** @throws Failure `state_unusable` with all that is wrong; NodeRefused */
export async function demandOwn(ask: Ask, place: StatePlace, dialect: Dialect): Promise<void> {
  const problems = await examine(ask, place, dialect)
  if (problems.length === 0) return
  const told = problems.map(({ says, todo }) => `${says} (run: ${todo})`)
  throw new Failure('state_unusable', { values: { problem: told.join('; ') } })
}

/** As the role itself, in the database. @throws NodeRefused */
export async function examine(ask: Ask, place: StatePlace, dialect: Dialect): Promise<Problem[]> {
  const owner = await ownerProblems(ask, place)
  const members = await memberProblems(ask, place, dialect)
  const grants = await (dialect === 'postgresql'
    ? postgresqlGrants(ask)
    : cockroachGrants(ask, place))
  return [...owner, ...members, ...grants.map((grant) => grantProblem(grant, place))]
}

async function ownerProblems(ask: Ask, { role, database }: StatePlace): Promise<Problem[]> {
  const [row] = await ask(
    `SELECT pg_get_userbyid(datdba) AS owner, pg_get_userbyid(datdba) = current_user AS own
     FROM pg_database WHERE datname = current_database()`,
  )
  if (row?.['own'] === 't') return []
  return [
    {
      says: `the database ${database} is owned by ${row?.['owner']}, not by ${role}`,
      todo: `ALTER DATABASE ${identifier(database)} OWNER TO ${identifier(role)}`,
    },
  ]
}

/**
 * Who made the role may administer it (PostgreSQL 16 and newer), and can't be rid of that; it counts once it
 * lets him use the role.
 */
async function memberProblems(
  ask: Ask,
  { role }: StatePlace,
  dialect: Dialect,
): Promise<Problem[]> {
  const uses =
    dialect === 'postgresql'
      ? `AND (coalesce(to_jsonb(m) ->> 'inherit_option', 'true') = 'true'
          OR coalesce(to_jsonb(m) ->> 'set_option', 'true') = 'true')`
      : ''
  const rows = await ask(
    `SELECT DISTINCT pg_get_userbyid(m.member) AS member FROM pg_auth_members m
     WHERE m.roleid = (SELECT oid FROM pg_roles WHERE rolname = current_user) ${uses}
     ORDER BY 1 LIMIT ${SHOWN_MAX}`,
  )
  return rows.map(({ member }) => ({
    says: `${member} is a member of ${role}`,
    todo: `REVOKE ${identifier(role)} FROM ${identifier(member ?? '')}`,
  }))
}

const SHOWN_MAX = 10

/** What somebody else may do there. */
interface Grant {
  object: 'DATABASE' | 'SCHEMA' | 'TABLE' | 'OWNER'
  name: string
  /** `PUBLIC`, or a role; of `OWNER`, who it is. */
  grantee: string
  privilege: string
}

/**
 * On the schema "public" it is about everybody; on what is ours, about anybody else. Who may not connect can't
 * use pg_write_all_data either, which no list of grants shows.
 */
const POSTGRESQL_GRANTS = `
  WITH us AS (SELECT oid FROM pg_roles WHERE rolname = current_user),
  acl(object, name, owner, own, items) AS (
    SELECT 'DATABASE', quote_ident(datname), datdba, true,
      coalesce(datacl, acldefault('d', datdba))
    FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 'SCHEMA', quote_ident(nspname), nspowner, nspname = '${SCHEMA}',
      coalesce(nspacl, acldefault('n', nspowner))
    FROM pg_namespace WHERE nspname IN ('public', '${SCHEMA}')
    UNION ALL
    SELECT 'TABLE', '${SCHEMA}.' || quote_ident(relname), relowner, true,
      coalesce(relacl, acldefault('r', relowner))
    FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
      AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = '${SCHEMA}')
  )
  SELECT object, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END AS grantee,
    privilege_type AS privilege
  FROM acl, us, aclexplode(items) WHERE grantee = 0 OR (own AND grantee NOT IN (us.oid, owner))
  UNION ALL
  SELECT 'OWNER', object || ' ' || name, pg_get_userbyid(owner), '' FROM acl, us
  WHERE own AND owner <> us.oid AND object <> 'DATABASE'
  ORDER BY 1, 2, 3, 4 LIMIT ${SHOWN_MAX}`

async function postgresqlGrants(ask: Ask): Promise<Grant[]> {
  return (await ask(POSTGRESQL_GRANTS)).map((row) => ({
    object: (row['object'] ?? 'TABLE') as Grant['object'],
    name: row['name'] ?? '',
    grantee: row['grantee'] ?? '',
    privilege: row['privilege'] ?? '',
  }))
}

/** Whoever is an admin there has everything, as a superuser has on PostgreSQL. */
const ADMINS = ['admin', 'root']

async function cockroachGrants(ask: Ask, { role, database }: StatePlace): Promise<Grant[]> {
  const found: Grant[] = []
  const look = async (object: 'DATABASE' | 'SCHEMA' | 'TABLE', name: string, own: boolean) => {
    for (const row of await ask(`SHOW GRANTS ON ${object} ${name}`)) {
      const [grantee, privilege] = [row['grantee'] ?? '', row['privilege_type'] ?? '']
      const isOther = own && grantee !== role && !ADMINS.includes(grantee)
      if (grantee === 'public' || isOther) found.push({ object, name, grantee, privilege })
    }
  }
  await look('DATABASE', identifier(database), true)
  const schemas = await ask('SELECT nspname AS name FROM pg_namespace')
  const there = (name: string) => schemas.some((row: Row) => row['name'] === name)
  if (there('public')) await look('SCHEMA', `${identifier(database)}.public`, false)
  if (!there(SCHEMA)) return found
  await look('SCHEMA', `${identifier(database)}.${SCHEMA}`, true)
  const tables = await ask(
    `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = '${SCHEMA}'`,
  )
  for (const { name } of tables) await look('TABLE', `${SCHEMA}.${identifier(name ?? '')}`, true)
  return found.slice(0, SHOWN_MAX)
}

function grantProblem(
  { object, name, grantee, privilege }: Grant,
  { role, database }: StatePlace,
): Problem {
  const where = `in the database ${database}`
  if (object === 'OWNER')
    return {
      says: `${name} is owned by ${grantee}, not by ${role}`,
      todo: `${where}: ALTER ${name} OWNER TO ${identifier(role)}`,
    }
  const everybody = grantee.toLowerCase() === 'public'
  const whom = everybody ? 'PUBLIC' : identifier(grantee)
  const mend = `REVOKE ALL ON ${object} ${name} FROM ${whom}`
  return {
    says: `${everybody ? 'PUBLIC' : grantee} has ${privilege} on ${object} ${name}`,
    todo: object === 'DATABASE' ? mend : `${where}: ${mend}`,
  }
}
