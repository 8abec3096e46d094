/**
 * Those who are judged again whenever something has changed: a few at a time, so that others have their turn
 * meanwhile, and in a ring.
 * Rule: a change while it goes round doesn't make it begin anew, but go on for a whole round from where it is:
 * however often something changes, each of them has his turn once in a round.
 */

export interface Ring<T> {
  /** Judged a moment ago. */
  enter(each: T): void
  leave(each: T): void
  /** All that are in it are judged once more. */
  changed(): void
}

/** Then others have their turn. */
const TURN_MS = 3

/**
 * @param judge - may have it leave
 * @param elapsed - milliseconds on a clock that is never set
 */
export function openRing<T>(judge: (each: T) => void, elapsed: () => number): Ring<T> {
  /** By which change each of them was judged. */
  const members = new Map<T, number>()
  let change = 0
  /** How many were not judged by the last one. */
  let left = 0
  let isGoing = false
  let place = members.entries()

  function step(): void {
    const next = place.next()
    if (next.done) {
      place = members.entries()
      return
    }
    const [each, by] = next.value
    if (by === change) return
    members.set(each, change)
    left--
    judge(each)
  }

  async function go(): Promise<void> {
    isGoing = true
    try {
      while (left > 0) {
        const turnEndsMs = elapsed() + TURN_MS
        while (left > 0 && elapsed() < turnEndsMs) step()
        if (left > 0) await new Promise<void>((resolve) => setImmediate(resolve))
      }
    } finally {
      isGoing = false
    }
  }

  return {
    enter: (each) => void members.set(each, change),
    leave(each) {
      const by = members.get(each)
      if (by === undefined) return
      if (by !== change) left--
      members.delete(each)
    },
    changed() {
      change++
      left = members.size
      if (!isGoing) void go()
    },
  }
}
