/**
 * An issuer for tests: a real HTTPS server on 127.0.0.1 with a certificate of a private CA. It has a
 * page for discovery, one for the keys and one for userinfo; all of them may be changed while it runs.
 * Tokens are signed with `mint` of tokens.ts.
 */
import { once } from 'node:events'
import {
  createServer as createHttpServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { type Ca, type CertificateAndKey, issue, makeCa } from '../../src/dev/certificates.ts'
import type { SigningKey } from './tokens.ts'

/** Nobody stops a fetch. */
export const NEVER = new AbortController().signal

/** What a path answers. Change its members, or put another page in `pages`. */
export interface Page {
  status: number
  /** Node adds `date`; there is no `cache-control` unless it is told here. */
  headers: OutgoingHttpHeaders
  /** Strings and buffers go as they are, anything else as JSON. */
  body: unknown
  /** The answer comes so much later. */
  delayMs?: number
  /** The request is taken, and never answered. */
  hang?: boolean
  /** Answers in the place of all the above: a slow body, an endless one, a broken connection. */
  answer?: (request: IncomingMessage, response: ServerResponse) => void
}

export interface Seen {
  path: string
  headers: IncomingHttpHeaders
}

export interface IssuerServer {
  /** As the tokens name it, without a slash at its end. */
  issuer: string
  port: number
  /** Who believes in this one, believes the server. */
  caPem: string
  ca: Ca
  /** By path. The three standard ones are there, and are the same objects as below. */
  pages: Map<string, Page>
  /** Its body is the document: `issuer`, `jwks_uri` and `userinfo_endpoint`. */
  discovery: Page & { body: Record<string, unknown> }
  /** Its body is a set with the keys that were last published. */
  jwks: Page
  /** Its body is `{}`. */
  userinfo: Page
  publish(...keys: SigningKey[]): void
  /** Every request so far, oldest first. */
  requests: Seen[]
  /** How many requests each standard page has had. */
  readonly hits: { discovery: number; jwks: number; userinfo: number }
  close(): Promise<void>
}

export interface IssuerServerWanted {
  /** A path below the host: `/oauth2/default`. */
  prefix?: string
  /** In the place of `https://localhost:PORT`: behind connect_proxy.ts it may be anybody's. */
  issuer?: string
  /** More hosts that the certificate is good for. */
  names?: string[]
  ca?: Ca
  /** In the place of one that is good for localhost, 127.0.0.1, the issuer's host and `names`. */
  certificate?: CertificateAndKey
  /** Without TLS. */
  plaintext?: boolean
}

export async function openIssuerServer(wanted: IssuerServerWanted = {}): Promise<IssuerServer> {
  const ca = wanted.ca ?? (await makeCa('Issuer test CA'))
  const server = wanted.plaintext
    ? createHttpServer()
    : createHttpsServer(await certificateFor(ca, wanted))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const scheme = wanted.plaintext ? 'http' : 'https'
  const issuer = wanted.issuer ?? `${scheme}://localhost:${port}${wanted.prefix ?? ''}`
  const below = new URL(issuer).pathname.replace(/\/$/, '')
  const paths = {
    discovery: `${below}/.well-known/openid-configuration`,
    jwks: `${below}/jwks`,
    userinfo: `${below}/userinfo`,
  }
  const discovery = page({
    issuer,
    jwks_uri: `${issuer}/jwks`,
    userinfo_endpoint: `${issuer}/userinfo`,
  })
  const jwks: Page = page({ keys: [] })
  const userinfo: Page = page({})
  const pages = new Map<string, Page>([
    [paths.discovery, discovery],
    [paths.jwks, jwks],
    [paths.userinfo, userinfo],
  ])
  const requests: Seen[] = []
  serve(server, pages, requests)
  const hitsOf = (path: string) => requests.filter((seen) => seen.path === path).length
  return {
    issuer,
    port,
    caPem: ca.certPem,
    ca,
    pages,
    discovery,
    jwks,
    userinfo,
    publish: (...keys) => {
      jwks.body = { keys: keys.map(({ jwk }) => jwk) }
    },
    requests,
    get hits() {
      return {
        discovery: hitsOf(paths.discovery),
        jwks: hitsOf(paths.jwks),
        userinfo: hitsOf(paths.userinfo),
      }
    },
    close: async () => {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

async function certificateFor(ca: Ca, { certificate, issuer, names = [] }: IssuerServerWanted) {
  const hosts = ['localhost', '127.0.0.1', ...names]
  if (issuer !== undefined) hosts.push(new URL(issuer).hostname)
  const { certPem, keyPem } = certificate ?? (await issue(ca, { cn: 'localhost', sans: hosts }))
  return { cert: certPem, key: keyPem }
}

function page<Body>(body: Body): Page & { body: Body } {
  return { status: 200, headers: { 'content-type': 'application/json' }, body }
}

function serve(server: Server, pages: Map<string, Page>, requests: Seen[]): void {
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const path = request.url ?? ''
    requests.push({ path, headers: request.headers })
    const found = pages.get(path) ?? { ...page('no such page'), status: 404 }
    if (found.answer !== undefined) found.answer(request, response)
    else if (found.delayMs !== undefined) setTimeout(() => say(found, response), found.delayMs)
    else say(found, response)
  })
}

function say({ status, headers, body, hang }: Page, response: ServerResponse): void {
  if (hang) return
  response.writeHead(status, headers)
  response.end(typeof body === 'string' || body instanceof Buffer ? body : JSON.stringify(body))
}
