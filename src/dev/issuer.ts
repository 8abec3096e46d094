/**
 * The token issuer of `postern dev`: one ES256 key in a file that only its owner reads. It signs
 * for itself and nobody else, and no gate but the development one knows its key.
 */
import { randomUUID } from 'node:crypto'
import { exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose'

export const DEV_ISSUER = 'https://dev.postern.invalid'
export const DEV_AUDIENCE = 'postern-dev'

/** What the issuer's file holds. */
export interface DevIssuer {
  issuer: string
  audience: string
  privateJwk: JWK
}

export interface Claims {
  sub: string
  iss?: string
  aud?: string
  /** Seconds since the epoch. */
  exp: number
}

export async function makeDevIssuer(): Promise<DevIssuer> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const privateJwk = { ...(await exportJWK(privateKey)), kid: `dev-${randomUUID()}`, alg: 'ES256' }
  return { issuer: DEV_ISSUER, audience: DEV_AUDIENCE, privateJwk }
}

/** The set that the gate is told. */
export function publicJwks({ privateJwk: { d: _private, ...publicJwk } }: DevIssuer): {
  keys: JWK[]
} {
  return { keys: [{ ...publicJwk, use: 'sig' }] }
}

/** A token of this issuer; the claims may name another one only to show that it is refused. */
export async function sign(from: DevIssuer, claims: Claims, nowMs: number): Promise<string> {
  const key = await importJWK(from.privateJwk, 'ES256')
  return await new SignJWT({ jti: randomUUID() })
    .setProtectedHeader({ alg: 'ES256', kid: from.privateJwk.kid ?? '', typ: 'JWT' })
    .setIssuer(claims.iss ?? from.issuer)
    .setAudience(claims.aud ?? from.audience)
    .setSubject(claims.sub)
    .setIssuedAt(Math.floor(nowMs / 1000) - 1)
    .setExpirationTime(claims.exp)
    .sign(key)
}
