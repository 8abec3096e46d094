/**
 * An issuer as the gate has it, before a real HTTPS server, with a clock that the test moves; and
 * logins of which only the token is judged.
 */
import { asFailure } from '../../src/failure.ts'
import { authenticate } from '../../src/identity/jwt.ts'
import { openVerifiedTokens } from '../../src/identity/verified_tokens.ts'
import { type Get, openGet } from '../../src/issuers/get.ts'
import { type Issuer, type IssuerSettings, openIssuer } from '../../src/issuers/issuer.ts'
import { Secret } from '../../src/secret.ts'
import {
  type IssuerServer,
  type IssuerServerWanted,
  NEVER,
  openIssuerServer,
} from './issuer_server.ts'
import { makeKey, mint, type SigningKey } from './tokens.ts'

export const A = await makeKey('a')
export const B = await makeKey('b')

/** Before what the servers' own clocks say, so that no answer looks as if it had been under way. */
const START_MS = Date.UTC(2023, 10, 15)

export interface FetchedKeys {
  server: IssuerServer
  issuer: Issuer
  get: Get
  now: () => number
  /** The clock goes on, or back. */
  later(seconds: number): void
  /** What a login with a token of this key comes to: `in`, or what the client reads. */
  login(key: SigningKey, kid?: string): Promise<string>
  /** Why the last login was refused, in the log's words. */
  log(): string | undefined
}

const open: IssuerServer[] = []

/** For `afterEach`. */
export async function closeServers(): Promise<void> {
  await Promise.all(open.splice(0).map((server) => server.close()))
}

export async function openServer(wanted: IssuerServerWanted = {}): Promise<IssuerServer> {
  const server = await openIssuerServer(wanted)
  open.push(server)
  return server
}

export interface Wanted extends Partial<IssuerSettings> {
  server?: IssuerServer
  timeoutMs?: number
  /** `cache-control` of discovery and keys. */
  cache?: string
}

/** The server publishes the key A; its documents may be kept for five minutes. */
export async function fetchedKeys(wanted: Wanted = {}): Promise<FetchedKeys> {
  const { server = await openServer(), timeoutMs = 10_000, cache = 'max-age=300' } = wanted
  server.publish(A)
  cacheBoth(server, cache)
  let nowMs = START_MS
  const now = () => nowMs
  const get = openGet(getSettings(server, timeoutMs), now, NEVER)
  const settings: IssuerSettings = {
    issuer: server.issuer,
    jwksUri: wanted.jwksUri,
    minFreshMs: wanted.minFreshMs ?? 0,
    staleGraceMs: wanted.staleGraceMs ?? 0,
    bearerToken: wanted.bearerToken,
  }
  const issuer = openIssuer(settings, get, now)
  let log: string | undefined
  return {
    server,
    issuer,
    get,
    now,
    later: (seconds) => {
      nowMs += seconds * 1000
    },
    log: () => log,
    login: async (key, kid = key.jwk.kid) => {
      const claims = { iss: server.issuer, sub: 'ann', exp: 4_000_000_000 }
      const token = new Secret(await mint(key, { claims, header: { kid } }))
      try {
        await authenticate(token, trusting(issuer, server.issuer), now)
        return 'in'
      } catch (thrown) {
        const failure = asFailure(thrown)
        log = failure.log
        return [failure.message, failure.detail].filter((text) => text !== undefined).join(' / ')
      }
    },
  }
}

export function cacheBoth(server: IssuerServer, cacheControl: string): void {
  server.discovery.headers['cache-control'] = cacheControl
  server.jwks.headers['cache-control'] = cacheControl
}

export function getSettings(server: IssuerServer, timeoutMs = 10_000) {
  return {
    timeoutMs,
    caPem: server.caPem,
    onlyThisCa: false,
    plaintextLoopback: true,
    proxyEnv: {},
  }
}

/** Nothing is remembered from one login to the next. */
function trusting(issuer: Issuer, name: string) {
  return {
    enabled: true,
    issuers: new Set([name]),
    keySources: new Map([[name, issuer]]),
    claim: '',
    groupClaim: undefined,
    requireExpiry: true,
    clockToleranceMs: 0,
    identityMap: { lookup: () => ({ found: false, users: [], lines: [] }), lineCount: 0 },
    foldCase: false,
    verified: openVerifiedTokens(),
  }
}

/** What the client reads where the keys can't be had: why is in the log alone. */
export const UNAVAILABLE = 'JWT authentication: unable to validate token'

export function unknownKey(kid: string): string {
  return `JWT authentication: invalid token / unable to parse token: key provider 0 failed: failed to find key with key ID "${kid}" in key set`
}

export const WRONG_SIGNATURE =
  'JWT authentication: invalid token / unable to parse token: could not verify message using any of the signatures or keys'
