/**
 * The shared state for workers in processes of their own. They ask: each second, and at once when they are told
 * that it is another one. Rule: only who asks knows how old the answer is when it comes.
 */
import type { StateView } from '../state/snapshot.ts'
import type { Answer, ToWorker } from './messages.ts'
import type { Link } from './processes.ts'

export interface StateAnswers {
  maxAgeMs: number
  /** @param known - the number of the one that the worker has; 0 for none */
  answer(known: number): Extract<Answer, { kind: 'state' }>
  /** Tells each of them of each change, from now on. */
  tell(workers: ReadonlySet<{ link: Pick<Link<ToWorker, unknown>, 'send' | 'waiting'> }>): void
}

/** Messages that may wait in a channel: who takes none asks when he does. */
const WAITING_MAX = 4

export function openStateAnswers(state: StateView): StateAnswers {
  let number = 1
  state.changed(() => number++)
  return {
    maxAgeMs: state.maxAgeMs,
    answer: (known) => ({
      kind: 'state',
      number,
      ageMs: state.ageMs(),
      snapshot: known === number ? undefined : state.snapshot(),
    }),
    tell: (workers) =>
      state.changed(() => {
        for (const { link } of workers)
          if (link.waiting <= WAITING_MAX) link.send({ kind: 'state_changed' })
      }),
  }
}
