/**
 * The heads of the gates' audit streams, kept where the streams are not: one row a chain, its last head.
 * Rule: a head only goes forward.
 */
import { literal } from '../cluster/paste.ts'
import type { Ask } from '../cluster/visit.ts'
import type { KnownHead } from '../telemetry/heads_to_find.ts'
import type { Head } from '../telemetry/seal.ts'
import { SCHEMA } from './tables.ts'

const TABLE = `${SCHEMA}.audit_heads`
/** Longer than anybody keeps a stream without having looked. */
const KEPT_MS = 400 * 86_400_000
/** One a start of a gate. */
const HEADS_MAX = 10_000

/** @param gate - whose stream it is. @throws NodeRefused, LegEnded */
export async function writeHead(
  ask: Ask,
  { chain, seq, mac }: Head,
  gate: string,
  nowMs: number,
): Promise<void> {
  const row = [literal(chain), literal(gate), seq, literal(mac), Math.floor(nowMs)].join(', ')
  await ask(
    `INSERT INTO ${TABLE} AS old (chain, gate, seq, mac, at_ms) VALUES (${row})
     ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, mac = excluded.mac, at_ms = excluded.at_ms
     WHERE old.seq < excluded.seq`,
  )
  // This gate's alone: the clock of another one may be wrong.
  const old = Math.floor(nowMs) - KEPT_MS
  await ask(`DELETE FROM ${TABLE} WHERE at_ms < ${old} AND gate = ${literal(gate)}`)
}

/** The last ones, in the order in which they were kept; of all gates, or of one. @throws NodeRefused, LegEnded */
export async function readHeads(
  ask: Ask,
  gate?: string,
  limit = HEADS_MAX,
): Promise<(KnownHead & { gate: string })[]> {
  const rows = await ask(
    `SELECT * FROM ${TABLE} WHERE ${gate === undefined ? 'true' : `gate = ${literal(gate)}`}
     ORDER BY at_ms DESC, chain DESC LIMIT ${limit}`,
  )
  return rows.toReversed().map((row) => ({
    chain: row['chain'] ?? '',
    seq: Number(row['seq'] ?? 0),
    mac: row['mac'] ?? '',
    at: new Date(Number(row['at_ms'] ?? 0)).toISOString(),
    gate: row['gate'] ?? '',
  }))
}
