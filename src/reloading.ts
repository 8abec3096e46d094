/**
 * The configuration of a running gate, read again: when its files change, when somebody asks for it, and when
 * a setting of all gates is another one.
 * Rule: where it can't be read, everything stays as it is; where what was set is what is wrong, the file counts.
 */
import { isDeepStrictEqual } from 'node:util'
import { auditCompared } from './config/audit_settings.ts'
import type { Config } from './config/config.ts'
import type { Settings } from './config/document.ts'
import { findSetting, outOfBounds, type SettingNow } from './config/runtime_settings.ts'
import { asFailure, Failure } from './failure.ts'
import { sockets } from './sql/door.ts'
import type { StateView } from './state/snapshot.ts'
import type { Logger } from './telemetry/log.ts'

/** @param previous - what it was before: what stays the same goes on, and so do settings of all gates. */
export type ReadConfig = (previous: Config) => Config

export interface Reloading {
  /** @returns why it stays as it was, where it does */
  reload(read: ReadConfig): string | undefined
  /** Settings of the shared state count from now on, under what the file says. */
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
  log: Logger
}

const NOT_READ = 'this gate can not read its configuration again'

export function openReloading(parts: ReloadingParts): Reloading {
  const { opened, config, renew, read: own, log, live } = parts
  let kept: Settings | undefined
  let problem: string | undefined

  function reload(read: ReadConfig): string | undefined {
    if (live.isClosing) {
      log.warn('the configuration is not read again: the gate is closing')
      return 'the gate is closing'
    }
    try {
      const { next, left } = readWith(read, config(), kept)
      renew(next)
      live.renew(next)
      for (const what of fixed(opened, next))
        log.warn(`${what} stays as it is until the gate is started again`)
      log.info(
        { clusters: next.clusters.map(({ name }) => name) },
        'the configuration was read again',
      )
      log.level = next.log.level
      problem = left
      for (const line of left?.split('\n') ?? [])
        log.error(`what the shared state has is not all in use: ${line}`)
      return undefined
    } catch (thrown) {
      problem = asFailure(thrown).message
      for (const line of problem.split('\n')) log.error(`the configuration in use is kept: ${line}`)
      return problem
    }
  }
  function look(state: StateView): void {
    const { number, settings } = state.snapshot()
    // Before it was read, and while it can't be, what was so stays so.
    if (number === '') return
    const next = new Map(settings.map(({ name, value }) => [name, value]))
    if (isDeepStrictEqual(next, kept ?? NONE)) return
    kept = next
    if (isDeepStrictEqual(next, config().source.settings ?? NONE)) problem = undefined
    else if (own === undefined) problem = NOT_READ
    else reload(own)
  }
  return {
    reload,
    follow(state) {
      look(state)
      state.changed(() => look(state))
    },
    problem: () => problem,
    find: (name) => settingOf(name, config()),
    try(name, value, settings = kept ?? NONE) {
      const before = config()
      const setting = found(name, before)
      const beyond = setting && value !== undefined ? outOfBounds(value, setting) : undefined
      const mistake = (each: Settings) =>
        own === undefined ? NOT_READ : mistakeOf(own, before, each)
      const wrong = beyond ?? mistake(changed(settings, name, value))
      if (wrong === undefined) return
      // Of several that are wrong each may be taken back.
      if (value !== undefined || mistake(settings) === undefined) throw refused(wrong)
    },
  }
}

const NONE: Settings = new Map()

/**
 * With all that was set; where that is a mistake, with what is in use; else the file alone.
 * @param kept - what was set; undefined while nobody knows
 * @returns `left` - why it is not all of it
 */
function readWith(
  read: ReadConfig,
  before: Config,
  kept: Settings | undefined,
): { next: Config; left: string | undefined } {
  const inUse = before.source.settings ?? NONE
  let left: string | undefined
  for (const settings of new Set([kept ?? inUse, inUse]))
    try {
      return { next: read(withSettings(before, settings)), left }
    } catch (thrown) {
      left ??= asFailure(thrown).message
    }
  return { next: read(withSettings(before, NONE)), left }
}

function changed(settings: Settings, name: string, value: string | undefined): Settings {
  const others = [...settings].filter(([each]) => each !== name)
  return new Map(value === undefined ? others : [...others, [name, value]])
}

/** How the configuration would be wrong with these; undefined where it wouldn't. */
function mistakeOf(read: ReadConfig, before: Config, settings: Settings): string | undefined {
  try {
    closeNew(read(withSettings(before, settings)), before)
    return undefined
  } catch (thrown) {
    return asFailure(thrown).message
  }
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

/** Without the places: a setting has none in the file. */
function refused(message: string): Failure {
  const lines = message.split('\n').map((line) => line.replace(/^\S+:\d+:\d+: /, ''))
  return new Failure('console_value', { values: { problem: lines.join('; ') } })
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
