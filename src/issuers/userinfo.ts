/**
 * What an issuer tells of a token's holder, asked with the token itself.
 * https://openid.net/specs/openid-connect-core-1_0.html, section 5.3
 * Rule: the token goes to the endpoint that the issuer named and nowhere else, no log included.
 */
import { Failure } from '../failure.ts'
import type { Secret } from '../secret.ts'
import { jsonObject } from './discovery.ts'
import type { Answer, Get } from './get.ts'
import { reason, without } from './words.ts'

/**
 * @param subject - the token's own, where it has one: an answer about somebody else is refused.
 * @throws Error, with a message for the log.
 */
export async function fetchUserinfo(
  endpoint: string,
  token: Secret,
  subject: string | undefined,
  get: Get,
): Promise<Record<string, unknown>> {
  const answer = await get(endpoint, { authorization: `Bearer ${token.reveal().trim()}` })
  if (isSigned(answer)) throw new Error('signed userinfo (application/jwt) is not supported')
  const claims = jsonObject(answer.body)
  if (claims === undefined) throw new Error('userinfo is not a JSON object')
  // Section 5.3.2. Some endpoints leave it out; the token that was asked with says who is meant.
  if (subject !== undefined && claims.sub !== undefined && claims.sub !== subject)
    throw new Error('userinfo is about another subject than the token')
  return claims
}

/** @throws Failure `userinfo_lookup_failed` */
export async function askUserinfo(...asked: Parameters<typeof fetchUserinfo>) {
  try {
    return await fetchUserinfo(...asked)
  } catch (thrown) {
    const [, token] = asked
    const log = without(token.reveal().trim(), reason(thrown))
    throw new Failure('userinfo_lookup_failed', { log })
  }
}

function isSigned({ headers }: Answer): boolean {
  return headers.some(
    ([name, value]) => name === 'content-type' && /^application\/jwt\b/i.test(value),
  )
}
