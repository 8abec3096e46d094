/** What looks make of a node's state, and when the next look is taken. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  isUnsettled,
  keepLooking,
  observed,
  type Seen,
  type State,
  UNSEEN,
} from '../../src/cluster/health.ts'

const PATIENCE = { downAfter: 3, upAfter: 2 }
const SEEN: Record<string, Seen> = { g: 'good', b: 'bad', d: 'draining' }

/** `bbb`: three bad looks, one after the other. */
function after(looks: string) {
  return [...looks].reduce(
    (health, look) => observed(health, SEEN[look] ?? 'good', PATIENCE),
    UNSEEN,
  )
}

describe('a node', () => {
  it.each<[string, State, boolean]>([
    ['', 'up', false],
    ['b', 'up', true],
    ['bb', 'up', true],
    ['bbb', 'down', false],
    ['bbgbb', 'up', true],
    ['bbbb', 'down', false],
    ['bbbg', 'down', true],
    ['bbbgbg', 'down', true],
    ['bbbgg', 'up', false],
    ['d', 'draining', false],
    ['dg', 'draining', true],
    ['dgg', 'up', false],
    ['dbb', 'draining', true],
    ['dbbb', 'down', false],
    ['bbbd', 'draining', false],
    ['bbd', 'draining', false],
    ['dgdg', 'draining', true],
  ])('after %j is %s', (looks, state, unsettled) => {
    expect(after(looks).state).toBe(state)
    expect(isUnsettled(after(looks))).toBe(unsettled)
  })

  it('changes by so many looks in a row, and by nothing less', () => {
    const looks = fc.array(fc.constantFrom<Seen>('good', 'bad'), { maxLength: 60 })
    fc.assert(
      fc.property(
        looks,
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 5 }),
        (all, downAfter, upAfter) => {
          let health = UNSEEN
          for (const [at, seen] of all.entries()) {
            const before = health.state
            health = observed(health, seen, { downAfter, upAfter })
            if (health.state === before) continue
            const needed = seen === 'bad' ? downAfter : upAfter
            expect(all.slice(Math.max(0, at + 1 - needed), at + 1)).toEqual(
              Array(needed).fill(seen),
            )
          }
        },
      ),
    )
  })
})

describe('looking', () => {
  function start(firstMs: number, delayMs: number) {
    let looks = 0
    let waiting: (() => void)[] = []
    let nowMs = 0
    const looking = keepLooking(
      async () => {
        looks++
        for (const wake of waiting.splice(0)) wake()
      },
      { firstMs, delayMs: () => delayMs, elapsed: () => nowMs },
    )
    const next = async () => {
      await new Promise<void>((resolve) => (waiting = [...waiting, resolve]))
      // Its end is a turn later.
      await new Promise((resolve) => setImmediate(resolve))
    }
    const pass = (ms: number) => {
      nowMs += ms
    }
    return { looking, next, pass, looks: () => looks }
  }

  it('goes on until it is stopped', async () => {
    const { looking, next, looks } = start(0, 5)
    await next()
    await next()
    await next()
    looking.stop()
    expect(looks()).toBe(3)
    looking.hurry()
    expect(looks()).toBe(3)
  })

  it('hurries when somebody asks, but not again at once', async () => {
    const { looking, pass, looks } = start(60_000, 60_000)
    looking.hurry()
    looking.hurry()
    expect(looks()).toBe(1)
    await new Promise((resolve) => setImmediate(resolve))
    looking.hurry()
    expect(looks()).toBe(1)
    pass(1_000)
    looking.hurry()
    expect(looks()).toBe(2)
    looking.stop()
  })
})
