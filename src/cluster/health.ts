/**
 * What is known of a node's health: up, draining (it answers, and wants no new sessions) or down; and
 * the loop that looks again and again. Sessions that are opened count as looks, too.
 * Rule: hysteresis. A node is down after so many bad looks in a row, and up after so many good ones;
 * only its own word that it is draining counts at once.
 */

export type State = 'up' | 'draining' | 'down'
export type Seen = 'good' | 'draining' | 'bad'

export interface Health {
  state: State
  /** How many looks in a row were the same, up to the last one. */
  good: number
  bad: number
}

export interface Patience {
  intervalMs: number
  timeoutMs: number
  downAfter: number
  upAfter: number
}

/** Nobody has looked yet: it gets the benefit of the doubt. */
export const UNSEEN: Health = { state: 'up', good: 0, bad: 0 }

export function observed(
  health: Health,
  seen: Seen,
  { downAfter, upAfter }: Pick<Patience, 'downAfter' | 'upAfter'>,
): Health {
  if (seen === 'draining') return { state: 'draining', good: 0, bad: 0 }
  if (seen === 'good') {
    const good = health.good + 1
    return { state: good >= upAfter ? 'up' : health.state, good, bad: 0 }
  }
  const bad = health.bad + 1
  return { state: bad >= downAfter ? 'down' : health.state, good: 0, bad }
}

/** The last look says something else than the state: the next one is wanted sooner. */
export function isUnsettled({ state, good, bad }: Health): boolean {
  return state === 'down' ? good > 0 : state === 'up' ? bad > 0 : good > 0 || bad > 0
}

export interface Looking {
  /** A look is wanted now; it is taken unless one is under way, or was a moment ago. */
  hurry(): void
  stop(): void
}

/** Between two looks, whoever is in a hurry. */
const HURRY_MS = 250

/**
 * Looks, waits, and looks again. It keeps no process alive.
 * @param look - never throws.
 * @param delayMs - asked after each look: how long until the next one.
 * @param elapsed - milliseconds on a clock that is never set.
 */
export function keepLooking(
  look: (stop: AbortSignal) => Promise<void>,
  { firstMs, delayMs, elapsed }: { firstMs: number; delayMs(): number; elapsed(): number },
): Looking {
  const stop = new AbortController()
  let under = false
  let endedMs = Number.NEGATIVE_INFINITY
  const run = async (): Promise<void> => {
    clearTimeout(timer)
    under = true
    await look(stop.signal)
    under = false
    endedMs = elapsed()
    if (!stop.signal.aborted) timer = setTimeout(run, delayMs()).unref()
  }
  let timer = setTimeout(run, firstMs).unref()
  return {
    hurry() {
      if (under || stop.signal.aborted || elapsed() - endedMs < HURRY_MS) return
      void run()
    },
    stop() {
      clearTimeout(timer)
      stop.abort()
    },
  }
}
