/**
 * What the management role sees on a PostgreSQL: its version, the group and its members, and whether
 * the node's files let the group in. Each finding is a Check. https://www.postgresql.org/docs/18/views.html
 * Rule: it reads, and changes nothing; a right that it lacks is a check that was not made.
 */
import type { Check } from './doctor.ts'
import { decidingRule, type HostRule, identFits } from './host_rules.ts'
import type { Node } from './node.ts'
import { identifier, literal } from './paste.ts'
import { holding, POWER_NAMES, powerColumns, powersIn } from './powers.ts'
import type { Row } from './query.ts'
import { wordsOf } from './refusals.ts'
import { GROUP, IDENT_MAP } from './setup.ts'
import { NodeRefused } from './sign_in.ts'
import type { Ask } from './visit.ts'

export interface Looking {
  node: Node
  management: string
  osUser: string
  database: string
  /** The line that should let the group in. */
  line: string
  /** Whom the probe is to be, where that is told. */
  role: string | undefined
}

export interface Findings {
  checks: Check[]
  /** Whom to probe with. */
  role: string | undefined
  /** The files let the group in, as they are on the node's disk. */
  filesFit: boolean
}

const PLUS_IN_IDENT_SINCE = 160_000
const IDENT_VIEW_SINCE = 150_000

export async function examine(ask: Ask, looking: Looking): Promise<Findings> {
  const [server] = await ask(
    "SELECT current_setting('server_version_num') AS number, current_setting('server_version') AS name",
  )
  const version = Number(server?.['number'])
  const checks: Check[] = [ok('version', `PostgreSQL ${server?.['name']}`)]
  const members = await lookAtMembers(ask, looking.role)
  const [group] = await ask(
    `SELECT rolcanlogin AS login FROM pg_roles WHERE rolname = ${literal(GROUP)}`,
  )
  checks.push(groupCheck(group), ...(group === undefined ? [] : [membersCheck(members)]))
  const role = looking.role ?? members.probe
  if (looking.role !== undefined) checks.push(await roleCheck(ask, looking.role, members))
  if (looking.node.signIn === 'certificate') checks.push(await caCheck(ask))
  const rules = await attempt('pg_hba.conf', looking.management, 'pg_hba_file_rules', async () =>
    hbaCheck(await ask(RULES), looking),
  )
  const names =
    looking.node.signIn === 'peer' ? [await identCheck(ask, looking, role, version)] : []
  checks.push(rules, ...names)
  const filesFit = rules.mark === 'ok' && names.every(({ mark }) => mark === 'ok')
  const isMember = looking.role === undefined || members.hasRole
  return { checks, role, filesFit: filesFit && isMember && group !== undefined }
}

/** The members of the group, however far. */
interface Members {
  able: number
  /** The first few with more than a user's rights, each with them, and how many there are. */
  strong: { names: string[]; count: number }
  /** An ordinary one. */
  probe: string | undefined
  /** The role that was named is one of them. */
  hasRole: boolean
}

const NAMES_SHOWN_MAX = 5

async function lookAtMembers(ask: Ask, role: string | undefined): Promise<Members> {
  const named = literal(role ?? '')
  const [row] = await ask(`WITH ${MEMBER}
    SELECT count(*) FILTER (WHERE login) AS able, count(*) FILTER (WHERE ${IS_STRONG}) AS strong,
      min(name) FILTER (WHERE login AND NOT ${IS_STRONG}) AS probe,
      coalesce(bool_or(name = ${named}), false) AS has_role
    FROM member`)
  const count = Number(row?.['strong'])
  const first =
    count === 0
      ? []
      : await ask(`WITH ${MEMBER}
    SELECT * FROM member WHERE ${IS_STRONG} ORDER BY name LIMIT ${NAMES_SHOWN_MAX}`)
  return {
    able: Number(row?.['able']),
    strong: {
      names: first.map((each) => `${each['name']} (${powersIn(each).join(', ')})`),
      count,
    },
    probe: row?.['probe'] ?? undefined,
    hasRole: row?.['has_role'] === 't',
  }
}

/** The management role is one of them where it makes users, and nobody else gets in as it. */
const MEMBER = `member AS (
    SELECT role.rolname::text COLLATE "C" AS name, role.rolcanlogin AS login, ${powerColumns()}
    FROM ${holding(`
      WITH RECURSIVE below(oid) AS (
        SELECT member FROM pg_auth_members WHERE roleid = to_regrole(${literal(identifier(GROUP))})
        UNION SELECT m.member FROM pg_auth_members m JOIN below ON m.roleid = below.oid
      ) SELECT oid FROM below`)}
    WHERE role.rolname <> current_user GROUP BY role.rolname, role.rolcanlogin
  )`
const IS_STRONG = `(${POWER_NAMES.join(' OR ')})`

const RULES = `
  SELECT line_number AS line, type, to_json(database) AS databases, to_json(user_name) AS users,
    address, netmask, auth_method AS method, to_json(options) AS options, error,
    CASE WHEN address = 'all' THEN true WHEN netmask IS NULL OR inet_client_addr() IS NULL THEN NULL
      ELSE family(inet_client_addr()) = family(address::inet)
        AND CASE WHEN family(inet_client_addr()) = family(address::inet)
          THEN (inet_client_addr() & netmask::inet) = (address::inet & netmask::inet) END
      END AS fits
  FROM pg_hba_file_rules`

function groupCheck(group: Row | undefined): Check {
  const name = 'group'
  if (group === undefined)
    return bad(name, `the role ${GROUP} is not there`, `CREATE ROLE ${GROUP} NOLOGIN`)
  if (group['login'] === 't')
    return bad(
      name,
      `${GROUP} may log in itself`,
      `ALTER ROLE ${GROUP} NOLOGIN: it only marks its members`,
    )
  return ok(name, `${GROUP} is there, and nobody logs in as it`)
}

function membersCheck({ able, strong }: Members): Check {
  const name = 'members'
  if (able === 0)
    return bad(
      name,
      `no member of ${GROUP} may log in, so nobody can be let in`,
      `CREATE ROLE maxroach LOGIN IN ROLE ${GROUP}, or GRANT ${GROUP} TO a role that is there`,
    )
  const rest = strong.count - strong.names.length
  if (strong.count > 0)
    return bad(
      name,
      `of ${GROUP} are too powerful to be had for a token: ${strong.names.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`,
      `REVOKE ${GROUP} FROM each, or take its power away (ALTER ROLE … NOSUPERUSER NOREPLICATION …)`,
    )
  return ok(name, `${able} of ${GROUP}, none with more than a user's rights`)
}

async function roleCheck(ask: Ask, role: string, members: Members): Promise<Check> {
  const name = 'role'
  const quoted = identifier(role)
  const [found] = await ask(
    `SELECT rolcanlogin AS login FROM pg_roles WHERE rolname = ${literal(role)}`,
  )
  if (found === undefined)
    return bad(name, `there is no role ${role}`, `CREATE ROLE ${quoted} LOGIN IN ROLE ${GROUP}`)
  if (found['login'] !== 't')
    return bad(name, `${role} may not log in (NOLOGIN)`, `ALTER ROLE ${quoted} LOGIN`)
  if (!members.hasRole)
    return bad(name, `${role} is not a member of ${GROUP}`, `GRANT ${GROUP} TO ${quoted}`)
  return ok(name, `${role} may log in, and is a member of ${GROUP}`)
}

async function caCheck(ask: Ask): Promise<Check> {
  const name = 'ssl_ca_file'
  const [row] = await ask("SELECT current_setting('ssl_ca_file') AS file")
  const file = row?.['file'] ?? ''
  if (file !== '') return ok(name, file)
  return bad(
    name,
    'is not set, so no client certificate counts',
    "set it in postgresql.conf to a file with the CA's certificate (trusted.crt), then SELECT pg_reload_conf()",
  )
}

function hbaCheck(rows: Row[], { node, line, database }: Looking): Check {
  const name = 'pg_hba.conf'
  const broken = rows.find(({ error }) => error !== null)
  if (broken !== undefined)
    return bad(
      name,
      `line ${broken['line']}: ${broken['error']}`,
      'mend the line: until then the node reads nothing of the file, and keeps what it had',
    )
  const unix = 'path' in node.address
  const encrypted = node.tls !== undefined
  // A member that no other line knows: what holds for it holds for every one.
  const member = { unix, encrypted, role: '', groups: [GROUP], database }
  const deciding = decidingRule(rows.map(hostRule), member)
  if (deciding.kind === 'none')
    return bad(
      name,
      `no line lets ${GROUP} in from here`,
      `add "${line}" above every other line, then SELECT pg_reload_conf()`,
    )
  const { rule } = deciding
  const said = `line ${rule.line} (${rule.text})`
  if (deciding.kind === 'unclear')
    return unchecked(name, `${said} has a pattern or a host's name, which the node alone can judge`)
  if (METHODS[node.signIn].includes(rule.method)) {
    const options = rule.options.filter((option) => option.startsWith('map='))
    if (node.signIn !== 'peer' || options.length > 0) return ok(name, `${said} lets ${GROUP} in`)
    return bad(
      name,
      `${said} has no map, so only a role with the name of the system's user gets in`,
      `write "${line}" in its place, then SELECT pg_reload_conf()`,
    )
  }
  const does = rule.method === 'reject' ? 'keeps it out' : `wants ${rule.method}`
  return bad(
    name,
    `${said} decides about ${GROUP}, and ${does}`,
    `put "${line}" above it, then SELECT pg_reload_conf()`,
  )
}

const METHODS: Record<Node['signIn'], string[]> = {
  peer: ['peer'],
  certificate: ['cert'],
  scram: ['scram-sha-256'],
  trust: ['trust'],
  forward: ['password', 'pam', 'ldap', 'radius', 'bsd'],
}

function hostRule(row: Row): HostRule {
  const list = (name: string): string[] => JSON.parse(row[name] ?? '[]') ?? []
  const [databases, users, options] = [list('databases'), list('users'), list('options')]
  const { type, address, netmask, method } = row
  const mask = netmask === null || netmask === undefined ? '' : ` ${netmask}`
  const where = address === null || address === undefined ? [] : [`${address}${mask}`]
  return {
    line: Number(row['line']),
    type: type ?? '',
    databases,
    users,
    addressFits: row['fits'] === null ? undefined : row['fits'] === 't',
    method: method ?? '',
    options,
    text: [type, databases, users, ...where, method, ...options].join(' '),
  }
}

async function identCheck(ask: Ask, looking: Looking, role: string | undefined, version: number) {
  const name = 'pg_ident.conf'
  if (version < IDENT_VIEW_SINCE)
    return unchecked(name, 'PostgreSQL 15 and newer let it be seen; the probe will tell')
  return await attempt(name, looking.management, 'pg_ident_file_mappings', async () => {
    const rows = await ask(
      'SELECT line_number AS line, map_name AS map, sys_name AS system, pg_username AS role, error FROM pg_ident_file_mappings',
    )
    const broken = rows.find(({ error }) => error !== null)
    if (broken !== undefined)
      return bad(
        name,
        `line ${broken['line']}: ${broken['error']}`,
        'mend the line: until then the node reads nothing of the file',
      )
    const plus = version >= PLUS_IN_IDENT_SINCE
    const lines = rows.map((row) => ({
      line: Number(row['line']),
      map: row['map'] ?? '',
      system: row['system'] ?? '',
      role: row['role'] ?? '',
    }))
    const { osUser } = looking
    const member = { osUser, role: role ?? '', groups: [GROUP], plus }
    const fits = identFits(lines, IDENT_MAP, member)
    if (fits === undefined) return unchecked(name, 'has patterns, which the node alone can judge')
    const whom = plus ? `the members of ${GROUP}` : (role ?? 'its roles')
    if (fits) return ok(name, `lets ${osUser} be ${whom}`)
    const missing = `${IDENT_MAP}  ${osUser}  ${plus ? `+${GROUP}` : (role ?? 'the role')}`
    return bad(
      name,
      `has no line that lets ${osUser}, who runs this, be ${whom}`,
      `add "${missing}", then SELECT pg_reload_conf()${plus ? '' : ' (before PostgreSQL 16 it takes no +)'}`,
    )
  })
}

async function attempt(
  name: string,
  role: string,
  view: string,
  look: () => Promise<Check>,
): Promise<Check> {
  try {
    return await look()
  } catch (thrown) {
    if (!(thrown instanceof NodeRefused)) throw thrown
    return unchecked(
      name,
      `${role} may not read ${view} (${wordsOf(thrown)}); postern cluster setup prints the two GRANTs`,
    )
  }
}

function ok(name: string, says: string): Check {
  return { name, mark: 'ok', says }
}

function bad(name: string, says: string, todo: string): Check {
  return { name, mark: 'bad', says, todo }
}

function unchecked(name: string, says: string): Check {
  return { name, mark: 'unchecked', says }
}
