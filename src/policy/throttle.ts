/**
 * Who failed to prove who he is has to wait before he may try again: a second, and twice as long each time.
 * It is CockroachDB's proxy's way (pkg/sqlproxy/throttler): by address and user, and an attempt that began
 * before such a wait was over counts for nothing, so guesses side by side are no more than one.
 * Rule: who once came in is not made to wait by whoever fails beside him, for an hour.
 */
import { LRUCache } from 'lru-cache'

/** Whose attempts are one another's. */
export interface Attempting {
  cluster: string
  user: string
  /** One that all of the same holder share; empty on a unix socket. */
  address: string
}

export interface Throttle {
  /** @returns how long to wait before trying, in milliseconds; 0 for now. */
  waitMs(who: Attempting, nowMs: number): number
  /**
   * What came of an attempt.
   * @param beganMs - when it was allowed to begin
   * @returns whether it counts: a proof that was found out by guessing side by side is none.
   */
  settle(who: Attempting, beganMs: number, outcome: 'failed' | 'proved', nowMs: number): boolean
}

export interface ThrottleDelays {
  firstMs: number
  maxMs: number
}

/** An attacker who wants one forgotten has to fail as often. */
const REMEMBERED_MAX = 100_000
const PASS_MS = 3_600_000

interface Known {
  /** The last wait, and when it ends. */
  delayMs: number
  untilMs: number
  /** Whoever came in; it ends then. */
  passUntilMs: number
}

export function openThrottle({ firstMs, maxMs }: ThrottleDelays): Throttle {
  const known = new LRUCache<string, Known>({ max: REMEMBERED_MAX })
  /** @param atMs - of the attempt */
  const leftMs = (of: Known | undefined, atMs: number, nowMs: number) =>
    of === undefined || nowMs < of.passUntilMs ? 0 : Math.max(0, of.untilMs - atMs)
  return {
    waitMs: (who, nowMs) => leftMs(known.get(keyOf(who)), nowMs, nowMs),
    settle(who, beganMs, outcome, nowMs) {
      const key = keyOf(who)
      const before = known.get(key)
      if (leftMs(before, beganMs, nowMs) > 0) return false
      if (outcome === 'proved') {
        known.set(key, { delayMs: 0, untilMs: 0, passUntilMs: nowMs + PASS_MS })
        return true
      }
      // Whoever fails beside somebody who came in makes nobody's wait longer.
      if (before !== undefined && nowMs < before.passUntilMs) return true
      const delayMs = Math.min(before?.delayMs ? before.delayMs * 2 : firstMs, maxMs)
      known.set(key, { delayMs, untilMs: nowMs + delayMs, passUntilMs: 0 })
      return true
    },
  }
}

/** A NUL is in none of them. */
function keyOf({ cluster, user, address }: Attempting): string {
  return `${address}\0${cluster}\0${user}`
}
