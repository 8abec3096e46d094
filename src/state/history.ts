/**
 * What was changed by whom: revocations, settings, and what the console was told, kept with the shared state
 * for whoever asks tomorrow. The audit stream is the proof; this is the list that is at hand.
 * Rule: the last ten thousand changes are kept, and no text of them is longer than a row's bound.
 */
import { literal } from '../cluster/paste.ts'
import type { Row } from '../cluster/query.ts'
import type { Ask } from '../cluster/visit.ts'
import { SCHEMA, TEXT_BYTES_MAX } from './tables.ts'

/** Texts are empty where there is nothing to say. */
export interface HistoryEntry {
  /** Seconds since the epoch. */
  at: number
  /** Like an event of the audit stream: `revoke`, `set_cluster_setting`. */
  change: string
  statement: string
  who: string
  /** Where from. */
  address: string
  /** Of the console. */
  session: string
  cluster: string
}

export const HISTORY_MAX = 10_000
/** As many as one answer of a node's holds, however long they are. */
const SHOWN_MAX = 2_000
const TABLE = `${SCHEMA}.history`

/** Within the transaction of a change, whose number it has. */
export async function addToHistory(ask: Ask, entry: HistoryEntry): Promise<void> {
  const { at, change, statement, who, address, session, cluster } = entry
  const texts = [change, statement, who, address, session, cluster].map(short).map(literal)
  const number = `(SELECT number FROM ${SCHEMA}.changes)`
  await ask(
    `INSERT INTO ${TABLE} (number, at, change, statement, who, address, session, cluster)
     VALUES (${number}, ${Math.ceil(at)}, ${texts.join(', ')})`,
  )
  await ask(`DELETE FROM ${TABLE} WHERE number <= ${number} - ${HISTORY_MAX}`)
}

/** The newest first. */
export async function readHistory(ask: Ask, limit: number): Promise<HistoryEntry[]> {
  const rows = await ask(
    `SELECT * FROM ${TABLE} ORDER BY number DESC LIMIT ${Math.min(limit, SHOWN_MAX)}`,
  )
  return rows.map(entryOf)
}

function entryOf(row: Row): HistoryEntry {
  const text = (name: string) => row[name] ?? ''
  return {
    at: Number(text('at')),
    change: text('change'),
    statement: text('statement'),
    who: text('who'),
    address: text('address'),
    session: text('session'),
    cluster: text('cluster'),
  }
}

/** Cut where no character is cut in two. */
function short(text: string): string {
  const bytes = Buffer.from(text.replaceAll('\0', '\ufffd'))
  if (bytes.length <= TEXT_BYTES_MAX) return bytes.toString()
  let end = TEXT_BYTES_MAX - ELLIPSIS.length
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return `${bytes.toString('utf8', 0, end)}${ELLIPSIS}`
}

const ELLIPSIS = '...'
