/**
 * The shared state as a worker in a process of its own has it: the primary's snapshots, as they come.
 * Rule: it grows older here while the primary says nothing, whatever the primary knows.
 */
import type { ToWorker } from '../peers/messages.ts'
import { EMPTY, type StateSnapshot, type StateView } from './snapshot.ts'

export interface RemoteState extends StateView {
  take(message: StateMessage): void
}

export type StateMessage = Extract<ToWorker, { kind: 'guard' | 'state_fresh' }>

/** @param elapsed - milliseconds on a clock that is never set. */
export function openRemoteState(
  { maxAgeMs }: Pick<StateView, 'maxAgeMs'>,
  elapsed: () => number,
): RemoteState {
  let snapshot = EMPTY
  let knownMs = Number.NEGATIVE_INFINITY
  const listeners = new Set<(snapshot: StateSnapshot) => void>()
  return {
    maxAgeMs,
    snapshot: () => snapshot,
    ageMs: () => elapsed() - knownMs,
    changed: (heard) => void listeners.add(heard),
    take(message) {
      knownMs = elapsed() - message.ageMs
      if (message.kind === 'state_fresh') return
      snapshot = message.snapshot
      for (const heard of listeners) heard(snapshot)
    },
  }
}
