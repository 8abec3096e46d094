/**
 * `postern explain` on a token: the cause that it names for each documented login and each step of the
 * gate, what it says of it word by word in three cases, and what it advises.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  E2,
  K1,
  K2,
  second,
  T2,
  TG1,
  TG2,
  t1,
  t2,
  three,
  two,
} from '../support/documented_tokens.ts'
import { cause, explainAsJson, explainToken } from '../support/explained.ts'
import { forge, jwk } from '../support/forge.ts'
import { type IssuerServer, openIssuerServer } from '../support/issuer_server.ts'
import { type Claims, claims, es256, ISS, NOW, stranger, trusting } from '../support/log_in.ts'

let dir: string
let server: IssuerServer
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-explain-'))
  server = await openIssuerServer()
  server.jwks.body = { keys: [K2] }
})
afterAll(async () => {
  await server.close()
  await rm(dir, { recursive: true })
})

const on = { enabled: true, issuers: '["issuer","issuer2"]', jwks: { keys: [K1, K2] } }
const nine = { ...on, issuers: 'issuer2', audience: 'test_cluster' }
const byGroups = { ...nine, claim: 'groups' }
const mapTo = (user: string) => ({ ...nine, map: `issuer2 test_user1 ${user}` })

describe('the documented logins', () => {
  test.each<[number, Claims, string, string, string]>([
    [1, {}, t1, 'jwt_user', 'enabled jwt_not_enabled'],
    [2, { enabled: true }, t1, 'test', 'issuer invalid_issuer'],
    [3, { ...on, issuers: 'issuer2' }, t1, 'test', 'issuer invalid_issuer'],
    [4, { ...on, issuers: 'issuer', jwks: K1 }, t1, 'jwt_user', 'user invalid_principal'],
    [5, on, t2, 'jwt_user', 'user invalid_principal'],
    [6, on, second({ exp: NOW - 3600 }), 'jwt_user', 'exp invalid_token'],
    [7, { ...on, jwks: { keys: [K1] } }, t2, 'jwt_user', 'key invalid_token'],
    [8, { ...on, issuers: 'issuer2' }, t2, 'test2', 'audience invalid_audience'],
    [9, nine, t2, 'test2', 'in as test2'],
    [10, { ...nine, audience: 'audience_2' }, t2, 'test2', 'audience invalid_audience'],
    [11, { ...nine, audience: '["audience_2","test_cluster"]' }, t2, 'test2', 'in as test2'],
    [12, nine, t2, 'test', 'user invalid_principal'],
    [13, { ...nine, map: 'issuer2 test2 test' }, t2, 'test', 'in as test'],
    [15, mapTo('test_user2'), second({ sub: 'test_user2' }), 'test_user1', 'map invalid_principal'],
    [
      16,
      mapTo('test_user2'),
      second({ sub: 'test_user1' }),
      'test_user1',
      'user invalid_principal',
    ],
    [17, mapTo('root'), second({ sub: 'test_user1' }), 'root', 'reserved invalid_identity'],
    [18, nine, second({ sub: 'root' }), 'root', 'reserved invalid_identity'],
    [19, nine, second(TG1), 'test', 'user invalid_principal'],
    [20, byGroups, second(TG1), 'test', 'in as test'],
    [21, { ...nine, claim: 'sub' }, second(TG2), 'test2', 'user invalid_principal'],
    [22, byGroups, second(TG2), 'test2', 'in as test2'],
    [24, byGroups, t2, 'invalid_user', 'claim missing_claim'],
    [
      25,
      { ...byGroups, map: 'issuer2 1 test_user1' },
      second({ groups: 1 }),
      'test_user1',
      'in as test_user1',
    ],
    [26, byGroups, second({ groups: ['a', 'b'] }), 'test_user3', 'user invalid_principal'],
    [27, byGroups, second({ groups: 'test_user1' }), 'test_user1', 'in as test_user1'],
    [
      28,
      { ...nine, jwks: { keys: [E2] } },
      forge({ alg: 'ES384', kid: 'es384_id' }, T2, 'ES384', three),
      'test2',
      'in as test2',
    ],
    [29, { ...nine, jwks: { keys: [jwk(two, { kid: 'test2' })] } }, t2, 'test2', 'in as test2'],
    [
      30,
      { ...nine, 'jwks_auto_fetch.enabled': true, jwks: undefined },
      t2,
      'test2',
      'key jwks_unavailable',
    ],
    [38, nine, second({ exp: NOW - 1 }), 'test2', 'exp invalid_token'],
    [39, nine, forge({ alg: 'RS256' }, T2, 'RS256', two), 'test2', 'key invalid_token'],
    [40, nine, second({ iat: NOW + 60 }), 'test2', 'iat invalid_token'],
    [41, nine, second({ nbf: NOW + 60 }), 'test2', 'nbf invalid_token'],
    [42, nine, second({ exp: undefined }), 'test2', 'exp invalid_token'],
    [
      45,
      { ...nine, jwks: { keys: [{ ...K2, use: 'enc' }] } },
      t2,
      'test2',
      'signature invalid_token',
    ],
    [47, nine, 'not.a.jwt.token', 'test2', 'header invalid_token'],
    [47, nine, t2.split('.').slice(0, 2).join('.'), 'test2', 'header invalid_token'],
    [49, nine, t2, 'Test2', 'in as test2'],
    [55, { ...nine, issuers: 'issuer1' }, t2, 'test2', 'issuer invalid_issuer'],
    [
      56,
      nine,
      forge({ alg: 'RS256', kid: 'test2' }, T2, 'ES384', three),
      'test2',
      'signature invalid_token',
    ],
  ])('row %i', async (_row, settings, token, user, expected) => {
    expect(cause(await explainAsJson(dir, { settings, token, args: ['--user', user] }))).toBe(
      expected,
    )
  })

  test.each<[number, () => Claims, Claims, string]>([
    [31, () => ({ jwks: { keys: [K1] }, 'issuers.custom_ca': server.caPem }), {}, 'in as test2'],
    [32, () => ({}), {}, 'key jwks_unavailable'],
    [33, () => ({ 'issuers.custom_ca': server.caPem }), {}, 'in as test2'],
    [33, () => ({ 'issuers.custom_ca': server.caPem }), { exp: NOW }, 'exp invalid_token'],
    [37, () => ({ issuers: '' }), {}, 'issuer invalid_issuer'],
  ])('row %i, whose keys are fetched', async (_row, more, claims, expected) => {
    const fetching = { enabled: true, issuers: server.issuer, audience: 'test_cluster' }
    const settings = { ...fetching, 'jwks_auto_fetch.enabled': true, ...more() }
    const token = second({ iss: server.issuer, ...claims })
    const explained = await explainAsJson(dir, { settings, token })
    expect(cause(explained)).toBe(expected)
    const key = explained.checks.find(({ name }) => name === 'key')
    if (explained.Token.verified) expect(key?.says).toMatch(`from ${server.issuer}/jwks, fetched `)
  })

  describe('whose issuer', () => {
    let odd: IssuerServer
    beforeAll(async () => {
      odd = await openIssuerServer()
    })
    afterAll(() => odd.close())
    const ofOdd = async (more: Claims) => {
      const fetching = { enabled: true, audience: 'test_cluster', 'jwks_auto_fetch.enabled': true }
      const settings = { ...fetching, 'issuers.custom_ca': odd.caPem, ...more }
      return await explainAsJson(dir, { settings, token: second({ iss: odd.issuer }) })
    }

    test('hangs: row 34', async () => {
      odd.jwks.hang = true
      const explained = await ofOdd({ issuers: odd.issuer, 'client.timeout': '250ms' })
      expect(cause(explained)).toBe('key jwks_unavailable')
      expect(explained.Why).toBe(
        `JWT authentication: unable to validate token; unable to fetch jwks: Get "${odd.issuer}/jwks": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
      )
      expect(odd.hits.jwks).toBe(1)
      expect(explained.todo).toContain('client.timeout gives it more time')
    })

    test('has a useless discovery, and its keys in issuer_jwks_map: row 36', async () => {
      Object.assign(odd.jwks, { hang: false, body: { keys: [K2] } })
      odd.pages.delete('/.well-known/openid-configuration')
      const { hits } = odd
      const map = JSON.stringify({ issuer_jwks_map: { [odd.issuer]: `${odd.issuer}/jwks` } })
      expect(cause(await ofOdd({ issuers: map }))).toBe('in as test2')
      expect(odd.hits).toEqual({ discovery: hits.discovery, jwks: hits.jwks + 1, userinfo: 0 })
      expect(cause(await ofOdd({ issuers: odd.issuer }))).toBe('key jwks_unavailable')
    })
  })
})

/** With groups that become roles, and a map. */
const managed = {
  ...trusting,
  management: { role: 'gate' },
  'authorization.enabled': true,
  'authorization.roles': ['owner', '/^team_[a-z]+$', 'postgres'],
  map: `${ISS} carl@x.test carl\n${ISS} /^(.*)@example\\.com$ \\1 # everybody\nother x y\n`.replace(
    'other',
    ISS,
  ),
}
const member = {
  sub: 'maxroach@example.com',
  iat: NOW - 5,
  exp: NOW + 3599,
  groups: ['owner', 'team_db', 'postgres', 'everyone'],
}

describe('word by word', () => {
  test('granted', async () => {
    const { code, stdout, stderr } = await explainToken(dir, {
      settings: managed,
      token: es256(member),
    })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(`\n${stdout}`).toBe(`
✓ enabled      server.jwt_authentication.enabled is true
✓ header       alg ES256, kid p256
✓ issuer       https://issuer.test
✓ key          from the configuration
✓ signature    of the issuer
✓ iat          2027-01-15 07:59:55 UTC, issued 5 s ago
✓ exp          2027-01-15 08:59:59 UTC, expires in 59 m 59 s
✓ nbf          the token has no beginning
✓ claim        sub is maxroach@example.com
✓ map          line 2 matches: maxroach
               · 1  carl@x.test carl
               ✓ 2  /^(.*)@example\\.com$ \\1 -> maxroach
               · 3  x y
✓ user         asked for maxroach; the token may be maxroach
✓ reserved     maxroach is no reserved role
✓ audience     db; accepted: db
✓ scope        none is asked for
✓ groups       4 of the token, roles: owner, team_db
               ✓ owner
               ✓ team_db
               · postgres: a reserved role
               · everyone: authorization.roles has no such role

decision          granted at 2027-01-15 08:00:00 UTC: maxroach
note              the node was not asked: which roles are there, and what powers
                  they have, shows at the sign-in
`)
  })

  test('expired', async () => {
    const token = es256({ ...member, exp: NOW - 12 })
    const { code, stdout, stderr } = await explainToken(dir, { settings: managed, token })
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'postern: the gate would refuse this token (invalid_token)\n',
    })
    expect(`\n${stdout}`).toBe(`
✓ enabled      server.jwt_authentication.enabled is true
✓ header       alg ES256, kid p256
✓ issuer       https://issuer.test
✓ key          from the configuration
✓ signature    of the issuer
✓ iat          2027-01-15 07:59:55 UTC, issued 5 s ago
✗ exp          2027-01-15 07:59:48 UTC, expired 12 s ago
· nbf          the token has no beginning
· claim        not reached
· map          not reached
· user         not reached
· reserved     not reached
· audience     db; accepted: db
· scope        none is asked for
· groups       not reached

decision          refused at 2027-01-15 08:00:00 UTC
the client reads  FATAL: JWT authentication: invalid token (SQLSTATE 28000)
                  DETAIL: unable to parse token: "exp" not satisfied
the log says      "exp" missed by 12 s; are the clocks in step?
                  server.jwt_authentication.clock_tolerance allows for it
what to do        Get a fresh token. Compare the clocks of gate and issuer;
                  server.jwt_authentication.clock_tolerance: 30s allows for a
                  difference.
`)
  })

  test('an issuer with a slash too many', async () => {
    const token = es256({ iss: `${ISS}/`, nbf: NOW - 7200 })
    const args = ['--user', 'maxroach']
    const { code, stdout } = await explainToken(dir, { settings: trusting, token, args })
    expect(code).toBe(1)
    expect(`\n${stdout}`).toBe(`
✓ enabled      server.jwt_authentication.enabled is true
✓ header       alg ES256, kid p256
✗ issuer       says https://issuer.test/; accepted:
               https://issuer.test
· key          not reached
· signature    not reached
· iat          the token does not say when it was issued
· exp          says 2096-10-02 07:06:40 UTC, expires in 69 y 277 d
· nbf          says 2027-01-15 06:00:00 UTC, began 2 h ago
· claim        not reached
· map          not reached
· user         asked for maxroach
· reserved     not reached
· audience     says db; accepted: db
· scope        none is asked for
· groups       nobody asks for groups

decision          refused at 2027-01-15 08:00:00 UTC
the client reads  FATAL: JWT authentication: invalid issuer (SQLSTATE 28000)
                  DETAIL: token issued by https://issuer.test/
what to do        The configuration has https://issuer.test: write
                  https://issuer.test/ in
                  server.jwt_authentication.issuers.configuration, with the "/"
                  at its end. It is compared letter for letter.
`)
  })

  test('bold where somebody looks, plain where colours are not wanted', async () => {
    const shown: string[] = []
    const stdout = { isTTY: true, write: (text: string) => shown.push(text) }
    const asked = { settings: trusting, token: es256({}) }
    await explainToken(dir, { ...asked, world: { stdout } })
    await explainToken(dir, { ...asked, world: { stdout, env: () => '1' } })
    expect(shown.map((text) => text.includes('\x1b[1mdecision '))).toEqual([true, false])
  })
})

describe('what to do', () => {
  const fetched = { 'jwks_auto_fetch.enabled': true }
  test.each<[string, Claims, string, string, string]>([
    ['not enabled', {}, es256({}), 'maxroach', 'Set server.jwt_authentication.enabled: true.'],
    [
      'no token',
      trusting,
      'letmein',
      'maxroach',
      'Give the token alone, as the issuer gave it: three parts with a dot between them, signed and not encrypted.',
    ],
    [
      'crit',
      trusting,
      es256({}, { crit: ['exp'] }),
      'maxroach',
      'Have the issuer leave "crit" out of the header.',
    ],
    [
      'no issuer',
      trusting,
      es256({ iss: undefined }),
      'maxroach',
      'Have the issuer name itself in "iss".',
    ],
    [
      'a stranger',
      trusting,
      es256({ iss: 'https://a.test' }),
      'maxroach',
      'If its tokens are to be accepted, add https://a.test to server.jwt_authentication.issuers.configuration.',
    ],
    [
      'a slash missing',
      { ...trusting, issuers: `${ISS}/` },
      es256({}),
      'maxroach',
      `The configuration has ${ISS}/: write ${ISS} in server.jwt_authentication.issuers.configuration, without the "/" at its end. It is compared letter for letter.`,
    ],
    [
      'capitals',
      trusting,
      es256({ iss: 'https://ISSUER.test' }),
      'maxroach',
      `The configuration has ${ISS}: write https://ISSUER.test in server.jwt_authentication.issuers.configuration. It is compared letter for letter.`,
    ],
    [
      'no kid',
      trusting,
      es256({}, { kid: undefined }),
      'maxroach',
      'Have the issuer name its key in the header ("kid").',
    ],
    [
      'another kid',
      trusting,
      es256({}, { kid: 'k2' }),
      'maxroach',
      "Add the issuer's key k2 to server.jwt_authentication.jwks, or let the gate fetch the keys: server.jwt_authentication.jwks_auto_fetch.enabled: true.",
    ],
    [
      'no keys to be had',
      { ...trusting, ...fetched, issuers: 'nowhere', jwks: undefined },
      es256({ iss: 'nowhere' }),
      'maxroach',
      'Let this machine reach the issuer nowhere by HTTPS; server.jwt_authentication.issuers.custom_ca trusts an authority of your own, client.timeout gives it more time, HTTPS_PROXY names a proxy.',
    ],
    [
      'a forgery',
      trusting,
      forge({ alg: 'ES256', kid: 'p256' }, claims, 'ES256', stranger),
      'maxroach',
      "The token was changed on its way, or the issuer's key p256 didn't sign it: get a fresh one, and compare the key with server.jwt_authentication.jwks.",
    ],
    ['long expired', trusting, es256({ exp: NOW - 9_000 }), 'maxroach', 'Get a fresh token.'],
    [
      'endless',
      trusting,
      es256({ exp: undefined }),
      'maxroach',
      'Have the issuer set "exp", in seconds; server.jwt_authentication.require_expiry: false lets in tokens that never end.',
    ],
    [
      'from the future',
      trusting,
      es256({ iat: NOW + 9_000 }),
      'maxroach',
      'Wait 2 h 30 m, or ask the issuer for another token.',
    ],
    [
      'of clocks',
      trusting,
      es256({ nbf: NOW + 20 }),
      'maxroach',
      'Compare the clocks of gate and issuer; server.jwt_authentication.clock_tolerance: 30s allows for a difference.',
    ],
    [
      'no time',
      trusting,
      es256({ nbf: 'soon' }),
      'maxroach',
      'Have the issuer write its times in seconds since 1970.',
    ],
    [
      'no claim',
      { ...trusting, claim: 'email' },
      es256({}),
      'maxroach',
      'Have the issuer add email to the token, or set server.jwt_authentication.claim to a claim that it has.',
    ],
    [
      'nothing there',
      { ...trusting, claim: '/sub/0' },
      es256({}),
      'maxroach',
      'Have the issuer add /sub/0 to the token, or set server.jwt_authentication.claim to a claim that it has.',
    ],
    [
      'no name',
      trusting,
      es256({ sub: 'a\u0007' }),
      'maxroach',
      'Have the issuer put a name there: one of at most 1 KiB, without control characters.',
    ],
    [
      'not in the map',
      managed,
      es256({ sub: 'web' }),
      'maxroach',
      `If it is to be let in, add a line to server.identity_map.configuration: ${ISS} web maxroach`,
    ],
    [
      'somebody else',
      trusting,
      es256({}),
      'carl',
      `Sign in as maxroach, or, if it is to be carl, add a line to server.identity_map.configuration: ${ISS} maxroach carl`,
    ],
    [
      'reserved',
      trusting,
      es256({ sub: 'root' }),
      'root',
      'Sign in as another role. Where a token shall be enough to be root, name it in allow_roles.',
    ],
    [
      'another service',
      trusting,
      es256({ aud: ['a', 'b'] }),
      'maxroach',
      'Ask the issuer for a token for db; if a, b is this cluster, add it to server.jwt_authentication.audience.',
    ],
    [
      'no audience set',
      { ...trusting, audience: '[]' },
      es256({}),
      'maxroach',
      'Set server.jwt_authentication.audience: db, if the token was made for this cluster.',
    ],
    [
      'in no group',
      managed,
      es256({ ...member, groups: [] }),
      'maxroach',
      'Have the issuer put the user into a group; server.jwt_authentication.authorization.empty_groups: allow lets in who is in none.',
    ],
    [
      'a long name',
      trusting,
      es256({ sub: 'a'.repeat(64) }),
      'a'.repeat(64),
      'Let server.identity_map.configuration map the name to one of at most 63 bytes.',
    ],
  ])('%s', async (_name, settings, token, user, todo) => {
    const explained = await explainAsJson(dir, { settings, token, args: ['--user', user] })
    expect(explained).toMatchObject({ Result: 'refused', todo })
  })
})

describe('what is left out', () => {
  const left = async (check: string, settings: Claims, more: Claims) => {
    const { checks, notes } = await explainAsJson(dir, { settings, token: es256(more) })
    return { ...checks.find(({ name }) => name === check), notes: notes.slice(0, -1) }
  }

  test('of users, the first is taken', async () => {
    expect(await left('user', trusting, { sub: ['carl', 'maxroach'] })).toMatchObject({
      says: 'asked for carl; the token may be carl, maxroach',
      notes: ['--user was left out, so it was judged for carl, the first of 2'],
    })
  })

  const SO_FAR = 'granted, as far as can be seen here:'
  test('userinfo is not asked for groups', async () => {
    expect(await left('groups', managed, { ...member, groups: undefined })).toMatchObject({
      verdict: 'not_reached',
      says: "no list in the token: the issuer's userinfo would be asked",
      notes: [`${SO_FAR} the token names no groups, so the issuer's userinfo decides`],
    })
  })

  test.each([
    ['team_db', 'the name is one that a group may become'],
    ['postern_users', 'the name is reserved'],
  ])('the node is not asked whether %s is there', async (sub, why) => {
    const making = {
      ...managed,
      'security.provisioning.jwt.enabled': true,
      map: `${ISS} ${sub} ${sub}`,
    }
    const notes = [`${SO_FAR} if the role is not there, it will not be made: ${why}`]
    expect(await left('user', making, { ...member, sub })).toMatchObject({ notes })
    expect(await left('user', managed, member)).toMatchObject({ notes: [] })
  })

  test('of a long map, lines that do not match', async () => {
    const strangers = Array.from({ length: 30 }, (_, at) => `${ISS} stranger${at} s${at}`)
    const map = [...strangers, `${ISS} maxroach maxroach`].join('\n')
    const { lines } = await left('map', { ...trusting, map }, {})
    expect(lines).toHaveLength(21)
    expect(lines?.[0]).toBe('·  1  stranger0 s0')
    expect(lines?.slice(-3)).toEqual([
      '· 19  stranger18 s18',
      '✓ 31  maxroach maxroach -> maxroach',
      'and 11 more that do not match',
    ])
  })

  test('OAUTHBEARER has settings of its own', async () => {
    const bearer = {
      ...trusting,
      'server.oauthbearer_authentication.enabled': true,
      'server.oauthbearer_authentication.audience': 'api',
      'server.oauthbearer_authentication.scope': 'openid sql',
    }
    const as = async (settings: Claims, more: Claims) =>
      cause(await explainAsJson(dir, { settings, token: es256(more), args: ['--oauthbearer'] }))
    expect(await as(bearer, { aud: 'api', scope: 'sql openid' })).toBe('in as maxroach')
    expect(await as(bearer, { aud: 'api', scope: 'openid' })).toBe('scope insufficient_scope')
    expect(await as(bearer, {})).toBe('audience invalid_audience')
    const off = await explainToken(dir, {
      settings: trusting,
      token: es256({}),
      args: ['--oauthbearer'],
    })
    expect(off).toMatchObject({
      code: 64,
      stderr:
        'postern: postern.yaml does not offer it: set server.oauthbearer_authentication.enabled: true\n',
    })
  })
})
