/**
 * What is written to the shared state: revocations, and their end; entries.ts has those of lists. The gates
 * hear of it by a number that grows with each change, and on PostgreSQL at once by NOTIFY, in the same
 * transaction.
 * Rule: what is revoked once more is revoked as far as either says; only a lift takes something back.
 */
import { literal } from '../cluster/paste.ts'
import { NodeRefused } from '../cluster/sign_in.ts'
import type { Settings } from '../config/document.ts'
import { Failure, NODE_SAYS } from '../failure.ts'
import type { Revocation } from '../policy/revocation.ts'
import { addToHistory, type HistoryEntry } from './history.ts'
import type { StateSession } from './session.ts'
import type { KeptSetting } from './snapshot.ts'
import {
  CHANNEL,
  ROWS_MAX,
  revocationOf,
  SCHEMA,
  SETTING_BYTES_MAX,
  settingOf,
  TEXT_BYTES_MAX,
} from './tables.ts'

export type Revoked = Pick<Revocation, 'kind' | 'issuer' | 'value'>

export interface ListedRevocation extends Revocation {
  who: string
  /** Seconds since the epoch. */
  at: number
}

const TABLE = `${SCHEMA}.revocations`
const SETTINGS = `${SCHEMA}.settings`
/** A transaction of CockroachDB's that met another one is begun anew. */
const TRIES = 5
/** For how long what has ended is still there to be listed. */
export const KEPT_S = 86_400

/**
 * @param who - did it, for the list.
 * @returns what is revoked now: with what was revoked before, as far as that still holds
 * @throws Failure `usage` for what no row can hold, or one too many; NodeRefused, LegEnded
 */
export async function revoke(
  session: StateSession,
  { kind, issuer, value, before, until, why }: Revocation,
  who: string,
  nowMs: number,
  said: Said = NOTHING_SAID,
): Promise<Revocation> {
  const texts = [kind, issuer, value, why, who].map((each) => checked(each))
  const times = [seconds(before), seconds(until), seconds(nowMs / 1000)]
  return await changing(session, async () => {
    await session.ask(`DELETE FROM ${TABLE} WHERE until < ${seconds(nowMs / 1000 - KEPT_S)}`)
    // What is over is listed for a day, and is no part of what comes now.
    await session.ask(
      `DELETE FROM ${TABLE} WHERE kind = ${texts[0]} AND issuer = ${texts[1]} AND value = ${texts[2]}
         AND until <= ${Math.floor(nowMs / 1000)}`,
    )
    const [now] = await session.ask(
      `INSERT INTO ${TABLE} AS old (kind, issuer, value, why, who, before, until, at)
       VALUES (${[...texts, ...times].join(', ')})
       ON CONFLICT (kind, issuer, value) DO UPDATE SET why = excluded.why, who = excluded.who,
         at = excluded.at, before = ${later('before')}, until = ${later('until')}
       RETURNING kind, issuer, value, before, until, why`,
    )
    const [row] = await session.ask(`SELECT count(*) AS rows FROM ${TABLE}`)
    if (Number(row?.['rows']) > ROWS_MAX)
      throw usage(
        `there are ${ROWS_MAX} revocations already: lift those that are over, or revoke by subject or issuer`,
      )
    await addToHistory(session.ask, {
      ...historyOf(who, nowMs, said),
      change: 'revoke',
    })
    return revocationOf(now ?? {})
  })
}

/** NULL is the latest of all. */
export function later(column: string): string {
  const either = `old.${column} IS NULL OR excluded.${column} IS NULL`
  return `CASE WHEN ${either} THEN NULL ELSE greatest(old.${column}, excluded.${column}) END`
}

/** @returns whether it was revoked. @throws as `revoke` */
export async function lift(
  session: StateSession,
  { kind, issuer, value }: Revoked,
  who: string,
  nowMs: number,
  said: Said = NOTHING_SAID,
): Promise<boolean> {
  const [k, i, v] = [kind, issuer, value].map((each) => checked(each))
  return await changing(session, async () => {
    const gone = await session.ask(
      `DELETE FROM ${TABLE} WHERE kind = ${k} AND issuer = ${i} AND value = ${v} RETURNING kind`,
    )
    if (gone.length > 0)
      await addToHistory(session.ask, { ...historyOf(who, nowMs, said), change: 'lift' })
    return gone.length > 0
  })
}

/**
 * @param value - undefined: as it is by default
 * @param mayBe - throws where it may not be, by what is set now
 * @throws as `revoke`
 */
export async function setSetting(
  session: StateSession,
  { name, value, who }: { name: string; value: string | undefined; who: string },
  nowMs: number,
  said: Said,
  mayBe: (now: Settings) => void = () => undefined,
): Promise<void> {
  const [n, w] = [checked(name), checked(who)]
  const v = value === undefined ? undefined : checked(value, SETTING_BYTES_MAX)
  await changing(session, async () => {
    const now = await listSettings(session)
    mayBe(new Map(now.map((each) => [each.name, each.value])))
    await session.ask(
      v === undefined
        ? `DELETE FROM ${SETTINGS} WHERE name = ${n}`
        : `INSERT INTO ${SETTINGS} (name, value, who, at) VALUES (${n}, ${v}, ${w}, ${seconds(nowMs / 1000)})
           ON CONFLICT (name) DO UPDATE SET value = excluded.value, who = excluded.who, at = excluded.at`,
    )
    await addToHistory(session.ask, {
      ...historyOf(who, nowMs, said),
      change: 'set_cluster_setting',
    })
  })
}

/** As they are kept, in order. */
export async function listSettings({ ask }: StateSession): Promise<KeptSetting[]> {
  const rows = await ask(
    `SELECT name, value, who, at FROM ${SETTINGS} ORDER BY name LIMIT ${SETTINGS_SHOWN_MAX}`,
  )
  return rows.map(settingOf)
}

/** What changed nothing here, for who asks what was done. @throws as `revoke` */
export async function noteChange(
  session: StateSession,
  who: string,
  nowMs: number,
  said: Said,
): Promise<void> {
  await changing(session, () => addToHistory(session.ask, historyOf(who, nowMs, said)))
}

/** All that is revoked, the newest last. */
export async function listRevocations({ ask }: StateSession): Promise<ListedRevocation[]> {
  const rows = await ask(
    `SELECT * FROM ${TABLE} ORDER BY at, kind, issuer, value LIMIT ${SHOWN_MAX}`,
  )
  return rows.map((row) => ({
    ...revocationOf(row),
    who: row['who'] ?? '',
    at: Number(row['at'] ?? 0),
  }))
}

/** How and from where a change was asked for. */
export type Said = Omit<HistoryEntry, 'at' | 'who'>

const NOTHING_SAID: Said = { change: '', statement: '', address: '', session: '', cluster: '' }

function historyOf(who: string, nowMs: number, said: Said): HistoryEntry {
  return { ...said, who, at: nowMs / 1000 }
}

/** As many as one answer of a node's holds, however long they are. */
export const SHOWN_MAX = 2_000
export const SETTINGS_SHOWN_MAX = 500

/** The number goes first: who else changes something waits for it. */
export async function changing<T>(
  { ask, dialect }: StateSession,
  work: () => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      await ask('BEGIN')
      await ask(`UPDATE ${SCHEMA}.changes SET number = number + 1`)
      const done = await work()
      if (dialect === 'postgresql') await ask(`NOTIFY ${CHANNEL}`)
      await ask('COMMIT')
      return done
    } catch (thrown) {
      const again = thrown instanceof NodeRefused && thrown.refusal.sqlstate === NODE_SAYS.again
      if (!again || tries === TRIES) throw thrown
      await ask('ROLLBACK')
    }
  }
}

/** As a value of a statement. @throws Failure `usage` for what no row can hold */
export function checked(text: string, bytesMax = TEXT_BYTES_MAX): string {
  if (text.includes('\0')) throw usage('a NUL is in no name')
  if (Buffer.byteLength(text) > bytesMax)
    throw usage(`longer than ${bytesMax} bytes: ${text.slice(0, 40)}…`)
  return literal(text)
}

/** As a value of a statement. Rounded up: neither ends something early nor spares what came in the same second. */
export function seconds(value: number | undefined): string {
  if (value === undefined) return 'NULL'
  const whole = Math.ceil(value)
  if (!Number.isSafeInteger(whole)) throw usage(`${value} is no time`)
  return String(whole)
}

export function usage(problem: string): Failure {
  return new Failure('usage', { values: { problem } })
}
