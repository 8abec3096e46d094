/**
 * `postern replay`: logins that a gate has recorded, judged by another configuration: who would be refused
 * and by what, who would come in, and what can't be said.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import { runIn } from '../support/world.ts'

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-replay-'))
})
afterAll(() => rm(dir, { recursive: true }))

const ISS = 'https://iss.test'
const AT = 1_800_000_000
const JWT = 'server.jwt_authentication'
const JWK = {
  kty: 'EC',
  crv: 'P-256',
  kid: 'k1',
  x: 'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
  y: '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM',
}

const SETTINGS = {
  kind: 'postgresql',
  nodes: [{ address: '/run/.s.PGSQL.5432' }],
  sign_in: 'peer',
  [`${JWT}.enabled`]: true,
  [`${JWT}.issuers.configuration`]: ISS,
  [`${JWT}.audience`]: 'db',
  [`${JWT}.jwks`]: { keys: [JWK] },
}

type Members = Record<string, unknown>

const TOKEN = {
  issuer: ISS,
  algorithm: 'ES256',
  keyId: 'k1',
  keysFrom: 'configuration',
  verified: true,
  issuedAt: AT - 10,
  expires: AT + 600,
  audiences: ['db'],
  tokenId: 'jti-1',
  digest: 'ab',
  claim: 'sub',
  names: ['carl'],
  mapped: false,
  mapLines: [],
  users: ['carl'],
  userCount: 1,
}

/** A record as the gate writes it. */
function record({ Token = TOKEN, ...more }: Members = {}): Members {
  return {
    channel: 'SESSIONS',
    Timestamp: AT * 1e9,
    InstanceID: 0,
    EventType: 'login_decision',
    Result: 'granted',
    Failure: '',
    Why: '',
    Detail: '',
    AccessRule: '',
    Step: '',
    Replication: false,
    Tls: null,
    Token,
    AcceptedAudiences: ['db'],
    Role: 'carl',
    SessionID: 's1',
    Network: 'tcp',
    RemoteAddress: '192.0.2.7:4000',
    Transport: 'hostssl',
    Cluster: 'main',
    User: 'carl',
    Database: 'app',
    ApplicationName: '',
    Method: 'jwt_token',
    ...more,
  }
}

function refused(Failure: string, Why = '', more: Members = {}): Members {
  return record({ Result: 'refused', Failure, Why, Role: '', ...more })
}

interface Replayed {
  logins: number
  same: number
  refused: number
  granted: number
  unknown: number
  changes: {
    change: string
    user: string
    cluster: string
    says: string
    logins: number
    requestId: string
  }[]
}

async function replay(
  records: Members[],
  settings: Members = {},
  top: Members = {},
  ...args: string[]
) {
  const file = {
    listeners: [{ directory: '/run' }],
    clusters: { main: { ...SETTINGS, ...settings } },
    ...top,
  }
  await writeFile(join(dir, 'new.yaml'), JSON.stringify(file))
  await writeFile(
    join(dir, 'audit.log'),
    records.map((each) => `${JSON.stringify(each)}\n`).join(''),
  )
  return await runIn(dir, ['replay', '--config', 'new.yaml', '--audit', 'audit.log', ...args])
}

/** What becomes of one login: `same`, or what changes and why. */
async function judge(one: Members, settings: Members = {}, top: Members = {}): Promise<string> {
  const { stdout, code } = await replay([one], settings, top, '--json')
  const { changes, same, unknown, ...sum } = JSON.parse(stdout) as Replayed
  expect(code).toBe(sum.refused + sum.granted > 0 ? 1 : 0)
  expect(same + sum.refused + sum.granted + unknown).toBe(1)
  const [change] = changes
  return change === undefined ? 'same' : `${change.change}: ${change.says}`
}

const rule = (more: Members) => ({ access: [{ ...more, action: 'allow' }] })
const mapped = (map: string) => ({ 'server.identity_map.configuration': map })
const groups = {
  management: { role: 'm' },
  [`${JWT}.authorization.enabled`]: true,
  [`${JWT}.authorization.roles`]: ['r'],
}
const OAUTH = {
  'server.oauthbearer_authentication.enabled': true,
  'server.oauthbearer_authentication.scope': 'openid',
}

describe('who came in', () => {
  it.each<[string, string, Members, Members, Members]>([
    ['by the same settings', 'same', {}, {}, {}],
    [
      'under another issuer',
      'refused: invalid_issuer: JWT authentication: invalid issuer; token issued by https://iss.test',
      {},
      { [`${JWT}.issuers.configuration`]: 'https://other.test' },
      {},
    ],
    [
      'for another audience',
      'refused: invalid_audience: JWT authentication: invalid audience; token issued with an audience of [db]',
      {},
      { [`${JWT}.audience`]: 'other' },
      {},
    ],
    [
      'with tokens switched off',
      'refused: jwt_not_enabled: JWT authentication: not enabled',
      {},
      { [`${JWT}.enabled`]: false },
      {},
    ],
    [
      'whom a map makes somebody else',
      'refused: invalid_principal: JWT authentication: invalid principal; token issued for [carl] and login was for carl',
      {},
      mapped(`${ISS} carl deploy`),
      {},
    ],
    ['whom a map knows', 'same', {}, mapped(`${ISS} /^(.*)$ \\1`), {}],
    [
      'by a key that is there no more',
      'refused: invalid_token: JWT authentication: invalid token; no key of https://iss.test has the id k1',
      {},
      { [`${JWT}.jwks`]: { keys: [{ ...JWK, kid: 'k2' }] } },
      {},
    ],
    [
      'with a token without an end',
      'refused: invalid_token: JWT authentication: invalid token; unable to parse token: "exp" not satisfied: required claim not found',
      { Token: { ...TOKEN, expires: undefined } },
      {},
      {},
    ],
    [
      'with one that ended while it was recorded',
      'same',
      { Token: { ...TOKEN, expires: AT } },
      {},
      {},
    ],
    [
      'whose token is revoked now',
      'refused: token_revoked: JWT authentication: the token is revoked; ',
      {},
      { jwt_revoked_ids: ['jti-1'] },
      {},
    ],
    [
      'as a role that is reserved',
      'refused: invalid_identity: ',
      { User: 'pg_x', Token: { ...TOKEN, names: ['pg_x'] } },
      {},
      {},
    ],
    ['for replication', 'refused: replication_refused: ', { Replication: true }, {}, {}],
    ['that is allowed', 'same', { Replication: true }, { replication_roles: ['carl'] }, {}],
    ['from where a rule lets in', 'same', {}, {}, rule({ address: ['192.0.2.0/24'] })],
    [
      'from elsewhere',
      'refused: access_denied: no access entry for host "192.0.2.7", user "carl", database "app"; no rule of access fits',
      {},
      {},
      rule({ address: ['10.0.0.0/8'] }),
    ],
    ['by an issuer that a rule names', 'same', {}, {}, rule({ issuer: ISS })],
    ['by another one', 'refused: access_denied: ', {}, {}, rule({ issuer: 'https://other.test' })],
    ['over a unix socket', 'same', { RemoteAddress: '' }, {}, rule({ address: 'unix' })],
    [
      'over IPv6',
      'same',
      { RemoteAddress: '[2001:db8::1]:5' },
      {},
      rule({ address: '2001:db8::/32' }),
    ],
    [
      'with a certificate',
      'same',
      { Tls: { clientSubject: 'O=x\nCN=app' } },
      {},
      rule({ certificate: 'app' }),
    ],
    ['without one', 'refused: access_denied: ', {}, {}, rule({ certificate: true })],
    [
      'into a cluster that is gone',
      'refused: cluster_not_found: cluster main not found',
      {},
      {},
      { clusters: { a: SETTINGS, b: SETTINGS } },
    ],
    [
      'with a claim that nobody recorded',
      'unknown: the claim email of its token is not recorded',
      {},
      { [`${JWT}.claim`]: 'email' },
      {},
    ],
    [
      'with groups that nobody recorded',
      'unknown: the groups of its token are not recorded',
      {},
      groups,
      {},
    ],
    ['with groups', 'same', { Token: { ...TOKEN, groups: ['r'], groupCount: 1 } }, groups, {}],
    [
      'with none',
      'refused: empty_group_list: ',
      { Token: { ...TOKEN, groups: [], groupCount: 0 } },
      groups,
      {},
    ],
    [
      'by keys that are fetched now',
      'unknown: the keys of https://iss.test would have to be fetched',
      {},
      { [`${JWT}.jwks_auto_fetch.enabled`]: true, [`${JWT}.jwks`]: undefined },
      {},
    ],
    [
      'by keys that are fetched still',
      'same',
      { Token: { ...TOKEN, keysFrom: `${ISS}/jwks` } },
      { [`${JWT}.jwks_auto_fetch.enabled`]: true, [`${JWT}.jwks`]: undefined },
      {},
    ],
    [
      'by OAUTHBEARER, which is not offered',
      'refused: token_required: ',
      { Method: 'oauthbearer' },
      {},
      {},
    ],
    [
      'by OAUTHBEARER with scopes',
      'unknown: the scopes of its token are not recorded',
      { Method: 'oauthbearer' },
      OAUTH,
      {},
    ],
    [
      'without a token',
      'same',
      { Method: 'passthrough', Token: {} },
      { non_jwt_logins: 'passthrough' },
      {},
    ],
    [
      'without one, which is not taken',
      'refused: token_required: ',
      { Method: 'passthrough', Token: {} },
      {},
      {},
    ],
    [
      'with more names than are recorded',
      'unknown: not all of its principals are recorded',
      { User: 'z', Token: { ...TOKEN, names: Array.from({ length: 20 }, (_, at) => `n${at}`) } },
      {},
      {},
    ],
    // One that refuses for sure refuses, whatever else is not known.
    [
      'with nothing recorded, and refused all the same',
      'refused: access_denied: ',
      {},
      { [`${JWT}.claim`]: 'email' },
      rule({ user: 'maxroach' }),
    ],
  ])('%s', async (_who, says, more, settings, top) => {
    expect(await judge(record(more), settings, top)).toMatch(
      says.endsWith(' ') ? new RegExp(`^${says}`) : says === 'same' ? /^same$/ : says,
    )
  })
})

describe('who was refused', () => {
  it.each<[string, string, Members, Members, Members]>([
    [
      'for the audience, which is taken now',
      'granted: refused then by invalid_audience',
      refused('invalid_audience'),
      {},
      {},
    ],
    [
      'for the audience, which is not',
      'same',
      refused('invalid_audience'),
      { [`${JWT}.audience`]: 'x' },
      {},
    ],
    [
      'by a rule',
      'granted: refused then by access_denied',
      refused('access_denied', 'no access entry; no rule of access fits'),
      {},
      {},
    ],
    [
      'by a rule of the file',
      'granted: refused then by access_denied',
      refused('access_denied', 'no access entry; refused by /etc/postern.yaml:12:5'),
      {},
      {},
    ],
    [
      'by a list that gates may share',
      "unknown: it was refused by access_denied, which settings alone don't decide",
      refused('access_denied', "no access entry; ip '192.0.2.7' denied: x"),
      {},
      {},
    ],
    [
      'for an issuer',
      'unknown: its signature was not found good then',
      refused('invalid_issuer', '', { Token: { issuer: ISS, digest: 'ab', keyId: 'k1' } }),
      {},
      {},
    ],
    [
      'for a signature',
      'same',
      refused(
        'invalid_token',
        'JWT authentication: invalid token; unable to parse token: could not verify',
        { Token: { issuer: ISS, digest: 'ab', keyId: 'k1', keysFrom: 'configuration' } },
      ),
      {},
      {},
    ],
    [
      'for a key that is there now',
      'unknown: its signature was not found good then',
      refused(
        'invalid_token',
        'JWT authentication: invalid token; unable to parse token: key provider 0 failed',
        { Token: { issuer: ISS, digest: 'ab', keyId: 'k1' } },
      ),
      {},
      {},
    ],
    [
      'for its end, which a tolerance moves',
      'granted: refused then by invalid_token',
      refused('invalid_token', '"exp" not satisfied', { Token: { ...TOKEN, expires: AT - 5 } }),
      { [`${JWT}.clock_tolerance`]: '30s' },
      {},
    ],
    ['for a word that is no token', 'same', refused('not_a_token', '', { Token: {} }), {}, {}],
    ['without a token', 'same', refused('token_required', '', { Token: {} }), {}, {}],
    [
      'without a token, which the node may judge now',
      'unknown: it came without a token, and would be asked for something else',
      refused('token_required', '', { Token: {} }),
      { non_jwt_logins: 'passthrough' },
      {},
    ],
    [
      'for too many failures',
      "unknown: it was refused by too_many_failures, which settings alone don't decide",
      refused('too_many_failures'),
      {},
      {},
    ],
    [
      'for powers of the role',
      "unknown: it was refused by invalid_identity, which settings alone don't decide",
      refused('invalid_identity', '', { Step: 'powers' }),
      {},
      {},
    ],
    [
      'for groups, which are not asked for now',
      'granted: refused then by empty_group_list',
      refused('empty_group_list', '', { Step: 'groups', Token: { ...TOKEN, groups: [] } }),
      {},
      {},
    ],
    [
      'by the file’s own list',
      'granted: refused then by token_revoked',
      refused('token_revoked', "the token's id is revoked: jwt_revoked_ids"),
      {},
      {},
    ],
  ])('%s', async (_who, says, login, settings, top) => {
    expect(await judge(login, settings, top)).toBe(says)
  })
})

describe('what is printed', () => {
  const many = [
    record(),
    record({ SessionID: 's2', User: 'max', Token: { ...TOKEN, names: ['max'] } }),
    record({ SessionID: 's3' }),
    refused('invalid_principal', '', { SessionID: 's4', User: 'deploy' }),
    { EventType: 'client_session_end', Why: 'login_decision' },
    refused('too_many_failures', '', { SessionID: 's5' }),
  ]

  it('is each change with how often, and the last request id; exit 1', async () => {
    const { code, stdout, stderr } = await replay(many, mapped(`${ISS} carl deploy`))
    expect(
      stdout,
    ).toBe(`✗ carl on main would be refused: invalid_principal: JWT authentication: invalid principal; token issued for [carl] and login was for carl (2 logins, the last s3 at 2027-01-15 08:00:00 UTC)
✗ max on main would be refused: invalid_principal: JWT authentication: invalid principal; the value [max] for the issuer https://iss.test is invalid (s2 at 2027-01-15 08:00:00 UTC)
✓ deploy on main would come in: refused then by invalid_principal (s4 at 2027-01-15 08:00:00 UTC)
5 logins: 1 as they were, 3 would be refused, 1 would come in, 0 can't be judged
`)
    expect([code, stderr]).toEqual([
      FAILURES.replay_differs.exit,
      'postern: 4 of 5 logins would end otherwise\n',
    ])
  })

  it('is nothing but the sum where nothing changes; exit 0', async () => {
    const { code, stdout, stderr } = await replay([
      record(),
      refused('invalid_audience', '', { Token: { ...TOKEN, audiences: ['x'] } }),
    ])
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: "2 logins: 2 as they were, 0 would be refused, 0 would come in, 0 can't be judged\n",
      stderr: '',
    })
  })

  it('is of what came after', async () => {
    const old = record({ Timestamp: (AT - 100) * 1e9 })
    const { stdout } = await replay([old, record()], {}, {}, '--since', String(AT - 50))
    expect(stdout).toContain('1 logins: 1 as they were')
  })

  it('obeys nobody’s name', async () => {
    const { stdout } = await replay([record({ User: 'a\x1b]0;x\x07\u202e' })])
    expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  })

  it('may come from standard input; a file that is none, or not there, is said', async () => {
    await replay([])
    const args = ['replay', '--config', 'new.yaml', '--audit']
    const stdin = () =>
      Readable.from([Buffer.from(`${JSON.stringify(record())}\nlogin_decision {\n`)])
    expect((await runIn(dir, [...args, '-'], { stdin })).stdout).toContain(
      '1 logins: 1 as they were',
    )
    expect(await runIn(dir, [...args, 'none.log'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('cannot read none.log: ENOENT'),
    })
  })
})
