/** Keys and tokens for tests: what an issuer would sign, and what an attacker would send. */
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'

export interface SigningKey {
  privateKey: CryptoKey
  alg: string
  /** What the issuer publishes. */
  jwk: JWK & { kid: string }
}

export async function makeKey(kid: string, alg = 'ES256'): Promise<SigningKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  return { privateKey, alg, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } }
}

export interface TokenParts {
  claims?: Record<string, unknown>
  header?: Record<string, unknown>
}

/** Every token that this file's tests have made: none of them may turn up in a log. */
const minted = new Set<string>()

/** Tokens, or their last parts, that a text gives away. */
export function tokensIn(text: string): string[] {
  return [...minted].filter((token) => text.includes(token.slice(token.lastIndexOf('.') + 1)))
}

/** Claims that are `undefined` are left out. The header's alg and kid are the key's unless told. */
export async function mint(
  key: SigningKey,
  { claims = {}, header = {} }: TokenParts,
): Promise<string> {
  const kept = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined))
  const all = { alg: key.alg, kid: key.jwk.kid, ...header }
  const token = await new SignJWT(kept)
    .setProtectedHeader(JSON.parse(JSON.stringify(all)))
    .sign(key.privateKey)
  minted.add(token)
  return token
}

export const ISSUER = 'https://issuer.test'
export const AUDIENCE = 'postern-test'

/** Claims that the test gate accepts, until far in the future. */
export function goodClaims(sub: string): Record<string, unknown> {
  return { iss: ISSUER, aud: AUDIENCE, sub, iat: 1_700_000_000, exp: 4_000_000_000 }
}
