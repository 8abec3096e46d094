/**
 * What to do about a refusal: the next step, one row a failure, with the setting to change and the value
 * to give it. docs/failures.md says the same without the values.
 */
import { MAY_BE_GROUP, RESERVED } from '../cluster/provisioning.ts'
import { FAILURES, type FailureCode, type FailureRow, NODE_SAYS } from '../failure.ts'
import { quoted } from '../identity/quoted.ts'
import {
  type CheckName,
  decidingCheck,
  failureOf,
  isCode,
  type Login,
  parted,
  type Settings,
} from './explanation_login.ts'
import { list, settingsOf, span } from './explanation_says.ts'

type Advice = (login: Login, settings: Settings | undefined) => string

/** @returns undefined where the login was granted. */
export function advise(login: Login, settings: Settings | undefined): string | undefined {
  const failure = failureOf(login)
  if (failure === undefined) return undefined
  const { code } = failure
  if (!isCode(code)) return undefined
  const row: FailureRow = FAILURES[code]
  return ADVICE[code]?.(login, settings) ?? row.hint ?? `See ${code} in docs/failures.md.`
}

const ADVICE: Partial<Record<FailureCode, Advice>> = {
  jwt_not_enabled: ({ Method }) => `Set ${settingsOf(Method)}.enabled: true.`,
  invalid_token: (login, settings) =>
    (ABOUT_TOKEN[decidingCheck(login) ?? 'signature'] ?? freshToken)(login, settings),
  invalid_issuer: issuer,
  jwks_unavailable: ({ Token }) =>
    `Let this machine reach the issuer ${Token.issuer ?? ''} by HTTPS; server.jwt_authentication.issuers.custom_ca trusts an authority of your own, client.timeout gives it more time, HTTPS_PROXY names a proxy.`,
  missing_claim: claim,
  failed_to_extract_claim: claim,
  invalid_claim_value: () =>
    'Have the issuer put a name there: one of at most 1 KiB, without control characters.',
  invalid_principal: principal,
  invalid_identity: ({ User }) =>
    `Sign in as another role. Where a token shall be enough to be ${quoted(User)}, name it in allow_roles.`,
  invalid_audience: audience,
  insufficient_scope: (_login, settings) => {
    const scopes = settings?.rules.scopes ?? []
    const wanted =
      scopes.length === 0 ? 'what server.oauthbearer_authentication.scope says' : list(scopes)
    return `Have the client ask its issuer for ${wanted}.`
  },
  replication_refused: ({ User }) => `Name ${quoted(User)} in replication_roles.`,
  empty_group_list: () =>
    'Have the issuer put the user into a group; server.jwt_authentication.authorization.empty_groups: allow lets in who is in none.',
  userinfo_lookup_failed: userinfo,
  no_userinfo_endpoint: ({ Token }) =>
    `Have the issuer put the groups into the token: ${Token.issuer ?? 'it'} publishes no userinfo endpoint.`,
  role_sync_failed: ({ Why }) => (HELD.test(Why) ? AGAIN : RIGHTS),
  provisioning_failed: provisioning,
  node_unreachable: () => DOCTOR,
  node_signin_failed: () => DOCTOR,
  role_refused: ({ User }) =>
    `Let postern cluster doctor --role ${quoted(User)} say what the node lacks: the role, its leave to log in, or a rule that lets the gate in.`,
  password_authentication_failed: () => 'Give the token as the password: it was empty.',
  name_too_long: () =>
    'Let server.identity_map.configuration map the name to one of at most 63 bytes.',
}

const RIGHTS =
  'Give the management role the rights that postern cluster setup prints for it on this cluster.'
const HELD = new RegExp(`: (?:${NODE_SAYS.locked}|${NODE_SAYS.canceled}): |all the time;`)
const AGAIN =
  'Sign in again; if it stays so, see in pg_locks of the node who holds the roles in an open transaction.'
const DOCTOR = 'Let postern cluster doctor say what the node lacks.'

const ABOUT_TOKEN: Partial<Record<CheckName, Advice>> = {
  header: ({ Token }) =>
    Token.digest === undefined
      ? 'Give the token alone, as the issuer gave it: three parts with a dot between them, signed and not encrypted.'
      : 'Have the issuer leave "crit" out of the header.',
  key: unknownKey,
  signature: freshKey,
  jti: () => 'Have the issuer write "jti" as a text.',
  iat: early,
  nbf: early,
  exp: expired,
}

function issuer({ Token, Method }: Login, settings: Settings | undefined): string {
  const setting = `${settingsOf(Method)}.issuers.configuration`
  if (Token.issuer === undefined) return 'Have the issuer name itself in "iss".'
  const said = Token.issuer
  const near = [...(settings?.trust.issuers ?? [])].find(
    (accepted) => loose(accepted) === loose(said),
  )
  if (near === undefined) return `If its tokens are to be accepted, add ${said} to ${setting}.`
  const slash =
    said.endsWith('/') === near.endsWith('/')
      ? ''
      : said.endsWith('/')
        ? ', with the "/" at its end'
        : ', without the "/" at its end'
  return `The configuration has ${near}: write ${said} in ${setting}${slash}. It is compared letter for letter.`
}

function loose(issuer: string): string {
  return issuer.toLowerCase().replace(/\/+$/, '')
}

function unknownKey({ Token }: Login): string {
  if (Token.keyId === undefined) return 'Have the issuer name its key in the header ("kid").'
  if (Token.keysFrom === 'configuration')
    return `Add the issuer's key ${Token.keyId} to server.jwt_authentication.jwks, or let the gate fetch the keys: server.jwt_authentication.jwks_auto_fetch.enabled: true.`
  return `The issuer doesn't publish ${Token.keyId} (any more): get a fresh token.`
}

function freshKey({ Token }: Login): string {
  const own =
    Token.keysFrom === 'configuration'
      ? ', and compare the key with server.jwt_authentication.jwks'
      : ''
  return `The token was changed on its way, or the issuer's key ${Token.keyId ?? ''} didn't sign it: get a fresh one${own}.`
}

function freshToken(): string {
  return 'Get a fresh token.'
}

/** What is missed by less is a matter of clocks. */
const CLOCKS_MS = 60_000
const CLOCKS =
  'Compare the clocks of gate and issuer; server.jwt_authentication.clock_tolerance: 30s allows for a difference.'

function expired({ Token, JudgedMs }: Login): string {
  if (Token.expires === undefined)
    return 'Have the issuer set "exp", in seconds; server.jwt_authentication.require_expiry: false lets in tokens that never end.'
  const lateMs = JudgedMs - Token.expires * 1000
  return lateMs < CLOCKS_MS ? `Get a fresh token. ${CLOCKS}` : freshToken()
}

function early({ Token, JudgedMs, ...login }: Login): string {
  const issued = decidingCheck({ Token, JudgedMs, ...login }) === 'iat'
  const seconds = issued ? Token.issuedAt : Token.notBefore
  if (seconds === undefined) return 'Have the issuer write its times in seconds since 1970.'
  const earlyMs = seconds * 1000 - JudgedMs
  return earlyMs < CLOCKS_MS
    ? CLOCKS
    : `Wait ${span(earlyMs)}, or ask the issuer for another token.`
}

function claim({ Method }: Login, settings: Settings | undefined): string {
  const name = settings?.trust.claim || 'sub'
  return `Have the issuer add ${name} to the token, or set ${settingsOf(Method)}.claim to a claim that it has.`
}

function principal(login: Login): string {
  const { Token, User } = login
  const { issuer = '', names = [], users = [] } = Token
  const asked = User === '' ? 'USER' : quoted(User)
  const line = `server.identity_map.configuration: ${issuer} ${names[0] ?? 'NAME'} ${asked}`
  if (decidingCheck(login) === 'map') return `If it is to be let in, add a line to ${line}`
  if (users.length === 0) return 'Have the issuer put a name into the claim.'
  const others = `Sign in as ${users.length === 1 ? '' : 'one of '}${list(users, Token.userCount)}`
  return `${others}, or, if it is to be ${asked}, add a line to ${line}`
}

function audience({ Token, AcceptedAudiences, Method }: Login): string {
  const own = Token.audiences ?? []
  const setting = `${settingsOf(Method)}.audience`
  if (AcceptedAudiences.length === 0)
    return own.length === 0
      ? `Set ${setting}.`
      : `Set ${setting}: ${own[0]}, if the token was made for this cluster.`
  const ask = `Ask the issuer for a token for ${list(AcceptedAudiences)}`
  return own.length === 0
    ? `${ask}.`
    : `${ask}; if ${list(own)} is this cluster, add it to ${setting}.`
}

function userinfo({ Why }: Login): string {
  const { reason } = parted(Why)
  const [, way] = USERINFO.find(([cause]) => cause.test(reason)) ?? []
  return `Have the issuer put the groups into the token, or ${way ?? ELSEWHERE}.`
}

const ELSEWHERE = 'have its userinfo endpoint answer as OpenID Connect Core 5.3 says'
const USERINFO: readonly [cause: RegExp, way: string][] = [
  [
    /^GET \S+ returned 40[13]/,
    'have the client get a token that its userinfo endpoint takes, with the scope openid',
  ],
  [/^GET /, 'see why it answers so'],
  [
    /^Get "/,
    'let this machine reach it by HTTPS; server.jwt_authentication.issuers.custom_ca trusts an authority of your own, client.timeout gives it more time, HTTPS_PROXY names a proxy',
  ],
  [/about another subject/, 'have its userinfo endpoint tell of the subject of the token'],
  [/signed userinfo/, 'have its userinfo endpoint answer in JSON that is not signed'],
]

/** What is never made may be there all the same. */
function provisioning({ Why, User }: Login): string {
  if (!Why.endsWith(MAY_BE_GROUP) && !Why.endsWith(RESERVED)) return RIGHTS
  const other = Why.endsWith(RESERVED) ? 'is not reserved' : 'authorization.roles does not match'
  return `Make the role ${quoted(User)} by hand, or let server.identity_map.configuration map the name to one that ${other}.`
}
