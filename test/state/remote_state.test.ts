/** What a worker has of the shared state: what its primary told it, and how old that is by now. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { ToWorker } from '../../src/peers/messages.ts'
import { startStateRounds } from '../../src/peers/state_rounds.ts'
import { openRemoteState, type StateMessage } from '../../src/state/remote_state.ts'
import { demandFresh, EMPTY, type StateSnapshot } from '../../src/state/snapshot.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const snapshot = (number: string): StateSnapshot => ({ ...EMPTY, number })

/** A primary whose state is as a test says, and a worker that takes what it is sent. */
function start() {
  const primary = { snapshot: EMPTY, ageMs: Number.POSITIVE_INFINITY }
  let changed: (snapshot: StateSnapshot) => void = () => undefined
  const clock = { ms: 0 }
  const worker = openRemoteState({ maxAgeMs: 60_000 }, () => clock.ms)
  const sent: ToWorker[] = []
  const link = {
    waiting: 0,
    send(message: ToWorker) {
      sent.push(message)
      worker.take(message as StateMessage)
    },
  }
  const workers = new Set([{ link: link as never }])
  const stop = startStateRounds(workers, {
    snapshot: () => primary.snapshot,
    ageMs: () => primary.ageMs,
    maxAgeMs: 60_000,
    changed: (heard) => (changed = heard),
  })
  const change = (number: string, ageMs = 5) => {
    Object.assign(primary, { snapshot: snapshot(number), ageMs })
    changed(primary.snapshot)
  }
  return { primary, clock, worker, workers, sent, link, stop, change }
}

it('is told nothing before there is anything, and lets nobody in until then', () => {
  const { worker, sent, change } = start()
  vi.advanceTimersByTime(5_000)
  expect([sent, worker.ageMs()]).toEqual([[], Number.POSITIVE_INFINITY])
  expect(() => demandFresh(worker)).toThrow('the gate lets nobody in at the moment')
  change('1')
  expect([worker.snapshot().number, worker.ageMs()]).toEqual(['1', 5])
  expect(() => demandFresh(worker)).not.toThrow()
})

it('hears of each change once, at once', () => {
  const { worker, change } = start()
  const heard: string[] = []
  worker.changed(({ number }) => heard.push(number))
  change('1')
  change('2')
  vi.advanceTimersByTime(5_000)
  expect(heard).toEqual(['1', '2'])
})

it('grows older while the primary can ask nobody, and while it says nothing', () => {
  const { primary, clock, worker, stop, change } = start()
  change('1')
  primary.ageMs = 30_000
  vi.advanceTimersByTime(1_000)
  expect(worker.ageMs()).toBe(30_000)
  stop()
  clock.ms += 30_001
  vi.advanceTimersByTime(30_001)
  expect(worker.ageMs()).toBe(60_001)
  expect(() => demandFresh(worker)).toThrow('at the moment')
})

it('comes to a new worker, too, and to a slow one when it listens again', () => {
  const { workers, sent, link, worker, change } = start()
  change('1')
  const late: ToWorker[] = []
  workers.add({ link: { waiting: 0, send: (message: ToWorker) => late.push(message) } as never })
  vi.advanceTimersByTime(100)
  expect(late).toMatchObject([{ kind: 'guard', snapshot: { number: '1' } }])
  link.waiting = 5
  sent.length = 0
  change('2')
  vi.advanceTimersByTime(3_000)
  // It is not told either that the one it has is fresh.
  expect([sent, worker.snapshot().number]).toEqual([[], '1'])
  link.waiting = 0
  vi.advanceTimersByTime(100)
  expect(worker.snapshot().number).toBe('2')
})
