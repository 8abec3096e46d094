/**
 * Tokens letter by letter: header and payload as text, so that a test can send what no library would
 * write, and sign it with any key and algorithm.
 */
import {
  constants,
  createHmac,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  sign,
} from 'node:crypto'

export interface Pair {
  privateKey: KeyObject
  publicKey: KeyObject
}

export function rsa(modulusLength = 2048): Pair {
  return generateKeyPairSync('rsa', { modulusLength })
}

export function ec(namedCurve: 'P-256' | 'P-384' | 'P-521'): Pair {
  return generateKeyPairSync('ec', { namedCurve })
}

export function ed25519(): Pair {
  return generateKeyPairSync('ed25519')
}

/** What an issuer would publish, with members of its own. */
export function jwk({ publicKey }: Pair, members: Record<string, unknown>): JsonWebKey {
  return { ...publicKey.export({ format: 'jwk' }), ...members }
}

/** @param secret - for HS algorithms, the text of the "secret". */
export function forge(
  header: string | Record<string, unknown>,
  payload: string | Record<string, unknown>,
  alg: string,
  key: Pair | string,
): string {
  const input = `${part(header)}.${part(payload)}`
  return `${input}.${signature(input, alg, key)}`
}

export function part(content: string | Record<string, unknown>): string {
  return Buffer.from(typeof content === 'string' ? content : JSON.stringify(content)).toString(
    'base64url',
  )
}

function signature(input: string, alg: string, key: Pair | string): string {
  const hash = `sha${alg.slice(2)}`
  if (typeof key === 'string') return createHmac(hash, key).update(input).digest('base64url')
  const data = Buffer.from(input)
  const { privateKey } = key
  if (alg.startsWith('Ed')) return sign(null, data, privateKey).toString('base64url')
  if (alg.startsWith('ES'))
    return sign(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')
  if (alg.startsWith('PS'))
    return sign(hash, data, {
      key: privateKey,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    }).toString('base64url')
  return sign(hash, data, privateKey).toString('base64url')
}
