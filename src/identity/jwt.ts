/**
 * A token becomes a Principal (RFC 7519, RFC 8725). `authenticate` is the only way: parse, issuer,
 * key, signature, times, claim, in this order; the texts are CockroachDB's.
 * Rule: before the signature holds, nothing of the token is used but to choose a key and to say why
 * it was refused, in words that its holder sent.
 */
import { hash } from 'node:crypto'
import { compactVerify, decodeJwt, decodeProtectedHeader, errors } from 'jose'
import { Failure } from '../failure.ts'
import type { Secret } from '../secret.ts'
import { principalNames } from './claim.ts'
import type { Findings } from './findings.ts'
import { PRINCIPAL_BYTES_MAX } from './identity_map.ts'
import type { KeySet, VerificationKey } from './keys.ts'
import type { Principal } from './principal.ts'
import { quoted, UNPRINTABLE } from './quoted.ts'
import type { Trust } from './trust.ts'
import { normalizeUsername } from './username.ts'

/** An expiry missed by less than this is said to be a matter of clocks, in the log. */
const NEARLY_VALID_MS = 60_000
/** Of a long list, this many are recorded. */
const LISTED_MAX = 20

type Claims = Record<string, unknown>

/**
 * @param nowMs - milliseconds since the epoch, at which the token must be good.
 * @param found - is told what comes to light on the way, also of a token that is refused.
 * @throws Failure `jwt_not_enabled`, `invalid_token`, `invalid_issuer`, `missing_claim` or
 *   `invalid_claim_value`.
 */
export async function authenticate(
  token: Secret,
  trust: Trust,
  nowMs: number,
  found: Findings = {},
): Promise<Principal> {
  if (!trust.enabled) throw new Failure('jwt_not_enabled')
  const text = token.reveal().trim()
  const unverified = parseUnverified(text)
  const digest = hash('sha256', text.slice(0, text.lastIndexOf('.')))
  Object.assign(found, { digest, ...sayings(unverified) })
  const issuer = acceptIssuer(unverified.claims.iss, trust)
  const keys = trust.issuerKeys.get(issuer) ?? trust.keys
  const { kid, payload } = await verify(text, unverified.header, keys)
  const claims = JSON.parse(payload) as Claims
  found.verified = true
  const times = checkTimes(claims, trust, nowMs)
  found.claim = trust.claim === '' ? 'sub' : trust.claim
  const names = principalNames(payload, claims, trust.claim)
  found.names = names.slice(0, LISTED_MAX).map(quoted)
  const identities = users(names, issuer, trust)
  found.mapped = identities.mapped
  found.mapLines = identities.mapLines.slice(0, LISTED_MAX)
  found.users = identities.users.slice(0, LISTED_MAX).map(quoted)
  found.userCount = identities.users.length
  return {
    issuer,
    names,
    users: identities.users,
    mapped: identities.mapped,
    audiences: audiences(claims.aud),
    tokenId: typeof claims.jti === 'string' ? claims.jti : undefined,
    digest,
    keyId: kid,
    ...times,
  }
}

/** What a token says of itself, shortened; the claims are the same that are verified later. */
function sayings({ header, claims }: { header: Claims; claims: Claims }): Findings {
  const text = (value: unknown) => (typeof value === 'string' ? quoted(value) : undefined)
  const seconds = (value: unknown) => (typeof value === 'number' ? value : undefined)
  const all = {
    issuer: text(claims.iss),
    algorithm: text(header.alg),
    keyId: text(header.kid),
    issuedAt: seconds(claims.iat),
    notBefore: seconds(claims.nbf),
    expires: seconds(claims.exp),
    audiences: audiences(claims.aud).slice(0, LISTED_MAX).map(quoted),
    tokenId: text(claims.jti),
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

/** Compact JWS only: JWE, JSON serialisation and anything nested is no token here. */
function parseUnverified(text: string): { header: Claims; claims: Claims } {
  const parts = text.split('.').length
  if (parts === 5) throw unparsable('encrypted tokens (JWE) are not supported')
  if (parts !== 3) throw unparsable('invalid JWT: a token has three parts')
  if (!text.split('.').every(isBase64url))
    throw unparsable('invalid JWT: its parts are not base64url without padding')
  try {
    return { header: decodeProtectedHeader(text), claims: decodeJwt(text) }
  } catch {
    throw unparsable('invalid JWT: its parts are not JSON objects')
  }
}

/** Strictly: a second spelling of a signature would be a second digest of one token. */
function isBase64url(part: string): boolean {
  return Buffer.from(part, 'base64url').toString('base64url') === part
}

function acceptIssuer(issuer: unknown, trust: Trust): string {
  if (typeof issuer === 'string' && trust.issuers.has(issuer)) return issuer
  const detail = `token issued by ${typeof issuer === 'string' ? quoted(issuer) : ''}`
  throw new Failure('invalid_issuer', { detail })
}

/** The key is chosen by `kid`, the algorithm by the key; every key of that id is tried. */
async function verify(text: string, header: Claims, keys: KeySet) {
  const { kid, alg } = header
  // RFC 7515 section 4.1.11: an extension that the token insists on is one that we don't have.
  if (header.crit !== undefined) throw invalid('the header asks for an extension ("crit")')
  const provider = 'key provider 0 failed'
  if (typeof kid !== 'string' || kid === '')
    throw invalid(`${provider}: failed to find matching key: no key ID ("kid") specified in token`)
  const candidates = keys.find(kid)
  if (candidates.length === 0)
    throw invalid(`${provider}: failed to find key with key ID "${quoted(kid)}" in key set`)
  const usable = candidates.filter((key) => typeof alg === 'string' && key.algorithms.includes(alg))
  if (usable.length === 0 && candidates.some((key) => key.inferred))
    throw invalid('algorithm in the message does not match any of the inferred algorithms')
  for (const key of usable) {
    const payload = await verifyWith(text, key)
    if (payload !== undefined) return { kid, payload }
  }
  throw invalid('could not verify message using any of the signatures or keys')
}

/** @returns the payload's text, or undefined where the signature is not this key's. */
async function verifyWith(text: string, key: VerificationKey): Promise<string | undefined> {
  try {
    const { payload } = await compactVerify(text, key.key, { algorithms: [...key.algorithms] })
    return new TextDecoder('utf-8', { fatal: true }).decode(payload)
  } catch (thrown) {
    if (thrown instanceof errors.JOSEError || thrown instanceof TypeError) return undefined
    throw thrown
  }
}

/** RFC 7519 section 4.1, to the second, in the order iat, exp, nbf. */
function checkTimes(claims: Claims, trust: Trust, nowMs: number) {
  const { requireExpiry, clockToleranceMs: tolerance } = trust
  const iat = time(claims, 'iat')
  const exp = time(claims, 'exp')
  const nbf = time(claims, 'nbf')
  if (iat !== undefined && iat > latest(nowMs, tolerance)) throw notSatisfied('iat', iat, nowMs)
  if (exp === undefined && requireExpiry)
    throw invalid('"exp" not satisfied: required claim not found')
  if (exp !== undefined && exp <= earliest(nowMs, tolerance)) throw notSatisfied('exp', exp, nowMs)
  if (nbf !== undefined && nbf > latest(nowMs, tolerance)) throw notSatisfied('nbf', nbf, nowMs)
  return { issuedAt: iat, until: exp }
}

function latest(nowMs: number, toleranceMs: number): number {
  return Math.floor((nowMs + toleranceMs) / 1000)
}

function earliest(nowMs: number, toleranceMs: number): number {
  return Math.floor((nowMs - toleranceMs) / 1000)
}

function time(claims: Claims, name: string): number | undefined {
  const value = claims[name]
  if (value === undefined || value === null) return undefined
  if (typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER)
    return Math.floor(value)
  throw invalid(`"${name}" is not a time in seconds`)
}

function notSatisfied(name: string, seconds: number, nowMs: number): Failure {
  const offMs = Math.abs(nowMs - seconds * 1000)
  const log = `"${name}" missed by ${Math.round(offMs / 1000)} s`
  const clocks = '; are the clocks in step? server.jwt_authentication.clock_tolerance allows for it'
  return invalid(`"${name}" not satisfied`, offMs < NEARLY_VALID_MS ? log + clocks : log)
}

/** Each name goes through the issuer's map; an issuer without one is taken at its word. */
function users(names: readonly string[], issuer: string, trust: Trust) {
  const found = new Set<string>()
  const mapLines = new Set<number>()
  let mapped = false
  for (const name of names) {
    if (Buffer.byteLength(name) > PRINCIPAL_BYTES_MAX || UNPRINTABLE.test(name))
      throw new Failure('invalid_claim_value', {
        detail: `the value ${quoted(name)} for the issuer ${issuer} is invalid`,
      })
    const { found: hasMap, users, lines } = trust.identityMap.lookup(issuer, name)
    for (const line of lines) mapLines.add(line)
    mapped ||= hasMap
    for (const user of hasMap ? users : [trust.foldCase ? normalizeUsername(name) : name])
      found.add(user)
  }
  return { users: [...found], mapped, mapLines: [...mapLines] }
}

function audiences(aud: unknown): string[] {
  if (typeof aud === 'string') return [aud]
  return Array.isArray(aud) ? aud.filter((each) => typeof each === 'string') : []
}

function unparsable(problem: string): Failure {
  return new Failure('invalid_token', { detail: `token parsing failed: ${problem}` })
}

function invalid(problem: string, log?: string): Failure {
  const detail = `unable to parse token: ${problem}`
  return new Failure('invalid_token', log === undefined ? { detail } : { detail, log })
}
