/**
 * Cancels that a worker is asked about, because its number is in their keys: each has an end, whether the
 * worker answers, doesn't, or is gone.
 */
import type { ToWorker } from './messages.ts'

export interface CancelQuestions {
  /** Resolves when the node has it, to whether the worker knows the key, and says so. */
  ask(key: Uint8Array, from: string): Promise<boolean>
  answered(id: number, found: boolean): void
}

/** Somewhat longer than a node may take. */
const ANSWER_MS = 6_000

/** @param gone - resolves when the worker has ended. */
export function openCancelQuestions(
  send: (message: ToWorker) => void,
  gone: Promise<void>,
): CancelQuestions {
  const waiting = new Map<number, (found: boolean) => void>()
  let last = 0
  void gone.then(() => {
    for (const settle of waiting.values()) settle(false)
  })
  return {
    async ask(key, from) {
      const id = ++last
      const answer = Promise.withResolvers<boolean>()
      waiting.set(id, answer.resolve)
      const late = setTimeout(answer.resolve, ANSWER_MS, false)
      send({ kind: 'cancel', id, key, from })
      return await answer.promise.finally(() => {
        clearTimeout(late)
        waiting.delete(id)
      })
    },
    answered: (id, found) => waiting.get(id)?.(found),
  }
}
