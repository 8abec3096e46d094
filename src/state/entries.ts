/**
 * Entries of the access lists that gates share, as they are written, taken out and listed.
 * Rule: what is denied once more is denied as long as either says, and what is allowed, as long as was said
 * last; the last entry of an allowlist goes only where that is meant: without one everybody may come.
 */
import type { AccessEntry } from '../policy/lists.ts'
import { changing, checked, KEPT_S, later, SHOWN_MAX, seconds, usage } from './changes.ts'
import { addToHistory, type HistoryEntry } from './history.ts'
import type { StateSession } from './session.ts'
import { ENTRY, entryOf, ROWS_MAX, SCHEMA } from './tables.ts'

/** What tells an entry from the others. */
export type EntryName = Pick<AccessEntry, 'list' | 'kind' | 'cluster' | 'item'>

const TABLE = `${SCHEMA}.access_entries`

/**
 * @param by - who asked for it, for the list of changes.
 * @returns the entry as it is now
 * @throws Failure `usage` for what no row can hold, or one too many; NodeRefused, LegEnded
 */
export async function putEntry(
  session: StateSession,
  { list, kind, cluster, item, until, why }: AccessEntry,
  nowMs: number,
  by?: HistoryEntry,
): Promise<AccessEntry> {
  const values = [...[list, kind, cluster, item, why].map((each) => checked(each)), seconds(until)]
  const end = list === 'deny' ? later('until') : 'excluded.until'
  const over = seconds(nowMs / 1000 - KEPT_S)
  return await changing(session, async () => {
    // An allowlist's stay: they still say that there is one.
    await session.ask(`DELETE FROM ${TABLE} WHERE list = 'deny' AND until < ${over}`)
    const [row] = await session.ask(
      `INSERT INTO ${TABLE} AS old (list, kind, cluster, item, why, until)
       VALUES (${values.join(', ')})
       ON CONFLICT (${ENTRY.key}) DO UPDATE SET why = excluded.why, until = ${end}
       RETURNING ${ENTRY.key}, ${ENTRY.more}`,
    )
    const [count] = await session.ask(`SELECT count(*) AS rows FROM ${TABLE}`)
    if (Number(count?.['rows']) > ROWS_MAX)
      throw usage(`there are ${ROWS_MAX} entries already: remove some, or name larger networks`)
    if (by !== undefined) await addToHistory(session.ask, by)
    return entryOf(row ?? {})
  })
}

/**
 * @param spellings - of the item: who wrote the entry may have written it in another way.
 * @param last - also where it is the last one that says that its cluster has an allowlist.
 * @returns whether it was there
 * @throws Failure `usage`; as `putEntry`
 */
export async function removeEntry(
  session: StateSession,
  { list, kind, cluster }: Omit<EntryName, 'item'>,
  spellings: readonly string[],
  last: boolean,
  by?: HistoryEntry,
): Promise<boolean> {
  const [l, k, c] = [list, kind, cluster].map((each) => checked(each))
  const items = spellings.map((each) => checked(each)).join(', ')
  return await changing(session, async () => {
    const gone = await session.ask(
      `DELETE FROM ${TABLE}
       WHERE list = ${l} AND kind = ${k} AND cluster = ${c} AND item IN (${items}) RETURNING item`,
    )
    if (gone.length > 0 && list === 'allow' && !last) await demandMore(session, cluster)
    if (gone.length > 0 && by !== undefined) await addToHistory(session.ask, by)
    return gone.length > 0
  })
}

/** @throws Failure `usage` */
async function demandMore({ ask }: StateSession, cluster: string): Promise<void> {
  const left = await ask(
    `SELECT 1 AS one FROM ${TABLE} WHERE list = 'allow' AND cluster = ${checked(cluster)} LIMIT 1`,
  )
  if (left.length > 0) return
  throw usage(
    `this is the last entry of the allowlist of cluster ${cluster}, and without one everybody may come: say --everybody, or write another one first (allow --nobody lets in nobody)`,
  )
}

/** As they are kept, those that have ended too. */
export async function listEntries({ ask }: StateSession): Promise<AccessEntry[]> {
  const rows = await ask(
    `SELECT ${ENTRY.key}, ${ENTRY.more} FROM ${TABLE}
     ORDER BY list, cluster, kind, item LIMIT ${SHOWN_MAX}`,
  )
  return rows.map(entryOf)
}
