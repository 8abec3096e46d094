/**
 * What an explanation is about: a login's decision, as `login_decision` of the audit stream has it, and
 * which of the gate's checks made it.
 * Rule: the decision is read here, never made again.
 */
import type { ProvisioningRules } from '../cluster/provisioning.ts'
import { FAILURES, type FailureCode } from '../failure.ts'
import type { Findings } from '../identity/findings.ts'
import type { Trust } from '../identity/trust.ts'
import type { Rules } from '../policy/decide.ts'
import type { Authorization } from '../policy/groups.ts'
import type { Method, Step } from '../telemetry/events.ts'

/** The parts of a `login_decision` that an explanation rests on, and what became of the login then. */
export interface Login {
  Result: 'granted' | 'refused'
  /** The failure's code and its words, where it was refused. */
  Failure: string
  Why: string
  /** What of it the client reads as DETAIL. */
  Detail: string
  /** What was under way on the cluster when it was refused. */
  Step: Step | ''
  Role: string
  /** Who the client asked to be; empty where nobody was asked for. */
  User: string
  Method: Method
  Replication: boolean
  Token: Findings
  AcceptedAudiences: readonly string[]
  /** When the token was judged, in milliseconds since the epoch. */
  JudgedMs: number
  /** How the node took a role that was granted: the failure's code and its words, or two empty texts. */
  Node?: { Failure: string; Why: string }
}

/** What a configuration says of its cluster. The gate of a record may have had another one. */
export interface Settings {
  trust: Trust
  rules: Rules
  authorization: Authorization | undefined
  /** Where a user who is not there is made. */
  provisioning: ProvisioningRules | undefined
  /** `server.identity_map.configuration`, as it is written. */
  map: string
}

/** In the order in which the gate judges. */
export const CHECKS = [
  'client',
  'enabled',
  'header',
  'issuer',
  'key',
  'signature',
  'jti',
  'iat',
  'exp',
  'nbf',
  'claim',
  'map',
  'user',
  'reserved',
  'audience',
  'scope',
  'replication',
  'powers',
  'provisioning',
  'groups',
  'node',
] as const

export type CheckName = (typeof CHECKS)[number]

/** The failure that decided, with what the client may read of it. */
export function failureOf({
  Failure,
  Why,
  Node,
}: Login): { code: string; why: string } | undefined {
  if (Failure !== '') return { code: Failure, why: Why }
  if (Node !== undefined && Node.Failure !== '') return { code: Node.Failure, why: Node.Why }
  return undefined
}

/** The sentence that the client reads, and what stands behind it in `Why`: its DETAIL, and the log's words. */
export function parted(why: string): { message: string; reason: string } {
  const [message = '', ...reason] = why.split('; ')
  return { message, reason: reason.join('; ') }
}

export function isCode(code: string): code is FailureCode {
  return Object.hasOwn(FAILURES, code)
}

export function decidingCheck(login: Login): CheckName | undefined {
  const failure = failureOf(login)
  if (failure === undefined) return undefined
  if (login.Failure === '') return 'node'
  if (login.Step !== '') return login.Step
  if (failure.code === 'invalid_token') return ofInvalidToken(login)
  if (failure.code === 'invalid_principal') return ofInvalidPrincipal(login)
  return (isCode(failure.code) && DECIDED_BY[failure.code]) || whereItEnded(login)
}

export const NO_TIME = 'is not a time in seconds'

const DECIDED_BY: Partial<Record<FailureCode, CheckName>> = {
  jwt_not_enabled: 'enabled',
  invalid_issuer: 'issuer',
  jwks_unavailable: 'key',
  missing_claim: 'claim',
  failed_to_extract_claim: 'claim',
  invalid_claim_value: 'claim',
  invalid_identity: 'reserved',
  invalid_audience: 'audience',
  insufficient_scope: 'scope',
  replication_refused: 'replication',
  empty_group_list: 'groups',
  token_required: 'client',
  not_a_token: 'client',
  bearer_token_required: 'client',
  password_authentication_failed: 'client',
  name_too_long: 'client',
}

/** One code for a token's form, its key, its signature and its times: what is known by then tells them apart. */
function ofInvalidToken({ Token, Why }: Login): CheckName {
  if (Token.digest === undefined) return 'header'
  if (Token.verified)
    return (
      (['jti', 'iat', 'exp', 'nbf'] as const).find((name) => Why.includes(`"${name}"`)) ?? 'exp'
    )
  if (Why.includes('key provider')) return 'key'
  return Token.keysFrom === undefined ? 'header' : 'signature'
}

function ofInvalidPrincipal({ Token }: Login): CheckName {
  return Token.mapped && Token.userCount === 0 ? 'map' : 'user'
}

/** A login may end at any wait, because its time is over or the gate closes: for the token, for the keys. */
function whereItEnded({ Token }: Login): CheckName {
  return Token.digest === undefined ? 'client' : 'key'
}
