/**
 * What workers are told of the shared state: all of it when it is another one, and again and again how old it
 * is. Rule: one that doesn't take what it is told is told no more until it does; to it the state grows old.
 */
import type { StateSnapshot, StateView } from '../state/snapshot.ts'
import type { Visited } from './rounds.ts'

type Told = Pick<Visited, 'link'>

/** For those that have come anew. */
const LOOK_MS = 100
const FRESH_MS = 1_000
/** Messages that may wait in a channel. */
const WAITING_MAX = 4

/** @returns ends them */
export function startStateRounds(workers: ReadonlySet<Told>, state: StateView): () => void {
  const told = new WeakMap<Told, StateSnapshot>()
  const tell = () => {
    const snapshot = state.snapshot()
    for (const worker of workers) {
      if (told.get(worker) === snapshot || worker.link.waiting > WAITING_MAX) continue
      // Before anything was read there is nothing to tell.
      if (snapshot.number === '') continue
      told.set(worker, snapshot)
      worker.link.send({ kind: 'guard', snapshot, ageMs: state.ageMs() })
    }
  }
  const freshen = () => {
    // How old it is counts for what the worker has, and for nothing else.
    for (const worker of workers)
      if (told.get(worker) === state.snapshot() && worker.link.waiting <= WAITING_MAX)
        worker.link.send({ kind: 'state_fresh', ageMs: state.ageMs() })
  }
  state.changed(tell)
  const timers = [setInterval(tell, LOOK_MS).unref(), setInterval(freshen, FRESH_MS).unref()]
  return () => timers.forEach(clearInterval)
}
