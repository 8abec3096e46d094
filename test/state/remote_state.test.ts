/** What a worker has of the shared state: what its primary says when it is asked, and how old that is by now. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { ToWorker } from '../../src/peers/messages.ts'
import { openStateAnswers } from '../../src/peers/state_answers.ts'
import { openRemoteState } from '../../src/state/remote_state.ts'
import { EMPTY, type StateSnapshot, staleness } from '../../src/state/snapshot.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const snapshot = (number: string): StateSnapshot => ({ ...EMPTY, number })

/** A primary whose state is as a test says, a worker that asks it, and a channel that takes its time. */
function start() {
  const primary = { snapshot: EMPTY, ageMs: Number.POSITIVE_INFINITY }
  const heardOf = new Set<(snapshot: StateSnapshot) => void>()
  const answers = openStateAnswers({
    snapshot: () => primary.snapshot,
    ageMs: () => primary.ageMs,
    maxAgeMs: 60_000,
    changed: (heard) => void heardOf.add(heard),
  })
  const channel = { waiting: 0, thereMs: 0, backMs: 0, hangs: false }
  const asked: number[] = []
  const later = async (ms: number) => {
    if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms))
  }
  const worker = openRemoteState({
    maxAgeMs: answers.maxAgeMs,
    elapsed: () => performance.now(),
    async ask(known) {
      asked.push(known)
      await later(channel.thereMs)
      if (channel.hangs) await new Promise(() => undefined)
      const answer = structuredClone(answers.answer(known))
      await later(channel.backMs)
      return answer
    },
  })
  const sent: ToWorker[] = []
  const link = {
    get waiting() {
      return channel.waiting
    },
    send(message: ToWorker) {
      sent.push(message)
      void worker.look()
    },
  }
  answers.tell(new Set([{ link }]))
  const change = async (number: string, ageMs = 5) => {
    Object.assign(primary, { snapshot: snapshot(number), ageMs })
    for (const heard of heardOf) heard(primary.snapshot)
    await pass(0)
  }
  return { primary, worker, sent, asked, channel, change }
}

const pass = async (ms: number) => void (await vi.advanceTimersByTimeAsync(ms))

it('lets nobody in before there was an answer, and an answer of something', async () => {
  const { worker, change } = start()
  const never = 'the shared state has not been read yet; state.max_age allows 60 s'
  expect([worker.snapshot(), staleness(worker)]).toEqual([EMPTY, never])
  await pass(5_000)
  expect([worker.snapshot(), staleness(worker)]).toEqual([EMPTY, never])
  await change('1')
  expect([worker.snapshot().number, staleness(worker)]).toEqual(['1', undefined])
})

it('hears of each change at once, and of each once', async () => {
  const { worker, asked, change } = start()
  const heard: string[] = []
  worker.changed(({ number }) => heard.push(number))
  await change('1')
  await change('2')
  await pass(5_000)
  expect(heard).toEqual(['1', '2'])
  // It says which one it has, and gets no other copy of that.
  expect(asked).toEqual([0, 2, 3, 3, 3, 3, 3])
})

it('hears of one that comes while it asks', async () => {
  const { worker, channel, change } = start()
  await change('1')
  channel.backMs = 300
  void worker.look()
  await pass(10)
  await change('2')
  expect(worker.snapshot().number).toBe('1')
  await pass(600)
  expect(worker.snapshot().number).toBe('2')
})

it('is as old as the question, whatever the channel takes', async () => {
  const { primary, worker, channel, change } = start()
  await change('1', 0)
  Object.assign(channel, { thereMs: 400, backMs: 300 })
  primary.ageMs = 10_000
  void worker.look()
  await pass(700)
  expect(worker.ageMs()).toBe(10_700)
})

it('grows older while the primary can ask nobody, while it hangs, and while nothing comes through', async () => {
  const { primary, worker, channel, change } = start()
  await change('1', 0)
  primary.ageMs = 30_000
  await pass(1_000)
  expect(worker.ageMs()).toBe(30_000)
  channel.hangs = true
  await pass(30_000)
  expect(staleness(worker)).toBeUndefined()
  await pass(1)
  expect(staleness(worker)).toBe(
    'the shared state was last heard of 60 s ago; state.max_age allows 60 s',
  )
  // What it knows holds on.
  expect(worker.snapshot().number).toBe('1')
})

it('is not told while it takes nothing, and asks by itself when it does', async () => {
  const { worker, sent, channel, change } = start()
  await change('1')
  channel.waiting = 5
  sent.length = 0
  await change('2')
  expect([sent, worker.snapshot().number]).toEqual([[], '1'])
  await pass(1_000)
  expect(worker.snapshot().number).toBe('2')
})

it('grows old where somebody here cannot take a change, which is asked for again', async () => {
  const { worker, change } = start()
  await change('1', 0)
  let refusing = true
  worker.changed(() => {
    if (refusing) throw new Error('cannot')
  })
  await change('2', 0)
  await pass(3_000)
  expect(worker.ageMs()).toBeGreaterThanOrEqual(3_000)
  refusing = false
  await pass(1_000)
  expect(worker.ageMs()).toBeLessThan(1_000)
})
