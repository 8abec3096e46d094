/**
 * Settings that can be changed while gates run, by SET CLUSTER SETTING: kept in the shared state, read by the
 * schema of the configuration file as if they stood there, and merged under it.
 * Rule: what the file says counts. What decides whom a gate trusts may be set only where the file allows it.
 */
import { consoleKeys } from './console_settings.ts'
import type { ConfigDocument, Settings } from './document.ts'
import type { File } from './schema.ts'
import { JWT, OAUTH } from './trust_settings.ts'

/** How a value that was said as a text stands in the file. */
type Form = 'text' | 'number' | 'boolean' | 'duration'

interface Kind {
  form: Form
  /** It decides whom the gate trusts. */
  trust?: true
}

const duration: Kind = { form: 'duration' }
const number: Kind = { form: 'number' }
const text: Kind = { form: 'text' }
const trustedText: Kind = { form: 'text', trust: true }
const trustedSwitch: Kind = { form: 'boolean', trust: true }

/** Of the whole file, by their paths. */
const OF_THE_FILE: Record<string, Kind> = {
  'limits.connections': number,
  'limits.connections_per_address': number,
  'limits.sessions_per_user': number,
  'limits.handshakes_per_second': number,
  'limits.handshake_timeout': duration,
  'limits.authentication_timeout': duration,
  'limits.idle_timeout': duration,
  'shutdown.grace': duration,
  'log.level': text,
}

/** Of each cluster, behind `clusters.NAME.`. */
const OF_A_CLUSTER: Record<string, Kind> = {
  connect_timeout: duration,
  'health.interval': duration,
  'health.timeout': duration,
  'health.down_after': number,
  'health.up_after': number,
  'session.end_at_token_expiry': text,
  'session.grace': duration,
  'pool.max_age': duration,
  'pool.idle_timeout': duration,
  'pool.wait_timeout': duration,
  'pool.size': number,
  'pool.max_node_connections': number,
  [`${JWT}.enabled`]: trustedSwitch,
  [`${JWT}.audience`]: trustedText,
  [`${JWT}.issuers.configuration`]: trustedText,
  [`${JWT}.issuers.custom_ca`]: trustedText,
  [`${JWT}.jwks`]: trustedText,
  [`${JWT}.jwks_auto_fetch.enabled`]: trustedSwitch,
  [`${JWT}.client.timeout`]: { form: 'duration', trust: true },
  [`${JWT}.claim`]: trustedText,
  [`${JWT}.clock_tolerance`]: { form: 'duration', trust: true },
  [`${OAUTH}.enabled`]: trustedSwitch,
  [`${OAUTH}.audience`]: trustedText,
  [`${OAUTH}.claim`]: trustedText,
  [`${OAUTH}.scope`]: trustedText,
  'server.identity_map.configuration': trustedText,
}

export interface RuntimeSetting extends Kind {
  /** In full: `clusters.main.session.grace`. */
  name: string
  path: string[]
}

/** A setting as it is now. */
export interface SettingNow {
  name: string
  /** As it is written; of a default, as it could be. Empty where nothing is set, and that is the default. */
  value: string
  origin: 'default' | 'file' | 'console'
  /** `file:line:col`; empty where it isn't in the file. */
  place: string
  trust: boolean
}

/**
 * @param name - in any case; where there is one cluster alone, its name may be left out, as CockroachDB has
 *   no other.
 */
export function findSetting(name: string, clusters: readonly string[]): RuntimeSetting | undefined {
  return runtimeSettings(clusters).find(
    (each) =>
      each.name.toLowerCase() === name.toLowerCase() ||
      (clusters.length === 1 &&
        each.name.toLowerCase() === `clusters.${clusters[0]}.${name}`.toLowerCase()),
  )
}

function runtimeSettings(clusters: readonly string[]): RuntimeSetting[] {
  const ofFile = Object.entries(OF_THE_FILE).map(([name, kind]) => ({
    ...kind,
    name,
    path: name.split('.'),
  }))
  const ofClusters = clusters.flatMap((cluster) =>
    Object.entries(OF_A_CLUSTER).map(([key, kind]) => ({
      ...kind,
      name: `clusters.${cluster}.${key}`,
      // CockroachDB's names are one key each.
      path: ['clusters', cluster, ...(key.startsWith('server.') ? [key] : key.split('.'))],
    })),
  )
  return [...ofFile, ...ofClusters]
}

/** A file's document, and beneath it what was set. */
export interface Underlaid extends ConfigDocument {
  /** Names of those that count, because the file doesn't say anything of them. */
  counting: ReadonlySet<string>
}

/** @param settings - those of them that are known; another gate may be a newer one. */
export function underlaid(document: ConfigDocument, settings: Settings): Underlaid {
  const counting = new Set<string>()
  if (settings.size === 0 || !isSection(document.value)) return { ...document, counting }
  const value = structuredClone(document.value)
  const mayChangeTrust = mayChangeTrustBy(document.value)
  for (const setting of runtimeSettings(clustersOf(value))) {
    const said = settings.get(setting.name)
    if (said === undefined || (setting.trust && !mayChangeTrust)) continue
    if (put(value, setting.path, spelledAs(said, setting.form))) counting.add(setting.name)
  }
  return { ...document, value, counting }
}

/** By what the file itself says. */
function mayChangeTrustBy(value: Record<string, unknown>): boolean {
  const { console: own } = value
  return (
    isSection(own) && consoleKeys.may_change_trust.safeParse(own['may_change_trust']).data === true
  )
}

/** In the order of the tables. */
export function settingsNow(document: Underlaid, file: File): SettingNow[] {
  return runtimeSettings(Object.keys(file.clusters)).map(({ name, path, form, trust }) => {
    const written = at(document.value, path)
    const origin =
      written === undefined ? 'default' : document.counting.has(name) ? 'console' : 'file'
    return {
      name,
      value: written === undefined ? defaultShown(at(file, path), form) : shownWritten(written),
      origin,
      place: origin === 'file' ? document.place(document.offset(path)) : '',
      trust: trust === true,
    }
  })
}

function shownWritten(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function defaultShown(value: unknown, form: Form): string {
  if (form === 'duration' && typeof value === 'number') return durationShown(value)
  return ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : ''
}

/** `90000` is `90s`. */
function durationShown(ms: number): string {
  return ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`
}

/** What is no number stays as it was said: the schema has a sentence for it. */
function spelledAs(said: string, form: Form): unknown {
  if (form === 'number' && /^-?\d{1,15}$/.test(said)) return Number(said)
  if (form === 'boolean' && /^(?:true|on)$/i.test(said)) return true
  if (form === 'boolean' && /^(?:false|off)$/i.test(said)) return false
  return said
}

/** @returns whether there was a place for it: what stands there stays. */
function put(
  value: Record<string, unknown>,
  [first = '', ...rest]: string[],
  leaf: unknown,
): boolean {
  const there = Object.hasOwn(value, first) ? value[first] : undefined
  if (rest.length === 0) {
    if (there !== undefined) return false
    value[first] = leaf
    return true
  }
  // A section of which every key is commented out is null.
  if (there === undefined || there === null) value[first] = {}
  const inner = value[first]
  return isSection(inner) && put(inner, rest, leaf)
}

function at(value: unknown, path: readonly string[]): unknown {
  let found = value
  for (const key of path)
    found = isSection(found) && Object.hasOwn(found, key) ? found[key] : undefined
  return found
}

function clustersOf({ clusters }: Record<string, unknown>): string[] {
  return isSection(clusters) ? Object.keys(clusters) : []
}

function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
