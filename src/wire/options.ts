/**
 * The startup parameter `options`: whether the client brings a token (`--crdb:jwt_auth_enabled`),
 * and what goes on to the node. CockroachDB and PostgreSQL read the parameter differently, so each
 * has its reader; which settings are the gate's, and what becomes of them, is decided here for both.
 * Its one rule: from `rest` a node reads what it would have read from the original, minus ours.
 * https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNECT-OPTIONS
 */
import { Failure } from '../failure.ts'
import { formatSettings, parseSettings, printable } from './options_cockroachdb.ts'
import { cutSettings, findSettings } from './options_postgresql.ts'

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

/** `keepSwitch` is for sign-in by forward, where the node reads the switch as well. */
export function readOptions(
  options: string | undefined,
  dialect: Dialect,
  keepSwitch = false,
): ReadOptions {
  if (options === undefined) return { jwt: false, rest: undefined }
  if (dialect === 'cockroachdb') {
    const { jwt, kept, cut } = judge(parseSettings(options), keepSwitch)
    return { jwt, rest: cut.length === 0 ? options : formatSettings(kept) }
  }
  const { jwt, cut } = judge(findSettings(options), keepSwitch)
  return { jwt, rest: cut.length === 0 ? options : cutSettings(options, cut) }
}

function judge<S extends { key: string; value: string }>(settings: S[], keepSwitch: boolean) {
  let jwt = false
  const kept: S[] = []
  const cut: S[] = []
  for (const setting of settings) {
    // A revival token would sign in past the gate's own checks.
    if (setting.key === REVIVAL_TOKEN) {
      throw new Failure('parameter_not_allowed', { values: { name: REVIVAL_TOKEN } })
    }
    if (setting.key === SWITCH) jwt = parseSwitch(setting.value)
    const ours = setting.key === REMOTE_ADDR || (setting.key === SWITCH && !keepSwitch)
    if (ours) cut.push(setting)
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
