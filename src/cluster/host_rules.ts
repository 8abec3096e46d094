/**
 * The lines of pg_hba.conf and pg_ident.conf, as a node's views show them: which one decides about a
 * connection. Pure. https://www.postgresql.org/docs/18/auth-pg-hba-conf.html
 * Rule: where a line holds what only the node can judge (a pattern, a host's name), we don't guess.
 */

/** A row of pg_hba_file_rules. */
export interface HostRule {
  line: number
  type: string
  databases: string[]
  users: string[]
  /** Its address is ours; undefined where the node alone can tell. */
  addressFits: boolean | undefined
  method: string
  options: string[]
  /** The line as people know it. */
  text: string
}

export interface Connecting {
  unix: boolean
  encrypted: boolean
  role: string
  /** Roles that it is a member of, however far. */
  groups: readonly string[]
  database: string
}

export type Deciding =
  | { kind: 'rule'; rule: HostRule }
  | { kind: 'unclear'; rule: HostRule }
  | { kind: 'none' }

/** The first line that fits decides, whatever it says. */
export function decidingRule(rules: readonly HostRule[], connecting: Connecting): Deciding {
  for (const rule of rules) {
    const fits = fitting(rule, connecting)
    if (fits === true) return { kind: 'rule', rule }
    if (fits === undefined) return { kind: 'unclear', rule }
  }
  return { kind: 'none' }
}

function fitting(rule: HostRule, connecting: Connecting): boolean | undefined {
  const answers = [
    TYPES[rule.type]?.(connecting) ?? false,
    anyOf(rule.databases, (name) => databaseFits(name, connecting)),
    anyOf(rule.users, (name) => userFits(name, connecting)),
    connecting.unix || rule.addressFits,
  ]
  if (answers.includes(false)) return false
  return answers.includes(undefined) ? undefined : true
}

const TYPES: Record<string, (connecting: Connecting) => boolean> = {
  local: ({ unix }) => unix,
  host: ({ unix }) => !unix,
  hostssl: ({ unix, encrypted }) => !unix && encrypted,
  hostnossl: ({ unix, encrypted }) => !unix && !encrypted,
  hostnogssenc: ({ unix }) => !unix,
}

function databaseFits(name: string, { database, role, groups }: Connecting): boolean | undefined {
  if (name === 'all' || name === database) return true
  if (name === 'sameuser') return database === role
  if (name === 'samerole' || name === 'samegroup') return [role, ...groups].includes(database)
  return name.startsWith('/') ? undefined : false
}

function userFits(name: string, { role, groups }: Connecting): boolean | undefined {
  if (name === 'all' || name === role) return true
  if (name.startsWith('+')) return [role, ...groups].includes(name.slice(1))
  return name.startsWith('/') ? undefined : false
}

function anyOf(names: string[], fits: (name: string) => boolean | undefined): boolean | undefined {
  const answers = names.map(fits)
  if (answers.includes(true)) return true
  return answers.includes(undefined) ? undefined : false
}

/** A row of pg_ident_file_mappings. */
export interface IdentLine {
  line: number
  map: string
  system: string
  role: string
}

/**
 * Whether a line of the map lets the system's user be a role by its group.
 * @param plus - the node knows `+group` and `all` there (PostgreSQL 16).
 */
export function identFits(
  lines: readonly IdentLine[],
  map: string,
  { osUser, role, groups, plus }: { osUser: string; role: string; groups: string[]; plus: boolean },
): boolean | undefined {
  const own = lines.filter((line) => line.map === map)
  return anyOf(
    own.map((_line, index) => String(index)),
    (index) => {
      const line = own[Number(index)]
      if (line === undefined) return false
      const user = line.system.startsWith('/') ? undefined : line.system === osUser
      const names = plus ? [role, 'all', ...groups.map((group) => `+${group}`)] : [role]
      const fits = names.includes(line.role) || (line.role.startsWith('/') ? undefined : false)
      if (user === false || fits === false) return false
      return user && fits
    },
  )
}
