/** How often something may be done for each of many: so many times at once, then at a rate, in bounded memory. */
import { describe, expect, it } from 'vitest'
import { openTokenBuckets } from '../../src/sql/token_bucket.ts'

function open(bucketsMax?: number) {
  const clock = { ms: 1_000_000 }
  const may = openTokenBuckets({ atOnce: 5, perSecond: 2 }, () => clock.ms, bucketsMax)
  const many = (name: string, tries = 20) => Array.from({ length: tries }, () => may(name))
  const times = (name: string, tries?: number) => many(name, tries).filter((each) => each).length
  return { clock, times }
}

describe('a token bucket', () => {
  it('holds so many, and is filled at its rate up to that', () => {
    const { clock, times } = open()
    expect(times('one')).toBe(5)
    clock.ms += 499
    expect(times('one')).toBe(0)
    clock.ms += 1
    expect(times('one')).toBe(1)
    clock.ms += 1_500
    expect(times('one')).toBe(3)
    clock.ms += 3_600_000
    expect(times('one')).toBe(5)
  })

  it('is everybody’s own', () => {
    const { times } = open()
    expect([times('one'), times('two'), times('one')]).toEqual([5, 5, 0])
  })

  it('is not filled by a clock that is set back, and fills again from there', () => {
    const { clock, times } = open()
    times('one')
    clock.ms -= 3_600_000
    expect(times('one')).toBe(0)
    clock.ms += 1_000
    expect(times('one')).toBe(2)
  })

  it('is not filled less by who tries in between', () => {
    const { clock, times } = open()
    times('one')
    let had = 0
    for (let tries = 0; tries < 10; tries++) {
      clock.ms += 100
      had += times('one', 1)
    }
    expect(had).toBe(2)
  })

  it('is forgotten where there are too many, the one that was not there for longest first', () => {
    const { times } = open(2)
    for (const name of ['one', 'two', 'one']) times(name)
    expect(times('three')).toBe(5)
    expect([times('one'), times('two')]).toEqual([0, 5])
  })
})
