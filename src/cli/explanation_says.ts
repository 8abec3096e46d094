/**
 * What each check says of itself in an explanation: the token's own words, what they were held against,
 * and where it failed, why. Rule: until the signature holds, it is only what the token "says".
 */
import { LISTED_MAX } from '../identity/findings.ts'
import { quoted } from '../identity/quoted.ts'
import { isReserved } from '../policy/reserved.ts'
import { groupLines, mapLines } from './explanation_lines.ts'
import {
  type CheckName,
  failureOf,
  type Login,
  NO_TIME,
  parted,
  type Settings,
} from './explanation_login.ts'

/** What a check may look at to say something of itself. */
export interface View {
  login: Login
  settings: Settings | undefined
  verdict: 'passed' | 'failed' | 'not_reached'
}

/** A sentence, or one with lines below it. */
export type Said = string | { says: string; lines: readonly string[] }

export const SAYS: Record<CheckName, (view: View) => Said> = {
  client: reason,
  enabled: ({ login, verdict }) =>
    `${settingsOf(login.Method)}.enabled is ${verdict === 'failed' ? 'false' : 'true'}`,
  header,
  issuer,
  key,
  signature,
  jti: reason,
  iat: (view) =>
    time(view, 'issuedAt', ['issued', 'issued'], 'the token does not say when it was issued'),
  exp: (view) => time(view, 'expires', ['expired', 'expires'], 'the token never expires'),
  nbf: (view) => time(view, 'notBefore', ['began', 'begins'], 'the token has no beginning'),
  claim,
  map,
  user,
  reserved,
  audience,
  scope,
  replication: reason,
  powers: reason,
  provisioning: reason,
  groups,
  node: ({ login, verdict }) =>
    verdict === 'failed' ? (login.Node?.Why ?? '') : `signed in as ${login.Role}`,
}

/** The settings of the way in which the token was given. */
export function settingsOf(method: Login['Method']): string {
  return method === 'oauthbearer'
    ? 'server.oauthbearer_authentication'
    : 'server.jwt_authentication'
}

export function list(names: readonly string[], total = names.length): string {
  const shown = names.map((name) => (name === '' ? '""' : name)).join(', ')
  return total > names.length ? `${shown} and ${total - names.length} more` : shown
}

/** In its two largest units: `3 m 12 s`. @param ms - its sign doesn't matter. */
export function span(ms: number): string {
  const seconds = Math.round(Math.abs(ms) / 1000)
  const parts = UNITS.map(([unit, size, of]) => [Math.floor((seconds % of) / size), unit] as const)
  const first = parts.findIndex(([many]) => many > 0)
  if (first < 0) return '0 s'
  const two = parts.slice(first, first + 2).filter(([many]) => many > 0)
  return two.map(([many, unit]) => `${many} ${unit}`).join(' ')
}

const DAY = 86_400
const YEAR = 365 * DAY
const UNITS = [
  ['y', YEAR, Number.MAX_SAFE_INTEGER],
  ['d', DAY, YEAR],
  ['h', 3_600, DAY],
  ['m', 60, 3_600],
  ['s', 1, 60],
] as const

/** The gate's own words, behind the sentence that the client reads. */
function reason({ login, verdict }: View): string {
  if (verdict === 'not_reached') return NOT_REACHED
  return own(login) || (failureOf(login)?.why ?? '')
}

function own(login: Login): string {
  const failure = failureOf(login)
  return failure === undefined ? '' : parted(failure.why).reason
}

const NOT_REACHED = 'not reached'
/** An audit record of a token that was known tells less. */
const NOT_RECORDED = 'not recorded'

function known(view: View, value: string | undefined): string {
  if (value !== undefined) return value
  return view.verdict === 'passed' ? NOT_RECORDED : NOT_REACHED
}

/** What the token says of itself, marked where nobody has proven it. */
function says({ login: { Token } }: View, value: string): string {
  return Token.verified ? value : `says ${value}`
}

function header(view: View): string {
  const { Token } = view.login
  if (view.verdict === 'failed') return reason(view)
  if (view.verdict === 'not_reached' || Token.digest === undefined) return known(view, undefined)
  const type = Token.type === undefined ? '' : `, typ ${Token.type}`
  return `alg ${Token.algorithm ?? 'is missing'}, kid ${Token.keyId ?? 'is missing'}${type}`
}

function issuer(view: View): Said {
  const { Token } = view.login
  if (view.verdict !== 'failed') return known(view, Token.issuer && says(view, Token.issuer))
  const accepted = view.settings?.trust.issuers
  const said =
    Token.issuer === undefined ? 'the token names no issuer' : `says ${list([Token.issuer])}`
  if (accepted === undefined) return `${said}, which is not accepted`
  if (accepted.size === 0) return `${said}; no issuer is accepted`
  return { says: `${said}; accepted:`, lines: shortened([...accepted]) }
}

function key(view: View): string {
  const { keyId, keysFrom, keysFetched } = view.login.Token
  const place = keysFrom === 'configuration' ? 'the configuration' : keysFrom
  const age = keysFetched === undefined ? '' : `, fetched ${ago(keysFetched - view.login.JudgedMs)}`
  if (view.verdict !== 'failed') return known(view, place && `from ${place}${age}`)
  if (place === undefined || keyId === undefined) return reason(view)
  return `${keyId} is not among the keys of ${place}${age}`
}

function signature(view: View): string {
  if (view.verdict !== 'passed') return reason(view)
  return view.login.Token.remembered
    ? 'of the issuer; the same token was verified before'
    : 'of the issuer'
}

type TimeOf = 'issuedAt' | 'expires' | 'notBefore'

function time(view: View, name: TimeOf, [past, future]: [string, string], missing: string): string {
  const { Token, JudgedMs, Why } = view.login
  const seconds = Token[name]
  if (view.verdict === 'failed' && Why.endsWith(NO_TIME)) return reason(view)
  if (seconds === undefined) {
    if (view.verdict === 'failed') return reason(view)
    return Token.digest === undefined ? known(view, undefined) : missing
  }
  const ms = seconds * 1000 - JudgedMs
  const distance = Math.abs(ms) > CALENDAR_MS ? '' : `, ${ms < 0 ? past : future} ${ago(ms)}`
  return says(view, `${instant(seconds)}${distance}`)
}

/** Beyond the years that a calendar has, the number itself. */
export function instant(seconds: number): string {
  const ms = seconds * 1000
  if (Math.abs(ms) > CALENDAR_MS) return `${seconds} s after 1970`
  return `${new Date(ms).toISOString().replace('T', ' ').slice(0, 19)} UTC`
}

const CALENDAR_MS = 253_402_300_799_000

/** @param ms - from now, negative in the past. */
function ago(ms: number): string {
  if (Math.abs(ms) < 500) return 'now'
  return ms < 0 ? `${span(ms)} ago` : `in ${span(ms)}`
}

function claim(view: View): string {
  const { Token } = view.login
  if (view.verdict === 'failed') return reason(view)
  if (Token.names !== undefined) return `${Token.claim ?? 'sub'} is ${list(Token.names) || 'empty'}`
  return known(view, undefined)
}

function map(view: View): Said {
  const { Token } = view.login
  if (Token.users === undefined) return known(view, undefined)
  if (!Token.mapped) return 'none for this issuer: a name is the user'
  const lines = mapLines(view)
  const matched = (Token.mapLines ?? []).toSorted((one, other) => one - other)
  const numbers = `line${matched.length === 1 ? '' : 's'} ${matched.join(', ')}`
  const matching =
    matched.length === 0 ? 'no line matches' : `${numbers} match${matched.length === 1 ? 'es' : ''}`
  const users = Token.users.length === 0 ? '' : `: ${list(Token.users, Token.userCount)}`
  return lines === undefined ? `${matching}${users}` : { says: `${matching}${users}`, lines }
}

function user(view: View): string {
  const { User, Token } = view.login
  const asked = User === '' ? 'nobody was asked for' : `asked for ${quoted(User)}`
  const users = list(Token.users ?? [], Token.userCount)
  if (users !== '') return `${asked}; the token may be ${users}`
  if (view.verdict === 'failed') return `${asked}; the token may be nobody`
  return User === '' ? known(view, undefined) : asked
}

function reserved(view: View): string {
  const { login, settings, verdict } = view
  if (verdict === 'failed') return `${quoted(login.User)} is a reserved role`
  if (verdict === 'not_reached') return NOT_REACHED
  const { User } = login
  if (settings?.rules.allowRoles.has(User) && isReserved(User, settings.rules.ownRoles))
    return `${User} is reserved, and named in allow_roles`
  return `${User} is no reserved role`
}

function audience(view: View): string {
  const { Token, AcceptedAudiences } = view.login
  if (Token.audiences === undefined) return known(view, undefined)
  const said = says(view, Token.audiences.length === 0 ? 'nothing' : list(Token.audiences))
  return `${said}; accepted: ${list(AcceptedAudiences) || 'none'}`
}

function scope(view: View): string {
  const { login, settings, verdict } = view
  const asked = settings?.rules.scopes ?? (login.Method === 'jwt_token' ? [] : undefined)
  if (verdict === 'failed')
    return [reason(view), asked && `wanted: ${list(asked)}`].filter(Boolean).join('; ')
  if (asked?.length === 0) return 'none is asked for'
  return verdict === 'not_reached' || asked === undefined ? known(view, undefined) : list(asked)
}

function groups(view: View): Said {
  const { login, settings, verdict } = view
  const { groups, groupCount, groupsFrom, roles, roleCount } = login.Token
  const failed = verdict === 'failed' ? own(login) : ''
  if (groups !== undefined) {
    const many = groupCount ?? groups.length
    const from = groupsFrom === 'userinfo' ? "the issuer's userinfo" : 'the token'
    const become = roles === undefined ? '' : `, ${rolesOf(roles, roleCount)}`
    return {
      says: `${failed && `${failed}; `}${many === 0 ? 'none' : many} of ${from}${become}`,
      lines: groupLines(view),
    }
  }
  if (verdict === 'failed') return reason(view)
  if (settings !== undefined && settings.authorization === undefined)
    return 'nobody asks for groups'
  if (login.Token.names === undefined || settings === undefined) return known(view, undefined)
  return "no list in the token: the issuer's userinfo would be asked"
}

function rolesOf(roles: readonly string[], count: number | undefined): string {
  return roles.length === 0 ? 'and no role' : `roles: ${list(roles, count)}`
}

function shortened(values: readonly string[]): string[] {
  const rest = values.length - LISTED_MAX
  return rest <= 0 ? [...values] : [...values.slice(0, LISTED_MAX), `and ${rest} more`]
}
