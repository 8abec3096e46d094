/**
 * From a cluster's section to whom it believes: a Trust for tokens in the place of a password, another
 * one for OAUTHBEARER, which may be narrower, and the issuers behind both.
 * Rule: an issuer's keys come from one place: its own in issuer_options, what it publishes, or the
 * common ones, in this order.
 */
import { type IdentityMap, parseIdentityMap } from '../identity/identity_map.ts'
import { configuredKeys, type KeySource } from '../identity/key_source.ts'
import type { Trust } from '../identity/trust.ts'
import { openVerifiedTokens } from '../identity/verified_tokens.ts'
import { type IssuerPlan, type Issuers, openIssuers } from '../issuers/issuers.ts'
import { Secret } from '../secret.ts'
import { shown } from './mistakes.ts'
import type { Reading } from './nodes.ts'
import {
  AUTHORIZATION,
  AUTO_FETCH,
  acceptedIssuers,
  ISSUERS,
  ISSUERS_ALIAS,
  JWT,
  namedIssuers,
  OAUTH,
  oauthIssuers,
  passwordIssuers,
  type TrustSection,
} from './trust_settings.ts'

export interface Believed {
  jwt: Trust
  oauthbearer: Trust
  /** Those whose documents are fetched, by their names. */
  issuers: Issuers
}

export function readTrust(name: string, section: TrustSection, reading: Reading): Believed {
  const complain = (key: string, what: string) => reading.complain(['clusters', name, key], what)
  const issuers = issuersOf(name, section, reading)
  const jwt = {
    enabled: section[`${JWT}.enabled`],
    issuers: passwordIssuers(section),
    keySources: keySources(section, issuers),
    claim: section[`${JWT}.claim`],
    groupClaim: section[AUTHORIZATION] ? section[`${JWT}.group_claim`] : undefined,
    requireExpiry: section[`${JWT}.require_expiry`],
    clockToleranceMs: section[`${JWT}.clock_tolerance`],
    identityMap: identityMap(section, (what) =>
      complain('server.identity_map.configuration', what),
    ),
    foldCase: section.kind === 'cockroachdb',
    verified: openVerifiedTokens(),
  }
  const oauthbearer = {
    ...jwt,
    enabled: section[`${OAUTH}.enabled`],
    issuers: oauthIssuers(section),
    claim: section[`${OAUTH}.claim`] ?? jwt.claim,
    verified: openVerifiedTokens(),
  }
  return { jwt, oauthbearer, issuers }
}

/** Nothing is fetched before somebody asks. */
function issuersOf(name: string, section: TrustSection, reading: Reading): Issuers {
  if (!section[AUTO_FETCH] && !section[AUTHORIZATION]) return new Map()
  const plans = [...acceptedIssuers(section)].map((issuer) => planOf(issuer, section, reading))
  const readSecret = (file: string) => new Secret(reading.text(file).trim())
  const { elsewhere: of } = reading
  const elsewhere = of && ((issuer: string) => of(name, issuer))
  return openIssuers(plans, { now: reading.now, readSecret, elsewhere }, reading.issuers(name))
}

function planOf(issuer: string, section: TrustSection, { proxyEnv }: Reading): IssuerPlan {
  const own = section.issuer_options[issuer]
  return {
    issuer,
    jwksUri: jwksUri(issuer, section),
    minFreshMs: own?.jwks_min_fresh ?? 0,
    staleGraceMs: own?.jwks_stale_grace ?? 0,
    bearerTokenFile: own?.bearer_token_file,
    get: {
      timeoutMs: section[`${JWT}.client.timeout`],
      caPem: own?.custom_ca ?? section[`${JWT}.issuers.custom_ca`],
      onlyThisCa: own?.custom_ca !== undefined,
      plaintextLoopback: own?.allow_plaintext ?? false,
      proxyEnv,
    },
  }
}

function jwksUri(issuer: string, section: TrustSection): string | undefined {
  return (section[ISSUERS] ?? section[ISSUERS_ALIAS])?.jwksUris.get(issuer)
}

function keySources(section: TrustSection, issuers: Issuers): ReadonlyMap<string, KeySource> {
  const common = section[`${JWT}.jwks`]
  const sources = new Map<string, KeySource>()
  for (const name of acceptedIssuers(section)) {
    const own = section.issuer_options[name]?.jwks
    const fetched = section[AUTO_FETCH] ? issuers.get(name) : undefined
    const source = own ? configuredKeys(own) : (fetched ?? (common && configuredKeys(common)))
    if (source !== undefined) sources.set(name, source)
  }
  return sources
}

/**
 * An issuer without a rule is taken at its word, so a map that is empty by mistake, or whose issuer is
 * misspelt, would let everybody be whom their token says: both are refused.
 */
function identityMap(section: TrustSection, complain: (what: string) => void): IdentityMap {
  const issuers = namedIssuers(section)
  const text = section['server.identity_map.configuration']
  const parsed = parseIdentityMap(text ?? '', {
    foldCase: section.kind === 'cockroachdb',
    allowUnanchored: section['server.identity_map.allow_unanchored'],
  })
  if (!parsed.ok) {
    for (const { text } of parsed.problems) complain(text)
    return { lookup: () => ({ found: true, users: [], lines: [] }), lineCount: 0 }
  }
  if (text !== undefined && parsed.lines.length === 0)
    complain(
      'the map holds no rule, and without one every issuer is taken at its word; write one, or leave the key out',
    )
  if (issuers.size > 0)
    for (const { number, mapName } of parsed.lines)
      if (!issuers.has(mapName))
        complain(
          `line ${number}: ${shown(mapName)} is not an accepted issuer; write it exactly as the token's \`iss\``,
        )
  return parsed.map
}
