/** Cancels that a worker is asked about: each answer finds its question, and a worker that ends answers all. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { openCancelQuestions } from '../../src/peers/cancel_questions.ts'
import type { ToWorker } from '../../src/peers/messages.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function open() {
  const sent: ToWorker[] = []
  const gone = Promise.withResolvers<void>()
  const questions = openCancelQuestions((message) => void sent.push(message), gone.promise)
  const ids = () => sent.map((message) => (message.kind === 'cancel' ? message.id : 0))
  return { questions, gone: gone.resolve, ids }
}

const KEY = Buffer.alloc(8)

describe('a question', () => {
  it('is answered, in whatever order', async () => {
    const { questions, ids } = open()
    const asked = ['192.0.2.1', '192.0.2.2'].map((from) => questions.ask(KEY, from))
    const [one = 0, other = 0] = ids()
    questions.answered(other, true)
    questions.answered(one, false)
    questions.answered(one, true)
    questions.answered(77, true)
    expect(await Promise.all(asked)).toEqual([false, true])
  })

  it('is answered by the end of the worker: it knows nothing', async () => {
    const { questions, gone } = open()
    const asked = questions.ask(KEY, '192.0.2.1')
    gone()
    expect(await asked).toBe(false)
  })

  it('has a deadline: what the worker doesn’t say it knows, others are asked for', async () => {
    const { questions } = open()
    const asked = questions.ask(KEY, '192.0.2.1')
    await vi.advanceTimersByTimeAsync(6_000)
    expect(await asked).toBe(false)
  })
})
