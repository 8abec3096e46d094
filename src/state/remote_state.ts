/**
 * The shared state as a worker in a process of its own has it: what the primary says when it is asked.
 * Rule: it is as old as if the primary had answered when the question was sent, so a channel or a primary that
 * takes its time makes it older, and nothing makes it younger than it is.
 */
import type { Answer } from '../peers/messages.ts'
import { EMPTY, type StateSnapshot, type StateView } from './snapshot.ts'

export interface RemoteState extends StateView {
  /** Asks now; once more where it is asking already. Resolves with the answer, or when there is none. */
  look(): Promise<void>
}

export interface RemoteStateParts {
  maxAgeMs: number
  /** @param known - the number of the one that is known; 0 for none. */
  ask(known: number): Promise<Extract<Answer, { kind: 'state' }>>
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
}

const LOOK_MS = 1_000

/** Asks each second by itself. */
export function openRemoteState({ maxAgeMs, ask, elapsed }: RemoteStateParts): RemoteState {
  let known = 0
  let snapshot = EMPTY
  let knownMs = Number.NEGATIVE_INFINITY
  let looking: Promise<void> | undefined
  let again = false
  const listeners = new Set<(snapshot: StateSnapshot) => void>()

  async function lookOnce(): Promise<void> {
    const askedMs = elapsed()
    const answer = await ask(known)
    if (answer.snapshot !== undefined) {
      snapshot = answer.snapshot
      for (const heard of listeners) heard(snapshot)
    }
    // Behind them: where one of them can't take it, it grows old.
    known = answer.number
    knownMs = askedMs - answer.ageMs
  }

  async function lookAll(): Promise<void> {
    do {
      again = false
      // Without an answer it grows older, which is all that there is to say.
      await lookOnce().catch(() => undefined)
    } while (again)
    looking = undefined
  }

  const look = (): Promise<void> => {
    again = true
    looking ??= lookAll()
    return looking
  }
  setInterval(look, LOOK_MS).unref()
  return {
    maxAgeMs,
    snapshot: () => snapshot,
    ageMs: () => elapsed() - knownMs,
    changed: (heard) => void listeners.add(heard),
    look,
  }
}
