/**
 * How often something may be done for each of many: so many times at once, and then at a rate.
 * https://en.wikipedia.org/wiki/Token_bucket
 * Rule: whoever has not been there for long is forgotten first, and begins with a full bucket again.
 */
import { LRUCache } from 'lru-cache'

export interface Rate {
  /** What a bucket holds. */
  atOnce: number
  perSecond: number
}

const BUCKETS_MAX = 10_000

/**
 * @param now - milliseconds.
 * @returns whether it may be done once more for whoever is named.
 */
export function openTokenBuckets(
  { atOnce, perSecond }: Rate,
  now: () => number,
  bucketsMax = BUCKETS_MAX,
): (name: string) => boolean {
  const buckets = new LRUCache<string, { left: number; atMs: number }>({ max: bucketsMax })
  return (name) => {
    const nowMs = now()
    const { left, atMs } = buckets.get(name) ?? { left: atOnce, atMs: nowMs }
    // A clock that was set back fills nothing.
    const filled = Math.min(atOnce, left + (Math.max(0, nowMs - atMs) / 1_000) * perSecond)
    const may = filled >= 1
    buckets.set(name, { left: may ? filled - 1 : filled, atMs: nowMs })
    return may
  }
}
