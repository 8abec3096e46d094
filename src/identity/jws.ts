/**
 * A token as a compact JWS (RFC 7515, RFC 8725): taken apart, and its signature proven by a key of the
 * issuer's. JWE, JSON serialisation and anything nested is no token here.
 * Rule: the key is chosen by `kid` among the issuer's own, the algorithm by the key; `jku`, `x5u` and
 * `jwk` in a header are never looked at.
 */
import { compactVerify, decodeJwt, decodeProtectedHeader, errors } from 'jose'
import { Failure } from '../failure.ts'
import type { Findings } from './findings.ts'
import type { KeySource } from './key_source.ts'
import type { VerificationKey } from './keys.ts'
import { quoted } from './quoted.ts'

export type Members = Record<string, unknown>

/** @throws Failure `invalid_token`; nothing of what is returned has been proven. */
export function parseUnverified(text: string): { header: Members; claims: Members } {
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

/** What of a header counts before its key is known. */
export interface KeyHint {
  kid: string | undefined
  alg: string | undefined
  /** It has a `crit`. */
  asksForMore: boolean
}

export interface Proven {
  /** What was signed, as it stands there. */
  payload: string
  key: VerificationKey
}

/**
 * Every key of the token's `kid` is tried.
 * @throws Failure `invalid_token`, `jwks_unavailable`
 */
export async function verify(
  text: string,
  { kid, alg, asksForMore }: KeyHint,
  source: KeySource,
  found: Findings,
): Promise<Proven> {
  // RFC 7515 section 4.1.11: an extension that the token insists on is one that we don't have.
  if (asksForMore) throw invalid('the header asks for an extension ("crit")')
  const provider = 'key provider 0 failed'
  if (kid === undefined || kid === '')
    throw invalid(`${provider}: failed to find matching key: no key ID ("kid") specified in token`)
  const { keys: candidates, from, fetchedMs } = await source.find(kid)
  Object.assign(found, {
    keysFrom: from,
    ...(fetchedMs !== undefined && { keysFetched: fetchedMs }),
  })
  if (candidates.length === 0)
    throw invalid(`${provider}: failed to find key with key ID "${quoted(kid)}" in key set`)
  const usable = candidates.filter((key) => alg !== undefined && key.algorithms.includes(alg))
  if (usable.length === 0 && candidates.some((key) => key.inferred))
    throw invalid('algorithm in the message does not match any of the inferred algorithms')
  for (const key of usable) {
    const payload = await verifyWith(text, key)
    if (payload !== undefined) return { payload, key }
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

function unparsable(problem: string): Failure {
  return new Failure('invalid_token', { detail: `token parsing failed: ${problem}` })
}

export function invalid(problem: string, log?: string): Failure {
  const detail = `unable to parse token: ${problem}`
  return new Failure('invalid_token', log === undefined ? { detail } : { detail, log })
}
