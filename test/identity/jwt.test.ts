/**
 * What the documentation says of a login, which fault is told first, and which algorithms and times
 * are good. A row says what the client reads. Hostile tokens are in jwt_hostile.test.ts.
 */
import { describe, expect, test } from 'vitest'
import { authenticate } from '../../src/identity/jwt.ts'
import { Secret } from '../../src/secret.ts'
import {
  E2,
  K1,
  K2,
  one,
  second,
  T2,
  TG1,
  TG2,
  t1,
  t2,
  three,
  two,
} from '../support/documented_tokens.ts'
import { ec, ed25519, forge, jwk, type Pair } from '../support/forge.ts'
import {
  type Claims,
  check,
  claims,
  clusterOf,
  es256,
  FAR,
  ISS,
  logIn,
  login,
  NOW,
  p256,
  stranger,
  trusting,
  unparsed,
  unverified,
} from '../support/log_in.ts'

const on = {
  enabled: true,
  issuers: '["issuer","issuer2"]',
  jwks: JSON.stringify({ keys: [K1, K2] }),
}
const nine = { ...on, issuers: 'issuer2', audience: 'test_cluster' }
const mapTo = (user: string) => ({ ...nine, map: `issuer2 test_user1 ${user}` })

describe('the documented logins', () => {
  test.each<[number, Claims, string, string, string]>([
    [1, {}, t1, 'jwt_user', 'not enabled'],
    [2, { enabled: true }, t1, 'test', 'invalid issuer / token issued by issuer'],
    [3, { ...on, issuers: 'issuer2' }, t1, 'test', 'invalid issuer / token issued by issuer'],
    [
      4,
      { ...on, issuers: 'issuer', jwks: JSON.stringify(K1) },
      t1,
      'jwt_user',
      'invalid principal / token issued for [test] and login was for jwt_user',
    ],
    [
      5,
      on,
      t2,
      'jwt_user',
      'invalid principal / token issued for [test2] and login was for jwt_user',
    ],
    [
      6,
      on,
      second({ exp: NOW - 3600 }),
      'jwt_user',
      'invalid token / unable to parse token: "exp" not satisfied',
    ],
    [
      7,
      {
        ...on,
        jwks: { keys: [jwk(one, { kid: 'unknownkid1' }), jwk(two, { kid: 'unknownkid2' })] },
      },
      t2,
      'jwt_user',
      'invalid token / unable to parse token: key provider 0 failed: failed to find key with key ID "test2" in key set',
    ],
    [
      8,
      { ...on, issuers: 'issuer2' },
      t2,
      'test2',
      'invalid audience / token issued with an audience of [test_cluster]',
    ],
    [9, nine, t2, 'test2', 'in as test2'],
    [
      10,
      { ...nine, audience: 'audience_2' },
      t2,
      'test2',
      'invalid audience / token issued with an audience of [test_cluster]',
    ],
    [11, { ...nine, audience: '["audience_2","test_cluster"]' }, t2, 'test2', 'in as test2'],
    [12, nine, t2, 'test', 'invalid principal / token issued for [test2] and login was for test'],
    [13, { ...nine, map: 'issuer2 test2 test' }, t2, 'test', 'in as test'],
    [
      15,
      mapTo('test_user2'),
      second({ sub: 'test_user2' }),
      'test_user1',
      'invalid principal / the value [test_user2] for the issuer issuer2 is invalid',
    ],
    [
      16,
      mapTo('test_user2'),
      second({ sub: 'test_user1' }),
      'test_user1',
      'invalid principal / token issued for [test_user1] and login was for test_user1',
    ],
    [
      17,
      mapTo('root'),
      second({ sub: 'test_user1' }),
      'root',
      'invalid identity / cannot use JWT auth to login to a reserved user root',
    ],
    [
      18,
      nine,
      second({ sub: 'root' }),
      'root',
      'invalid identity / cannot use JWT auth to login to a reserved user root',
    ],
    [
      19,
      nine,
      second(TG1),
      'test',
      'invalid principal / token issued for [invalid_user] and login was for test',
    ],
    [20, { ...nine, claim: 'groups' }, second(TG1), 'test', 'in as test'],
    [
      21,
      { ...nine, claim: 'sub' },
      second(TG2),
      'test2',
      'invalid principal / token issued for [invalid_user] and login was for test2',
    ],
    [22, { ...nine, claim: 'groups' }, second(TG2), 'test2', 'in as test2'],
    [
      24,
      { ...nine, claim: 'groups' },
      t2,
      'invalid_user',
      'missing claim / token does not contain a claim for groups',
    ],
    [
      25,
      { ...nine, claim: 'groups', map: 'issuer2 1 test_user1' },
      second({ groups: 1 }),
      'test_user1',
      'in as test_user1',
    ],
    [
      26,
      { ...nine, claim: 'groups' },
      second({ groups: ['test_user2', 'test_user1'] }),
      'test_user3',
      'invalid principal / token issued for [test_user2 test_user1] and login was for test_user3',
    ],
    [
      27,
      { ...nine, claim: 'groups' },
      second({ groups: 'test_user1' }),
      'test_user1',
      'in as test_user1',
    ],
    [
      28,
      { ...nine, jwks: { keys: [K2, E2] } },
      forge({ alg: 'ES384', kid: 'es384_id' }, T2, 'ES384', three),
      'test2',
      'in as test2',
    ],
    [29, { ...nine, jwks: { keys: [jwk(two, { kid: 'test2' })] } }, t2, 'test2', 'in as test2'],
    [
      38,
      nine,
      second({ exp: NOW - 1 }),
      'test2',
      'invalid token / unable to parse token: "exp" not satisfied',
    ],
    [
      39,
      nine,
      forge({ alg: 'RS256' }, T2, 'RS256', two),
      'test2',
      'invalid token / unable to parse token: key provider 0 failed: failed to find matching key: no key ID ("kid") specified in token',
    ],
    [
      40,
      nine,
      second({ iat: NOW + 60 }),
      'test2',
      'invalid token / unable to parse token: "iat" not satisfied',
    ],
    [
      41,
      nine,
      second({ nbf: NOW + 60 }),
      'test2',
      'invalid token / unable to parse token: "nbf" not satisfied',
    ],
    // A deliberate difference: such a token never ends.
    [
      42,
      nine,
      second({ exp: undefined }),
      'test2',
      'invalid token / unable to parse token: "exp" not satisfied: required claim not found',
    ],
    [42, { ...nine, require_expiry: false }, second({ exp: undefined }), 'test2', 'in as test2'],
    [
      45,
      { ...nine, jwks: { keys: [{ ...K2, use: 'enc' }] } },
      t2,
      'test2',
      'invalid token / unable to parse token: could not verify message using any of the signatures or keys',
    ],
    [
      47,
      nine,
      'not.a.jwt.token',
      'test2',
      'invalid token / token parsing failed: invalid JWT: a token has three parts',
    ],
    [
      47,
      nine,
      t2.split('.').slice(0, 2).join('.'),
      'test2',
      'invalid token / token parsing failed: invalid JWT: a token has three parts',
    ],
    [
      47,
      nine,
      '',
      'test2',
      'invalid token / token parsing failed: invalid JWT: a token has three parts',
    ],
    [49, nine, t2, 'Test2', 'in as test2'],
    [
      49,
      { ...nine, kind: 'postgresql' },
      t2,
      'Test2',
      'invalid principal / token issued for [test2] and login was for Test2',
    ],
    [49, { ...nine, kind: 'postgresql' }, second({ sub: 'Test2' }), 'Test2', 'in as Test2'],
  ])('row %i', async (_row, settings, token, user, expected) => {
    await check({ settings, token, user }, expected)
  })
})

/** In the order in which they are noticed. */
const FAULTS: { name: string; spoil(draft: Draft): void; expected: string }[] = [
  { name: 'off', spoil: ({ settings }) => (settings.enabled = false), expected: 'not enabled' },
  {
    name: 'four parts',
    spoil: (draft) => (draft.tail = '.more'),
    expected: 'invalid token / token parsing failed: invalid JWT: a token has three parts',
  },
  {
    name: 'issuer',
    spoil: ({ claims }) => (claims.iss = 'https://evil.test'),
    expected: 'invalid issuer / token issued by https://evil.test',
  },
  {
    name: 'kid',
    spoil: ({ header }) => (header.kid = 'other'),
    expected: `${unparsed}key provider 0 failed: failed to find key with key ID "other" in key set`,
  },
  { name: 'signature', spoil: (draft) => (draft.key = stranger), expected: unverified },
  {
    name: 'iat',
    spoil: ({ claims }) => (claims.iat = FAR),
    expected: `${unparsed}"iat" not satisfied`,
  },
  {
    name: 'exp',
    spoil: ({ claims }) => (claims.exp = NOW - 90),
    expected: `${unparsed}"exp" not satisfied`,
  },
  {
    name: 'nbf',
    spoil: ({ claims }) => (claims.nbf = FAR),
    expected: `${unparsed}"nbf" not satisfied`,
  },
  {
    name: 'no claim',
    spoil: ({ settings }) => (settings.claim = 'email'),
    expected: 'missing claim / token does not contain a claim for email',
  },
  {
    name: 'claim value',
    spoil: ({ claims }) => (claims.sub = ['bell\u0007', 'root']),
    expected: `invalid claim value / the value bell\ufffd for the issuer ${ISS} is invalid`,
  },
  {
    name: 'map',
    spoil: ({ settings }) => (settings.map = `${ISS} somebody else`),
    expected: `invalid principal / the value [maxroach root] for the issuer ${ISS} is invalid`,
  },
  {
    name: 'reserved',
    spoil: (draft) => (draft.user = 'root'),
    expected: 'invalid identity / cannot use JWT auth to login to a reserved user root',
  },
  {
    name: 'audience',
    spoil: ({ claims }) => (claims.aud = 'another'),
    expected: 'invalid audience / token issued with an audience of [another]',
  },
]

interface Draft {
  settings: Claims
  header: Claims
  claims: Claims
  key: Pair
  tail: string
  user: string
}

async function checkSpoiled(faults: typeof FAULTS, expected: string) {
  const draft: Draft = {
    settings: { ...trusting },
    header: { alg: 'ES256', kid: 'p256' },
    claims: { ...claims, sub: ['maxroach', 'root'] },
    key: p256,
    tail: '',
    user: 'maxroach',
  }
  for (const { spoil } of faults) spoil(draft)
  const token = forge(draft.header, draft.claims, 'ES256', draft.key) + draft.tail
  await check({ settings: draft.settings, token, user: draft.user }, expected)
}

describe('of two faults the earlier is told', () => {
  test('and without a fault there is none', () => checkSpoiled([], 'in as maxroach'))

  test.each(FAULTS.map((fault, at) => ({ ...fault, later: FAULTS.slice(at + 1) })))(
    '$name',
    async ({ later, ...fault }) => {
      await checkSpoiled([fault], fault.expected)
      for (const other of later) await checkSpoiled([other, fault], fault.expected)
    },
  )

  test('replication comes last', async () => {
    const replicating = { ...login, replication: 'database' }
    const refused = await logIn(replicating)
    expect(refused).toMatchObject({
      sqlstate: '42501',
      message: 'permission denied to start WAL sender',
    })
    const token = es256({ aud: 'another' })
    await check(
      { ...replicating, token },
      'invalid audience / token issued with an audience of [another]',
    )
    const settings = { ...trusting, replication_roles: ['maxroach'] }
    await check({ ...replicating, settings }, 'in as maxroach')
  })
})

describe('algorithms', () => {
  const pairs = { RS: one, PS: one, 256: p256, 384: three, 512: ec('P-521'), Ed: ed25519() }
  const all: [string, Pair][] = [
    ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map((alg): [string, Pair] => [
      alg,
      pairs.RS,
    ]),
    ['ES256', pairs[256]],
    ['ES384', pairs[384]],
    ['ES512', pairs[512]],
    ['EdDSA', pairs.Ed],
    ['Ed25519', pairs.Ed],
  ]

  test.each(all)('%s signs in, whether its key names it or not', async (alg, pair) => {
    const token = forge({ alg, kid: 'k' }, claims, alg, pair)
    for (const named of [{ alg }, {}]) {
      const settings = { ...trusting, jwks: { keys: [jwk(pair, { kid: 'k', ...named })] } }
      await check({ ...login, settings, token }, 'in as maxroach')
    }
  })
})

describe('times', () => {
  const off = (name: string) => `${unparsed}"${name}" not satisfied`

  test.each<[string, Claims, string]>([
    ['0s', { iat: NOW }, 'in as maxroach'],
    ['0s', { iat: NOW + 1 }, off('iat')],
    ['0s', { nbf: NOW }, 'in as maxroach'],
    ['0s', { nbf: NOW + 1 }, off('nbf')],
    ['0s', { exp: NOW + 1 }, 'in as maxroach'],
    ['0s', { exp: NOW }, off('exp')],
    ['30s', { iat: NOW + 30 }, 'in as maxroach'],
    ['30s', { iat: NOW + 31 }, off('iat')],
    ['30s', { nbf: NOW + 30 }, 'in as maxroach'],
    ['30s', { nbf: NOW + 31 }, off('nbf')],
    ['30s', { exp: NOW - 29 }, 'in as maxroach'],
    ['30s', { exp: NOW - 30 }, off('exp')],
  ])('with a tolerance of %s, %j', async (clock_tolerance, more, expected) => {
    const settings = { ...trusting, clock_tolerance }
    // A second's parts don't count.
    for (const nowMs of [NOW * 1000, NOW * 1000 + 999])
      await check({ ...login, settings, token: es256(more), nowMs }, expected)
  })

  const clocks = '; are the clocks in step? server.jwt_authentication.clock_tolerance allows for it'

  test.each<[Claims, string]>([
    [{ exp: NOW }, `"exp" missed by 0 s${clocks}`],
    [{ exp: NOW - 59 }, `"exp" missed by 59 s${clocks}`],
    [{ exp: NOW - 60 }, '"exp" missed by 60 s'],
    [{ iat: NOW + 59 }, `"iat" missed by 59 s${clocks}`],
    [{ nbf: NOW + 60 }, '"nbf" missed by 60 s'],
  ])('%j is explained in the log alone', async (more, log) => {
    const [name] = Object.keys(more)
    expect(await logIn({ ...login, token: es256(more) })).toEqual({
      sqlstate: '28000',
      message: 'JWT authentication: invalid token',
      detail: `unable to parse token: "${name}" not satisfied`,
      log,
    })
  })
})

test('a principal is what the token says', async () => {
  const { trust } = clusterOf({ ...trusting, map: `${ISS} /^(.*)$ \\1` })
  const token = es256({
    iat: NOW - 5,
    jti: 'j-1',
    aud: ['db', 'x'],
    sub: ['carl', 'Max'],
    scope: 'openid sql',
  })
  expect(await authenticate(new Secret(token), trust, () => NOW * 1000)).toEqual({
    issuer: ISS,
    names: ['carl', 'Max'],
    users: ['carl', 'Max'],
    mapped: true,
    audiences: ['db', 'x'],
    groups: undefined,
    scopes: ['openid', 'sql'],
    subject: undefined,
    tokenId: 'j-1',
    digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    keyId: 'p256',
    issuedAt: NOW - 5,
    until: FAR,
    notBefore: undefined,
  })
})

test('nothing is accepted by what is not set', async () => {
  const without = (name: string) => {
    const { [name]: _left, ...settings }: Claims = trusting
    return { ...login, settings }
  }
  await check(without('enabled'), 'not enabled')
  await check(without('issuers'), `invalid issuer / token issued by ${ISS}`)
  await check(
    without('jwks'),
    `${unparsed}key provider 0 failed: failed to find key with key ID "p256" in key set`,
  )
  await check(without('audience'), 'invalid audience / token issued with an audience of [db]')
  const empty = { ...trusting, issuers: '', audience: '' }
  const token = es256({ iss: '', aud: '' })
  await check({ ...login, settings: empty, token }, 'invalid issuer / token issued by ')
})
