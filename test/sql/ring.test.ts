/** Sessions in a ring: each is judged once after a change, and in time, however often something changes. */
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openRing } from '../../src/sql/ring.ts'

/** A clock on which each look at it takes a millisecond: two or three are judged in a turn. */
function slow() {
  let ms = 0
  return () => ms++
}

const MEMBERS = 100

function start(judge: (each: number) => void) {
  const ring = openRing<number>(judge, slow())
  for (let each = 0; each < MEMBERS; each++) ring.enter(each)
  return ring
}

describe('after a change', () => {
  it('each of them is judged, once', async () => {
    const judged: number[] = []
    const ring = start((each) => judged.push(each))
    ring.changed()
    for (let turns = 0; judged.length < MEMBERS; turns++) {
      expect(turns).toBeLessThan(MEMBERS)
      await turn()
    }
    await turn()
    expect(judged.toSorted((one, other) => one - other)).toEqual([...Array(MEMBERS).keys()])
  })

  it('others have their turn meanwhile', () => {
    const judged: number[] = []
    start((each) => judged.push(each)).changed()
    expect(judged.length).toBeLessThan(5)
  })

  it('those who come are not, and those who leave are not', async () => {
    const judged: number[] = []
    const ring = start((each) => judged.push(each))
    ring.changed()
    ring.enter(MEMBERS)
    ring.leave(MEMBERS - 1)
    for (let turns = 0; turns < MEMBERS; turns++) await turn()
    expect(judged).toEqual([...Array(MEMBERS - 1).keys()])
  })
})

it('while something changes all the time, each is judged by a change at most a round ago', async () => {
  const last = new Map<number, number>()
  let turns = 0
  const ring = start((each) => last.set(each, turns))
  for (; turns < 4 * MEMBERS; turns++) {
    ring.changed()
    await turn()
    if (turns > MEMBERS)
      for (let each = 0; each < MEMBERS; each++)
        expect(turns - (last.get(each) ?? 0)).toBeLessThanOrEqual(MEMBERS)
  }
})

it('whoever may not stay is judged no more', async () => {
  let judged = 0
  const ring = openRing<number>((each) => {
    judged++
    ring.leave(each)
  }, slow())
  for (let each = 0; each < MEMBERS; each++) ring.enter(each)
  ring.changed()
  for (let turns = 0; turns < MEMBERS; turns++) await turn()
  ring.changed()
  await turn()
  expect(judged).toBe(MEMBERS)
})

it('whatever happens meanwhile, in the end each of them was judged after the last change', async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constantFrom('enter', 'leave'), who: fc.nat(20) }),
    fc.constantFrom({ kind: 'changed', who: 0 }, { kind: 'turn', who: 0 }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.nat(20), async (steps, unwanted) => {
      /** By the change at which each came in, or was judged last. */
      const seen = new Map<number, number>()
      let change = 0
      const ring = openRing<number>((each) => {
        expect(seen.has(each)).toBe(true)
        seen.set(each, change)
        if (each !== unwanted) return
        ring.leave(each)
        seen.delete(each)
      }, slow())
      for (const { kind, who } of steps) {
        if (kind === 'enter' && !seen.has(who)) {
          seen.set(who, change)
          ring.enter(who)
        } else if (kind === 'leave' && seen.delete(who)) ring.leave(who)
        else if (kind === 'turn') await turn()
        else if (kind === 'changed') {
          change++
          ring.changed()
        }
      }
      for (let turns = 0; turns < 25; turns++) await turn()
      expect([...seen.values()].every((by) => by === change)).toBe(true)
    }),
    { numRuns: 100 },
  )
})
