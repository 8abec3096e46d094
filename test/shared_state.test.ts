/** The shared state as workers get it: nobody comes in by one whose settings they may not have. */
import { expect, it } from 'vitest'
import { holdBack } from '../src/shared_state.ts'
import { EMPTY, type StateSnapshot, staleness } from '../src/state/snapshot.ts'

function open(number: string) {
  let snapshot: StateSnapshot = { ...EMPTY, number }
  const listeners: ((heard: StateSnapshot) => void)[] = []
  const { view, release } = holdBack({
    snapshot: () => snapshot,
    ageMs: () => (snapshot.number === '' ? Number.POSITIVE_INFINITY : 5),
    maxAgeMs: 60_000,
    changed: (heard) => void listeners.push(heard),
  })
  const change = (next: string) => {
    snapshot = { ...EMPTY, number: next }
    for (const heard of listeners) heard(snapshot)
  }
  const letsIn = () => staleness(view) === undefined
  return { view, release, change, letsIn }
}

it('that was there before workers began is fresh', () => {
  const { letsIn, release } = open('1')
  expect(letsIn()).toBe(true)
  release()
  expect(letsIn()).toBe(true)
})

it('that is heard of while workers begin lets nobody in until they have its settings', () => {
  const { view, change, letsIn, release } = open('')
  change('1')
  expect(view.snapshot().number).toBe('1')
  expect([letsIn(), view.ageMs()]).toEqual([false, Number.POSITIVE_INFINITY])
  release()
  expect([letsIn(), view.ageMs()]).toEqual([true, 5])
})

it('nor does one that changes meanwhile; behind that, changes are in the order of their settings', () => {
  const { change, letsIn, release } = open('1')
  change('2')
  expect(letsIn()).toBe(false)
  release()
  change('3')
  expect(letsIn()).toBe(true)
})

it('that was never read is too old, whoever waits for it', () => {
  const { letsIn, release } = open('')
  release()
  expect(letsIn()).toBe(false)
})
