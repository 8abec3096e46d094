/**
 * What was good and is no more: tokens, sessions, subjects and whole issuers, for good or as far as they were
 * issued before a moment. Pure. `iat`, `jti` and `sub` are those of RFC 7519 section 4.1.
 * Rule: a question costs a few look-ups however much is revoked; a token that doesn't say when it was issued
 * was issued before.
 */
import type { Principal } from '../identity/principal.ts'

export type RevocationKind = 'token' | 'digest' | 'session' | 'subject' | 'issuer' | 'all'

/** One of them, as it is kept and sent: plain data. */
export interface Revocation {
  kind: RevocationKind
  /** Of a subject, and of an issuer; of a token's id, where it is not whichever issuer's. Else empty. */
  issuer: string
  /** A token's id (`jti`) or digest, a session's id, a subject. Empty for `issuer` and `all`. */
  value: string
  /** Seconds since the epoch: what was issued before. Undefined: whenever it was. */
  before: number | undefined
  /** Seconds since the epoch: when it ends. Undefined: never. */
  until: number | undefined
  /** In the words of who revoked it; may be empty. */
  why: string
}

/** Ready to be asked. */
export interface Revocations {
  /** By issuer and id; where no issuer was named, by the empty one. */
  tokens: ReadonlyMap<string, Cut>
  digests: ReadonlyMap<string, Cut>
  sessions: ReadonlyMap<string, Cut>
  /** By issuer and subject. */
  subjects: ReadonlyMap<string, Cut>
  issuers: ReadonlyMap<string, Cut>
  all: Cut | undefined
}

interface Cut {
  /** Seconds since the epoch; infinite where it doesn't matter when it was issued. */
  before: number
  why: string
}

/** What a token says of itself that can be revoked. */
export type Revocable = Pick<
  Principal,
  'issuer' | 'subject' | 'names' | 'tokenId' | 'digest' | 'issuedAt'
>

export const NO_REVOCATIONS: Revocations = revocationsOf([], 0)

/** @param nowMs - what has ended by then doesn't count. */
export function revocationsOf(all: readonly Revocation[], nowMs: number): Revocations {
  const made = {
    tokens: new Map<string, Cut>(),
    digests: new Map<string, Cut>(),
    sessions: new Map<string, Cut>(),
    subjects: new Map<string, Cut>(),
    issuers: new Map<string, Cut>(),
    others: new Map<string, Cut>(),
  }
  const places = {
    token: made.tokens,
    digest: made.digests,
    session: made.sessions,
    subject: made.subjects,
    issuer: made.issuers,
    all: made.others,
  }
  for (const each of all) {
    if (!counts(each, nowMs)) continue
    const { kind, issuer, value, before = Number.POSITIVE_INFINITY, why } = each
    const place = places[kind]
    const key = KEYS[kind](issuer, value)
    // What goes further counts, in whatever order they come.
    if ((place.get(key)?.before ?? Number.NEGATIVE_INFINITY) < before)
      place.set(key, { before, why })
  }
  return { ...made, all: made.others.get('') }
}

/** Whether it has not ended yet. */
export function counts({ until }: Pick<Revocation, 'until'>, nowMs: number): boolean {
  return until === undefined || nowMs < until * 1000
}

/** As the configuration names them: ids of tokens, whichever issuer's. */
export function revokedIds(ids: Iterable<string>): Revocations {
  const rows = Array.from(
    ids,
    (value): Revocation => ({
      kind: 'token',
      issuer: '',
      value,
      before: undefined,
      until: undefined,
      why: 'jwt_revoked_ids',
    }),
  )
  return revocationsOf(rows, 0)
}

/**
 * @param principal - undefined for who came without a token: only the session itself can be revoked.
 * @param sessionId - undefined before there is one.
 * @returns what revoked it, for the log and the audit stream; undefined where nothing did
 */
export function revoked(
  principal: Revocable | undefined,
  sessionId: string | undefined,
  by: Revocations,
): string | undefined {
  const session = sessionId === undefined ? undefined : by.sessions.get(sessionId)
  if (session !== undefined) return told('the session', session)
  if (principal === undefined) return undefined
  for (const [what, cut] of cutsFor(principal, by))
    if (cut !== undefined && isBefore(principal, cut)) return told(what, cut)
  return undefined
}

/** From what is said of the token alone to what is said of everybody. */
function* cutsFor(
  { issuer, subject, names, tokenId, digest }: Revocable,
  { tokens, digests, subjects, issuers, all }: Revocations,
): Generator<[what: string, cut: Cut | undefined]> {
  if (tokenId !== undefined) {
    yield ["the token's id", tokens.get(key(issuer, tokenId))]
    yield ["the token's id", tokens.get(key('', tokenId))]
  }
  yield ["the token's digest", digests.get(digest)]
  if (subject !== undefined) yield ["the token's subject", subjects.get(key(issuer, subject))]
  // The audit stream knows its holder by these, or by all of them in one text, and whoever reads it revokes
  // what it reads.
  if (subjects.size > 0)
    for (const name of names.length > 1 ? [...names, names.join(' ')] : names)
      yield ["the token's principal", subjects.get(key(issuer, name))]
  yield ["the token's issuer", issuers.get(issuer)]
  yield ['every token', all]
}

function isBefore({ issuedAt }: Revocable, { before }: Cut): boolean {
  return issuedAt === undefined || issuedAt < before
}

function told(what: string, { before, why }: Cut): string {
  const when = Number.isFinite(before) ? ` issued before ${iso(before)}` : ''
  return `${what}${when} is revoked${why === '' ? '' : `: ${why}`}`
}

/** Dates end before numbers do. */
function iso(seconds: number): string {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString()
}

/** Neither an issuer nor a subject can look like two of them. */
function key(issuer: string, value: string): string {
  return `${issuer.length}:${issuer}${value}`
}

const KEYS: Record<RevocationKind, (issuer: string, value: string) => string> = {
  token: key,
  subject: key,
  digest: (_issuer, value) => value,
  session: (_issuer, value) => value,
  issuer: (issuer) => issuer,
  all: () => '',
}
