/**
 * An issuer that publishes its keys: discovery, then the keys that it names, both kept apart.
 * An Issuer belongs to its settings and shares nothing with another one: a changed setting opens a
 * new one, and one that doesn't answer delays nobody else's logins.
 * https://openid.net/specs/openid-connect-discovery-1_0.html
 * Rule: where the keys can't be had, nobody signs in; what an issuer withdrew is not used again.
 */
import { Failure } from '../failure.ts'
import type { KeySource } from '../identity/key_source.ts'
import type { Secret } from '../secret.ts'
import {
  type Discovery,
  discoveryUrl,
  jwksUri,
  parseDiscovery,
  userinfoEndpoint,
} from './discovery.ts'
import {
  type Kept,
  type Ledger,
  openDocument,
  openLedger,
  type PublishedDocument,
} from './document.ts'
import type { Get } from './get.ts'
import { openKeyCache, type PublishedKeys, parseKeys } from './key_cache.ts'
import { askUserinfo } from './userinfo.ts'
import { reason, without } from './words.ts'

export interface IssuerSettings {
  /** As tokens name it. */
  issuer: string
  /** Where the keys are, if that is configured: then there is no discovery for them. */
  jwksUri: string | undefined
  /** A document counts as fresh for so long, whatever its headers say. */
  minFreshMs: number
  /** A document is used for so much longer while fetches fail. */
  staleGraceMs: number
  /**
   * Read before every fetch. It goes to the origins of `issuer` and `jwksUri`, and to no other that a
   * discovery document may name. What it throws is a failed fetch.
   */
  bearerToken: (() => Secret) | undefined
}

/** `find` throws Failure `jwks_unavailable`. */
export interface Issuer extends KeySource {
  /** @throws Failure `userinfo_lookup_failed` or `no_userinfo_endpoint`. */
  userinfoEndpoint(): Promise<string>
  /**
   * @param subject - the token's own: an answer about another one is refused.
   * @throws Failure `userinfo_lookup_failed` or `no_userinfo_endpoint`.
   */
  userinfo(token: Secret, subject?: string): Promise<Record<string, unknown>>
  /** Fetches what is soon stale, so that no login waits for it. Call it every few seconds. */
  refreshAhead(): void
  status(): IssuerStatus
}

/** Times are in milliseconds since the epoch, undefined where there is none. */
export interface IssuerStatus {
  issuer: string
  /** How many names of keys are kept. */
  keys: number
  fetchedMs: number | undefined
  freshUntilMs: number | undefined
  /** When the last fetch of keys or discovery ended, well or not. */
  lastFetchMs: number | undefined
  /** How long it took. */
  lastTookMs: number | undefined
  /** Why the last fetch of the keys, or of discovery, failed; undefined where it didn't. */
  lastError: string | undefined
  fetches: { ok: number; failed: number }
}

type KeyDocument = PublishedDocument<PublishedKeys>

/** @param now - milliseconds since the epoch. */
export function openIssuer(settings: IssuerSettings, get: Get, now: () => number): Issuer {
  const { issuer } = settings
  const ledger = openLedger()
  const shown = withBearer(settings, get)
  const open = <T>(url: string, parse: (body: string) => T) =>
    openDocument({ ...settings, url, parse }, { get: shown.get, now, ledger })

  const configured = settings.jwksUri === undefined ? undefined : open(settings.jwksUri, parseKeys)
  let latest: KeyDocument | undefined = configured
  /** Keys that moved are other keys: what was kept of the old address is dropped with its document. */
  const follow = (document: Discovery): KeyDocument => {
    if (configured !== undefined) return configured
    const uri = jwksUri(document)
    if (latest?.url === uri) return latest
    if (ledger.failure?.url === latest?.url) ledger.failure = undefined
    latest = open(uri, parseKeys)
    return latest
  }
  const discovery = open(discoveryUrl(issuer), (body) => {
    const document = parseDiscovery(body, issuer)
    return { document, keys: follow(document) }
  })
  const keyDocument = async (): Promise<KeyDocument> =>
    configured ?? (await discovery.read()).value.keys
  const cache = openKeyCache(keyDocument, now)

  const endpoint = async (): Promise<string> => {
    try {
      const found = userinfoEndpoint((await discovery.read()).value.document)
      if (found !== undefined) return found
    } catch (thrown) {
      const log = without(shown.bearer(), reason(thrown))
      throw new Failure('userinfo_lookup_failed', { log })
    }
    throw new Failure('no_userinfo_endpoint')
  }

  const isDue = () => (configured === undefined && discovery.isDue()) || latest?.isDue() === true
  const fetchDue = async (): Promise<void> => {
    if (configured === undefined && discovery.isDue()) await discovery.fetch()
    const keys = await keyDocument()
    if (keys.isDue()) await keys.fetch()
  }
  return {
    async find(kid) {
      try {
        return await cache.find(kid)
      } catch (thrown) {
        const log = `unable to fetch jwks: ${without(shown.bearer(), reason(thrown))}`
        throw new Failure('jwks_unavailable', { log })
      }
    },
    known: () => latest?.last()?.value.keys.all() ?? [],
    userinfoEndpoint: endpoint,
    userinfo: async (token, subject) => await askUserinfo(await endpoint(), token, subject, get),
    refreshAhead() {
      // What fails is remembered by its document, and said by `status` and the next login.
      if (isDue()) fetchDue().catch(() => {})
    },
    status: () => statusOf(issuer, latest?.last(), ledger, shown.bearer()),
  }
}

function statusOf(
  issuer: string,
  kept: Kept<PublishedKeys> | undefined,
  { failure, lastMs, tookMs, ok, failed }: Ledger,
  bearer: string | undefined,
): IssuerStatus {
  return {
    issuer,
    keys: kept?.value.keys.size ?? 0,
    fetchedMs: kept?.fetchedMs,
    freshUntilMs: kept?.freshUntilMs,
    lastFetchMs: lastMs,
    lastTookMs: tookMs,
    lastError: failure && without(bearer, reason(failure.reason)),
    fetches: { ok, failed },
  }
}

/** Some issuers show their keys only to callers that they know: a Kubernetes API server is one. */
function withBearer({ issuer, jwksUri, bearerToken }: IssuerSettings, get: Get) {
  let last: string | undefined
  if (bearerToken === undefined) return { get, bearer: () => last }
  const origins = [issuer, jwksUri].map(origin).filter((each) => each !== undefined)
  const asking: Get = async (url, headers) => {
    const asked = origin(url)
    if (asked === undefined || !origins.includes(asked)) return get(url, headers)
    last = bearerToken().reveal().trim()
    return get(url, { ...headers, authorization: `Bearer ${last}` })
  }
  return { get: asking, bearer: () => last }
}

/** Scheme, host and port. */
function origin(url: string | undefined): string | undefined {
  return url === undefined ? undefined : URL.parse(url)?.origin
}
