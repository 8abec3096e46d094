/**
 * A real identity provider for tests: oidc-provider, which is certified for OpenID Connect, over HTTPS
 * with a certificate of a private CA, and under the name of whichever provider it stands for. Somebody
 * signs in by the authorization code flow with PKCE (RFC 6749, 7636), as a browser would go through it.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { createServer, request as httpsRequest } from 'node:https'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair } from 'jose'
import { type Adapter, type AdapterPayload, Provider } from 'oidc-provider'
import { type Ca, issue } from '../../src/dev/certificates.ts'

export interface OidcProviderOptions {
  /** As the tokens have it; connect_proxy.ts leads its host here. */
  issuer: string
  ca: Ca
  clientId: string
  /** Whom access tokens are made for. */
  audience: string
  /** Claims by account, besides `sub`, which is the account. */
  accounts: Record<string, Record<string, unknown>>
  /** Over the provider's own headers, on every answer. */
  headers?: OutgoingHttpHeaders
}

export interface OidcProvider {
  port: number
  /** The paths of requests so far, without the issuer's own. */
  requests: string[]
  /** The tokens that somebody gets who signs in to the application. */
  signIn(account: string): Promise<{ idToken: string; accessToken: string }>
  close(): Promise<void>
}

const REDIRECT = 'https://app.example.com/callback'
const RESOURCE = 'urn:postern:database'
const SCOPE = 'openid email profile'
const HOPS_MAX = 10

export async function openOidcProvider(options: OidcProviderOptions): Promise<OidcProvider> {
  const { issuer, ca } = options
  const { hostname, pathname } = new URL(issuer)
  const below = pathname.replace(/\/$/, '')
  const provider = await openProvider(options)
  const callback = provider.callback()
  const { certPem: cert, keyPem: key } = await issue(ca, { cn: hostname, sans: [hostname] })
  const requests: string[] = []
  const server = createServer({ cert, key }, (request, response) => {
    const path = (request.url ?? '').slice(below.length)
    requests.push(path)
    override(response, options.headers ?? {})
    const interaction = path.startsWith('/interaction/')
    // What is above the provider's own paths it learns from the difference of the two.
    Object.assign(request, { originalUrl: request.url, url: path })
    if (interaction) void logIn(provider, request, response)
    else void callback(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    requests,
    signIn: (account) => signIn(options, port, account),
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

async function openProvider({ issuer, clientId, audience, accounts }: OidcProviderOptions) {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const key = { ...(await exportJWK(privateKey)), kid: `${clientId}-1`, alg: 'RS256', use: 'sig' }
  const claimsOf = (account: string) => accounts[account] ?? {}
  const names = new Set(Object.values(accounts).flatMap((claims) => Object.keys(claims)))
  const hour = () => 3600
  return new Provider(issuer, {
    adapter: inMemory(),
    clients: [
      {
        client_id: clientId,
        redirect_uris: [REDIRECT],
        token_endpoint_auth_method: 'none',
      },
    ],
    jwks: { keys: [key] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    claims: { openid: ['sub', ...names] },
    conformIdTokenClaims: false,
    findAccount: (_context, account) => ({
      accountId: account,
      claims: async () => ({ sub: account, ...claimsOf(account) }),
    }),
    extraTokenClaims: (_context, token) =>
      'accountId' in token ? claimsOf(String(token.accountId)) : undefined,
    interactions: { url: (_context, { uid }) => `${new URL(issuer).pathname}/interaction/${uid}` },
    /** Nobody is asked for consent: the application is the company's own. */
    async loadExistingGrant(context) {
      const { client, session, provider } = context.oidc
      const accountId = session?.accountId
      if (client === undefined || accountId === undefined) return undefined
      const grant = new provider.Grant({ clientId: client.clientId, accountId })
      grant.addOIDCScope(SCOPE)
      grant.addResourceScope(RESOURCE, SCOPE)
      await grant.save()
      return grant
    },
    ttl: { AccessToken: hour, IdToken: hour, Grant: hour, Interaction: hour, Session: hour },
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: SCOPE, audience, accessTokenFormat: 'jwt' }),
      },
    },
  })
}

/** Whoever is named by `login_hint` is there, and knows the password. */
async function logIn(provider: Provider, request: IncomingMessage, response: ServerResponse) {
  const { params } = await provider.interactionDetails(request, response)
  const accountId = String(params['login_hint'])
  await provider.interactionFinished(request, response, { login: { accountId } })
}

async function signIn(
  { issuer, ca, clientId }: OidcProviderOptions,
  port: number,
  account: string,
) {
  const browser = openBrowser(port, ca.certPem)
  const verifier = randomBytes(32).toString('base64url')
  const asked = new URLSearchParams({
    client_id: clientId,
    response_type: 'code',
    redirect_uri: REDIRECT,
    scope: SCOPE,
    login_hint: account,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  })
  const found = await browser.get(`${issuer}/.well-known/openid-configuration`)
  const document = JSON.parse(found.body) as Record<string, string>
  let at = `${document['authorization_endpoint']}?${asked}`
  for (let hops = 0; !at.startsWith(REDIRECT); hops++) {
    const { location, body } = await browser.get(at)
    if (location === undefined || hops === HOPS_MAX)
      throw new Error(`no way on from ${at}: ${body}`)
    at = new URL(location, at).href
  }
  const code = new URL(at).searchParams.get('code') ?? ''
  const form = { grant_type: 'authorization_code', client_id: clientId, redirect_uri: REDIRECT }
  const given = await browser.post(document['token_endpoint'] ?? '', {
    ...form,
    code,
    code_verifier: verifier,
  })
  const tokens = JSON.parse(given.body) as Record<string, string>
  const { id_token: idToken, access_token: accessToken } = tokens
  if (idToken === undefined || accessToken === undefined) throw new Error(given.body)
  return { idToken, accessToken }
}

/** Goes where a URL says, but to our port, and keeps cookies. */
function openBrowser(port: number, ca: string) {
  const cookies = new Map<string, string>()
  const send = async (method: string, url: string, body?: string) => {
    const { hostname, pathname, search } = new URL(url)
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const type = body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }
    const request = httpsRequest({
      method,
      host: '127.0.0.1',
      port,
      servername: hostname,
      ca,
      path: `${pathname}${search}`,
      headers: { host: hostname, cookie, ...type },
    })
    request.end(body)
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const text = Buffer.concat(await response.toArray()).toString()
    for (const set of response.headers['set-cookie'] ?? []) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(set) ?? []
      cookies.set(name, value)
    }
    return { body: text, location: response.headers.location }
  }
  return {
    get: (url: string) => send('GET', url),
    post: (url: string, form: Record<string, string>) =>
      send('POST', url, String(new URLSearchParams(form))),
  }
}

/** Headers that the provider sets are replaced when they are sent. */
function override(response: ServerResponse, headers: OutgoingHttpHeaders): void {
  const writeHead = response.writeHead.bind(response)
  response.writeHead = (status: number, ...rest: unknown[]) => {
    for (const [name, value] of Object.entries(headers))
      if (value === undefined) response.removeHeader(name)
      else response.setHeader(name, value)
    return writeHead(status, ...(rest as []))
  }
}

/** What the provider remembers, as long as it runs. */
function inMemory(): (model: string) => Adapter {
  const kept = new Map<string, AdapterPayload>()
  return (model) => {
    const find = async (id: string) => kept.get(`${model} ${id}`)
    return {
      find,
      findByUserCode: find,
      findByUid: async (uid) =>
        [...kept].find(([key, { uid: its }]) => key.startsWith(`${model} `) && its === uid)?.[1],
      async upsert(id, payload) {
        kept.set(`${model} ${id}`, payload)
      },
      async consume(id) {
        Object.assign(kept.get(`${model} ${id}`) ?? {}, { consumed: Math.floor(Date.now() / 1000) })
      },
      async destroy(id) {
        kept.delete(`${model} ${id}`)
      },
      async revokeByGrantId(grantId) {
        for (const [key, payload] of kept) if (payload.grantId === grantId) kept.delete(key)
      },
    }
  }
}
