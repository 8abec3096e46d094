/**
 * The tables of the shared state: how they are made, step by step, and how they are read whole.
 * https://www.postgresql.org/docs/18/explicit-locking.html#ADVISORY-LOCKS
 * Rule: all of it is read in one transaction, or nothing; what can't be understood is an error, since it may
 * be a revocation.
 */
import type { Row } from '../cluster/query.ts'
import type { Ask } from '../cluster/visit.ts'
import { Failure } from '../failure.ts'
import type { AccessEntry } from '../policy/lists.ts'
import { readNetwork } from '../policy/networks.ts'
import type { Revocation, RevocationKind } from '../policy/revocation.ts'
import type { Dialect } from '../wire/options.ts'
import type { KeptSetting, StateSnapshot } from './snapshot.ts'

export const SCHEMA = 'postern'
/** What PostgreSQL tells its listeners by; it carries nothing. */
export const CHANNEL = 'postern_state'
/** Of a text in them, in bytes: an answer of the node's is bounded, too. */
export const TEXT_BYTES_MAX = 1024
/** Of a setting's value: an identity map may be long. */
export const SETTING_BYTES_MAX = 16_384
/** Of each table. */
export const ROWS_MAX = 100_000
const PAGE = 2_000

const text = (name: string) =>
  `${name} text NOT NULL DEFAULT '' CHECK (octet_length(${name}) <= ${TEXT_BYTES_MAX})`

/** To be added to and never changed: what one of them made is there. */
const MIGRATIONS: readonly string[][] = [
  [
    `CREATE TABLE IF NOT EXISTS ${SCHEMA}.changes (
      one int PRIMARY KEY CHECK (one = 1), number bigint NOT NULL)`,
    `INSERT INTO ${SCHEMA}.changes VALUES (1, 1) ON CONFLICT DO NOTHING`,
    `CREATE TABLE IF NOT EXISTS ${SCHEMA}.revocations (
      kind text NOT NULL CHECK (kind IN ('token', 'digest', 'session', 'subject', 'issuer', 'all')),
      ${text('issuer')}, ${text('value')}, before bigint, until bigint,
      ${text('why')}, ${text('who')}, at bigint NOT NULL DEFAULT extract(epoch FROM now())::bigint,
      PRIMARY KEY (kind, issuer, value))`,
    `CREATE TABLE IF NOT EXISTS ${SCHEMA}.access_entries (
      list text NOT NULL CHECK (list IN ('allow', 'deny')), ${text('cluster')}, ${text('item')},
      kind text NOT NULL CHECK (kind IN ('ip', 'cluster')), until bigint,
      ${text('why')}, sequence bigint NOT NULL DEFAULT 0,
      PRIMARY KEY (list, kind, cluster, item))`,
  ],
  [
    `CREATE TABLE IF NOT EXISTS ${SCHEMA}.settings (
      name text PRIMARY KEY CHECK (octet_length(name) <= ${TEXT_BYTES_MAX}),
      value text NOT NULL CHECK (octet_length(value) <= ${SETTING_BYTES_MAX}),
      ${text('who')}, at bigint NOT NULL)`,
    `CREATE TABLE IF NOT EXISTS ${SCHEMA}.history (
      number bigint PRIMARY KEY, at bigint NOT NULL, ${text('change')}, ${text('statement')},
      ${text('who')}, ${text('address')}, ${text('session')}, ${text('cluster')})`,
  ],
  [
    `CREATE TABLE IF NOT EXISTS ${SCHEMA}.audit_heads (
      chain text PRIMARY KEY CHECK (octet_length(chain) <= ${TEXT_BYTES_MAX}),
      ${text('gate')}, seq bigint NOT NULL, ${text('mac')}, at_ms bigint NOT NULL)`,
  ],
]

/** Of the tables, as this gate makes them. */
export const VERSION = MIGRATIONS.length

/** Whoever takes advisory locks in this database is a gate. */
const LOCK = 0x706f7374

/**
 * Makes what is not there yet. Gates may do so at the same time.
 * @throws Failure `state_unusable` where a newer gate made the tables; NodeRefused
 */
export async function migrate(ask: Ask, dialect: Dialect): Promise<void> {
  if ((await versionOf(ask)) === MIGRATIONS.length) return
  // CockroachDB ends a transaction before it changes a schema: there, each step stands alone and may be repeated.
  const within = dialect === 'postgresql'
  if (within) {
    await ask('BEGIN')
    await ask(`SELECT pg_advisory_xact_lock(${LOCK})`)
  }
  const version = await versionOf(ask)
  if (version > MIGRATIONS.length) {
    const problem = `the shared state was made by a newer Postern (version ${version}, and this one knows ${MIGRATIONS.length}): run that one`
    throw new Failure('state_unusable', { values: { problem } })
  }
  await ask(`CREATE SCHEMA IF NOT EXISTS ${SCHEMA}`)
  await ask(`CREATE TABLE IF NOT EXISTS ${SCHEMA}.schema_version (
    one int PRIMARY KEY CHECK (one = 1), version int NOT NULL)`)
  for (const statement of MIGRATIONS.slice(version).flat()) await ask(statement)
  await ask(`INSERT INTO ${SCHEMA}.schema_version VALUES (1, ${MIGRATIONS.length})
    ON CONFLICT (one) DO UPDATE SET version = excluded.version`)
  if (within) await ask('COMMIT')
}

/** 0 where there is nothing yet. */
async function versionOf(ask: Ask): Promise<number> {
  const there = await ask(
    `SELECT 1 AS one FROM information_schema.tables
     WHERE table_schema = '${SCHEMA}' AND table_name = 'schema_version'`,
  )
  if (there.length === 0) return 0
  const [row] = await ask(`SELECT version FROM ${SCHEMA}.schema_version`)
  return Number(row?.['version'] ?? 0)
}

/** The number of the last change, as the node has it now; undefined on a standby, which lags behind. */
export async function changesSeen(ask: Ask, dialect: Dialect): Promise<string | undefined> {
  const standby = dialect === 'postgresql' ? 'pg_is_in_recovery()' : 'false'
  const [row] = await ask(`SELECT number, ${standby} AS standby FROM ${SCHEMA}.changes`)
  return row?.['standby'] === 'f' ? (row['number'] ?? undefined) : undefined
}

/**
 * All of it, as it was at one moment.
 * @param nowMs - what has ended by then is left out.
 * @throws Failure `state_unusable` where there is too much of it, or something that is not known; NodeRefused
 */
export async function readAll(ask: Ask, nowMs: number): Promise<StateSnapshot> {
  await ask('BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY')
  const [change] = await ask(`SELECT number FROM ${SCHEMA}.changes`)
  const notOver = `(until IS NULL OR until > ${Math.floor(nowMs / 1000)})`
  const revocations = await readTable(ask, 'revocations', REVOCATION, notOver)
  // A cluster whose allowlist has ended lets in nobody, and not everybody.
  const lasting = `(list = 'allow' OR ${notOver})`
  const entries = await readTable(ask, 'access_entries', ENTRY, lasting)
  const settings = await readTable(ask, 'settings', SETTING, 'true')
  await ask('COMMIT')
  return {
    number: change?.['number'] ?? '',
    revocations: revocations.map(revocationOf),
    entries: entries.map(entryOf),
    settings: settings.map(settingOf),
  }
}

/** What is read of a row: first what tells it from the others, by which rows are in order. */
interface Columns {
  key: string
  more: string
}

const REVOCATION: Columns = { key: 'kind, issuer, value', more: 'before, until, why' }
const SETTING: Columns = { key: 'name', more: 'value, who, at' }
export const ENTRY: Columns = { key: 'list, kind, cluster, item', more: 'until, why' }

/** Page by page: an answer of the node's has a bound. In one order: what came and went is soon found. */
async function readTable(
  ask: Ask,
  table: string,
  { key, more }: Columns,
  where: string,
): Promise<Row[]> {
  const name = `postern_${table}`
  await ask(
    `DECLARE ${name} CURSOR FOR SELECT ${key}, ${more} FROM ${SCHEMA}.${table}
     WHERE ${where} ORDER BY ${key}`,
  )
  const rows: Row[] = []
  for (;;) {
    const page = await ask(`FETCH ${PAGE} FROM ${name}`)
    rows.push(...page)
    if (rows.length > ROWS_MAX) throw unusable(`more than ${ROWS_MAX} rows in ${SCHEMA}.${table}`)
    if (page.length < PAGE) break
  }
  await ask(`CLOSE ${name}`)
  return rows
}

const KINDS: ReadonlySet<string> = new Set<RevocationKind>([
  'token',
  'digest',
  'session',
  'subject',
  'issuer',
  'all',
])

export function revocationOf(row: Row): Revocation {
  const kind = row['kind'] ?? ''
  if (!KINDS.has(kind)) throw unusable(`a revocation of the kind ${JSON.stringify(kind)}`)
  return {
    kind: kind as RevocationKind,
    issuer: row['issuer'] ?? '',
    value: row['value'] ?? '',
    before: seconds(row['before']),
    until: seconds(row['until']),
    why: row['why'] ?? '',
  }
}

export function entryOf(row: Row): AccessEntry {
  const { list, kind } = row
  if ((list !== 'allow' && list !== 'deny') || (kind !== 'ip' && kind !== 'cluster'))
    throw unusable(
      `an entry of the kind ${JSON.stringify(kind)} in the list ${JSON.stringify(list)}`,
    )
  const item = row['item'] ?? ''
  if (kind === 'ip' && readNetwork(item) === undefined)
    throw unusable(
      `an entry for ${JSON.stringify(item)}, which is neither an address nor a network`,
    )
  return {
    list,
    kind,
    cluster: row['cluster'] ?? '',
    item,
    until: seconds(row['until']),
    why: row['why'] ?? '',
  }
}

export function settingOf(row: Row): KeptSetting {
  return {
    name: row['name'] ?? '',
    value: row['value'] ?? '',
    who: row['who'] ?? '',
    at: Number(row['at'] ?? 0),
  }
}

function seconds(text: string | null | undefined): number | undefined {
  if (text === null || text === undefined) return undefined
  if (!/^-?\d+$/.test(text)) throw unusable(`a time that is none: ${JSON.stringify(text)}`)
  return Number(text)
}

function unusable(what: string): Failure {
  return new Failure('state_unusable', { values: { problem: `the shared state has ${what}` } })
}
