/**
 * The gate tries itself: a good token, and the bad ones that people and attackers bring. What is in
 * the table is what a client saw, not what we think of ourselves.
 */
import { createHmac, createPublicKey, type JsonWebKey } from 'node:crypto'
import { type DevIssuer, makeDevIssuer, sign } from './issuer.ts'
import { type Attempt, type Outcome, trySignIn } from './try_sign_in.ts'

export interface Trial {
  name: string
  outcome: Outcome
  /** A good token came in, or a bad one didn't. */
  asWanted: boolean
}

const USER = 'maxroach'
const HOUR_S = 3600

export async function selfTest(
  gate: Pick<Attempt, 'port' | 'caPem'>,
  issuer: DevIssuer,
  nowMs: number,
): Promise<Trial[]> {
  const now = Math.floor(nowMs / 1000)
  const good = { sub: USER, exp: now + HOUR_S }
  const stranger = { ...(await makeDevIssuer()), issuer: issuer.issuer }
  stranger.privateJwk.kid = issuer.privateJwk.kid ?? ''
  const token = (claims: object, by = issuer) => sign(by, { ...good, ...claims }, nowMs)
  const trials: [name: string, user: string, token: string][] = [
    ['a good token', USER, await token({})],
    ['expired', USER, await token({ exp: now - 1 })],
    ['wrong audience', USER, await token({ aud: 'another-service' })],
    ['wrong issuer', USER, await token({ iss: 'https://issuer.example' })],
    ['alg: none', USER, unsigned(await token({}))],
    ['HS256 with the public key', USER, confused(await token({}), issuer)],
    ['bad signature', USER, await token({}, stranger)],
    ['wrong user', 'carl', await token({})],
    ['sub: postgres', 'postgres', await token({ sub: 'postgres' })],
  ]
  const results: Trial[] = []
  for (const [name, user, text] of trials) {
    const outcome = await trySignIn({ ...gate, user, database: 'defaultdb', token: text })
    results.push({ name, outcome, asWanted: outcome.in === (results.length === 0) })
  }
  return results
}

/** RFC 8725 section 2.1: a signature that nobody made. */
function unsigned(token: string): string {
  const [head = '', payload = ''] = token.split('.')
  return `${recast(head, 'none')}.${payload}.`
}

/** RFC 8725 section 2.1: the public key, which everybody has, as the secret of an HMAC. */
function confused(token: string, { privateJwk }: DevIssuer): string {
  const [head = '', payload = ''] = token.split('.')
  const key = createPublicKey({ key: privateJwk as JsonWebKey, format: 'jwk' })
  const secret = key.export({ type: 'spki', format: 'pem' })
  const signed = `${recast(head, 'HS256')}.${payload}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

function recast(header: string, alg: string): string {
  const fields = JSON.parse(Buffer.from(header, 'base64url').toString())
  return Buffer.from(JSON.stringify({ ...fields, alg })).toString('base64url')
}
