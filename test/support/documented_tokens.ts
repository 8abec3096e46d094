/** The tokens and keys of the documented logins (CockroachDB's own tests of its JWT sign-in). */
import { ec, forge, jwk, type Pair, rsa } from './forge.ts'
import { type Claims, FAR } from './log_in.ts'

/** Each key with its algorithm. */
export const one = rsa()
export const two = rsa()
export const three = ec('P-384')
export const K1 = jwk(one, { kid: 'test', alg: 'RS256', use: 'sig' })
export const K2 = jwk(two, { kid: 'test2', alg: 'RS256', use: 'sig' })
export const E2 = jwk(three, { kid: 'es384_id', alg: 'ES384', use: 'sig' })

const rs256 = (pair: Pair, kid: string, claims: Claims) =>
  forge({ alg: 'RS256', kid }, claims, 'RS256', pair)
const T1 = { iss: 'issuer', aud: 'test_cluster', sub: 'test', exp: FAR }
export const T2 = { iss: 'issuer2', aud: 'test_cluster', sub: 'test2', exp: FAR }
export const TG1 = { ...T2, aud: ['test_cluster'], sub: 'invalid_user', groups: 'test' }
export const TG2 = { ...TG1, groups: ['test', 'test2'] }
export const t1 = rs256(one, 'test', T1)
export const t2 = rs256(two, 'test2', T2)
export const second = (claims: Claims) => rs256(two, 'test2', { ...T2, ...claims })
