/**
 * A token becomes a Principal (RFC 7519, RFC 8725). `authenticate` is the only way: parse, issuer,
 * key, signature, times, claim, in this order; the texts are CockroachDB's.
 * Rule: before the signature holds, nothing of the token is used but to choose a key and to say why
 * it was refused, in words that its holder sent.
 */
import { hash } from 'node:crypto'
import { Failure } from '../failure.ts'
import type { Secret } from '../secret.ts'
import { principalNames } from './claim.ts'
import { type Findings, LISTED_MAX, listed, noteGroups } from './findings.ts'
import { readGroups } from './groups.ts'
import { PRINCIPAL_BYTES_MAX } from './identity_map.ts'
import { invalid, type Members, parseUnverified, verify } from './jws.ts'
import { configuredKeys } from './key_source.ts'
import { NO_KEYS } from './keys.ts'
import type { Principal } from './principal.ts'
import { quoted, UNPRINTABLE } from './quoted.ts'
import { checkTimes, readTimes } from './times.ts'
import type { Trust } from './trust.ts'
import { normalizeUsername } from './username.ts'

/** Is handed what is waited for of an issuer, and hands it on. */
export type Waiting = <T>(keys: Promise<T>) => Promise<T>

const NOT_FOUND = { keys: [], fetchedMs: undefined }

/**
 * @param now - milliseconds since the epoch; asked when the keys are there, which may take a while.
 * @param found - is told what comes to light on the way, also of a token that is refused.
 * @param waiting - for the keys, where somebody wants to know how long that takes.
 * @throws Failure `jwt_not_enabled`, `invalid_token`, `invalid_issuer`, `jwks_unavailable`,
 *   `missing_claim`, `failed_to_extract_claim` or `invalid_claim_value`.
 */
export async function authenticate(
  token: Secret,
  trust: Trust,
  now: () => number,
  found: Findings = {},
  waiting: Waiting = (keys) => keys,
): Promise<Principal> {
  if (!trust.enabled) throw new Failure('jwt_not_enabled')
  const text = token.reveal().trim()
  const id = hash('sha256', text)
  const asking = { trust, now, found, waiting }
  return (await recall(id, asking)) ?? (await judge(text, id, asking))
}

interface Asking {
  trust: Trust
  now(): number
  found: Findings
  waiting: Waiting
}

/** What was found out about the same token before, as long as its issuer still has the key. */
async function recall(
  id: string,
  { trust, now, found, waiting }: Asking,
): Promise<Principal | undefined> {
  const known = trust.verified.get(id)
  if (known === undefined) return undefined
  const { issuer, keyId } = known.principal
  Object.assign(found, known.says)
  const source = trust.keySources.get(issuer)
  const { keys, fetchedMs } = source ? await waiting(source.find(keyId)) : NOT_FOUND
  if (!keys.some(({ thumbprint }) => thumbprint === known.thumbprint)) {
    trust.verified.delete(id)
    return undefined
  }
  found.verified = true
  found.remembered = true
  if (fetchedMs !== undefined) found.keysFetched = fetchedMs
  checkTimes(known.principal, trust, now())
  return known.principal
}

async function judge(
  text: string,
  id: string,
  { trust, now, found, waiting }: Asking,
): Promise<Principal> {
  const { header, digest, issuer } = glance(text, trust, found)
  const source = trust.keySources.get(issuer) ?? configuredKeys(NO_KEYS)
  const find = (kid: string) => waiting(source.find(kid))
  const { payload, key } = await verify(text, header, { find }, found)
  const claims = JSON.parse(payload) as Members
  found.verified = true
  const tokenId = readTokenId(claims)
  const times = readTimes(claims)
  checkTimes(times, trust, now())
  const identities = identify(payload, claims, issuer, trust, found)
  const principal = {
    issuer,
    ...identities,
    audiences: audiences(claims.aud),
    groups: groups(claims, trust, found),
    scopes: scopes(claims),
    subject: typeof claims.sub === 'string' ? claims.sub : undefined,
    tokenId,
    digest,
    keyId: key.kid,
    ...times,
  }
  const { verified: _, ...says } = found
  trust.verified.set(id, { principal, thumbprint: key.thumbprint, says }, { size: text.length })
  return principal
}

/**
 * What is needed of a token before its keys are here. That may take a while, and whatever else was parsed of
 * it must not wait as well: a hundred kilobytes of `{}` are megabytes of objects.
 */
function glance(text: string, trust: Trust, found: Findings) {
  const unverified = parseUnverified(text)
  const digest = hash('sha256', text.slice(0, text.lastIndexOf('.')))
  Object.assign(found, { digest, ...sayings(unverified) })
  const { kid, alg, crit } = unverified.header
  const issuer = acceptIssuer(unverified.claims.iss, trust)
  return {
    header: { kid: textual(kid), alg: textual(alg), asksForMore: crit !== undefined },
    digest,
    issuer,
  }
}

/** RFC 7519 section 4.1.7: a text. By nothing else could the token be revoked. */
function readTokenId({ jti }: Members): string | undefined {
  if (jti === undefined || jti === null || typeof jti === 'string') return jti ?? undefined
  throw invalid('"jti" is not a text')
}

function textual(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function identify(
  payload: string,
  claims: Members,
  issuer: string,
  trust: Trust,
  found: Findings,
): Pick<Principal, 'names' | 'users' | 'mapped'> {
  found.claim = trust.claim === '' ? 'sub' : trust.claim
  const names = principalNames(payload, claims, trust.claim)
  found.names = listed(names)
  const { users, mapped, mapLines } = mapUsers(names, issuer, trust)
  found.mapped = mapped
  found.mapLines = mapLines.slice(0, LISTED_MAX)
  found.users = listed(users)
  found.userCount = users.length
  return { names, users, mapped }
}

/** What a token says of itself, shortened; the claims are the same that are verified later. */
function sayings({ header, claims }: { header: Members; claims: Members }): Findings {
  const text = (value: unknown) => (typeof value === 'string' ? quoted(value) : undefined)
  const seconds = (value: unknown) => (typeof value === 'number' ? value : undefined)
  const all = {
    issuer: text(claims.iss),
    type: text(header.typ),
    algorithm: text(header.alg),
    keyId: text(header.kid),
    issuedAt: seconds(claims.iat),
    notBefore: seconds(claims.nbf),
    expires: seconds(claims.exp),
    audiences: listed(audiences(claims.aud)),
    tokenId: text(claims.jti),
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

function acceptIssuer(issuer: unknown, trust: Trust): string {
  if (typeof issuer === 'string' && trust.issuers.has(issuer)) return issuer
  const detail = `token issued by ${typeof issuer === 'string' ? quoted(issuer) : ''}`
  throw new Failure('invalid_issuer', { detail })
}

/** Each name goes through the issuer's map; an issuer without one is taken at its word. */
function mapUsers(names: readonly string[], issuer: string, trust: Trust) {
  const found = new Set<string>()
  const mapLines = new Set<number>()
  let mapped = false
  for (const name of names) {
    if (Buffer.byteLength(name) > PRINCIPAL_BYTES_MAX || UNPRINTABLE.test(name))
      throw new Failure('invalid_claim_value', {
        detail: `the value ${quoted(name)} for the issuer ${issuer} is invalid`,
      })
    const { found: hasMap, users, lines } = trust.identityMap.lookup(issuer, name)
    for (const line of lines) mapLines.add(line)
    mapped ||= hasMap
    for (const user of hasMap ? users : [trust.foldCase ? normalizeUsername(name) : name])
      found.add(user)
  }
  return { users: [...found], mapped, mapLines: [...mapLines] }
}

function audiences(aud: unknown): string[] {
  if (typeof aud === 'string') return [aud]
  return Array.isArray(aud) ? aud.filter((each) => typeof each === 'string') : []
}

/** Where a cluster makes roles of groups, those of the token; they are recorded as far as they are listed. */
function groups(claims: Members, trust: Trust, found: Findings): readonly string[] | undefined {
  if (trust.groupClaim === undefined) return undefined
  const groups = readGroups(claims[trust.groupClaim], trust.foldCase)
  if (groups !== undefined) noteGroups(groups, 'token', found)
  return groups
}

/** RFC 8693 section 4.2, or `scp` as Okta (a list) and Azure (a text) write it. */
function scopes({ scope, scp }: Members): string[] {
  const value = scope ?? scp
  if (typeof value === 'string') return value.split(' ').filter((each) => each !== '')
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : []
}
