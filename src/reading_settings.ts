/**
 * A configuration that is read with what the shared state has: all of it, or as much as makes no mistake.
 * Rule: what was set of trust gives way to nothing but the file's own word, or to whoever takes it back; and what
 * was taken back of it goes first, unless nothing can be read without it.
 */
import type { Config } from './config/config.ts'
import type { Settings } from './config/document.ts'
import { type SettingNow, trustKeyOf, trustOf } from './config/runtime_settings.ts'
import { asFailure, Failure } from './failure.ts'

/** @param previous - what it was before: what stays the same goes on, and so do settings of all gates. */
export type ReadConfig = (previous: Config) => Config

export const NONE: Settings = new Map()

/** What there is, and whether it is heard of for the first time. */
export interface Heard {
  kept: Settings | undefined
  isFirst?: boolean
}

/**
 * With all that was set; where that is a mistake, with what was set of trust, and beside it what is in use or
 * nothing; else with what is in use. What was taken back of trust is in none of them. Who hears of it for the first
 * time has nothing in use.
 * @returns `left` - why it is not all of it
 * @throws Failure `config_invalid`, with what to do about settings that are in the way
 */
export function readWith(
  read: ReadConfig,
  before: Config,
  { kept, isFirst = false }: Heard,
): { next: Config; left: string | undefined } {
  const inUse = before.source.settings ?? NONE
  const wanted = kept ?? inUse
  const inTrust = trustOf(wanted)
  const usedTrust = trustOf(inUse)
  const plain = without(inUse, (name) => usedTrust.has(name))
  const old = without(inUse, (name) => usedTrust.has(name) && !wanted.has(name))
  const mixed = isFirst ? [] : [new Map([...plain, ...inTrust])]
  const olds = isFirst ? [] : [old, trustOf(old)]
  let left: string | undefined
  for (const settings of [wanted, ...mixed, inTrust, ...olds]) {
    const tried = tryRead(read, before, settings, wanted)
    if ('next' in tried) return { next: tried.next, left }
    left ??= tried.wrong
  }
  const problems = whyKept(read, before, wanted)
  throw new Failure('config_invalid', { values: { problems } })
}

/**
 * @param settings - to be read with
 * @param wanted - those that there are: who took one back knows what comes of it
 */
function tryRead(
  read: ReadConfig,
  before: Config,
  settings: Settings,
  wanted: Settings,
): { next: Config } | { wrong: string; lost: string[] } {
  try {
    const next = read(withSettings(before, settings))
    const counting = new Set(next.settings.flatMap((each) => (counts(each) ? each.name : [])))
    const lost = before.settings
      .filter(({ trust, origin }) => trust && origin === 'console')
      .map(({ name }) => name)
      .filter((name) => wanted.has(name) && !counting.has(name))
      .filter((name) => !wentWithCluster(name, before, next, counting))
    if (lost.length === 0) return { next }
    closeNew(next, before)
    return { wrong: lost.map(toDo).join('\n'), lost }
  } catch (thrown) {
    return { wrong: asFailure(thrown).message, lost: [] }
  }
}

/** Its cluster is gone, and those that came say the same key, if any did: under a new name it has to be written. */
function wentWithCluster(
  name: string,
  before: Config,
  next: Config,
  counting: ReadonlySet<string>,
): boolean {
  const of = trustKeyOf(name)
  if (of === undefined || hasCluster(next, of.cluster)) return false
  return next.clusters.every(
    (each) => hasCluster(before, each.name) || counting.has(`clusters.${each.name}.${of.key}`),
  )
}

function hasCluster({ clusters }: Config, name: string): boolean {
  return clusters.some((each) => each.name === name)
}

function counts({ origin }: SettingNow): boolean {
  return origin !== 'default'
}

/** Why it can't be read, and which settings of trust are in the way. */
function whyKept(read: ReadConfig, before: Config, wanted: Settings): string {
  const settings = trustOf(wanted)
  const tried = tryRead(read, before, settings, wanted)
  if ('next' in tried) {
    closeNew(tried.next, before)
    return 'the configuration has changed meanwhile; read it again'
  }
  if (tried.lost.length > 0) return tried.wrong
  const names = [...settings.keys()]
  const mistake = (name: string) => mistakeOf(read, before, changed(settings, name, undefined))
  const alone = names.filter((name) => mistake(name) === undefined)
  const ofFile = alone.length > 0 ? undefined : mistakeOf(read, before, NONE)
  if (ofFile !== undefined) return ofFile
  return [tried.wrong, ...(alone.length > 0 ? alone : names).map(toDo)].join('\n')
}

function toDo(name: string): string {
  return `the setting ${name} decides whom the gate trusts, and would not count: write it in the file, or take it back (RESET CLUSTER SETTING, postern settings reset ${name})`
}

/** Nobody has settings who starts, and the file that counts now may need them. */
export function aloneMistake(read: ReadConfig, now: Config): string | undefined {
  if ((now.source.settings ?? NONE).size === 0) return undefined
  try {
    closeNew(read(withSettings(now, NONE)), now)
    return undefined
  } catch (thrown) {
    const lines = asFailure(thrown).message.split('\n')
    return lines.map((line) => `a gate can not start with this file alone: ${line}`).join('\n')
  }
}

function without(settings: Settings, gone: (name: string) => boolean): Settings {
  return new Map([...settings].filter(([name]) => !gone(name)))
}

export function changed(settings: Settings, name: string, value: string | undefined): Settings {
  const others = without(settings, (each) => each === name)
  return value === undefined ? others : new Map([...others, [name, value]])
}

/** How the configuration would be wrong with these; undefined where it wouldn't. */
export function mistakeOf(
  read: ReadConfig,
  before: Config,
  settings: Settings,
): string | undefined {
  const tried = tryRead(read, before, settings, settings)
  if ('wrong' in tried) return tried.wrong
  closeNew(tried.next, before)
  return undefined
}

function withSettings(config: Config, settings: Settings): Config {
  return { ...config, source: { ...config.source, settings } }
}

/** What was opened for a configuration that nobody goes by. */
function closeNew(tried: Config, { clusters }: Config): void {
  const open = new Set(clusters.flatMap(({ issuers }) => [...issuers.values()]))
  for (const { issuers } of tried.clusters)
    for (const issuer of issuers.values()) if (!open.has(issuer)) issuer.close()
}
