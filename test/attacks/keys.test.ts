/**
 * Lessons 5.2, 5.4, 5.7, 5.24 (an issuer that hangs), 5.25 and 5.26: where keys come from, and how often they
 * are asked for. Issuers are real HTTPS servers that count what they are asked.
 */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cacheBoth } from '../support/fetched_keys.ts'
import { ec, forge, jwk, type Pair, rsa } from '../support/forge.ts'
import type { GateOptions, TestGate } from '../support/gate.ts'
import type { IssuerServer } from '../support/issuer_server.ts'
import { goodClaims } from '../support/tokens.ts'
import { attempt, battlefield, IN, JWT } from './attempt.ts'

const INVALID = '28000: JWT authentication: invalid token / '
const UNAVAILABLE = '28000: JWT authentication: unable to validate token'
const NOT_ISSUED = '28000: JWT authentication: invalid issuer / '
const field = battlefield()
const [curve, stranger] = [ec('P-256'), ec('P-256')]

let attacker: IssuerServer
beforeAll(async () => {
  attacker = await field.issuer()
  attacker.jwks.body = { keys: [jwk(stranger, { kid: 'curve' }), jwk(curve, { kid: 'curve' })] }
})
/** Nobody was sent to him, by any token or document. */
afterAll(() => expect(attacker.requests).toEqual([]))

async function openIssuer(maxAge = 3600): Promise<IssuerServer> {
  const issuer = await field.issuer({ ca: attacker.ca })
  cacheBoth(issuer, `max-age=${maxAge}`)
  issuer.jwks.body = { keys: [jwk(curve, { kid: 'curve' })] }
  return issuer
}

/** @param header - beside the algorithm. */
function tokenOf(
  { issuer }: { issuer: unknown },
  header: Record<string, unknown> = {},
  pair: Pair = curve,
): string {
  const claims = { ...goodClaims('maxroach'), iss: issuer, jti: randomUUID() }
  return forge({ alg: 'ES256', kid: 'curve', ...header }, claims, 'ES256', pair)
}

async function guarded(options: Partial<GateOptions> = {}) {
  const issuer = await openIssuer()
  const gate = await field.gateOf([issuer], options)
  expect(await attempt(gate, tokenOf(issuer))).toBe(IN)
  return { issuer, gate }
}

describe('5.2 a kid that is more than a name', () => {
  it('opens no file, asks for no address and reaches no query', async () => {
    const { issuer, gate } = await guarded()
    const kids = [
      '../../../../dev/null',
      '/proc/self/environ',
      'file:///etc/passwd',
      `${attacker.issuer}/jwks`,
      `//localhost:${attacker.port}/jwks`,
      `curve?next=${attacker.issuer}`,
      "' UNION SELECT 'AA' --",
      '$(curl evil)',
      '| sleep 9',
      '__proto__',
      'constructor',
      'curve\0',
      'CURVE',
      'k'.repeat(60_000),
      '',
      '\u202ecurve',
      '%63urve',
    ]
    for (const kid of kids)
      for (const pair of [curve, stranger])
        expect(await attempt(gate, tokenOf(issuer, { kid }, pair))).toMatch(INVALID)
    for (const kid of [7, null, ['curve'], { curve: 1 }, true])
      expect(await attempt(gate, tokenOf(issuer, { kid }))).toMatch(INVALID)
    const paths = new Set(issuer.requests.map(({ path }) => path))
    expect([...paths].sort()).toEqual(['/.well-known/openid-configuration', '/jwks'])
    expect(issuer.hits.jwks).toBeLessThanOrEqual(2)
    expect(await attempt(gate, tokenOf(issuer))).toBe(IN)
  })
})

describe('5.4 issuer confusion, and being sent elsewhere', () => {
  it('nobody but a configured issuer is asked for keys', async () => {
    const { gate } = await guarded()
    expect(await attempt(gate, tokenOf(attacker, {}, stranger))).toMatch(NOT_ISSUED)
    for (const iss of ['https://169.254.169.254', 'http://127.0.0.1:1', 'file:///etc', '', null])
      expect(await attempt(gate, tokenOf({ issuer: iss }))).toMatch(NOT_ISSUED)
  })

  it.each<[string, (issuer: IssuerServer) => void]>([
    [
      'a discovery document of another issuer',
      (issuer) => {
        issuer.discovery.body['issuer'] = attacker.issuer
        issuer.discovery.body['jwks_uri'] = `${attacker.issuer}/jwks`
      },
    ],
    [
      'a redirect of discovery',
      (issuer) => {
        issuer.discovery.status = 302
        issuer.discovery.headers['location'] = `${attacker.issuer}/.well-known/openid-configuration`
      },
    ],
    [
      'a redirect of the keys',
      (issuer) => {
        issuer.jwks.status = 307
        issuer.jwks.headers['location'] = `${attacker.issuer}/jwks`
      },
    ],
    ...[
      'http://localhost:PORT/jwks',
      'http://169.254.169.254/latest/meta-data/',
      'https://169.254.169.254/',
      'https://[::ffff:169.254.169.254]/',
      'https://0xa9fea9fe/',
      'https://2852039166/',
      'https://[fe80::1]/',
      'https://metadata.google.internal/',
      'https://user:password@localhost:PORT/jwks',
      'file:///etc/passwd',
      'gopher://localhost:PORT/',
      'data:application/json,{"keys":[]}',
      '//localhost:PORT/jwks',
      'https:localhost:PORT/jwks',
    ].map((uri): [string, (issuer: IssuerServer) => void] => [
      uri,
      (issuer) => {
        issuer.discovery.body['jwks_uri'] = uri.replace('PORT', String(attacker.port))
      },
    ]),
  ])('where the issuer’s own documents are not followed: %s', async (_where, spoil) => {
    const issuer = await openIssuer()
    spoil(issuer)
    const gate = await field.gateOf([issuer])
    // Why is not for the client: it would be told what the gate can reach.
    for (const pair of [curve, stranger])
      expect(await attempt(gate, tokenOf(issuer, {}, pair))).toBe(UNAVAILABLE)
  })
})

describe('5.7 floods of keys that nobody has', () => {
  it('cost an issuer one request in thirty seconds, whether it answers or not', async () => {
    let nowMs = Date.now()
    const { issuer, gate } = await guarded({ now: () => nowMs })
    const flood = async (count: number) => {
      const all = Array.from({ length: count }, () =>
        attempt(gate, tokenOf(issuer, { kid: randomUUID() }, stranger)),
      )
      for (const told of await Promise.all(all)) expect(told).toMatch('JWT authentication: ')
    }
    await flood(60)
    expect(issuer.hits).toMatchObject({ discovery: 1, jwks: 2 })
    nowMs += 30_001
    issuer.jwks.status = 500
    await flood(60)
    expect(issuer.hits).toMatchObject({ discovery: 1, jwks: 3 })
    nowMs += 30_001
    issuer.jwks.status = 200
    issuer.jwks.body = 'no keys at all'
    await flood(60)
    expect(issuer.hits).toMatchObject({ discovery: 1, jwks: 4 })
    // A fetch that failed has not emptied what was kept.
    expect(await attempt(gate, tokenOf(issuer))).toBe(IN)
  })

  it('cost one that never answered well one request a pause', async () => {
    const issuer = await openIssuer()
    issuer.discovery.status = 503
    const stopped = Date.now()
    const gate = await field.gateOf([issuer], { now: () => stopped })
    const all = Array.from({ length: 60 }, () =>
      attempt(gate, tokenOf(issuer, { kid: randomUUID() }, stranger)),
    )
    for (const told of await Promise.all(all)) expect(told).toBe(UNAVAILABLE)
    expect(issuer.hits).toMatchObject({ discovery: 1, jwks: 0 })
  })

  it('by tokens of nobody’s issuer cost nobody anything', async () => {
    const { issuer, gate } = await guarded()
    const before = issuer.requests.length
    const all = Array.from({ length: 60 }, () =>
      attempt(gate, tokenOf({ issuer: `https://${randomUUID()}.test` }, { kid: randomUUID() })),
    )
    for (const told of await Promise.all(all)) expect(told).toMatch(NOT_ISSUED)
    expect(issuer.requests.length).toBe(before)
  })
})

describe('5.24 an issuer that hangs', () => {
  it('keeps none out who come with another one’s token, however many wait for it', async () => {
    const [hanging, well] = await Promise.all([openIssuer(), openIssuer()])
    hanging.jwks.hang = true
    const gate = await field.gateOf([hanging, well], {
      cluster: { [`${JWT}.client.timeout`]: '4s' },
    })
    let ended = 0
    const waiting = Array.from({ length: 100 }, () =>
      attempt(gate, tokenOf(hanging)).finally(() => ended++),
    )
    await expect.poll(() => hanging.hits.jwks, { interval: 10, timeout: 10_000 }).toBe(1)
    expect(await attempt(gate, tokenOf(well))).toBe(IN)
    expect(ended).toBe(0)
    for (const told of await Promise.all(waiting)) expect(told).toBe(UNAVAILABLE)
  })
})

describe('5.25 odd keys', () => {
  const short = rsa(1024)
  const long = rsa(2048)
  const secret = Buffer.alloc(32, 7)
  const claims = (issuer: string) => ({ ...goodClaims('maxroach'), iss: issuer })

  it('that verify nothing: symmetric, for encryption, short, without a name', async () => {
    const issuer = await openIssuer()
    issuer.jwks.body = {
      keys: [
        { kty: 'oct', k: secret.toString('base64url'), kid: 'oct', alg: 'HS256' },
        jwk(long, { kid: 'enc', use: 'enc' }),
        jwk(long, { kid: 'oaep', alg: 'RSA-OAEP-256' }),
        jwk(short, { kid: 'short', alg: 'RS256' }),
        jwk(long, { alg: 'RS256' }),
        jwk(curve, { kid: 'curve' }),
      ],
    }
    const gate = await field.gateOf([issuer])
    const by = (kid: string | undefined, alg: string, key: Pair | string) =>
      attempt(gate, forge({ alg, ...(kid && { kid }) }, claims(issuer.issuer), alg, key))
    for (const kid of ['oct', 'curve', undefined])
      for (const text of [secret.toString('latin1'), secret.toString('base64url')])
        expect(await by(kid, 'HS256', text)).toMatch(INVALID)
    for (const kid of ['enc', 'oaep', undefined])
      expect(await by(kid, 'RS256', long)).toMatch(INVALID)
    expect(await by('short', 'RS256', short)).toMatch(INVALID)
    expect(await attempt(gate, tokenOf(issuer))).toBe(IN)
  })

  it('that let everybody in spoil their set: an exponent of one, a modulus of zero', async () => {
    const { n } = long.publicKey.export({ format: 'jwk' })
    for (const odd of [
      { n, e: 'AQ' },
      { n, e: 'AA' },
      { n: 'AA', e: 'AQAB' },
    ]) {
      const issuer = await openIssuer()
      issuer.jwks.body = { keys: [{ kty: 'RSA', kid: 'odd', alg: 'RS256', ...odd }] }
      const gate = await field.gateOf([issuer])
      const token = forge({ alg: 'RS256', kid: 'odd' }, claims(issuer.issuer), 'RS256', long)
      expect(await attempt(gate, token)).toBe(UNAVAILABLE)
    }
  })

  it('of one name are each tried, few of them, and a hundred are too many', async () => {
    const issuer = await openIssuer()
    const same = (pairs: Pair[]) => ({ keys: pairs.map((pair) => jwk(pair, { kid: 'curve' })) })
    issuer.jwks.body = same([stranger, curve])
    expect(await attempt(await field.gateOf([issuer]), tokenOf(issuer))).toBe(IN)
    issuer.jwks.body = same([...Array<Pair>(4).fill(stranger), curve])
    expect(await attempt(await field.gateOf([issuer]), tokenOf(issuer))).toMatch(INVALID)
    issuer.jwks.body = same(Array<Pair>(101).fill(curve))
    expect(await attempt(await field.gateOf([issuer]), tokenOf(issuer))).toBe(UNAVAILABLE)
  })
})

describe('5.26 issuers that look alike', () => {
  let gate: TestGate
  let issuer: IssuerServer
  beforeAll(async () => {
    ;({ gate, issuer } = await guarded())
  })

  it.each<[string, (issuer: string) => unknown]>([
    ['a slash at the end', (iss) => `${iss}/`],
    ['capitals', (iss) => iss.toUpperCase()],
    ['a capital host', (iss) => iss.replace('localhost', 'LocalHost')],
    ['a dot behind the host', (iss) => iss.replace('localhost', 'localhost.')],
    ['its address', (iss) => iss.replace('localhost', '127.0.0.1')],
    ['http', (iss) => iss.replace('https', 'http')],
    ['no scheme', (iss) => iss.replace('https://', '')],
    ['a path', (iss) => `${iss}/../`],
    ['a fragment', (iss) => `${iss}#`],
    ['a query', (iss) => `${iss}?`],
    ['a user', (iss) => iss.replace('https://', 'https://issuer@')],
    ['a host in front of an @', (iss) => `${iss}@evil.test`],
    ['a longer host', (iss) => `${iss}.evil.test`],
    ['white space', (iss) => ` ${iss}`],
    ['a new line', (iss) => `${iss}\n`],
    ['a NUL', (iss) => `${iss}\0`],
    ['percent signs', (iss) => iss.replace('l', '%6c')],
    ['a letter that looks the same', (iss) => iss.replace('o', '\u043e')],
    ['a list', (iss) => [iss]],
    ['Azure’s other name', () => 'https://sts.windows.net/tenant/'],
  ])('are others: %s', async (_how, other) => {
    expect(await attempt(gate, tokenOf({ issuer: other(issuer.issuer) }))).toMatch(NOT_ISSUED)
  })
})
