/**
 * Who may go on, and who waits for a turn: so many at once, first come, first served.
 * Rule: whoever waits may give up at any time, and is not counted then.
 */

export interface Turns {
  /** Runs the work when there is room for it. @throws the signal's reason, where that comes first. */
  take<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T>
  /** Nobody has a turn, and nobody waits. */
  readonly idle: boolean
}

export function openTurns(atOnce: number): Turns {
  const waiting = new Set<() => void>()
  let taken = 0

  async function begin(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (taken < atOnce) {
      taken++
      return
    }
    await new Promise<void>((resolve, reject) => {
      const go = () => {
        signal.removeEventListener('abort', giveUp)
        resolve()
      }
      const giveUp = () => {
        waiting.delete(go)
        reject(signal.reason)
      }
      waiting.add(go)
      signal.addEventListener('abort', giveUp, { once: true })
    })
  }

  /** The turn goes from hand to hand: who comes in between doesn't get it. */
  function end(): void {
    const [next] = waiting
    if (next === undefined) taken--
    else {
      waiting.delete(next)
      next()
    }
  }

  return {
    get idle() {
      return taken === 0
    },
    async take(signal, work) {
      await begin(signal)
      try {
        return await work()
      } finally {
        end()
      }
    },
  }
}

/** Those who come under the same name go one after the other, or so many at once; names know nothing of each other. */
export function openNamedTurns(atOnce = 1) {
  const byName = new Map<string, Turns>()
  return async <T>(name: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
    const turns = byName.get(name) ?? openTurns(atOnce)
    byName.set(name, turns)
    try {
      return await turns.take(signal, work)
    } finally {
      if (turns.idle && byName.get(name) === turns) byName.delete(name)
    }
  }
}
