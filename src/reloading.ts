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
import {
  findSetting,
  outOfBounds,
  type SettingNow,
  trustKeyOf,
  trustOf,
} from './config/runtime_settings.ts'
import { asFailure, Failure } from './failure.ts'
import {
  aloneMistake,
  changed,
  type Heard,
  mistakeOf,
  NONE,
  type ReadConfig,
  readWith,
} from './reading_settings.ts'
import { sockets } from './sql/door.ts'
import type { StateView } from './state/snapshot.ts'
import type { Logger } from './telemetry/log.ts'

export type { ReadConfig }

export interface Reloading {
  /** @returns why it stays as it was, where it does */
  reload(read: ReadConfig): string | undefined
  /**
   * Settings of the shared state count from now on, under what the file says.
   * @throws Failure `state_unusable` where those of trust make a mistake with the file: without them the gate would
   *   trust others. Where they are heard of later on, it breaks the gate.
   */
  follow(state: StateView): void
  /** Why what the shared state has doesn't count, or the file not without it; undefined where they do. */
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
  /** Nothing that was taken back goes on unnoticed. */
  const tellTakenBack = () => {
    for (const { name, origin } of config().settings)
      if (origin === 'console' && kept !== undefined && !kept.has(name))
        log.error(`the setting ${name} was taken back, and is still in use`)
  }

  function reload(read: ReadConfig, isFirst = false): string | undefined {
    if (live.isClosing) {
      log.warn('the configuration is not read again: the gate is closing')
      return 'the gate is closing'
    }
    try {
      problem = take(read, parts, { kept, isFirst })
      tellTakenBack()
      return undefined
    } catch (thrown) {
      problem = asFailure(thrown).message
      for (const line of problem.split('\n')) log.error(`the configuration in use is kept: ${line}`)
      tellTakenBack()
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
    if (isFirst) tellNotCounting(next, config(), log)
    if (isDeepStrictEqual(next, config().source.settings ?? NONE))
      problem = own && aloneMistake(own, config())
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

/**
 * Another configuration counts.
 * @returns why not all that was set does, or what a gate that starts would have against the file
 * @throws Failure where everything stays as it is
 */
function take(
  read: ReadConfig,
  { opened, config, renew, live, log }: ReloadingParts,
  heard: Heard,
): string | undefined {
  const before = config()
  const { next, left } = readWith(read, before, heard)
  renew(next)
  live.renew(next)
  for (const what of fixed(opened, next))
    log.warn(`${what} stays as it is until the gate is started again`)
  log.info({ clusters: next.clusters.map(({ name }) => name) }, 'the configuration was read again')
  log.level = next.log.level
  for (const line of left?.split('\n') ?? [])
    log.error(`what the shared state has is not all in use: ${line}`)
  if (heard.kept !== undefined) tellNotCounting(heard.kept, next, log, before)
  const alone = aloneMistake(read, next)
  for (const line of alone?.split('\n') ?? []) log.error(line)
  return left === undefined || alone === undefined ? (left ?? alone) : `${left}\n${alone}`
}

/**
 * Of what decides trust, or may: the gate goes without it.
 * @param before - what was told of an earlier configuration is not told again
 */
function tellNotCounting(settings: Settings, now: Config, log: Logger, before?: Config): void {
  for (const name of trustOf(settings).keys()) {
    const why = notCounting(name, now)
    if (why === undefined || (before && why.what === notCounting(name, before)?.what)) continue
    log[why.level](`the setting ${name} is in the shared state, and ${why.what}`)
  }
}

function notCounting(
  name: string,
  config: Config,
): { level: 'warn' | 'error'; what: string } | undefined {
  const now = config.settings.find((each) => each.name === name)
  const of = trustKeyOf(name)
  if (now === undefined && of !== undefined && config.mayChangeTrust)
    return {
      level: 'error',
      what: `does not count: this gate has no cluster ${of.cluster}; if that has another name now, write it in the files of all gates under the new name, then take it back (postern settings reset ${name})`,
    }
  if (now === undefined) return { level: 'warn', what: 'unknown to this gate' }
  if (now.origin === 'file' || config.mayChangeTrust) return undefined
  return {
    level: 'warn',
    what: 'does not count: the file does not allow it (console.may_change_trust)',
  }
}

/** Some do, or may. */
function decideTrust(settings: Settings, { mayChangeTrust }: Config): boolean {
  return mayChangeTrust && trustOf(settings).size > 0
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
