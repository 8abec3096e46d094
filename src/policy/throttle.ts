/**
 * Who failed to prove who he is has to wait before he may try again: a second, and twice as long each time.
 * It is CockroachDB's proxy's way (pkg/sqlproxy/throttler): by address and user, and an attempt that began
 * before such a wait was over counts for nothing, so guesses side by side are no more than one. At an address
 * where passwords of many users failed, all others wait together: invented names are no way around it.
 * Rule: who once came in is not made to wait by whoever fails beside him, for an hour.
 */
import { LRUCache } from 'lru-cache'

/** Whose attempts are one another's. */
export interface Attempting {
  proof: 'token' | 'password'
  cluster: string
  user: string
  /** One that all of the same holder share; empty on a unix socket. */
  address: string
}

/** What came of an attempt; `unclear`: it ended before the proof was found to be good or bad. */
export type Outcome = 'failed' | 'proved' | 'unclear'

export interface Throttle {
  /** @returns how long to wait before trying, in milliseconds; 0 for now. */
  waitMs(who: Attempting, nowMs: number): number
  /**
   * What came of an attempt.
   * @param beganMs - when it was allowed to begin
   * @returns whether it counts: a proof that was found out by guessing side by side is none.
   */
  settle(who: Attempting, beganMs: number, outcome: Outcome, nowMs: number): boolean
  /** How many failures are remembered: of users at addresses, and of addresses as a whole. */
  remembered(): number
  /** Who has to wait now: those who failed last come first. */
  waiting(nowMs: number): Waiting[]
}

export interface Waiting extends Attempting {
  /** By the throttle's clock. */
  untilMs: number
  delayMs: number
}

export interface ThrottleDelays {
  firstMs: number
  maxMs: number
}

export interface ThrottleBounds {
  /** Of failures; and of those who came in. */
  rememberedMax: number
  /** Users of one address who wait each for himself. */
  usersMax: number
}

/**
 * Tokens and passwords apart. Nobody guesses a signature: with tokens, a stranger's invented names make
 * nobody else at his address wait.
 */
export function openThrottles(delays: ThrottleDelays): Throttle {
  const by = {
    token: openThrottle(delays, { ...BOUNDS, usersMax: Number.POSITIVE_INFINITY }),
    password: openThrottle(delays),
  }
  return {
    waitMs: (who, nowMs) => by[who.proof].waitMs(who, nowMs),
    settle: (who, ...how) => by[who.proof].settle(who, ...how),
    remembered: () => by.token.remembered() + by.password.remembered(),
    waiting: (nowMs) => [...by.token.waiting(nowMs), ...by.password.waiting(nowMs)],
  }
}

/** Who wants one forgotten has to fail at 1,500 addresses, 64 times at each. */
const BOUNDS: ThrottleBounds = { rememberedMax: 100_000, usersMax: 64 }
const PASS_MS = 3_600_000
/** Beyond the longest wait: who waits to be forgotten gets no more tries than who goes on. */
const MEMORY_MS = 24 * 3_600_000

/** Its clock is one that is never set. */
export function openThrottle(
  { firstMs, maxMs }: ThrottleDelays,
  { rememberedMax, usersMax }: ThrottleBounds = BOUNDS,
): Throttle {
  const failures = openFailures(rememberedMax, maxMs + MEMORY_MS)
  /** When each ends. */
  const passes = new LRUCache<string, number>({ max: rememberedMax })
  const hasPass = (who: Attempting, nowMs: number) => nowMs < (passes.get(keyOf(who)) ?? nowMs)

  /** Where his failures are kept: under his own name, or, where there are too many, the address's. */
  function placeOf(who: Attempting): string {
    const own = keyOf(who)
    if (failures.last(own) !== undefined) return own
    const isCrowded = failures.usersOf(who.address) >= usersMax
    return isCrowded || failures.last(who.address) !== undefined ? who.address : own
  }

  return {
    waitMs(who, nowMs) {
      failures.forget(nowMs)
      if (hasPass(who, nowMs)) return 0
      return leftMs(failures.last(placeOf(who)), nowMs)
    },
    settle(who, beganMs, outcome, nowMs) {
      failures.forget(nowMs)
      const isIn = hasPass(who, nowMs)
      const place = placeOf(who)
      const last = failures.last(place)
      if (!isIn && leftMs(last, beganMs) > 0) return false
      if (outcome === 'proved') {
        failures.clear(keyOf(who))
        passes.set(keyOf(who), nowMs + PASS_MS)
      }
      // Whoever fails beside somebody who came in makes nobody's wait longer.
      if (outcome === 'failed' && !isIn) {
        const delayMs = Math.min(last === undefined ? firstMs : last.delayMs * 2, maxMs)
        failures.add(place, { address: who.address, failedMs: nowMs, delayMs })
      }
      return true
    },
    remembered: failures.size,
    waiting: (nowMs) =>
      failures
        .all()
        .filter(([, failed]) => leftMs(failed, nowMs) > 0)
        .map(([place, { failedMs, delayMs }]) => ({
          ...whoseIs(place),
          untilMs: failedMs + delayMs,
          delayMs,
        })),
  }
}

interface Failed {
  address: string
  failedMs: number
  /** The wait that it cost. */
  delayMs: number
}

function leftMs(failed: Failed | undefined, atMs: number): number {
  return failed === undefined ? 0 : Math.max(0, failed.failedMs + failed.delayMs - atMs)
}

/** The last failure of each place; the oldest goes first, when its time is over or there are too many. */
function openFailures(max: number, memoryMs: number) {
  const users = new Map<string, number>()
  const count = (place: string, { address }: Failed, by: 1 | -1) => {
    if (place === address) return
    const left = (users.get(address) ?? 0) + by
    if (left > 0) users.set(address, left)
    else users.delete(address)
  }
  const failures = new LRUCache<string, Failed>({
    max,
    dispose(failed, place, why) {
      if (why !== 'set') count(place, failed, -1)
    },
  })
  return {
    // Not `get`, which would make it the newest.
    last: (place: string) => failures.peek(place),
    usersOf: (address: string) => users.get(address) ?? 0,
    size: () => failures.size,
    all: () => [...failures.entries()],
    clear: (place: string) => void failures.delete(place),
    add(place: string, failed: Failed): void {
      if (!failures.has(place)) count(place, failed, 1)
      failures.set(place, failed)
    },
    forget(nowMs: number): void {
      for (;;) {
        const oldest = failures.rvalues().next().value
        if (!oldest || nowMs < oldest.failedMs + memoryMs) return
        failures.pop()
      }
    },
  }
}

/** A NUL is in none of them, nor is this an address alone. */
function keyOf({ proof, cluster, user, address }: Attempting): string {
  return `${address}\0${cluster}\0${user}\0${proof}`
}

/** Without a user and a cluster: all others of the address. */
function whoseIs(place: string): Attempting {
  const [address = '', cluster = '', user = '', proof] = place.split('\0')
  return { proof: proof === 'token' ? 'token' : 'password', cluster, user, address }
}
