/**
 * What a client left of itself in a session is undone, as far as the database undoes it (docs/pool.md
 * has the rest). https://www.postgresql.org/docs/18/sql-discard.html
 * Rule: the next client is told the settings of the session's beginning, so they have to hold again.
 */
import type { Leg } from '../leg.ts'
import type { Dialect } from '../wire/options.ts'
import { query } from '../wire/rows.ts'
import { Doubt, exactAnswer } from './exact_answer.ts'

/**
 * Each with what its CommandComplete may say, which on CockroachDB depends on the version. After RESET
 * ROLE the role is the one that the settings of the beginning gave, whatever DISCARD ALL made of it.
 */
const STATEMENTS: Record<Dialect, { sql: string; tags: string[] }[]> = {
  postgresql: [
    { sql: 'DISCARD ALL', tags: ['DISCARD ALL'] },
    { sql: 'RESET ROLE', tags: ['RESET'] },
  ],
  cockroachdb: [
    { sql: 'CLOSE ALL', tags: ['CLOSE', 'CLOSE CURSOR', 'CLOSE CURSOR ALL'] },
    { sql: 'DISCARD ALL', tags: ['DISCARD', 'DISCARD ALL'] },
  ],
}

/** The first CockroachDB whose DISCARD ALL drops temporary tables and forgets sequences and SET ROLE. */
const COCKROACHDB_SINCE = [23, 1] as const

/**
 * What a session may not be that somebody else gets, each as one column that has to be true. A role of the
 * beginning, and settings that not everybody may make, hold on when the right to them is taken back. Nothing
 * but the session's end drops a temporary replication slot, and whoever may be a role that replicates can have
 * made one: the view pg_replication_slots would tell as well, for four times the node's time (40 us).
 */
const WANTED: readonly (readonly [sql: string, otherwise: string])[] = [
  ['current_user OPERATOR(pg_catalog.=) session_user', 'it begins with a role of its own'],
  ['NOT r.rolsuper AND NOT r.rolreplication', 'the role is a superuser, or may replicate'],
  [
    `NOT pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) ANY (ARRAY(
      SELECT p.active_pid FROM pg_catalog.pg_get_replication_slots() AS p WHERE p.temporary))`,
    'it has a temporary replication slot',
  ],
]
/** Asked once, because it costs a millisecond: what a session began with stays. */
const WANTED_FIRST: typeof WANTED = [
  [
    `NOT EXISTS (SELECT FROM pg_catalog.pg_settings AS s WHERE s.source OPERATOR(pg_catalog.=) 'client'
      AND s.context OPERATOR(pg_catalog.<>) 'user')`,
    'it begins with a setting that not everybody may make',
  ],
]

export interface Reset {
  /** It was not kept before. */
  first: boolean
  dialect: Dialect
  /** As the node said them when the session began. */
  parameters: ReadonlyMap<string, string>
  /** It said another one since: a reload or a promotion may have changed what a fresh session begins with. */
  parametersTold: boolean
}

/** @throws Doubt; what ended the leg or its deadline */
export async function poolReset(leg: Leg, about: Reset): Promise<void> {
  const { dialect, parameters, parametersTold, first } = about
  if (dialect === 'cockroachdb' && !discards(parameters.get('crdb_version')))
    throw new Doubt('DISCARD ALL leaves too much before CockroachDB 23.1')
  const statements = STATEMENTS[dialect]
  const wanted = dialect === 'postgresql' ? [...WANTED, ...(first ? WANTED_FIRST : [])] : []
  const asked = parametersTold ? [currentSettings(parameters)] : []
  const questions = wanted.length > 0 ? [questionOf(wanted), ...asked] : asked
  leg.send(Buffer.concat([...statements.map(({ sql }) => sql), ...questions].map(query)))
  for (const { tags } of statements) await exactAnswer(leg, tags, parameters)
  if (wanted.length > 0) {
    const answers = await exactAnswer(leg, ['SELECT 1'], parameters)
    for (const [at, [, otherwise]] of wanted.entries())
      if (answers[at] !== 't') throw new Doubt(otherwise)
  }
  if (!parametersTold) return
  const values = await exactAnswer(leg, ['SELECT 1'], parameters)
  for (const [at, [name, value]] of [...parameters].entries())
    if (values[at] !== value) throw new Doubt(`${name} is another one now`)
}

function questionOf(wanted: typeof WANTED): string {
  return `SELECT ${wanted.map(([sql]) => sql).join(', ')}
    FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) session_user`
}

/** Names come from the node, and into a text only where they are plain. */
function currentSettings(parameters: ReadonlyMap<string, string>): string {
  const columns = [...parameters.keys()].map((name) => {
    if (!/^\w+(?:\.\w+)*$/.test(name)) throw new Doubt('a setting with an odd name')
    return `pg_catalog.current_setting('${name}')`
  })
  return `SELECT ${columns.join(', ')}`
}

/** @param version - like `CockroachDB CCL v23.1.8 (x86_64-pc-linux-gnu, …)` */
function discards(version = ''): boolean {
  const [, major = 0, minor = 0] = /\bv(\d+)\.(\d+)\./.exec(version)?.map(Number) ?? []
  const [sinceMajor, sinceMinor] = COCKROACHDB_SINCE
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor)
}
