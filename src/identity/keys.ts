/**
 * The public keys that may have signed a token: a JWK or a JWK Set (RFC 7517), read once and bound
 * to the algorithms that each key may be used with (RFC 8725 section 3.1). A set in the configuration
 * is all for us, so whatever is odd in it is a mistake; one that an issuer publishes is for others too.
 * Rule: the algorithm comes from the key, never from the token; a symmetric key is no public key.
 */
import { createPublicKey, hash, type JsonWebKey, type KeyObject } from 'node:crypto'
import { quoted } from './quoted.ts'

export interface VerificationKey {
  kid: string
  /** Empty for a key that is there but signs no tokens (`use: enc`, an algorithm we don't have). */
  algorithms: readonly string[]
  /** The key names no algorithm itself: any of its type's will do. */
  inferred: boolean
  key: KeyObject
  /** The same for the same key with the same algorithms, however often it is read. */
  thumbprint: string
}

/** Keys by their `kid`. A `kid` is only ever looked up here: it never becomes a path or a query. */
export interface KeySet {
  /** Keys of that id; empty when there is none. */
  find(kid: string): readonly VerificationKey[]
  /** Each of them. */
  all(): readonly VerificationKey[]
  size: number
}

export type KeySetResult = { ok: true; keys: KeySet } | { ok: false; problem: string }

/** Several keys of one id are each tried, up to this many. */
const KEYS_PER_KID_MAX = 4
/** Reading a key costs a tenth of a millisecond; issuers publish a few, the largest some dozens. */
const PUBLISHED_KEYS_MAX = 100
const RSA_BITS_MIN = 2048
const RSA_BITS_MAX = 8192

/** Algorithms by key type and curve. A pair that is not here signs nothing for us. */
const ALGORITHMS: Record<string, readonly string[]> = {
  RSA: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  'EC P-256': ['ES256'],
  'EC P-384': ['ES384'],
  'EC P-521': ['ES512'],
  'OKP Ed25519': ['EdDSA', 'Ed25519'],
}

/** The members that make the public half; whatever else a JWK carries is left behind. */
const PUBLIC_MEMBERS = new Map<string, readonly string[]>([
  ['RSA', ['n', 'e']],
  ['EC', ['crv', 'x', 'y']],
  ['OKP', ['crv', 'x']],
])

/** Reads a JWK Set, or a single JWK, of the configuration: one key that can't be used fails it all. */
export function parseKeySet(document: unknown): KeySetResult {
  const jwks = listed(document)
  if (jwks === undefined) return problem('neither a key nor a set of keys')
  const byKid = new Map<string, VerificationKey[]>()
  for (const [index, jwk] of jwks.entries()) {
    const read = readKey(jwk)
    if (typeof read === 'string') return problem(`key ${index + 1}: ${read}`)
    const odd = oddSize(read)
    if (odd !== undefined) return problem(`key ${index + 1}: ${odd}`)
    if (!add(byKid, read))
      return problem(`more than ${KEYS_PER_KID_MAX} keys have the id ${shown(read.kid)}`)
  }
  return { ok: true, keys: keySet(byKid) }
}

/**
 * Reads what an issuer publishes. Keys that we have no use for are passed over; one that we would use,
 * were it not broken, fails the whole set: it would be believed for as long as the set is kept.
 */
export function parsePublishedKeySet(document: unknown): KeySetResult {
  const jwks = listed(document)
  if (jwks === undefined) return problem('neither a key nor a set of keys')
  if (jwks.length > PUBLISHED_KEYS_MAX) return problem(`more than ${PUBLISHED_KEYS_MAX} keys`)
  const byKid = new Map<string, VerificationKey[]>()
  for (const [index, jwk] of jwks.entries()) {
    if (isForOthers(jwk)) continue
    const read = readKey(jwk)
    if (typeof read === 'string') return problem(`key ${index + 1}: ${read}`)
    if (oddSize(read) === undefined) add(byKid, read)
  }
  return { ok: true, keys: keySet(byKid) }
}

export const NO_KEYS: KeySet = { find: () => [], all: () => [], size: 0 }

function keySet(byKid: ReadonlyMap<string, VerificationKey[]>): KeySet {
  const none: VerificationKey[] = []
  return {
    find: (kid) => byKid.get(kid) ?? none,
    all: () => [...byKid.values()].flat(),
    size: byKid.size,
  }
}

/** @returns whether there was a place for it. */
function add(byKid: Map<string, VerificationKey[]>, key: VerificationKey): boolean {
  const same = byKid.get(key.kid)
  if (same === undefined) byKid.set(key.kid, [key])
  else if (same.length < KEYS_PER_KID_MAX) same.push(key)
  else return false
  return true
}

/** A symmetric key, a type or a curve that we don't have, or no name that a token could call it by. */
function isForOthers(jwk: unknown): boolean {
  if (!isRecord(jwk) || typeof jwk.kty !== 'string') return false
  const { kty, kid } = jwk
  return typeof kid !== 'string' || kid === '' || !Object.hasOwn(ALGORITHMS, kind(kty, jwk))
}

/** As the table of algorithms has it. */
function kind(kty: string, { crv }: Record<string, unknown>): string {
  return kty === 'RSA' ? kty : `${kty} ${typeof crv === 'string' ? crv : ''}`
}

function listed(document: unknown): unknown[] | undefined {
  if (!isRecord(document)) return undefined
  if (Array.isArray(document.keys)) return document.keys
  return typeof document.kty === 'string' ? [document] : undefined
}

/** @returns the key, or a problem's text. */
function readKey(jwk: unknown): VerificationKey | string {
  if (!isRecord(jwk) || typeof jwk.kty !== 'string') return 'not a JSON Web Key'
  const { kty, kid, alg, use } = jwk
  if (kty === 'oct') return 'a symmetric key (oct) cannot be published, so nobody may sign with it'
  const members = PUBLIC_MEMBERS.get(kty)
  if (members === undefined) return `unknown key type ${shown(kty)}`
  const missing = members.find((member) => typeof jwk[member] !== 'string')
  if (missing !== undefined) return `the member ${JSON.stringify(missing)} is missing`
  if (typeof kid !== 'string' || kid === '')
    return 'the key has no "kid"; tokens name their key by it'
  const key = publicKey(jwk, kty, members)
  if (typeof key === 'string') return key
  const possible = ALGORITHMS[kind(kty, jwk)] ?? []
  const signs = use === undefined || use === 'sig'
  const algorithms = possible.filter((name) => signs && (alg === undefined || alg === name))
  const thumbprint = hash(
    'sha256',
    JSON.stringify([kty, ...members.map((name) => jwk[name]), ...algorithms]),
  )
  return { kid, algorithms, inferred: alg === undefined && signs, key, thumbprint }
}

function publicKey(jwk: Record<string, unknown>, kty: string, members: readonly string[]) {
  const half: JsonWebKey = { kty }
  for (const member of members) half[member] = jwk[member]
  try {
    const key = createPublicKey({ key: half, format: 'jwk' })
    const { modulusLength, publicExponent: exponent } = key.asymmetricKeyDetails ?? {}
    if (modulusLength === 0) return 'an RSA key whose modulus is zero'
    if (exponent !== undefined && (exponent < 3n || exponent % 2n === 0n))
      return 'an RSA key whose exponent is not odd and at least 3'
    return key
  } catch {
    return 'the key is not a valid public key'
  }
}

/** @returns what to say of an RSA key that is too short, or too long to be quick. */
function oddSize({ key }: VerificationKey): string | undefined {
  const bits = key.asymmetricKeyDetails?.modulusLength
  if (bits === undefined || (bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX)) return undefined
  return `an RSA key of ${bits} bits; ${RSA_BITS_MIN} to ${RSA_BITS_MAX} are accepted`
}

function shown(text: string): string {
  return JSON.stringify(quoted(text))
}

function problem(text: string): KeySetResult {
  return { ok: false, problem: text }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
