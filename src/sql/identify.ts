/**
 * The token, asked for and judged: in the place of a password, for clients that say so by
 * --crdb:jwt_auth_enabled=true. The others are asked by OAUTHBEARER (RFC 7628) where that is offered, or
 * for a password that shows by its form that it is a token, where that is looked for.
 * All ways end in the same two questions: who is it (`authenticate`), and may it (`decide`).
 */
import { asFailure, Failure } from '../failure.ts'
import type { Findings } from '../identity/findings.ts'
import { authenticate } from '../identity/jwt.ts'
import { hasJwtForm } from '../identity/jwt_form.ts'
import type { Principal } from '../identity/principal.ts'
import type { Trust } from '../identity/trust.ts'
import type { Leg } from '../leg.ts'
import { type Ask, decide, type Grant, type Rules } from '../policy/decide.ts'
import type { Secret } from '../secret.ts'
import type { Waits } from '../telemetry/login_time.ts'
import { decodePassword, PASSWORD_BYTES_MAX } from '../wire/client_messages.ts'
import type { Challenge, Status } from '../wire/oauthbearer.ts'
import { CLEARTEXT_PASSWORD } from '../wire/server_messages.ts'
import type { Asked, NonJwtLogins } from './ask.ts'
import { askBearer, refuseBearer } from './oauthbearer.ts'
import { within } from './within.ts'

/** Whom one way of giving a token believes, and what it lets them do. */
export interface Way {
  trust: Trust
  rules: Rules
}

export interface Identified {
  grant: Grant
  token: Secret
}

/** What is told of a login on the way. */
export interface Witness extends Waits {
  readonly token: Findings
  /** Which way the client came, and what its token is held against. */
  offered(method: 'jwt_token' | 'oauthbearer', rules: Rules): void
  identified(principal: Principal): void
}

export interface IdentifyParts {
  cluster: Way & {
    oauthbearer: (Way & { challenge: Challenge }) | undefined
    nonJwtLogins: NonJwtLogins
  }
  /** Nobody else hears what the client says: TLS, or a unix socket. */
  isPrivate: boolean
  /** Milliseconds since the epoch. */
  now(): number
  /** Told what ended it, before the client hears of that. @throws what the client hears instead */
  ended(thrown: unknown): Promise<void>
  /** Ends the login. */
  signal: AbortSignal
}

export async function identify(
  client: Leg,
  { ask, jwt }: Asked,
  witness: Witness,
  parts: IdentifyParts,
): Promise<Identified> {
  const values = { user: ask.user }
  const { cluster } = parts
  const { oauthbearer } = cluster
  if (jwt || cluster.nonJwtLogins === 'detect') {
    // Who doesn't say that a token comes may give a password of the database's.
    if (!jwt && !parts.isPrivate) throw new Failure('encryption_required')
    witness.offered('jwt_token', cluster.rules)
    const token = await witness.waiting('client', askPassword(client))
    if (token.empty) throw new Failure('password_authentication_failed', { values })
    // Somebody's password of the database: it is gone with this line.
    if (!jwt && !hasJwtForm(token)) throw new Failure('not_a_token', { values })
    return await judge(token, ask, cluster, witness, parts)
  }
  if (oauthbearer === undefined) throw new Failure('token_required', { values })
  witness.offered('oauthbearer', oauthbearer.rules)
  try {
    const token = await witness.waiting('client', askBearer(client))
    if (token === undefined) throw new Failure('bearer_token_required', { values })
    return await judge(token, ask, oauthbearer, witness, parts)
  } catch (thrown) {
    await parts.ended(thrown)
    // RFC 7628 section 3.2.3: the reason in JSON, the client's leave to fail, and then the failure.
    const status = statusOf(asFailure(thrown))
    if (status !== undefined) await refuseBearer(client, status, oauthbearer.challenge)
    throw thrown
  }
}

/** @returns undefined where another token would fare no better. */
function statusOf({ code, row }: Failure): Status | undefined {
  if (code === 'insufficient_scope') return code
  const ofToken = row.reason === 'CREDENTIALS_INVALID' && code !== 'jwks_unavailable'
  return ofToken ? 'invalid_token' : undefined
}

async function askPassword(client: Leg): Promise<Secret> {
  client.send(CLEARTEXT_PASSWORD)
  return decodePassword(await client.message(PASSWORD_BYTES_MAX))
}

async function judge(
  token: Secret,
  ask: Ask,
  { trust, rules }: Way,
  witness: Witness,
  { now, signal }: IdentifyParts,
): Promise<Identified> {
  const keys = <T>(fetched: Promise<T>) => witness.waiting('issuer', fetched)
  const judged = authenticate(token, trust, now, witness.token, keys)
  const principal = await within(signal, judged)
  witness.identified(principal)
  const decision = decide(principal, ask, rules)
  if (!decision.granted) throw new Failure(decision.denial.code, decision.denial)
  return { grant: decision.grant, token }
}
