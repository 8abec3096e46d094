/**
 * Settings that can be changed while gates run, by SET CLUSTER SETTING: kept in the shared state, read by the
 * schema of the configuration file as if they stood there, and merged under it.
 * Rule: what the file says counts. What decides whom a gate trusts may be set only where the file allows it; and a
 * number or a time has bounds, so that a slip of the hand keeps nobody out who could come in. With a gate that is
 * full, or one of another trust, it may all the same: `postern settings reset` takes back what nobody gets in to.
 */
import { consoleKeys } from './console_settings.ts'
import type { ConfigDocument, Settings } from './document.ts'
import { check } from './mistakes.ts'
import type { File } from './schema.ts'
import { ISSUERS, ISSUERS_ALIAS, JWT, OAUTH } from './trust_settings.ts'
import { duration as durationText } from './values.ts'

/** How a value that was said as a text stands in the file. */
type Form = 'text' | 'number' | 'boolean' | 'duration'

interface Kind {
  form: Form
  /** It decides whom the gate trusts, or for how long. */
  trust?: true
  /** The least and the most that may be set: how many, or milliseconds. */
  least?: number
  most?: number
  /** A word that may not be set. */
  not?: string
  /** An older name in the file, for the same. */
  alias?: string
}

const trustedText: Kind = { form: 'text', trust: true }
const trustedDuration: Kind = { form: 'duration', trust: true }
const trustedSwitch: Kind = { form: 'boolean', trust: true }
const atLeast = (least: number): Kind => ({ form: 'number', least })
const upTo = (most: number): Kind => ({ form: 'number', most })
/** For what somebody waits for, or a node. */
const aWhile: Kind = { form: 'duration', least: 1_000, most: 60_000 }

/** Of the whole file, by their paths. */
const OF_THE_FILE: Record<string, Kind> = {
  'limits.connections': atLeast(10),
  'limits.connections_per_address': atLeast(10),
  'limits.sessions_per_user': atLeast(3),
  'limits.handshakes_per_second': atLeast(10),
  'limits.handshake_timeout': aWhile,
  'limits.authentication_timeout': aWhile,
  'limits.idle_timeout': { form: 'duration', least: 60_000 },
  'shutdown.grace': { form: 'duration' },
  // No admin takes the warnings from whom they may be about.
  'log.level': { form: 'text', not: 'error' },
}

/** Of each cluster, behind `clusters.NAME.`. */
const OF_A_CLUSTER: Record<string, Kind> = {
  connect_timeout: aWhile,
  'health.interval': aWhile,
  'health.timeout': aWhile,
  'health.down_after': upTo(10),
  'health.up_after': upTo(10),
  'session.end_at_token_expiry': trustedText,
  'session.grace': trustedDuration,
  // For how long a session has rights that were taken away.
  'pool.max_age': trustedDuration,
  'pool.idle_timeout': trustedDuration,
  'pool.wait_timeout': aWhile,
  'pool.size': { form: 'number' },
  'pool.max_node_connections': atLeast(10),
  [`${JWT}.enabled`]: trustedSwitch,
  [`${JWT}.audience`]: trustedText,
  [ISSUERS]: { ...trustedText, alias: ISSUERS_ALIAS },
  [`${JWT}.issuers.custom_ca`]: trustedText,
  [`${JWT}.jwks`]: trustedText,
  [`${JWT}.jwks_auto_fetch.enabled`]: trustedSwitch,
  [`${JWT}.client.timeout`]: trustedDuration,
  [`${JWT}.claim`]: trustedText,
  [`${JWT}.clock_tolerance`]: trustedDuration,
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

/** @returns why it may not be set, though the file may say it */
export function outOfBounds(
  said: string,
  { form, least = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY, not }: RuntimeSetting,
): string | undefined {
  if (said === not) return `${said} may be said in the configuration file alone`
  const read = check(durationText, said)
  const amount = form === 'number' ? Number(said) : read.ok ? read.value : least
  const shown = (bound: number) => (form === 'number' ? bound : durationShown(bound))
  if (amount < least)
    return `write at least ${shown(least)}: less may be said in the configuration file alone`
  if (amount > most)
    return `write at most ${shown(most)}: more may be said in the configuration file alone`
  return undefined
}

/** Without those that decide no trust, whichever clusters there are. */
export function trustOf(settings: Settings): Settings {
  return new Map([...settings].filter(([name]) => !isPlain(name)))
}

function isPlain(name: string): boolean {
  return (
    Object.hasOwn(OF_THE_FILE, name) ||
    Object.entries(OF_A_CLUSTER).some(([key, { trust }]) => !trust && name.endsWith(`.${key}`))
  )
}

/** Of which cluster it decides trust, and by which key; undefined where it doesn't, or is not known. */
export function trustKeyOf(name: string): { cluster: string; key: string } | undefined {
  const [, rest] = /^clusters\.(.+)$/s.exec(name) ?? []
  const found = Object.entries(OF_A_CLUSTER).find(
    ([key, { trust }]) => trust && rest?.endsWith(`.${key}`),
  )
  if (rest === undefined || found === undefined) return undefined
  const [key] = found
  return { cluster: rest.slice(0, -key.length - 1), key }
}

/** A file's document, and beneath it what was set. */
export interface Underlaid extends ConfigDocument {
  /** Names of those that count, because the file doesn't say anything of them. */
  counting: ReadonlySet<string>
  /** The file allows those that decide trust. */
  mayChangeTrust: boolean
}

/** @param settings - those of them that are known; another gate may be a newer one. */
export function underlaid(document: ConfigDocument, settings: Settings): Underlaid {
  const counting = new Set<string>()
  let { value } = document
  if (!isSection(value)) return { ...document, counting, mayChangeTrust: false }
  const mayChangeTrust = mayChangeTrustBy(value)
  for (const setting of runtimeSettings(clustersOf(value))) {
    const said = settings.get(setting.name)
    if (said === undefined || (setting.trust && !mayChangeTrust)) continue
    if (outOfBounds(said, setting) !== undefined || inFile(value, setting) !== undefined) continue
    value = withLeaf(value, setting.path, spelledAs(said, setting.form))
    if (inFile(value, setting) !== undefined) counting.add(setting.name)
  }
  return { ...document, value, counting, mayChangeTrust }
}

/** Where the file has it, by either of its names. */
function inFile(value: unknown, { path, alias }: RuntimeSetting): string[] | undefined {
  const paths = alias === undefined ? [path] : [path, [...path.slice(0, -1), alias]]
  return paths.find((each) => at(value, each) !== undefined)
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
  return runtimeSettings(Object.keys(file.clusters)).map((setting) => {
    const { name, path, form, trust } = setting
    const found = inFile(document.value, setting)
    const origin =
      found === undefined ? 'default' : document.counting.has(name) ? 'console' : 'file'
    return {
      name,
      value:
        found === undefined
          ? defaultShown(at(file, path), form)
          : shownWritten(at(document.value, found)),
      origin,
      place: found !== undefined && origin === 'file' ? document.place(document.offset(found)) : '',
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

/** What is on the way is made anew: the file may have the same section in two places, by an anchor. */
function withLeaf(value: unknown, [first, ...rest]: string[], leaf: unknown): unknown {
  if (first === undefined) return leaf
  // A section of which every key is commented out is null.
  const section = value ?? {}
  if (!isSection(section)) return value
  const inner = Object.hasOwn(section, first) ? section[first] : undefined
  return { ...section, [first]: withLeaf(inner, rest, leaf) }
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
