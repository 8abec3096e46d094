/**
 * What people see when the gate says no: the documented text, DETAIL and HINT in psql, the SQLSTATE in
 * node-postgres (psql doesn't show it at this point), and the line in the log that the HINT leads to.
 */
import { createHmac, createPublicKey, type JsonWebKey } from 'node:crypto'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { AUDIENCE, goodClaims, ISSUER, makeKey, mint, type TokenParts } from '../support/tokens.ts'
import { describeWith, expectNoToken, keepFile, pgConfig, psql, url } from '../support/tools.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)

interface Refused {
  name: string
  /** What makes the token different from a good one of maxroach; or the token itself. */
  token?: TokenParts | ((good: string) => string | Promise<string>)
  user?: string
  /** Of psql's connection string, and node-postgres' way to ask the same. */
  parameters?: Record<string, string>
  same?: pg.ClientConfig & { replication?: string }
  /** The row of the failure table, and what people see of it. */
  code: string
  sqlstate: string
  says: string
  detail?: string
  hint?: string
  /** The audit event's; undefined where nobody was named yet, so that there is no event. */
  reason?: string
}

const UNVERIFIED = 'could not verify message using any of the signatures or keys'
const NO_KEY = 'key provider 0 failed: failed to find'

const refusals: Refused[] = [
  { name: 'expired', token: claims({ exp: 1_700_000_001 }), ...unparsed('"exp" not satisfied') },
  {
    name: 'of the future',
    token: claims({ iat: 3_999_999_999 }),
    ...unparsed('"iat" not satisfied'),
  },
  {
    name: 'not good yet',
    token: claims({ nbf: 3_999_999_999 }),
    ...unparsed('"nbf" not satisfied'),
  },
  {
    name: 'good for ever',
    token: claims({ exp: undefined }),
    ...unparsed('"exp" not satisfied: required claim not found'),
  },
  { name: 'alg: none', token: unsigned, ...unparsed(UNVERIFIED) },
  { name: 'HS256 with the public key', token: confused, ...unparsed(UNVERIFIED) },
  { name: "somebody else's signature", token: forged, ...unparsed(UNVERIFIED) },
  {
    name: 'an unknown key',
    token: { header: { kid: 'k2' } },
    ...unparsed(`${NO_KEY} key with key ID "k2" in key set`),
  },
  {
    name: 'no key id',
    token: { header: { kid: undefined } },
    ...unparsed(`${NO_KEY} matching key: no key ID ("kid") specified in token`),
  },
  {
    name: 'no token',
    token: () => 'correct horse battery staple',
    ...jwt('invalid token', 'token parsing failed: invalid JWT: a token has three parts'),
  },
  {
    name: 'three parts of nothing',
    token: () => 'bm8.bm8.bm8',
    ...jwt('invalid token', 'token parsing failed: invalid JWT: its parts are not JSON objects'),
  },
  {
    name: 'another issuer',
    token: claims({ iss: 'https://evil.test' }),
    ...jwt('invalid issuer', 'token issued by https://evil.test'),
  },
  {
    name: 'no subject',
    token: claims({ sub: undefined }),
    ...jwt('missing claim', 'token does not contain a claim for sub'),
  },
  {
    name: 'a subject of 2 KiB',
    token: claims({ sub: 'x'.repeat(2048) }),
    ...jwt(
      'invalid claim value',
      `the value ${'x'.repeat(256)}… for the issuer ${ISSUER} is invalid`,
    ),
  },
  {
    name: 'another user',
    user: 'carl',
    ...jwt('invalid principal', 'token issued for [maxroach] and login was for carl'),
  },
  {
    name: 'the same name in other letters',
    user: 'Maxroach',
    ...jwt('invalid principal', 'token issued for [maxroach] and login was for Maxroach'),
  },
  {
    name: 'sub: postgres',
    token: claims({ sub: 'postgres' }),
    user: 'postgres',
    ...jwt('invalid identity', 'cannot use JWT auth to login to a reserved user postgres'),
  },
  {
    name: 'another audience',
    token: claims({ aud: ['a', 'b'] }),
    ...jwt('invalid audience', 'token issued with an audience of [a b]'),
  },
  {
    name: 'no audience',
    token: claims({ aud: undefined }),
    ...jwt('invalid audience', 'token issued with an audience of []'),
  },
  { name: 'a role that is not there', ...noRole('nobody_such') },
  { name: 'a role that may not log in', ...noRole('nologin_user') },
  { name: 'a role that the gate can not become', ...noRole('app_reader') },
  {
    name: 'no switch in options',
    parameters: { options: '' },
    same: { options: '' },
    code: 'token_required',
    sqlstate: '28P01',
    says: 'password authentication failed for user maxroach',
    hint: 'this gate takes tokens: set options to --crdb:jwt_auth_enabled=true (in a URL, options=--crdb:jwt_auth_enabled%3Dtrue) and give the token as the password',
    reason: 'METHOD_NOT_FOUND',
  },
  {
    name: 'replication',
    parameters: { replication: 'database' },
    same: { replication: 'database' },
    code: 'replication_refused',
    sqlstate: '42501',
    says: 'permission denied to start WAL sender',
    reason: 'NO_REPLICATION_ROLEOPTION',
  },
  {
    name: 'replication=perhaps',
    parameters: { replication: 'perhaps' },
    same: { replication: 'perhaps' },
    code: 'invalid_parameter',
    sqlstate: '22023',
    says: 'invalid value for parameter "replication": "perhaps"',
    reason: 'PRE_HOOK_ERROR',
  },
  {
    name: 'no TLS',
    parameters: { sslmode: 'disable' },
    same: { ssl: false },
    code: 'encryption_required',
    sqlstate: '08C00',
    says: 'server requires encryption',
    hint: 'connect with sslmode=verify-full: neither a token nor a password is asked for in clear',
  },
]

const elsewhere: (Refused & { gate: Partial<Parameters<typeof startGate>[0]> })[] = [
  {
    name: 'tokens are not enabled',
    gate: { cluster: { 'server.jwt_authentication.enabled': false } },
    ...jwt('not enabled'),
    code: 'jwt_not_enabled',
  },
  {
    name: 'no audience is set',
    gate: { cluster: { 'server.jwt_authentication.audience': undefined } },
    ...jwt('invalid audience', `token issued with an audience of [${AUDIENCE}]`),
  },
  {
    name: 'no issuer is set',
    gate: { cluster: { 'server.jwt_authentication.issuers.configuration': undefined } },
    ...jwt('invalid issuer', `token issued by ${ISSUER}`),
  },
  {
    name: 'the map knows nobody of that name',
    gate: { cluster: { 'server.identity_map.configuration': `${ISSUER} someone carl` } },
    ...jwt('invalid principal', `the value [maxroach] for the issuer ${ISSUER} is invalid`),
  },
  {
    name: 'options that CockroachDB refuses',
    gate: { cluster: { kind: 'cockroachdb' } },
    parameters: { options: 'jwt please' },
    same: { options: 'jwt please' },
    code: 'invalid_options',
    sqlstate: '08P01',
    says: `option "jwt" is invalid, must have prefix '-c' or '--'`,
    reason: 'PRE_HOOK_ERROR',
  },
  {
    name: 'the node is not there',
    gate: { node: '/nonexistent/.s.PGSQL.5432' },
    code: 'node_unreachable',
    sqlstate: '08006',
    says: 'the database could not be reached',
    hint: 'the token was accepted; try again, then give the request id to who runs this gate',
    reason: 'UNKNOWN',
  },
]

const gates: TestGate[] = []
const minted: string[] = []
const printed: string[] = []
let gate: TestGate
let caFile: string

beforeAll(async () => {
  gate = await open({})
  caFile = await keepFile('ca.crt', gate.caPem)
})
afterAll(async () => {
  await Promise.all(gates.map((each) => each.close()))
  expectNoToken(minted, printed, ...gates.flatMap(({ log, audit }) => [log, audit]))
})

describeWith('psql', 'psql is told', () => {
  it.each(refusals)('$name: $says; $detail', async (refused) => {
    await check(gate, refused)
  })

  it.each(elsewhere)('$name: $says; $detail', async ({ gate: options, ...refused }) => {
    const other = await open(options)
    await check(other, refused)
    const good = await psql([connection(gate, {})], { env: { PGPASSWORD: await minting(gate) } })
    expect(good.code).toBe(0)
  })
})

async function open(options: Partial<Parameters<typeof startGate>[0]>): Promise<TestGate> {
  const opened = await startGate({ node, ...options })
  gates.push(opened)
  return opened
}

/** One refusal in psql, in node-postgres, in the log and in the audit stream. */
async function check(to: TestGate, refused: Refused): Promise<void> {
  const { sqlstate, says, detail, code, reason } = refused
  const token = await minting(to, refused.token)
  const seen = await psql([connection(to, refused)], { env: { PGPASSWORD: token } })
  printed.push(seen.stderr)
  const id = /request id: ([0-9a-f]{16})\n$/.exec(seen.stderr)?.[1] ?? 'no request id'
  const hint = `${refused.hint === undefined ? '' : `${refused.hint}\n`}request id: ${id}`
  const lines = [
    `FATAL:  ${says}`,
    ...(detail === undefined ? [] : [`DETAIL:  ${detail}`]),
    `HINT:  ${hint}`,
  ]
  const where = `psql: error: connection to server at "127.0.0.1", port ${to.port} failed: `
  expect(seen).toMatchObject({ code: 2, stdout: '', stderr: `${where}${lines.join('\n')}\n` })

  const client = new pg.Client(pgConfig(to, refused.user ?? 'maxroach', token, refused.same))
  const thrown: unknown = await client.connect().catch((error: unknown) => error)
  expect(thrown).toBeInstanceOf(pg.DatabaseError)
  expect(thrown).toMatchObject({ severity: 'FATAL', code: sqlstate, message: says, detail })

  expect(to.log.find((line) => line['request'] === id)).toMatchObject({ failure: code })
  const event = to.audit.find((line) => line['SessionID'] === id && line['EventType'] === FAILED)
  if (reason === undefined) expect(event).toBeUndefined()
  else expect(event).toMatchObject({ EventType: FAILED, Reason: reason, Sqlstate: sqlstate })
}

const FAILED = 'client_authentication_failed'

function connection(to: TestGate, { user = 'maxroach', parameters }: Partial<Refused>): string {
  return url(to.port, user, { sslrootcert: caFile, database: 'defaultdb', ...parameters })
}

async function minting(to: TestGate, token: Refused['token'] = {}): Promise<string> {
  const given = typeof token === 'function' ? {} : token
  const whole = await mint(to.key, {
    ...given,
    claims: { ...goodClaims('maxroach'), ...given.claims },
  })
  const text = typeof token === 'function' ? await token(whole) : whole
  minted.push(text)
  return text
}

function claims(claims: Record<string, unknown>): TokenParts {
  return { claims }
}

function jwt(what: string, detail?: string) {
  const says = `JWT authentication: ${what}`
  const all = {
    code: what.replaceAll(' ', '_'),
    sqlstate: '28000',
    says,
    reason: 'CREDENTIALS_INVALID',
  }
  return detail === undefined ? all : { ...all, detail }
}

function unparsed(problem: string) {
  return jwt('invalid token', `unable to parse token: ${problem}`)
}

/** One text for all three, so that nobody learns which roles there are. */
function noRole(user: string) {
  const says = `password authentication failed for user ${user}`
  const all = { code: 'role_refused', sqlstate: '28P01', says, reason: 'USER_NOT_FOUND' }
  return { ...all, token: claims({ sub: user }), user }
}

function unsigned(good: string): string {
  return `${recast(good, 'none')}.`
}

/** RFC 8725 section 2.1. */
function confused(good: string): string {
  const key = createPublicKey({ key: gate.key.jwk as JsonWebKey, format: 'jwk' })
  const secret = key.export({ type: 'spki', format: 'pem' })
  const signed = recast(good, 'HS256')
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

async function forged(): Promise<string> {
  return await mint(await makeKey(gate.key.jwk.kid), { claims: goodClaims('maxroach') })
}

function recast(token: string, alg: string): string {
  const [header = '', payload = ''] = token.split('.')
  const fields: unknown = JSON.parse(Buffer.from(header, 'base64url').toString())
  const cast = JSON.stringify(Object.assign({}, fields, { alg }))
  return `${Buffer.from(cast).toString('base64url')}.${payload}`
}
