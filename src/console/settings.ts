/**
 * Settings as the console shows them: those that can be set, and whatever else the shared state has; and which
 * of them may be set or taken back.
 * Rule: what is there may be taken back, whatever this gate makes of it; where it decides trust, or may, by whom
 * the file allows that alone.
 */
import type { Config } from '../config/config.ts'
import {
  findSetting,
  outOfBounds,
  type RuntimeSetting,
  type SettingNow,
} from '../config/runtime_settings.ts'
import { Failure } from '../failure.ts'
import type { KeptSetting } from '../state/snapshot.ts'
import type { ConsoleParts } from './parts.ts'

export interface SettingLine extends Omit<SettingNow, 'trust'> {
  /** May be set here, as the file is. */
  changeable: boolean
  kept: KeptSetting | undefined
  problem: string | undefined
}

type Parts = Pick<ConsoleParts, 'config' | 'state' | 'settings'>

/** Those that no gate of this version knows come last. */
export function settingLines({ config, state, settings }: Parts): SettingLine[] {
  const now = config()
  const all = state?.snapshot().settings ?? []
  const kept = new Map(all.map((each) => [each.name, each]))
  const known = now.settings.map((each) => {
    const row = kept.get(each.name)
    kept.delete(each.name)
    const problem = row
      ? problemOf(each, row, now, settings.problem())
      : takenBack(each, settings.problem())
    const changeable = state !== undefined && refusalOf(each, now) === undefined
    return { ...each, changeable, kept: row, problem }
  })
  const none = { value: '', origin: 'default', place: '', changeable: false } as const
  const unknown = [...kept.values()].map((row) => {
    return { ...none, name: row.name, kept: row, problem: 'set, and unknown to this gate' }
  })
  return [...known, ...unknown]
}

/** Why what was set is not what counts. */
function problemOf(
  now: SettingNow,
  { name, value }: KeptSetting,
  config: Config,
  problem: string | undefined,
): string | undefined {
  if (now.origin === 'file') return 'set, but the file says otherwise'
  if (refusalOf(now, config) !== undefined)
    return 'set, but the file does not allow it: console.may_change_trust'
  const setting = known(name, config)
  const beyond = setting && outOfBounds(value, setting)
  if (beyond !== undefined) return `set, but: ${beyond}`
  if (config.source.settings?.get(name) === value) return undefined
  return problem ?? 'set, and not yet in use'
}

/** Why what was taken back is still in use, where it is. */
function takenBack({ origin }: SettingNow, problem: string | undefined): string | undefined {
  if (origin !== 'console') return undefined
  return ['taken back, and still in use', ...(problem === undefined ? [] : [problem])].join(': ')
}

/**
 * @param value - undefined: taken back
 * @returns its name, in full
 * @throws Failure `console_not_found`, `console_fixed`, `console_trust`
 */
export function mayChange(name: string, value: string | undefined, parts: Parts): string {
  const row = value === undefined ? keptRow(name, parts) : undefined
  if (row !== undefined) {
    // One that is unknown here may decide whom another gate trusts.
    const setting = known(row.name, parts.config())
    if ((setting === undefined || setting.trust) && !parts.config().mayChangeTrust)
      throw trusted(row.name)
    return row.name
  }
  const setting = parts.settings.find(name)
  const refusal = refusalOf(setting, parts.config())
  if (refusal !== undefined) throw refusal
  return setting.name
}

/** Of one that is there, or could be. @throws Failure `console_not_found` */
export function nameOf(name: string, parts: Parts): string {
  return keptRow(name, parts)?.name ?? parts.settings.find(name).name
}

function refusalOf(
  { name, origin, place, trust }: SettingNow,
  config: Config,
): Failure | undefined {
  if (origin === 'file') return new Failure('console_fixed', { values: { name, place } })
  return trust && !config.mayChangeTrust ? trusted(name) : undefined
}

function trusted(name: string): Failure {
  return new Failure('console_trust', { values: { name } })
}

function keptRow(name: string, { config, state }: Parts): KeptSetting | undefined {
  const full = (known(name, config())?.name ?? name).toLowerCase()
  const rows = state?.snapshot().settings ?? []
  return (
    rows.find((each) => each.name === name) ?? rows.find((each) => each.name.toLowerCase() === full)
  )
}

function known(name: string, { clusters }: Config): RuntimeSetting | undefined {
  return findSetting(
    name,
    clusters.map((each) => each.name),
  )
}
