/**
 * Whom a cluster believes, looked at: settings that accept nobody, or more than they seem to, or that
 * have no effect. RFC 8725 section 3 says why a key and an audience belong to one issuer.
 */
import { type IdentityMapLine, parseIdentityMap } from '../identity/identity_map.ts'
import { NO_KEYS } from '../identity/keys.ts'
import { normalizeUsername } from '../identity/username.ts'
import { isReserved } from '../policy/reserved.ts'
import type { ConfigDocument } from './document.ts'
import { listed, shown } from './mistakes.ts'
import type { ClusterSection } from './schema.ts'
import { AUTHORIZATION, acceptedIssuers, namedIssuers, OAUTH_ISSUERS } from './trust_settings.ts'
import type { Warn } from './warnings.ts'

const ENABLED = 'server.jwt_authentication.enabled'
const ISSUERS = 'server.jwt_authentication.issuers.configuration'
const ISSUERS_ALIAS = 'server.jwt_authentication.issuers'
const AUDIENCE = 'server.jwt_authentication.audience'
const TIMEOUT = 'server.jwt_authentication.client.timeout'
const OAUTH_ENABLED = 'server.oauthbearer_authentication.enabled'
const OAUTH_AUDIENCE = 'server.oauthbearer_authentication.audience'
const AUTO_FETCH = 'server.jwt_authentication.jwks_auto_fetch.enabled'
const JWKS = 'server.jwt_authentication.jwks'
const CLAIM = 'server.jwt_authentication.claim'
const REQUIRE_EXPIRY = 'server.jwt_authentication.require_expiry'
const CLOCK_TOLERANCE = 'server.jwt_authentication.clock_tolerance'
const MAP = 'server.identity_map.configuration'
const ALLOW_UNANCHORED = 'server.identity_map.allow_unanchored'

const TOLERANCE_MS_MAX = 60_000
/** Who may do anything on a cluster. */
const SUPERUSERS = ['postgres', 'root', 'node']

interface Issuers {
  names: readonly string[]
  jwksUris: ReadonlyMap<string, string>
  pathOf(issuer: string): PropertyKey[]
  path: PropertyKey[]
}

export function warnOfTrust(
  path: PropertyKey[],
  section: ClusterSection,
  document: Pick<ConfigDocument, 'value'>,
  warn: Warn,
): void {
  const issuers = issuersOf(path, section, document)
  if (section[ENABLED] || section[OAUTH_ENABLED]) warnOfNobody(path, section, issuers, warn)
  else
    warn(
      [...path, ENABLED],
      `nobody can sign in: write ${ENABLED}: true once the issuer, the audience and the keys are yours`,
    )
  warnOfIssuers(issuers, warn)
  warnOfFetching(path, section, issuers, warn)
  warnOfSharing(path, section, issuers, warn)
  warnOfTimes(path, section, warn)
  const lines = mapLines(section)
  warnOfPatterns([...path, ALLOW_UNANCHORED], section, lines, warn)
  warnOfUnmapped(section, issuers, lines, warn)
  warnOfRoles(path, section, lines, warn)
}

/** A login without kept keys waits for two answers: discovery, and the keys. */
export function warnOfWaiting(
  path: PropertyKey[],
  section: ClusterSection,
  loginMs: number,
  warn: Warn,
): void {
  if (!section[AUTO_FETCH] || 2 * section[TIMEOUT] < loginMs) return
  warn(
    [...path, TIMEOUT],
    `an issuer that hangs outlasts the login, and nobody learns why it failed; write less than half of limits.authentication_timeout (${loginMs / 1000}s)`,
  )
}

function issuersOf(
  path: PropertyKey[],
  section: ClusterSection,
  document: Pick<ConfigDocument, 'value'>,
): Issuers {
  const key = section[ISSUERS] === undefined && section[ISSUERS_ALIAS] ? ISSUERS_ALIAS : ISSUERS
  const at = [...path, key]
  const written = valueAt(document.value, at)
  const hasWay = section[ENABLED] || section[OAUTH_ENABLED]
  return {
    names: [...(hasWay ? acceptedIssuers(section) : namedIssuers(section))],
    jwksUris: section[key]?.jwksUris ?? new Map(),
    path: at,
    pathOf(issuer) {
      if (!section[key]?.names.has(issuer)) return [...path, OAUTH_ISSUERS]
      return Array.isArray(written)
        ? [...at, written.indexOf(issuer)]
        : [...at, 'issuer_jwks_map', issuer]
    },
  }
}

function valueAt(value: unknown, path: PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (inner, key) =>
      typeof inner === 'object' && inner !== null ? Reflect.get(inner, key) : undefined,
    value,
  )
}

/** The issuer's own keys are its only ones. */
function keysOf(issuer: string, section: ClusterSection) {
  return section.issuer_options[issuer]?.jwks ?? section[JWKS] ?? NO_KEYS
}

/** Of each way that is open, where they are written. */
function audiencesOf(section: ClusterSection): [key: string, audiences: ReadonlySet<string>][] {
  const own = section[OAUTH_AUDIENCE]
  const ways: [string, ReadonlySet<string>][] = []
  if (section[ENABLED] || own === undefined) ways.push([AUDIENCE, section[AUDIENCE]])
  if (section[OAUTH_ENABLED] && own !== undefined) ways.push([OAUTH_AUDIENCE, own])
  return ways
}

function isFetched(issuer: string, section: ClusterSection): boolean {
  return section[AUTO_FETCH] && section.issuer_options[issuer]?.jwks === undefined
}

function warnOfNobody(
  path: PropertyKey[],
  section: ClusterSection,
  issuers: Issuers,
  warn: Warn,
): void {
  if (issuers.names.length === 0)
    warn(issuers.path, `nobody can sign in: no issuer is accepted; name one in ${ISSUERS}`)
  for (const [key, audiences] of audiencesOf(section))
    if (audiences.size === 0)
      warn(
        [...path, key],
        `nobody can sign in: no audience is accepted; write in ${key} whom the tokens are made for`,
      )
  for (const issuer of issuers.names)
    if (!isFetched(issuer, section) && keysOf(issuer, section).size === 0)
      warn(
        issuers.pathOf(issuer),
        `nobody can sign in by ${shown(issuer)}: it has no keys; let them be fetched by ${AUTO_FETCH}: true, or give them in ${JWKS}, or in issuer_options for it alone`,
      )
}

function warnOfIssuers({ names, pathOf }: Issuers, warn: Warn): void {
  const slashes = names.filter((name) => name.endsWith('/'))
  for (const issuer of names) {
    const uneven = slashes.length < names.length && slashes.includes(issuer)
    const problem = issuerProblem(issuer, uneven)
    if (problem !== undefined) warn(pathOf(issuer), `${shown(issuer)} ${problem}`)
  }
}

/** For its keys, or for who is in which group. */
function isAsked(issuer: string, section: ClusterSection): boolean {
  return isFetched(issuer, section) || section[AUTHORIZATION]
}

/** What is meant for fetching where nothing is fetched, and what can't be fetched. */
function warnOfFetching(
  path: PropertyKey[],
  section: ClusterSection,
  { names, jwksUris, pathOf }: Issuers,
  warn: Warn,
): void {
  for (const [issuer, uri] of jwksUris)
    if (!isFetched(issuer, section))
      warn(
        pathOf(issuer),
        `keys are not fetched from ${shown(uri)}: that needs ${AUTO_FETCH}: true, and no jwks in issuer_options`,
      )
    else if (!uri.startsWith('https://') && !section.issuer_options[issuer]?.allow_plaintext)
      warn(pathOf(issuer), `keys are fetched over https alone, and ${shown(uri)} is something else`)
  for (const issuer of names)
    for (const [key, msMax] of LONG)
      if ((section.issuer_options[issuer]?.[key] ?? 0) > msMax)
        warn(
          [...path, 'issuer_options', issuer, key],
          `a key that was withdrawn may sign for as long; write at most ${msMax / 3_600_000}h`,
        )
  for (const issuer of names)
    for (const key of FETCHING)
      if (section.issuer_options[issuer]?.[key] && !isAsked(issuer, section))
        warn(
          [...path, 'issuer_options', issuer, key],
          `nothing is fetched from this issuer, so it has no effect: it needs ${AUTO_FETCH}: true, and no jwks here`,
        )
}

/** A key that leaked is withdrawn by its issuer, and that has to count some day. */
const LONG = [
  ['jwks_min_fresh', 3_600_000],
  ['jwks_stale_grace', 24 * 3_600_000],
] as const

const FETCHING = [
  'jwks_min_fresh',
  'jwks_stale_grace',
  'bearer_token_file',
  'allow_plaintext',
] as const

function issuerProblem(issuer: string, uneven: boolean): string | undefined {
  const [before = '', document] = issuer.split('/.well-known')
  if (document !== undefined)
    return `is the address of a document and not an issuer; write ${shown(before)}, or what else its tokens have as "iss"`
  if (!/^https:\/\/[^\s/]+\S*$/.test(issuer))
    return 'is not an https URL, as issuers are; write what its tokens have as "iss", letter by letter'
  if (uneven)
    return 'ends in "/", unlike the others; leave it there only if its tokens have it in "iss"'
  return undefined
}

/** What is meant for one issuer, and is good for another as well. */
function warnOfSharing(
  path: PropertyKey[],
  section: ClusterSection,
  { names }: Issuers,
  warn: Warn,
): void {
  for (const [key, audiences] of audiencesOf(section))
    if (names.length > 1 && audiences.size > 1)
      warn(
        [...path, key],
        `each of the ${names.length} issuers may make tokens for each of the ${audiences.size} audiences; let all of them make theirs for one audience, this gate's`,
      )
  if (section[JWKS] === undefined || names.length === 0) return
  const sharing = names.filter(
    (issuer) => !isFetched(issuer, section) && section.issuer_options[issuer]?.jwks === undefined,
  )
  if (sharing.length === 0)
    warn(
      [...path, JWKS],
      'no issuer uses these keys: each has its own in issuer_options, or they are fetched; remove them',
    )
  if (sharing.length > 1)
    warn(
      [...path, JWKS],
      `each of these keys may sign for all of ${listed(sharing)}; give every issuer its own in issuer_options`,
    )
}

function warnOfTimes(path: PropertyKey[], section: ClusterSection, warn: Warn): void {
  if (!section[REQUIRE_EXPIRY])
    warn(
      [...path, REQUIRE_EXPIRY],
      'a token without "exp" is a password for good; write true, and let the issuer set it',
    )
  const toleranceMs = section[CLOCK_TOLERANCE]
  if (toleranceMs > TOLERANCE_MS_MAX)
    warn(
      [...path, CLOCK_TOLERANCE],
      `an expired token is good for ${toleranceMs / 1_000} s more; write at most ${TOLERANCE_MS_MAX / 1_000}s, and set the clocks`,
    )
}

function mapLines(section: ClusterSection): readonly IdentityMapLine[] {
  const parsed = parseIdentityMap(section[MAP] ?? '', {
    foldCase: section.kind === 'cockroachdb',
    allowUnanchored: section[ALLOW_UNANCHORED],
  })
  return parsed.ok ? parsed.lines : []
}

function warnOfPatterns(
  path: PropertyKey[],
  section: ClusterSection,
  lines: readonly IdentityMapLine[],
  warn: Warn,
): void {
  if (!section[ALLOW_UNANCHORED]) return
  const unanchored = lines.filter((line) => line.unanchored)
  if (unanchored.length === 0)
    warn(path, 'no pattern of the identity map needs it; write false, so that none slips in')
  else
    warn(
      path,
      `${numbers(unanchored)} of the identity map may match a part of a name, with anything around it; write ^ and $ there, and false here`,
    )
}

function warnOfUnmapped(
  section: ClusterSection,
  { names, pathOf }: Issuers,
  lines: readonly IdentityMapLine[],
  warn: Warn,
): void {
  const mapped = new Set(lines.map(({ mapName }) => mapName))
  const claim = section[CLAIM] === '' ? 'sub' : section[CLAIM]
  for (const issuer of names)
    if (!mapped.has(issuer))
      warn(
        pathOf(issuer),
        `${shown(issuer)} is taken at its word: whatever its tokens have as ${shown(claim)} is the role; say in ${MAP} who may be whom (a line "${issuer} /^(.*)$ \\1" if that is what you mean)`,
      )
}

function warnOfRoles(
  path: PropertyKey[],
  section: ClusterSection,
  lines: readonly IdentityMapLine[],
  warn: Warn,
): void {
  const { allow_roles, management, kind } = section
  const own = new Set(management && [management.role])
  const roleOf = ({ user }: IdentityMapLine) =>
    kind === 'cockroachdb' ? normalizeUsername(user) : user
  for (const [role, mapped] of Map.groupBy(lines, roleOf))
    if (isReserved(role, own) && !allow_roles.includes(role))
      warn(
        [...path, MAP],
        `${numbers(mapped)}: ${shown(role)} is reserved, and no token is enough to become it; remove this, or name the role in allow_roles`,
      )
  for (const [index, role] of allow_roles.entries()) {
    const at = [...path, 'allow_roles', index]
    // The management role finds more to refuse than names tell: what a role may do, and who logs in.
    if (!isReserved(role, own) && management === undefined)
      warn(at, `${shown(role)} is not reserved: naming it here has no effect; remove it`)
    else if (SUPERUSERS.includes(normalizeUsername(role)))
      warn(
        at,
        `a token is enough to become ${shown(role)}, who may do anything on the cluster; grant what is needed to another role, and remove it`,
      )
  }
}

const NUMBERS_MAX = 5

function numbers(lines: readonly IdentityMapLine[]): string {
  const first = lines.slice(0, NUMBERS_MAX).map(({ number }) => number)
  const more = lines.length > NUMBERS_MAX ? ` and ${lines.length - NUMBERS_MAX} more` : ''
  return `${lines.length === 1 ? 'line' : 'lines'} ${first.join(', ')}${more}`
}
