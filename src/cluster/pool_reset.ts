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
 * Each with what its CommandComplete may say, which on CockroachDB depends on the version. DISCARD ALL
 * forgets a role that the settings of the beginning gave, and RESET ROLE brings it back.
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

export interface Reset {
  dialect: Dialect
  /** As the node said them when the session began. */
  parameters: ReadonlyMap<string, string>
  /** It said another one since: a reload or a promotion may have changed what a fresh session begins with. */
  parametersTold: boolean
}

/** @throws Doubt; what ended the leg or its deadline */
export async function poolReset(leg: Leg, about: Reset): Promise<void> {
  const { dialect, parameters, parametersTold } = about
  if (dialect === 'cockroachdb' && !discards(parameters.get('crdb_version')))
    throw new Doubt('DISCARD ALL leaves too much before CockroachDB 23.1')
  const statements = STATEMENTS[dialect]
  const asked = parametersTold ? [query(currentSettings(parameters))] : []
  leg.send(Buffer.concat([...statements.map(({ sql }) => query(sql)), ...asked]))
  for (const { tags } of statements) await exactAnswer(leg, tags, parameters)
  if (!parametersTold) return
  const values = await exactAnswer(leg, ['SELECT 1'], parameters)
  for (const [at, [name, value]] of [...parameters].entries())
    if (values[at] !== value) throw new Doubt(`${name} is another one now`)
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
