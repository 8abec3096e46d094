/**
 * An issuer's keys by the names that tokens call them. A name that the kept set doesn't have may be
 * a key that came after it (OpenID Connect Core 10.1.1): the set is then fetched early.
 * Rule: anybody can make up names, so a made-up one costs the issuer no request, and all of them
 * together one in thirty seconds, while the kept set is fresh.
 */
import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { FoundKeys, KeySource } from '../identity/key_source.ts'
import { type KeySet, parsePublishedKeySet } from '../identity/keys.ts'
import type { Kept, PublishedDocument } from './document.ts'

export interface PublishedKeys {
  keys: KeySet
  /** Another one for other contents. */
  digest: string
}

type KeyDocument = PublishedDocument<PublishedKeys>

interface Early {
  atMs: number
  from: KeyDocument
  set: Promise<Kept<PublishedKeys>>
  running: boolean
}

const COOLDOWN_MS = 30_000
const MISSED_FOR_MS = 60_000
/** One more in thirty seconds: there are never more. */
const MISSED_MAX = 10

/** @throws Error, with a message for the log. */
export function parseKeys(body: string): PublishedKeys {
  const read = parsePublishedKeySet(json(body))
  if (!read.ok) throw new Error(`unusable JWKS: ${read.problem}`)
  return { keys: read.keys, digest: hash('sha256', body) }
}

/** @param document - the keys' document of the moment; an issuer may publish them elsewhere tomorrow. */
export function openKeyCache(document: () => Promise<KeyDocument>, now: () => number): KeySource {
  /** Names that an early fetch looked for in vain, as digests: a name may be long. */
  const missed = new LRUCache<string, { atMs: number; digest: string }>({ max: MISSED_MAX })
  let early: Early | undefined

  const wasMissed = (kid: string, { digest }: PublishedKeys): boolean => {
    const known = missed.get(hash('sha256', kid))
    return known?.digest === digest && isWithin(MISSED_FOR_MS, known.atMs, now())
  }
  /** Remembers the name that it is made for alone: the other ones that wait may have come later. */
  const search = async (kid: string, from: KeyDocument): Promise<Kept<PublishedKeys>> => {
    const set = await from.fetch({ 'cache-control': 'no-cache' })
    if (!has(set, kid)) missed.set(hash('sha256', kid), { atMs: now(), digest: set.value.digest })
    return set
  }
  /** @returns undefined while nobody may ask. A fetch that failed counts like one that did not. */
  const fetchEarly = (kid: string, from: KeyDocument) => {
    if (early?.from === from && early.running) return early.set
    if (early !== undefined && isWithin(COOLDOWN_MS, early.atMs, now())) return undefined
    const set = search(kid, from).finally(() => {
      begun.running = false
    })
    const begun: Early = { atMs: now(), from, set, running: true }
    early = begun
    return set
  }
  return {
    async find(kid) {
      const from = await document()
      const cached = from.cached()
      // Begun before this login: the key may have come after its answer.
      const joined = from.isFetching()
      const set = cached ?? (await from.read())
      const isNew = cached === undefined && !joined
      if (isNew || has(set, kid) || wasMissed(kid, set.value)) return found(kid, from, set)
      const newer = await fetchEarly(kid, from)
      return found(kid, from, newer ?? set)
    },
  }
}

function has({ value }: Kept<PublishedKeys>, kid: string): boolean {
  return value.keys.find(kid).length > 0
}

function found(kid: string, from: KeyDocument, set: Kept<PublishedKeys>): FoundKeys {
  return { keys: set.value.keys.find(kid), from: from.url, fetchedMs: set.fetchedMs }
}

/** False as well where the clock was set back. */
function isWithin(forMs: number, sinceMs: number, nowMs: number): boolean {
  return sinceMs <= nowMs && nowMs < sinceMs + forMs
}

function json(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    throw new Error('unusable JWKS: not JSON')
  }
}
