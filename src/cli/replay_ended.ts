/**
 * What ended a login of the past, where no setting could have: then it ends so again, or nobody can tell.
 * Pure. Rule: a refusal counts as the configuration's own where the record shows that it was.
 */
import { Failure, type FailureCode } from '../failure.ts'
import { isCode } from './explanation_login.ts'
import type { Recorded } from './explanation_record.ts'

export function endedThen({
  Failure: code,
  Why,
  Step,
  Token,
}: Recorded): Failure | { unknown: string } | undefined {
  if (code === '') return undefined
  if (isCode(code) && isClients(code, Why, Token.verified === true))
    return new Failure(code, { log: 'as it was then' })
  if (code === 'invalid_token') return undefined
  const decided = Step === '' ? BY_SETTINGS.get(code) : AT_STEP.get(code)
  if (decided?.test(Why)) return undefined
  return { unknown: `it was refused by ${code}, which settings alone don't decide` }
}

/** Whatever the configuration says: it is in what the client sent. */
function isClients(code: FailureCode, why: string, verified: boolean): boolean {
  if (code === 'invalid_token') return !verified && !why.includes('key provider')
  return CLIENTS.has(code)
}

const ANY = /^/
const BY_SETTINGS: ReadonlyMap<string, RegExp> = new Map([
  ['jwt_not_enabled', ANY],
  ['token_required', ANY],
  ['invalid_issuer', ANY],
  ['missing_claim', ANY],
  ['failed_to_extract_claim', ANY],
  ['invalid_principal', ANY],
  ['invalid_identity', ANY],
  ['invalid_audience', ANY],
  ['insufficient_scope', ANY],
  ['replication_refused', ANY],
  ['cluster_not_found', ANY],
  // Not by the lists and the revocations that gates share.
  ['access_denied', /(?:no rule of access fits|refused by \S+:\d+:\d+)$/],
  ['token_revoked', /jwt_revoked_ids$/],
])
const AT_STEP: ReadonlyMap<string, RegExp> = new Map([['empty_group_list', ANY]])

const CLIENTS: ReadonlySet<FailureCode> = new Set<FailureCode>([
  'not_a_token',
  'password_authentication_failed',
  'bearer_token_required',
  'invalid_claim_value',
  'no_user',
  'name_too_long',
  'channel_binding_lost',
  'client_gone',
  'invalid_startup',
  'unsupported_protocol',
  'unencrypted_data',
  'parameter_not_allowed',
  'invalid_parameter',
  'invalid_options',
  'password_expected',
  'invalid_password_message',
  'message_too_large',
  'protocol_violation',
])
