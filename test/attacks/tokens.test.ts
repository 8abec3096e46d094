/**
 * Lessons 5.1, 5.3, 5.5, 5.6, 5.8: tokens that somebody made up, or that are for somebody else. The issuer is
 * a real HTTPS server, and the attacker has one of his own, which nobody may come to.
 */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ec, forge, jwk, type Pair, part, rsa } from '../support/forge.ts'
import type { TestGate } from '../support/gate.ts'
import type { IssuerServer } from '../support/issuer_server.ts'
import { AUDIENCE, goodClaims } from '../support/tokens.ts'
import { attempt, battlefield, IN, JWT, USER } from './attempt.ts'

const INVALID = '28000: JWT authentication: invalid token / '
const field = battlefield()
const [known, inferred] = [rsa(), rsa()]
const [curve, stranger] = [ec('P-256'), ec('P-256')]

let issuer: IssuerServer
let attacker: IssuerServer
let gate: TestGate
let claims: Record<string, unknown>

beforeAll(async () => {
  issuer = await field.issuer()
  attacker = await field.issuer({ ca: issuer.ca })
  issuer.jwks.body = {
    keys: [
      jwk(known, { kid: 'known', alg: 'RS256' }),
      jwk(inferred, { kid: 'inferred' }),
      jwk(curve, { kid: 'curve' }),
    ],
  }
  attacker.jwks.body = { keys: [jwk(stranger, { kid: 'curve' })] }
  gate = await field.gateOf([issuer])
  claims = { ...goodClaims('maxroach'), iss: issuer.issuer }
})
afterAll(async () => {
  expect(await attempt(gate, good())).toBe(IN)
  expect(attacker.requests).toEqual([])
})

const good = (more: Record<string, unknown> = {}) =>
  forge({ alg: 'ES256', kid: 'curve' }, { ...claims, ...more }, 'ES256', curve)

describe('5.1 algorithm confusion', () => {
  const spki = ({ publicKey }: Pair, format: 'pem' | 'der') =>
    format === 'pem'
      ? publicKey.export({ type: 'spki', format }).toString()
      : publicKey.export({ type: 'spki', format }).toString('latin1')
  const secrets = (pair: Pair): string[] => [
    spki(pair, 'pem'),
    spki(pair, 'pem').trimEnd(),
    spki(pair, 'der'),
    JSON.stringify(pair.publicKey.export({ format: 'jwk' })),
    String(pair.publicKey.export({ format: 'jwk' }).n),
    '',
  ]

  it('a public key is no secret: nothing signed with it by HMAC is taken', async () => {
    for (const [kid, pair] of Object.entries({ known, inferred, curve }))
      for (const secret of secrets(pair))
        for (const alg of ['HS256', 'HS512'])
          expect(await attempt(gate, forge({ alg, kid }, claims, alg, secret))).toMatch(INVALID)
  })

  it.each(['none', 'None', 'nOnE', '', 'HS256', 'RSA1_5'])(
    'nor is anything unsigned: %s',
    async (alg) => {
      for (const signature of ['', 'AAAA'])
        for (const kid of ['known', 'inferred', 'curve']) {
          const token = `${part({ alg, kid })}.${part(claims)}.${signature}`
          expect(await attempt(gate, token)).toMatch(INVALID)
        }
    },
  )

  it.each<[string, Record<string, unknown>, string, () => Pair]>([
    ['an algorithm that the key is not for', { alg: 'RS512', kid: 'known' }, 'RS512', () => known],
    ['another padding', { alg: 'PS256', kid: 'known' }, 'PS256', () => known],
    ['another type of key', { alg: 'ES256', kid: 'inferred' }, 'ES256', () => curve],
    ['two algorithms', { alg: ['none', 'RS256'], kid: 'inferred' }, 'RS256', () => inferred],
    ['none at all', { kid: 'inferred' }, 'RS256', () => inferred],
  ])('the key says how it is used: %s', async (_how, header, alg, pair) => {
    expect(await attempt(gate, forge(header, claims, alg, pair()))).toMatch(INVALID)
  })

  it('an ECDSA signature of zeros, or of the order, proves nothing (CVE-2022-21449)', async () => {
    const order = 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551'
    const [head, payload] = good().split('.')
    for (const half of ['00'.repeat(32), `${'00'.repeat(31)}01`, order]) {
      const signature = Buffer.from(half.repeat(2), 'hex').toString('base64url')
      expect(await attempt(gate, `${head}.${payload}.${signature}`)).toMatch(INVALID)
    }
  })
})

describe('5.3 a token that brings its own key', () => {
  it.each<[string, () => Record<string, unknown>]>([
    ['jku', () => ({ jku: `${attacker.issuer}/jwks` })],
    ['x5u', () => ({ x5u: `${attacker.issuer}/chain.pem` })],
    ['jwk', () => ({ jwk: jwk(stranger, { kid: 'curve' }) })],
    ['x5c', () => ({ x5c: [Buffer.from('a certificate').toString('base64')] })],
    [
      'all, and a kid that is a URL',
      () => ({ jku: `${attacker.issuer}/jwks`, kid: `${attacker.issuer}/jwks` }),
    ],
    ['crit, to have it taken', () => ({ jku: `${attacker.issuer}/jwks`, crit: ['jku'] })],
  ])('is judged by the issuer’s: %s', async (_name, header) => {
    const before = issuer.hits.jwks
    const token = forge({ alg: 'ES256', kid: 'curve', ...header() }, claims, 'ES256', stranger)
    expect(await attempt(gate, token)).toMatch(INVALID)
    expect(attacker.requests).toEqual([])
    expect(issuer.hits.jwks - before).toBeLessThanOrEqual(1)
  })
})

describe('5.5 audience confusion', () => {
  it.each<[string, unknown]>([
    ['another application', 'grafana'],
    ['none', undefined],
    ['an empty one', ''],
    ['an empty list', []],
    ['many others', ['grafana', 'account', 'https://api.test']],
    ['a longer one', `${AUDIENCE}-staging`],
    ['a shorter one', AUDIENCE.slice(0, -1)],
    ['another case', AUDIENCE.toUpperCase()],
    ['with a space', ` ${AUDIENCE}`],
    ['two in one text', `grafana ${AUDIENCE}`],
    ['deep in a list', [[AUDIENCE]]],
    ['as a key', { [AUDIENCE]: true }],
    ['everybody', '*'],
  ])('a token for %s is not for us', async (_name, aud) => {
    const token = good({ aud, azp: AUDIENCE, client_id: AUDIENCE })
    expect(await attempt(gate, token)).toMatch('28000: JWT authentication: invalid audience')
  })

  it('one that is for us as well is', async () => {
    expect(await attempt(gate, good({ aud: ['grafana', AUDIENCE] }))).toBe(IN)
  })

  it('each cluster has its own: a token for one opens no other, remembered or not', async () => {
    const key = { [`${JWT}.audience`]: 'other' }
    const two = await field.gateOf([issuer], {
      clusters: {
        other: {
          [`${JWT}.issuers.configuration`]: issuer.issuer,
          [`${JWT}.jwks`]: undefined,
          [`${JWT}.jwks_auto_fetch.enabled`]: true,
          [`${JWT}.issuers.custom_ca`]: issuer.caPem,
          ...key,
        },
      },
    })
    const at = (cluster: string) => ({ ...USER, database: `${cluster}.defaultdb` })
    const token = good({ jti: 'for one' })
    expect(await attempt(two, token, at('test'))).toBe(IN)
    expect(await attempt(two, token, at('other'))).toMatch('JWT authentication: invalid audience')
  })
})

describe('5.6 tokens that do not end', () => {
  const now = 1_900_000_000
  let late: TestGate
  beforeAll(async () => {
    late = await field.gateOf([issuer], { now: () => now * 1000 })
  })

  it.each<[string, Record<string, unknown>]>([
    ['no expiry', { exp: undefined }],
    ['null', { exp: null }],
    ['a text', { exp: '4000000000' }],
    ['now', { exp: now }],
    ['long ago', { exp: 1 }],
    ['zero', { exp: 0 }],
    ['below zero', { exp: -1 }],
    ['a list', { exp: [4_000_000_000] }],
    ['not before tomorrow', { nbf: now + 86_400 }],
    ['issued tomorrow', { iat: now + 86_400 }],
  ])('are refused: %s', async (_name, times) => {
    expect(await attempt(late, good(times))).toMatch(INVALID)
  })

  it('nor by a number that no clock reaches', async () => {
    const text = JSON.stringify({ ...claims, exp: 0 }).replace('"exp":0', '"exp":1e999')
    const token = forge({ alg: 'ES256', kid: 'curve' }, text, 'ES256', curve)
    expect(await attempt(late, token)).toMatch(INVALID)
  })

  it('a remembered token ends like a new one', async () => {
    let seconds = now
    const clock = await field.gateOf([issuer], { now: () => seconds * 1000 })
    const token = good({ exp: now + 60 })
    expect(await attempt(clock, token)).toBe(IN)
    expect(await attempt(clock, token)).toBe(IN)
    seconds += 60
    expect(await attempt(clock, token)).toMatch(INVALID)
  })
})

describe('5.8 tokens that are work', () => {
  const jwe = (header: Record<string, unknown>) =>
    [part(header), ...Array.from({ length: 4 }, () => randomBytes(64).toString('base64url'))].join(
      '.',
    )

  it.each<[string, () => string]>([
    [
      'a password stretched for ever (CVE-2022-36083)',
      () => jwe({ alg: 'PBES2-HS512+A256KW', enc: 'A256GCM', p2c: 2_147_483_647, p2s: 'AAAA' }),
    ],
    [
      'a compressed one (CVE-2024-28176)',
      () => jwe({ alg: 'RSA-OAEP', enc: 'A256GCM', zip: 'DEF', kid: 'known' }),
    ],
    ['encrypted for nobody', () => jwe({ alg: 'dir', enc: 'A256GCM' })],
    ['a hundred thousand dots (CVE-2025-27144)', () => '.'.repeat(100_000)],
    [
      'a header that says to decompress',
      () =>
        forge({ alg: 'ES256', kid: 'curve', zip: 'DEF', crit: ['zip'] }, claims, 'ES256', curve),
    ],
    ['a signature of ninety thousand bytes', () => good().replace(/[^.]*$/, 'A'.repeat(90_000))],
    [
      'nesting',
      () => forge({ alg: 'ES256', kid: 'curve' }, `{"iss":${'['.repeat(60_000)}`, 'ES256', curve),
    ],
  ])('are refused before it: %s', async (_name, token) => {
    expect(await attempt(gate, token())).toMatch(INVALID)
  })

  it('one that is longer than the longest is not read', async () => {
    expect(await attempt(gate, 'A'.repeat(256 * 1024))).toMatch(
      /^08P01: message size \d+ out of bounds/,
    )
  })
})
