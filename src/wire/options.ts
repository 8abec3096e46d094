/**
 * The startup parameter `options`: whether the client brings a token (`--crdb:jwt_auth_enabled`),
 * and what goes on to the node. CockroachDB and PostgreSQL read the parameter differently, so each
 * has its reader; which settings are the gate's, and what becomes of them, is decided here for both.
 * Its one rule: from `rest` a node reads what it would have read from the original, minus ours.
 * https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNECT-OPTIONS
 */
import { Failure } from '../failure.ts'
import {
  type Setting as CockroachSetting,
  formatSettings,
  otherReadings,
  parseSettings,
  parseUnescaped,
  printable,
} from './options_cockroachdb.ts'
import { cutSettings, findDelay, findSettings } from './options_postgresql.ts'

export type Dialect = 'cockroachdb' | 'postgresql'

export interface ReadOptions {
  /** The switch `crdb:jwt_auth_enabled` is on: the password will be a token. */
  jwt: boolean
  /** What goes to the node; undefined where nothing is left: the parameter is dropped. */
  rest: string | undefined
}

const SWITCH = 'crdb:jwt_auth_enabled'
const REMOTE_ADDR = 'crdb:remote_addr'
const REVIVAL_TOKEN = 'crdb:session_revival_token_base64'
const REPLICATION = 'replication'
const NOBODYS = new Set([REVIVAL_TOKEN, REPLICATION])

/** `keepSwitch` is for sign-in by forward, where the node reads the switch as well. */
export function readOptions(
  options: string | undefined,
  dialect: Dialect,
  keepSwitch = false,
): ReadOptions {
  if (options === undefined) return { jwt: false, rest: undefined }
  if (dialect === 'cockroachdb') return readForCockroach(options, keepSwitch)
  const delay = findDelay(options)
  if (delay !== undefined) throw new Failure('parameter_not_allowed', { values: { name: delay } })
  const { jwt, cut } = judge(findSettings(options), keepSwitch)
  return { jwt, rest: cut.length === 0 ? options : cutSettings(options, cut) }
}

/** Nodes differ in how they read it: where one could find what the gate didn't, it is refused. */
function readForCockroach(options: string, keepSwitch: boolean): ReadOptions {
  const settings = parseSettings(options)
  // Asked for beside the parameter of that name, it would pass policy by.
  if (settings.some(({ key }) => key === REPLICATION)) throw notAllowed(REPLICATION)
  const { jwt, kept, cut } = judge(settings, keepSwitch)
  const rest = cut.length === 0 ? options : withoutCut(options, cut.length, kept, keepSwitch)
  for (const reading of otherReadings(options))
    if (reading.some(({ key }) => NOBODYS.has(key)) || (!jwt && isOn(reading))) throw ambiguous()
  for (const reading of otherReadings(rest ?? ''))
    if (reading.some(({ key }) => isOurs(key, keepSwitch))) throw ambiguous()
  return { jwt, rest }
}

/** A value with escapes in it is another one to a node that doesn't unescape: it stays as it is where it can. */
function withoutCut(
  options: string,
  count: number,
  kept: CockroachSetting[],
  keepSwitch: boolean,
): string | undefined {
  const verbatim = /[%+]/.test(options) ? (parseUnescaped(options) ?? []) : []
  const cut = verbatim.filter(({ key }) => isOurs(key, keepSwitch))
  return cut.length === count ? cutSettings(options, cut) : formatSettings(kept)
}

function isOn(settings: CockroachSetting[]): boolean {
  return TRUE.has(settings.findLast(({ key }) => key === SWITCH)?.value ?? '')
}

function isOurs(key: string, keepSwitch: boolean): boolean {
  return key === REMOTE_ADDR || (key === SWITCH && !keepSwitch)
}

function notAllowed(name: string): Failure {
  return new Failure('parameter_not_allowed', { values: { name } })
}

function ambiguous(): Failure {
  const problem = 'options can be read in two ways, write them without % + and unusual white space'
  return new Failure('invalid_options', { values: { problem } })
}

function judge<S extends { key: string; value: string }>(settings: S[], keepSwitch: boolean) {
  let jwt = false
  const kept: S[] = []
  const cut: S[] = []
  for (const setting of settings) {
    // A revival token would sign in past the gate's own checks.
    if (setting.key === REVIVAL_TOKEN) throw notAllowed(REVIVAL_TOKEN)
    if (setting.key === SWITCH) jwt = parseSwitch(setting.value)
    if (isOurs(setting.key, keepSwitch)) cut.push(setting)
    else kept.push(setting)
  }
  return { jwt, kept, cut }
}

const TRUE = new Set(['1', 't', 'T', 'true', 'TRUE', 'True'])
const FALSE = new Set(['0', 'f', 'F', 'false', 'FALSE', 'False'])

function parseSwitch(value: string): boolean {
  if (TRUE.has(value)) return true
  if (FALSE.has(value)) return false
  throw new Failure('invalid_parameter', { values: { name: SWITCH, value: printable(value) } })
}
