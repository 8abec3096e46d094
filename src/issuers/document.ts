/**
 * One document that an issuer publishes, kept for as long as its headers say (RFC 9111). Whoever asks
 * at the same time waits for one fetch; after one that failed, nobody asks again for a while.
 * Rule: a stale document is not used, unless the operator allowed for it while fetches fail.
 */
import { freshness } from './freshness.ts'
import type { Get } from './get.ts'

export interface PublishedDocument<T> {
  readonly url: string
  /** What is kept and may be used now. Fetches it anew in the background when it is about time. */
  cached(): Kept<T> | undefined
  /**
   * What is kept, or else fetched.
   * @throws Error, with a message for the log; the same to all while nobody asks.
   */
  read(): Promise<Kept<T>>
  /** A fetch is under way. What it brings may be older than who asks now: `read` waits for it. */
  isFetching(): boolean
  /** Fetches it, kept or not, by a request that is sent after this call. @throws Error, as `read`. */
  fetch(headers?: Record<string, string>): Promise<Kept<T>>
  /** It should be fetched before somebody has to wait for it. */
  isDue(): boolean
  /** What was fetched last, if it may be kept, however old. */
  last(): Kept<T> | undefined
}

export interface Kept<T> {
  value: T
  /** Milliseconds since the epoch, both. */
  fetchedMs: number
  freshUntilMs: number
}

export interface DocumentSettings<T> {
  url: string
  /** @throws Error, with a message for the log; then the answer is as good as none. */
  parse(body: string): T
  /** It counts as fresh for so long, whatever its headers say. */
  minFreshMs: number
  /** It is used for so much longer while fetches fail. */
  staleGraceMs: number
}

/** What the documents of one issuer share. */
export interface DocumentParts {
  get: Get
  now: () => number
  ledger: Ledger
}

export interface Ledger {
  ok: number
  failed: number
  /** When the last fetch ended, well or not; milliseconds since the epoch. */
  lastMs: number | undefined
  /** How long it took, in milliseconds. */
  tookMs: number | undefined
  /** The last failure, until the same document was had again. */
  failure: { url: string; reason: Error } | undefined
}

export function openLedger(): Ledger {
  return { ok: 0, failed: 0, lastMs: undefined, tookMs: undefined, failure: undefined }
}

/** A document that lives shorter is fetched ahead by who uses it: issuers that nobody uses have peace. */
const REFRESHED_AHEAD_MS = 60_000
/** Fetched ahead when less than this share of its life is left. */
const AHEAD_SHARE = 1 / 5
/** After a fetch that failed; twice as long after each further one. */
const PAUSE_MS = 1_000
const PAUSE_MS_MAX = 30_000

interface FailedFetch {
  atMs: number
  /** Nobody asks again for so long. */
  pauseMs: number
  reason: Error
}

export function openDocument<T>(
  settings: DocumentSettings<T>,
  { get, now, ledger }: DocumentParts,
): PublishedDocument<T> {
  let kept: Kept<T> | undefined
  let failed: FailedFetch | undefined
  let flight: Promise<Kept<T>> | undefined
  let tried = false

  const fetch = async (headers: Record<string, string>): Promise<Kept<T>> => {
    const sentMs = now()
    try {
      const { loaded, mayKeep } = await load(settings, get, headers)
      kept = mayKeep ? loaded : undefined
      failed = undefined
      noteSuccess(ledger, settings.url)
      return loaded
    } catch (thrown) {
      failed = failedAgain(failed, thrown, now())
      ledger.failed += 1
      ledger.failure = { url: settings.url, reason: failed.reason }
      throw failed.reason
    } finally {
      Object.assign(ledger, { lastMs: now(), tookMs: Math.max(0, now() - sentMs) })
    }
  }
  /** Begins a fetch, or joins the one that is under way. */
  const join = (headers: Record<string, string> = {}): Promise<Kept<T>> => {
    tried = true
    flight ??= fetch(headers).finally(() => {
      flight = undefined
    })
    return flight
  }
  const usable = (): Kept<T> | undefined => {
    if (kept === undefined) return undefined
    // The grace is for an outage, and not for a fetch that failed while the document was fresh.
    const outage = failed !== undefined && failed.atMs >= kept.freshUntilMs
    return isGood(kept, outage ? settings.staleGraceMs : 0, now()) ? kept : undefined
  }
  const mayFetch = () => flight === undefined && !isPause(failed, now())
  const isDue = (): boolean => {
    if (!mayFetch()) return false
    if (kept === undefined) return !tried || failed !== undefined
    return isEndingSoon(kept, now()) || (usable() !== undefined && !isGood(kept, 0, now()))
  }
  const cached = (): Kept<T> | undefined => {
    const document = usable()
    if (document !== undefined && mayFetch() && isAgeing(document, now())) join().catch(() => {})
    return document
  }
  return {
    url: settings.url,
    cached,
    isDue,
    isFetching: () => flight !== undefined,
    async fetch(headers) {
      await flight?.catch(() => undefined)
      return join(headers)
    },
    async read() {
      const document = cached()
      if (document !== undefined) return document
      if (failed !== undefined && isPause(failed, now())) throw failed.reason
      // The grace may begin with the failure of this very fetch.
      return join().catch((thrown) => usable() ?? Promise.reject(thrown))
    },
    last: () => kept,
  }
}

function noteSuccess(ledger: Ledger, url: string): void {
  ledger.ok += 1
  if (ledger.failure?.url === url) ledger.failure = undefined
}

async function load<T>(
  { url, parse, minFreshMs }: DocumentSettings<T>,
  get: Get,
  headers: Record<string, string>,
): Promise<{ loaded: Kept<T>; mayKeep: boolean }> {
  const answer = await get(url, headers)
  const value = parse(answer.body)
  const told = freshness(answer)
  const freshUntilMs = Math.max(told.freshUntilMs, answer.receivedMs + minFreshMs)
  const loaded = { value, fetchedMs: answer.receivedMs, freshUntilMs }
  return { loaded, mayKeep: told.kept || minFreshMs > 0 }
}

function failedAgain(last: FailedFetch | undefined, thrown: unknown, atMs: number): FailedFetch {
  const pauseMs = last === undefined ? PAUSE_MS : Math.min(last.pauseMs * 2, PAUSE_MS_MAX)
  return { atMs, pauseMs, reason: thrown instanceof Error ? thrown : new Error(String(thrown)) }
}

function isPause(failed: FailedFetch | undefined, nowMs: number): boolean {
  return failed !== undefined && failed.atMs <= nowMs && nowMs < failed.atMs + failed.pauseMs
}

/** Fetched later than now: the clock was set back, and nobody knows how old the document is. */
function isGood({ fetchedMs, freshUntilMs }: Kept<unknown>, graceMs: number, nowMs: number) {
  return fetchedMs <= nowMs && nowMs < freshUntilMs + graceMs
}

/** Little is left of its life, or nothing. */
function isAgeing({ fetchedMs, freshUntilMs }: Kept<unknown>, nowMs: number): boolean {
  return freshUntilMs - nowMs < (freshUntilMs - fetchedMs) * AHEAD_SHARE
}

/** For who fetches it although nobody has asked. */
function isEndingSoon(kept: Kept<unknown>, nowMs: number): boolean {
  return kept.freshUntilMs - kept.fetchedMs >= REFRESHED_AHEAD_MS && isAgeing(kept, nowMs)
}
