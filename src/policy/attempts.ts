/**
 * The throttle of failed logins as a gate has it: one for all its workers, which ask for it; or none.
 */
import type { Primary } from '../peers/primary.ts'
import { openThrottles, type Waiting } from './throttle.ts'

export interface Attempts extends Pick<Primary, 'mayTry' | 'settle'> {
  /** Who has to wait now; until when in milliseconds since the epoch. */
  waiting(): Waiting[]
}

interface AttemptsParts {
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
  watchThrottle(remembered: () => number): void
}

const DELAY_MS_MAX = 3_600_000

/** @param firstMs - 0: nobody waits. */
export function openAttempts(
  firstMs: number,
  { now, elapsed, watchThrottle }: AttemptsParts,
): Attempts {
  if (firstMs === 0)
    return {
      mayTry: async () => ({ waitMs: 0, beganMs: 0 }),
      settle: async () => true,
      waiting: () => [],
    }
  const throttle = openThrottles({ firstMs, maxMs: Math.max(firstMs, DELAY_MS_MAX) })
  watchThrottle(throttle.remembered)
  return {
    async mayTry(who) {
      const beganMs = elapsed()
      return { waitMs: throttle.waitMs(who, beganMs), beganMs }
    },
    settle: async (who, beganMs, outcome) => throttle.settle(who, beganMs, outcome, elapsed()),
    waiting() {
      const aheadMs = now() - elapsed()
      return throttle
        .waiting(elapsed())
        .map((each) => ({ ...each, untilMs: each.untilMs + aheadMs }))
    },
  }
}
