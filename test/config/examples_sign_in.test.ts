/**
 * config/examples/ from end to end: a token as the provider makes it, from a real HTTPS issuer under the
 * provider's own name, signs in to a real PostgreSQL through a gate with the file as it is pasted. Okta
 * and Keycloak are oidc-provider; eks keeps `kind: cockroachdb`, with PostgreSQL in its place.
 */
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Ca, issue, makeCa } from '../../src/dev/certificates.ts'
import { openConnectProxy } from '../support/connect_proxy.ts'
import { type ExampleOptions, type OpenExample, openExample } from '../support/example.ts'
import { type IssuerServer, openIssuerServer, type Page } from '../support/issuer_server.ts'
import { type ManagedNode, startManagedNode } from '../support/managed_node.ts'
import { type OidcProvider, openOidcProvider } from '../support/oidc_provider.ts'
import { letIn, startScriptedNode } from '../support/scripted_node.ts'
import { makeKey, mint, type SigningKey } from '../support/tokens.ts'
import { pgConfig } from '../support/tools.ts'
import { message, openTls, startup, uint32 } from '../support/wire_client.ts'

const USERS = ['ada', 'grace', 'orders']
const GROUPS = ['db_readers', 'db_writers']

let ca: Ca
let node: ManagedNode
const closing: { close(): Promise<void> }[] = []
beforeAll(async () => {
  ca = await makeCa('The CA of the issuers')
  node = await startManagedNode(18, { roles: GROUPS })
  await node.sql('CREATE DATABASE defaultdb')
  for (const user of USERS) await node.sql(`CREATE ROLE ${user} LOGIN IN ROLE postern_users`)
})
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each.close()
})
afterAll(() => node.close())

/** Opens an example; the hosts are led to ports of ours. */
async function open(
  name: string,
  hosts: Record<string, number>,
  more: Partial<ExampleOptions> = {},
): Promise<OpenExample> {
  const routes = Object.entries(hosts).map(([host, port]) => [`${host}:443`, port])
  const proxy = await openConnectProxy(Object.fromEntries(routes))
  const address = 'path' in node.node.address ? node.node.address.path : ''
  const gate = await openExample(name, {
    cluster: { nodes: [{ address }], sign_in: 'peer' },
    issuerCaPem: ca.certPem,
    proxy: proxy.url,
    ...more,
  })
  closing.push(proxy, gate)
  return gate
}

/** Who somebody is on the cluster who signs in, or why not. */
async function signIn(gate: OpenExample, user: string, token: string): Promise<string> {
  const client = new pg.Client(pgConfig(gate, user, token))
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rows } = await client.query('SELECT current_user AS is')
    await client.end()
    return rows[0].is
  } catch (thrown) {
    return (thrown as Error).message
  }
}

const REFUSED = 'JWT authentication: invalid principal'

interface Provider {
  example: string
  issuer: string
  /** Where the keys are, as the provider's discovery document says. */
  jwksUri: string
  cacheControl: string
  /** What the provider's keys don't have, or have besides. */
  published?: Record<string, unknown>
  claims: Record<string, unknown>
  user: string
  /** Claims of somebody else, whom the same issuer makes tokens for. */
  stranger: Record<string, unknown>
  /** Claims of a token for something else. */
  elsewhere: Record<string, unknown>
}

const AZURE = 'https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee'
const EKS = 'https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE'
const GOOGLE = 'https://accounts.google.com'
const KUBERNETES = 'https://kubernetes.default.svc.cluster.local'

const ofPod = (namespace: string) => ({
  sub: `system:serviceaccount:${namespace}:orders`,
  'kubernetes.io': {
    namespace,
    node: { name: 'node-1', uid: '646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1' },
    pod: { name: 'orders-7d4b9', uid: '5e0bd49b-f040-43b0-99b7-22765a53f7f3' },
    serviceaccount: { name: 'orders', uid: '14ee3fa4-a7e2-420f-9f9a-dbc4507c3798' },
    warnafter: 1_730_000_000,
  },
})

const PROVIDERS: Provider[] = [
  {
    example: 'google-service-account.yaml',
    issuer: GOOGLE,
    jwksUri: 'https://www.googleapis.com/oauth2/v3/certs',
    cacheControl: 'public, max-age=20734, must-revalidate, no-transform',
    claims: {
      aud: 'postern.my-project',
      azp: '112233445566778899001',
      sub: '112233445566778899001',
      email: 'orders@my-project.iam.gserviceaccount.com',
      email_verified: true,
      google: { compute_engine: { project_id: 'my-project', zone: 'europe-west1-b' } },
    },
    user: 'orders',
    stranger: { email: 'orders@other-project.iam.gserviceaccount.com' },
    elsewhere: { aud: 'https://run.example.com' },
  },
  {
    example: 'azure-managed-identity.yaml',
    issuer: `${AZURE}/v2.0`,
    jwksUri: `${AZURE}/discovery/v2.0/keys`,
    cacheControl: 'max-age=86400, private',
    published: { alg: undefined, x5t: 'a-thumbprint', issuer: `${AZURE}/v2.0` },
    claims: {
      aud: '00001111-aaaa-2222-bbbb-3333cccc4444',
      azp: '11112222-bbbb-3333-cccc-4444dddd5555',
      azpacr: '2',
      oid: 'aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb',
      sub: 'aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb',
      tid: 'aaaabbbb-0000-cccc-1111-dddd2222eeee',
      uti: 'abcdefghijklmnopqrstuv',
      ver: '2.0',
    },
    user: 'orders',
    stranger: { oid: 'bbbbbbbb-0000-1111-2222-cccccccccccc' },
    elsewhere: { aud: 'https://management.azure.com' },
  },
  {
    example: 'eks-service-account.yaml',
    issuer: EKS,
    jwksUri: `${EKS}/keys`,
    cacheControl: '',
    claims: { aud: ['postern'], ...ofPod('shop') },
    user: 'orders',
    stranger: ofPod('lab'),
    elsewhere: { aud: ['sts.amazonaws.com'] },
  },
  {
    example: 'kubernetes.yaml',
    issuer: KUBERNETES,
    jwksUri: 'https://kubernetes.default.svc/openid/v1/jwks',
    cacheControl: 'public, max-age=3600',
    claims: { aud: ['postern'], jti: 'aed34954-b33a-4142-b1ec-389d6bbb4936', ...ofPod('shop') },
    user: 'orders',
    stranger: ofPod('lab'),
    elsewhere: { aud: [KUBERNETES] },
  },
]

interface Opened {
  server: IssuerServer
  key: SigningKey
  /** The page of the keys, and how often it was asked for. */
  keys: Page
  fetches(): number
  token(claims?: Record<string, unknown>): Promise<string>
  gate(more?: Partial<ExampleOptions>): Promise<OpenExample>
}

/** The provider under its own name, on a port of ours. */
async function openProvider(provider: Provider): Promise<Opened> {
  const { example, issuer, jwksUri, cacheControl, published = {}, claims } = provider
  const hosts = [issuer, jwksUri].map((url) => new URL(url).hostname)
  const server = await openIssuerServer({ issuer, ca, names: hosts })
  closing.push(server)
  const key = await makeKey('k1', 'RS256')
  const headers = cacheControl === '' ? {} : { 'cache-control': cacheControl }
  Object.assign(server.discovery, { headers })
  server.discovery.body['jwks_uri'] = jwksUri
  const body = { keys: [{ ...key.jwk, ...published }] }
  const keys: Page = { status: 200, headers, body }
  const path = new URL(jwksUri).pathname
  server.pages.set(path, keys)
  return {
    server,
    key,
    keys,
    fetches: () => server.requests.filter((seen) => seen.path === path).length,
    token: (more) => mint(key, { claims: { ...timely(), iss: issuer, ...claims, ...more } }),
    gate: (more) =>
      open(example, Object.fromEntries(hosts.map((host) => [host, server.port])), {
        files: { '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt': ca.certPem },
        ...more,
      }),
  }
}

function timely() {
  const now = Math.floor(Date.now() / 1000)
  return { iat: now, nbf: now, exp: now + 3600 }
}

describe.each(PROVIDERS)('$example', (provider) => {
  it('lets in whom it names', async () => {
    const { gate: openGate, token } = await openProvider(provider)
    const gate = await openGate()
    expect(await signIn(gate, provider.user, await token())).toBe(provider.user)
  })

  it('keeps out whom it does not name, and tokens for something else', async () => {
    const { gate: openGate, token } = await openProvider(provider)
    const gate = await openGate()
    const stranger = await token(provider.stranger)
    expect(await signIn(gate, provider.user, stranger)).toBe(REFUSED)
    const elsewhere = await token(provider.elsewhere)
    expect(await signIn(gate, provider.user, elsewhere)).toBe(
      'JWT authentication: invalid audience',
    )
  })
})

describe('eks-service-account.yaml, whose issuer sends no cache headers', () => {
  const eks = PROVIDERS.find(({ example }) => example === 'eks-service-account.yaml') as Provider

  it('fetches once for many sign-ins', async () => {
    const { server, gate: openGate, token, fetches } = await openProvider(eks)
    const gate = await openGate()
    for (let login = 0; login < 5; login++)
      expect(await signIn(gate, 'orders', await token({ jti: `${login}` }))).toBe('orders')
    expect([server.hits.discovery, fetches()]).toEqual([1, 1])
  })

  it('would fetch for each of them without jwks_min_fresh', async () => {
    const { gate: openGate, token, fetches } = await openProvider(eks)
    const address = 'path' in node.node.address ? node.node.address.path : ''
    const cluster = { nodes: [{ address }], sign_in: 'peer', issuer_options: {} }
    const gate = await openGate({ cluster })
    for (let login = 0; login < 5; login++)
      expect(await signIn(gate, 'orders', await token({ jti: `${login}` }))).toBe('orders')
    expect(fetches()).toBeGreaterThanOrEqual(5)
  })
})

describe('kubernetes.yaml, whose API server shows its keys to those whom it knows', () => {
  const kubernetes = PROVIDERS.find(({ issuer }) => issuer === KUBERNETES) as Provider
  const TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token'

  it("shows the gate's own token, and the next one when the file has changed", async () => {
    const { server, keys, key, gate: openGate, token } = await openProvider(kubernetes)
    let known = 'a token for the API server'
    keys.answer = (request, response) => {
      const good = request.headers.authorization === `Bearer ${known}`
      response.writeHead(good ? 200 : 401, keys.headers)
      response.end(JSON.stringify(good ? keys.body : { kind: 'Status', code: 401 }))
    }
    const gate = await openGate()
    expect(await signIn(gate, 'orders', await token())).toBe('orders')

    known = 'the next one'
    gate.files[TOKEN] = `${known}\n`
    const second = await makeKey('k2', 'RS256')
    keys.body = { keys: [key.jwk, second.jwk] }
    const { claims } = kubernetes
    const later = await mint(second, { claims: { ...timely(), iss: KUBERNETES, ...claims } })
    expect(await signIn(gate, 'orders', later)).toBe('orders')
    expect(server.hits.discovery).toBe(0)
  })

  it('lets nobody in without it, and says why in the log', async () => {
    const { keys, gate: openGate, token } = await openProvider(kubernetes)
    keys.status = 401
    const gate = await openGate()
    expect(await signIn(gate, 'orders', await token())).toBe(
      'JWT authentication: unable to validate token',
    )
    expect(JSON.stringify(gate.audit)).toContain('401')
  })
})

describe('okta.yaml, with oidc-provider', () => {
  const ISSUER = 'https://dev-1234.okta.com/oauth2/default'
  const ADA = '00u1abcd2EFGHijkl345'
  const accounts = {
    [ADA]: { email: 'ada@example.com', groups: ['db_readers', 'Everyone'] },
    '00u1newcomer': { email: 'orders@example.com', groups: [] },
    '00u1mallory': { email: 'ada@example.com.evil.test', groups: ['db_writers'] },
  }
  let okta: OidcProvider
  beforeAll(async () => {
    const headers = { 'cache-control': 'max-age=86400, must-revalidate' }
    const clientId = '0oa1b2c3d4EXAMPLE'
    okta = await openOidcProvider({
      issuer: ISSUER,
      ca,
      clientId,
      audience: 'api',
      accounts,
      headers,
    })
  })
  afterAll(() => okta.close())

  it('lets people in by their mail address, and their groups become roles', async () => {
    const gate = await open('okta.yaml', { 'dev-1234.okta.com': okta.port })
    expect(await signIn(gate, 'ada', (await okta.signIn(ADA)).idToken)).toBe('ada')
    expect((await node.memberships('ada')).own).toEqual(['db_readers'])

    accounts[ADA]?.groups.splice(0, 1, 'db_writers')
    expect(await signIn(gate, 'ada', (await okta.signIn(ADA)).idToken)).toBe('ada')
    expect((await node.memberships('ada')).own).toEqual(['db_writers'])
  })

  it('keeps out other domains, tokens that were made for the API, and people without a group', async () => {
    const gate = await open('okta.yaml', { 'dev-1234.okta.com': okta.port })
    expect(await signIn(gate, 'ada', (await okta.signIn('00u1mallory')).idToken)).toBe(REFUSED)
    expect(await signIn(gate, 'ada', (await okta.signIn(ADA)).accessToken)).toBe(
      'JWT authentication: invalid audience',
    )
    expect(await signIn(gate, 'orders', (await okta.signIn('00u1newcomer')).idToken)).toBe(
      'JWT authorization: empty group list',
    )
  })
})

describe('keycloak.yaml, with oidc-provider', () => {
  const ISSUER = 'https://keycloak.example.com/realms/main'
  const GRACE = '6f1b0f3e-2b0c-4b5e-9c53-2f1d6d0d6a11'
  const SERVICE = 'b7b9d6c2-53c5-4a53-8f07-f0f5a2b5a9a4'
  const accounts = {
    [GRACE]: { preferred_username: 'grace', email: 'grace@example.com', groups: ['db_readers'] },
    [SERVICE]: { preferred_username: 'service-account-orders', groups: [] },
  }
  let keycloak: OidcProvider
  beforeAll(async () => {
    const headers = { 'cache-control': 'no-cache, must-revalidate, no-transform, no-store' }
    const [clientId, audience] = ['psql', 'postern']
    keycloak = await openOidcProvider({ issuer: ISSUER, ca, clientId, audience, accounts, headers })
  })
  afterAll(() => keycloak.close())

  const openGate = () =>
    open(
      'keycloak.yaml',
      { 'keycloak.example.com': keycloak.port },
      { files: { '/etc/postern/keycloak-ca.crt': ca.certPem } },
    )

  it('lets people in with their groups, and services without any', async () => {
    const gate = await openGate()
    const { accessToken } = await keycloak.signIn(GRACE)
    expect(await signIn(gate, 'grace', accessToken)).toBe('grace')
    expect((await node.memberships('grace')).own).toEqual(['db_readers'])
    expect(await signIn(gate, 'orders', (await keycloak.signIn(SERVICE)).accessToken)).toBe(
      'orders',
    )
    expect(await signIn(gate, 'orders', accessToken)).toBe(REFUSED)
  })

  it('fetches once, whatever the answers say of keeping them', async () => {
    const { accessToken } = await keycloak.signIn(GRACE)
    const { accessToken: other } = await keycloak.signIn(SERVICE)
    const before = keycloak.requests.length
    const gate = await openGate()
    expect(await signIn(gate, 'grace', accessToken)).toBe('grace')
    expect(await signIn(gate, 'orders', other)).toBe('orders')
    expect(await signIn(gate, 'grace', accessToken)).toBe('grace')
    const fetched = ['/.well-known/openid-configuration', '/jwks']
    expect(keycloak.requests.slice(before)).toEqual(fetched)
  })

  it('tells a client without a token whom to ask, and takes its token by OAUTHBEARER', async () => {
    const gate = await openGate()
    const asked = await bearer(gate, 'grace', '')
    expect(JSON.parse(asked)).toMatchObject({
      'openid-configuration': `${ISSUER}/.well-known/openid-configuration`,
      scope: 'openid',
    })
    const { accessToken } = await keycloak.signIn(GRACE)
    expect(await bearer(gate, 'grace', `Bearer ${accessToken}`)).toBe('signed in')
  })
})

/** Signs in as PostgreSQL 18's clients do; returns the gate's challenge where there is one. */
async function bearer(gate: OpenExample, user: string, auth: string): Promise<string> {
  const client = await openTls(gate.port, gate.caPem)
  try {
    client.write(startup({ user, database: 'defaultdb' }))
    const [offered] = await client.until('R')
    expect(offered?.body.toString('latin1', 4)).toBe('OAUTHBEARER\0\0')
    const response = Buffer.from(`n,,\x01auth=${auth}\x01\x01`)
    const size = uint32(response.length)
    client.write(message('p', Buffer.concat([Buffer.from('OAUTHBEARER\0'), size, response])))
    const [answer] = await client.until('R')
    if (answer?.body.readUInt32BE(0) === 11) return answer.body.toString('utf8', 4)
    await client.until('Z')
    return 'signed in'
  } finally {
    client.close()
  }
}

describe('cockroachdb-cloud.yaml, with a node that gets the token', () => {
  const CLOUD = 'https://cockroachlabs.cloud'
  const HOST = 'blue-dog-1a2.aws-eu-west-1.cockroachlabs.cloud'

  it('hands the token of a person on, and nobody else’s', async () => {
    const key = await makeKey('cloud-1', 'RS256')
    const tls = await issue(ca, { cn: HOST, sans: [HOST] })
    const cloud = await startScriptedNode({
      tls,
      greet: (conversation) => conversation.askPassword(() => letIn(conversation)),
      session: (_chunk, { send }) => send(message('Z', 'I')),
    })
    closing.push(cloud)
    const gate = await openExample('cockroachdb-cloud.yaml', {
      cluster: {
        nodes: [{ address: cloud.address, tls: { ca_file: 'cloud-ca.crt', server_name: HOST } }],
      },
      files: {
        '/etc/postern/cloud-ca.crt': ca.certPem,
        '/etc/postern/cockroachdb-cloud.jwks.json': JSON.stringify({ keys: [key.jwk] }),
      },
    })
    closing.push(gate)
    const token = (sub: string) => {
      const aud = 'ec5e50eb-67dd-4d25-93b0-91ee7ece778d'
      return mint(key, { claims: { ...timely(), iss: CLOUD, aud, sub } })
    }
    const adas = await token('sso_ada')
    const client = new pg.Client(pgConfig(gate, 'sso_ada', adas))
    await client.connect()
    await client.end()
    expect(cloud.passwords).toEqual([adas])
    expect(cloud.startups).toMatchObject([
      { user: 'sso_ada', database: 'defaultdb', options: '--crdb:jwt_auth_enabled=true' },
    ])
    expect(await signIn(gate, 'maxroach', await token('maxroach'))).toBe(REFUSED)
    expect(cloud.passwords).toHaveLength(1)
  })
})

describe('custom-issuer.yaml', () => {
  it('lets in whom a key in the file has signed for, during a rotation as well', async () => {
    const [old, next, other] = await Promise.all(
      ['2026-07', '2026-08', '2026-07'].map((kid) => makeKey(kid)),
    )
    if (old === undefined || next === undefined || other === undefined) throw new Error('no keys')
    const jwks = JSON.stringify({ keys: [old.jwk, next.jwk] })
    const gate = await open(
      'custom-issuer.yaml',
      {},
      { files: { '/etc/postern/issuer.jwks.json': jwks } },
    )
    const token = (key: SigningKey, sub = 'orders') => {
      const named = { iss: 'https://issuer.example.com', aud: 'postern', sub }
      return mint(key, { claims: { ...timely(), ...named } })
    }
    expect(await signIn(gate, 'orders', await token(old))).toBe('orders')
    expect(await signIn(gate, 'orders', await token(next))).toBe('orders')
    expect(await signIn(gate, 'orders', await token(other))).toBe(
      'JWT authentication: invalid token',
    )
    expect(await signIn(gate, 'ada', await token(old, 'ada'))).toBe(REFUSED)
  })
})
