/**
 * The configuration of a running gate, read again: when its files change, when somebody asks for it, and when
 * a setting of all gates is another one.
 * Rule: where it can't be read, everything stays as it is. Where what was set is what is wrong, the file counts; but
 * what was set of trust gives way to nothing but the file's own word, or to whoever takes it back.
 */
import { isDeepStrictEqual } from 'node:util'
import { auditCompared } from './config/audit_settings.ts'
import type { Config } from './config/config.ts'
import type { Settings } from './config/document.ts'
import { findSetting, outOfBounds, type SettingNow, trustOf } from './config/runtime_settings.ts'
import { asFailure, Failure } from './failure.ts'
import { sockets } from './sql/door.ts'
import type { StateView } from './state/snapshot.ts'
import type { Logger } from './telemetry/log.ts'

/** @param previous - what it was before: what stays the same goes on, and so do settings of all gates. */
export type ReadConfig = (previous: Config) => Config

export interface Reloading {
  /** @returns why it stays as it was, where it does */
  reload(read: ReadConfig): string | undefined
  /**
   * Settings of the shared state count from now on, under what the file says.
   * @throws Failure `state_unusable` where those of trust make a mistake with the file: without them the gate would
   *   trust others. Where they are heard of later on, it breaks the gate.
   */
  follow(state: StateView): void
  /** Why what the shared state has doesn't count; undefined where it does. */
  problem(): string | undefined
  /** @throws Failure `console_not_found` */
  find(name: string): SettingNow
  /**
   * @param value - undefined: as by default; that is taken as well where it makes nothing worse
   * @param settings - those that there are, unless they are what was last heard of
   * @throws Failure `console_value` where that would be a mistake
   */
  try(name: string, value: string | undefined, settings?: Settings): void
}

export interface ReloadingParts {
  /** What the gate was opened with. */
  opened: Config
  config(): Config
  /** Another one from now on, for all that comes. */
  renew(next: Config): void
  /** Reads the file; undefined where nobody can. */
  read: ReadConfig | undefined
  live: {
    /** From then on everything stays as it is. */
    isClosing: boolean
    /** Whatever is open by now goes by this one. */
    renew(next: Config): void
  }
  /** The gate can't go on. */
  broken: { resolve(why: Failure): void }
  log: Logger
}

const NOT_READ = 'this gate can not read its configuration again'

export function openReloading(parts: ReloadingParts): Reloading {
  const { config, read: own, log, live, broken } = parts
  let kept: Settings | undefined
  let problem: string | undefined

  function reload(read: ReadConfig, isFirst = false): string | undefined {
    if (live.isClosing) {
      log.warn('the configuration is not read again: the gate is closing')
      return 'the gate is closing'
    }
    try {
      problem = take(read, parts, { kept, isFirst })
      return undefined
    } catch (thrown) {
      problem = asFailure(thrown).message
      for (const line of problem.split('\n')) log.error(`the configuration in use is kept: ${line}`)
      return problem
    }
  }
  /** @throws Failure `state_unusable` */
  function look(state: StateView): void {
    const { number, settings } = state.snapshot()
    // Before it was read, and while it can't be, what was so stays so.
    if (number === '') return
    const next = new Map(settings.map(({ name, value }) => [name, value]))
    const isFirst = kept === undefined
    const known = kept ?? NONE
    kept = next
    if (isDeepStrictEqual(next, known)) return
    if (isFirst) for (const line of notCounting(next, config())) log.warn(line)
    if (isDeepStrictEqual(next, config().source.settings ?? NONE)) problem = undefined
    else if (own === undefined) problem = NOT_READ
    else if (isFirst && !live.isClosing && decideTrust(next, config())) {
      try {
        problem = take(own, parts, { kept, isFirst })
      } catch (thrown) {
        const problem = `the settings in the shared state make a mistake with this file: ${asFailure(thrown).message}`
        throw new Failure('state_unusable', { values: { problem }, cause: thrown })
      }
    } else reload(own, isFirst)
  }
  return {
    reload: (read) => reload(read),
    follow(state) {
      look(state)
      state.changed(() => {
        try {
          look(state)
        } catch (thrown) {
          broken.resolve(asFailure(thrown))
        }
      })
    },
    problem: () => problem,
    find: (name) => settingOf(name, config()),
    try(name, value, settings = kept ?? NONE) {
      demandNone(own, config(), { name, value, settings })
    },
  }
}

const NONE: Settings = new Map()

/** What there is, and whether it is heard of for the first time. */
interface Heard {
  kept: Settings | undefined
  isFirst?: boolean
}

/**
 * Another configuration counts.
 * @returns why not all that was set does
 * @throws Failure where everything stays as it is
 */
function take(
  read: ReadConfig,
  { opened, config, renew, live, log }: ReloadingParts,
  heard: Heard,
): string | undefined {
  const { next, left } = readWith(read, config(), heard)
  renew(next)
  live.renew(next)
  for (const what of fixed(opened, next))
    log.warn(`${what} stays as it is until the gate is started again`)
  log.info({ clusters: next.clusters.map(({ name }) => name) }, 'the configuration was read again')
  log.level = next.log.level
  for (const line of left?.split('\n') ?? [])
    log.error(`what the shared state has is not all in use: ${line}`)
  return left
}

/**
 * With all that was set; where that is a mistake, with what is in use; else with what was set of trust alone. Who
 * hears of it for the first time has nothing in use.
 * @returns `left` - why it is not all of it
 * @throws Failure `config_invalid`, with what to do about settings that are in the way
 */
function readWith(
  read: ReadConfig,
  before: Config,
  { kept, isFirst = false }: Heard,
): { next: Config; left: string | undefined } {
  const inUse = before.source.settings ?? NONE
  const wanted = kept ?? inUse
  const all = isFirst ? [wanted] : [wanted, inUse]
  let left: string | undefined
  for (const settings of new Set([...all, ...all.map(trustOf)])) {
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
      .flatMap(({ name }) => (wanted.has(name) && !counting.has(name) ? name : []))
    if (lost.length === 0) return { next }
    closeNew(next, before)
    return { wrong: lost.map(toDo).join('\n'), lost }
  } catch (thrown) {
    return { wrong: asFailure(thrown).message, lost: [] }
  }
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
  const without = (name: string) => mistakeOf(read, before, changed(settings, name, undefined))
  const alone = names.filter((name) => without(name) === undefined)
  const ofFile = alone.length > 0 ? undefined : mistakeOf(read, before, NONE)
  if (ofFile !== undefined) return ofFile
  return [tried.wrong, ...(alone.length > 0 ? alone : names).map(toDo)].join('\n')
}

function toDo(name: string): string {
  return `the setting ${name} decides whom the gate trusts, and would not count: write it in the file, or take it back (RESET CLUSTER SETTING, postern settings reset ${name})`
}

/** Of what decides trust, or may: the gate opens without it. */
function notCounting(settings: Settings, { settings: known, console: own }: Config): string[] {
  return [...trustOf(settings).keys()].flatMap((name) => {
    const now = known.find((each) => each.name === name)
    const at = `the setting ${name} is in the shared state, and`
    if (now === undefined) return `${at} unknown to this gate`
    if (now.origin === 'file' || own?.mayChangeTrust) return []
    return `${at} does not count: the file does not allow it (console.may_change_trust)`
  })
}

/** Some do, or may. */
function decideTrust(settings: Settings, { console: own }: Config): boolean {
  return own?.mayChangeTrust === true && trustOf(settings).size > 0
}

function changed(settings: Settings, name: string, value: string | undefined): Settings {
  const others = [...settings].filter(([each]) => each !== name)
  return new Map(value === undefined ? others : [...others, [name, value]])
}

/** How the configuration would be wrong with these; undefined where it wouldn't. */
function mistakeOf(read: ReadConfig, before: Config, settings: Settings): string | undefined {
  const tried = tryRead(read, before, settings, settings)
  if ('wrong' in tried) return tried.wrong
  closeNew(tried.next, before)
  return undefined
}

function withSettings(config: Config, settings: Settings): Config {
  return { ...config, source: { ...config.source, settings } }
}

function found(name: string, { clusters }: Config) {
  return findSetting(
    name,
    clusters.map((each) => each.name),
  )
}

function settingOf(name: string, config: Config): SettingNow {
  const setting = found(name, config)
  const now = config.settings.find((each) => each.name === setting?.name)
  if (now !== undefined) return now
  throw new Failure('console_not_found', { values: { what: 'setting', name } })
}

/** What was opened for a configuration that nobody goes by. */
function closeNew(tried: Config, { clusters }: Config): void {
  const open = new Set(clusters.flatMap(({ issuers }) => [...issuers.values()]))
  for (const { issuers } of tried.clusters)
    for (const issuer of issuers.values()) if (!open.has(issuer)) issuer.close()
}

interface Statement {
  name: string
  value: string | undefined
  /** Those that there are. */
  settings: Settings
}

/** @throws Failure `console_value` where it would be a mistake */
function demandNone(
  read: ReadConfig | undefined,
  before: Config,
  { name, value, settings }: Statement,
): void {
  const setting = found(name, before)
  const beyond = setting && value !== undefined ? outOfBounds(value, setting) : undefined
  const mistake = (each: Settings) =>
    read === undefined ? NOT_READ : mistakeOf(read, before, each)
  const wrong = beyond ?? mistake(changed(settings, name, value))
  if (wrong === undefined) return
  const already = beyond === undefined && mistake(settings) !== undefined
  // Of several that are wrong each may be taken back.
  if (value === undefined && already) return
  const ofFile = already && read !== undefined ? mistake(NONE) : undefined
  throw ofFile === undefined ? refused(wrong) : refusedFor(ofFile)
}

/** Without the places: a setting has none in the file. */
function refused(message: string): Failure {
  const lines = message.split('\n').map((line) => line.replace(/^\S+:\d+:\d+: /, ''))
  return new Failure('console_value', { values: { problem: lines.join('; ') } })
}

/** No value of a setting's makes that better. */
function refusedFor(message: string): Failure {
  const problem = `the configuration file has a mistake: ${message.split('\n').join('; ')}`
  return new Failure('console_value', { values: { problem } })
}

/** What can't be another one in a gate that runs, where the file says so. */
function fixed(opened: Config, next: Config): string[] {
  const compared: [string, unknown, unknown][] = [
    ['listeners', sockets(opened.listeners), sockets(next.listeners)],
    ['ops.listen', opened.ops?.listen, next.ops?.listen],
    ...auditCompared(opened.audit, next.audit),
    ['workers', opened.workers, next.workers],
    ['tracing.otlp_endpoint', opened.tracing, next.tracing],
    ['peers.listen', opened.peers?.listen, next.peers?.listen],
    ['state', opened.state, next.state],
    ['limits.failed_login_delay', opened.limits.failedLoginDelayMs, next.limits.failedLoginDelayMs],
  ]
  return compared.filter(([, one, other]) => !isDeepStrictEqual(one, other)).map(([what]) => what)
}
