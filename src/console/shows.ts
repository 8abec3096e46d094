/**
 * The views that SHOW has, each a table of its columns. docs/console.md says what each column means; a test
 * compares the two.
 */

import type { CertificateEnd } from '../config/certificates.ts'
import type { Revocation } from '../policy/revocation.ts'
import type { Waiting } from '../policy/throttle.ts'
import type { Sample } from '../telemetry/metrics.ts'
import type { Refusal } from '../telemetry/refusals_kept.ts'
import type { IssuerKeys, NodeStatus } from '../telemetry/status.ts'
import type { LiveSession } from '../telemetry/who_is_in.ts'
import { type AccessLine, accessLines } from './access_lines.ts'
import type { Changed, Changes } from './changes.ts'
import { conditionOf } from './conditions.ts'
import type { Show, ViewName } from './grammar.ts'
import type { ConsoleParts } from './parts.ts'
import { type SettingLine, settingLines } from './settings.ts'
import { type Column, columnsOf, type Shown, type View, viewOf } from './views.ts'

/** Of one answer; the rest is counted. */
export const ROWS_MAX = 10_000

type Parts = ConsoleParts & { changes: Changes }

interface Source {
  columns: Column[]
  read(parts: Parts): Promise<View & { notice?: string | undefined }>
}

function source<T>(
  shown: readonly Shown<T>[],
  things: (parts: Parts) => readonly T[] | Promise<readonly T[]>,
): Source {
  return {
    columns: columnsOf(shown),
    read: async (parts) => viewOf(shown, await things(parts)),
  }
}

const SESSIONS: readonly Shown<LiveSession>[] = [
  ['session_id', 'text', ({ id }) => id],
  ['user_name', 'text', ({ user }) => user],
  ['database_name', 'text', ({ database }) => database],
  ['cluster', 'text', ({ cluster }) => cluster],
  ['node', 'text', ({ node }) => node],
  ['principal', 'text', ({ principal }) => principal],
  ['issuer', 'text', ({ issuer }) => issuer],
  ['token_id', 'text', ({ tokenId }) => tokenId],
  ['token_digest', 'text', ({ tokenDigest }) => tokenDigest],
  ['token_expires', 'timestamptz', ({ tokenExpiry }) => tokenExpiry && tokenExpiry * 1000],
  ['client_address', 'text', ({ address }) => address],
  ['transport', 'text', ({ transport }) => transport],
  ['authentication_method', 'text', ({ method }) => method],
  ['application_name', 'text', ({ applicationName }) => applicationName],
  ['access_rule', 'text', ({ rule }) => rule],
  ['session_start', 'timestamptz', ({ sinceMs }) => sinceMs],
  ['login_ms', 'float8', ({ login }) => login.ms],
  ['client_ms', 'float8', ({ login }) => login.parts.client],
  ['issuer_ms', 'float8', ({ login }) => login.parts.issuer],
  ['node_ms', 'float8', ({ login }) => login.parts.node],
  ['gate_ms', 'float8', ({ login }) => login.parts.gate],
  ['worker', 'int8', ({ worker }) => worker],
]

const NODES: readonly Shown<NodeStatus & { drained: boolean }>[] = [
  ['cluster', 'text', ({ cluster }) => cluster],
  ['node', 'text', ({ node }) => node],
  ['up', 'int8', ({ up }) => up],
  ['draining', 'int8', ({ draining }) => draining],
  ['down', 'int8', ({ down }) => down],
  ['drained', 'bool', ({ drained }) => drained],
  ['sessions', 'int8', ({ sessions }) => sessions],
]

const ISSUERS: readonly Shown<IssuerKeys>[] = [
  ['cluster', 'text', ({ cluster }) => cluster],
  ['issuer', 'text', ({ issuer }) => issuer],
  ['keys_from', 'text', ({ from }) => from],
  ['keys', 'int8', ({ ids }) => ids.length],
  ['fetched', 'timestamptz', ({ fetchedMs }) => fetchedMs],
  ['fresh_until', 'timestamptz', ({ freshUntilMs }) => freshUntilMs],
  ['last_fetch', 'timestamptz', ({ lastFetchMs }) => lastFetchMs],
  ['last_fetch_ms', 'float8', ({ lastTookMs }) => lastTookMs],
  ['last_error', 'text', ({ lastError }) => lastError],
]

const KEYS: readonly Shown<IssuerKeys & { id: string }>[] = [
  ['cluster', 'text', ({ cluster }) => cluster],
  ['issuer', 'text', ({ issuer }) => issuer],
  ['key_id', 'text', ({ id }) => id],
  ['keys_from', 'text', ({ from }) => from],
  ['fetched', 'timestamptz', ({ fetchedMs }) => fetchedMs],
  ['fresh_until', 'timestamptz', ({ freshUntilMs }) => freshUntilMs],
]

const CERTIFICATES: readonly Shown<CertificateEnd>[] = [
  ['setting', 'text', ({ key }) => key],
  ['file', 'text', ({ file }) => file],
  ['subject', 'text', ({ subject }) => subject],
  ['ends', 'timestamptz', ({ endsMs }) => endsMs],
]

const STATS: readonly Shown<Sample>[] = [
  ['metric', 'text', ({ name }) => name],
  ['labels', 'text', ({ labels }) => labels],
  ['value', 'float8', ({ value }) => value],
]

const SETTINGS: readonly Shown<SettingLine>[] = [
  ['variable', 'text', ({ name }) => name],
  ['value', 'text', ({ value }) => value],
  ['origin', 'text', ({ origin }) => origin],
  ['place', 'text', ({ place }) => place],
  ['changeable', 'bool', ({ changeable }) => changeable],
  ['set_by', 'text', ({ kept }) => kept?.who ?? ''],
  ['set_at', 'timestamptz', ({ kept }) => kept && kept.at * 1000],
  ['problem', 'text', ({ problem }) => problem],
]

const ACCESS: readonly Shown<AccessLine>[] = [
  ['kind', 'text', ({ kind }) => kind],
  ['name', 'text', ({ name }) => name],
  ['action', 'text', ({ action }) => action],
  ['conditions', 'text', ({ conditions }) => conditions],
  ['until', 'timestamptz', ({ untilMs }) => untilMs],
  ['reason', 'text', ({ reason }) => reason],
]

const THROTTLED: readonly Shown<Waiting>[] = [
  ['client_address', 'text', ({ address }) => address],
  ['user_name', 'text', ({ user }) => user],
  ['cluster', 'text', ({ cluster }) => cluster],
  ['until', 'timestamptz', ({ untilMs }) => untilMs],
  ['delay_ms', 'int8', ({ delayMs }) => delayMs],
]

const REFUSALS: readonly Shown<Refusal>[] = [
  ['refused_at', 'timestamptz', ({ atMs }) => atMs],
  ['user_name', 'text', ({ user }) => user],
  ['database_name', 'text', ({ database }) => database],
  ['cluster', 'text', ({ cluster }) => cluster],
  ['client_address', 'text', ({ address }) => address],
  ['failure', 'text', ({ failure }) => failure],
  ['sqlstate', 'text', ({ sqlstate }) => sqlstate],
  ['detail', 'text', ({ detail }) => detail],
  ['issuer', 'text', ({ issuer }) => issuer],
  ['authentication_method', 'text', ({ method }) => method],
  ['request_id', 'text', ({ request }) => request],
  ['principal', 'text', ({ principal }) => principal],
]

const REVOCATIONS: readonly Shown<Revocation>[] = [
  ['kind', 'text', ({ kind }) => kind],
  ['issuer', 'text', ({ issuer }) => issuer],
  ['value', 'text', ({ value }) => value],
  ['issued_before', 'timestamptz', ({ before }) => before && before * 1000],
  ['until', 'timestamptz', ({ until }) => until && until * 1000],
  ['reason', 'text', ({ why }) => why],
]

const CHANGES: readonly Shown<Changed>[] = [
  ['changed_at', 'timestamptz', ({ at }) => at * 1000],
  ['change', 'text', ({ change }) => change],
  ['statement', 'text', ({ statement }) => statement],
  ['who', 'text', ({ who }) => who],
  ['client_address', 'text', ({ address }) => address],
  ['cluster', 'text', ({ cluster }) => cluster],
  ['session_id', 'text', ({ session }) => session],
]

const VERSION: readonly Shown<Parts>[] = [
  ['version', 'text', ({ version }) => version],
  ['runtime', 'text', ({ status }) => status().runtime],
  ['started', 'timestamptz', ({ status }) => status().sinceMs],
  ['workers', 'int8', ({ status }) => status().workers.open],
  ['state_age_ms', 'int8', ({ state }) => finite(state?.ageMs())],
]

export const SOURCES: Record<ViewName, Source> = {
  SESSIONS: source(SESSIONS, ({ known }) => known.whoIsIn.sessions()),
  NODES: source(NODES, ({ status, drained }) =>
    status().nodes.map((each) => ({ ...each, drained: drained.has(each) })),
  ),
  ISSUERS: source(ISSUERS, ({ status }) => status().issuers),
  KEYS: source(KEYS, ({ status }) =>
    status()
      .issuers.flatMap((each) => each.ids.map((id) => ({ ...each, id })))
      .toSorted((one, other) => staleMs(one) - staleMs(other)),
  ),
  CERTIFICATES: source(CERTIFICATES, ({ status }) => status().certificates),
  STATS: source(STATS, ({ samples }) => samples()),
  'CLUSTER SETTINGS': source(SETTINGS, settingLines),
  'CLUSTER SETTING': source(SETTINGS, settingLines),
  ACCESS: source(ACCESS, accessLines),
  THROTTLED: source(THROTTLED, ({ waiting }) => waiting()),
  REFUSALS: source(REFUSALS, ({ known, now }) => known.refusals.list(now())),
  REVOCATIONS: source(REVOCATIONS, ({ state }) => state?.snapshot().revocations ?? []),
  CHANGES: {
    columns: columnsOf(CHANGES),
    async read({ changes: kept }) {
      const { changes, missing } = await kept.list(ROWS_MAX)
      const notice = missing && `these are of this gate alone; the others can't be had: ${missing}`
      return { ...viewOf(CHANGES, changes), notice }
    },
  },
  VERSION: source(VERSION, (parts) => [parts]),
}

/** Those of the configuration stay. */
function staleMs({ freshUntilMs = Number.MAX_SAFE_INTEGER }: IssuerKeys): number {
  return freshUntilMs
}

function finite(ms: number | undefined): number | undefined {
  return ms === undefined || !Number.isFinite(ms) ? undefined : Math.round(ms)
}

/**
 * What one SHOW shows.
 * @throws Failure `console_not_found` for a column that the view doesn't have, `console_value`
 */
export async function show(
  { view: name, where, limit = ROWS_MAX }: Show,
  parts: Parts,
): Promise<{ view: View; notice: string | undefined }> {
  const { columns, read } = SOURCES[name]
  const conditions = where.map((each) => conditionOf(each, columns, parts.now()))
  const { rows, notice } = await read(parts)
  const fitting = rows.filter((row) => conditions.every((fits) => fits(row)))
  const shown = fitting.slice(0, Math.min(limit, ROWS_MAX))
  const left = limit < ROWS_MAX ? 0 : fitting.length - shown.length
  const cut = left > 0 ? `the first ${ROWS_MAX} rows; ${left} more are not shown` : undefined
  return { view: { columns, rows: shown }, notice: cut ?? notice }
}
