/** How long who failed has to wait, and whom that concerns. */
import { describe, expect, it } from 'vitest'
import { openThrottle } from '../../src/policy/throttle.ts'

const S = 1_000
const H = 3_600 * S
const carl = { cluster: 'main', user: 'carl', address: '192.0.2.1' }

function open() {
  const throttle = openThrottle({ firstMs: S, maxMs: H })
  /** Tries as soon as it may, and fails. @returns the wait that it cost. */
  const fail = (nowMs: number, who = carl) => {
    expect(throttle.settle(who, nowMs, 'failed', nowMs)).toBe(true)
    return throttle.waitMs(who, nowMs)
  }
  return { ...throttle, fail }
}

describe('who failed', () => {
  it('waits a second, twice as long each time, an hour at most', () => {
    const { fail, waitMs } = open()
    const waits: number[] = []
    let now = 0
    for (let i = 0; i < 14; i++) {
      waits.push(fail(now))
      now += waitMs(carl, now)
    }
    expect(waits.slice(0, 12).map((ms) => ms / S)).toEqual(
      Array.from({ length: 12 }, (_, i) => 2 ** i),
    )
    expect(waits.slice(12)).toEqual([H, H])
  })

  it('may try when the wait is over', () => {
    const { fail, waitMs } = open()
    fail(0)
    expect([waitMs(carl, 999), waitMs(carl, 1_000)]).toEqual([1, 0])
  })

  it.each([
    ['user', { ...carl, user: 'maxroach' }],
    ['address', { ...carl, address: '192.0.2.2' }],
    ['cluster', { ...carl, cluster: 'spare' }],
  ])('is no other %s', (_, other) => {
    const { fail, waitMs } = open()
    fail(0)
    expect(waitMs(other, 0)).toBe(0)
  })
})

describe('guesses side by side', () => {
  it('are one: when it failed, what the others proved counts for nothing', () => {
    const { settle, waitMs } = open()
    expect(settle(carl, 0, 'failed', 100)).toBe(true)
    expect(settle(carl, 0, 'proved', 200)).toBe(false)
    expect(settle(carl, 0, 'failed', 200)).toBe(false)
    expect(waitMs(carl, 200)).toBe(900)
  })

  it('that begin when the wait is over count', () => {
    const { settle } = open()
    settle(carl, 0, 'failed', 100)
    expect(settle(carl, 1_100, 'proved', 1_200)).toBe(true)
  })
})

describe('who came in', () => {
  it('is not made to wait by who fails beside him, for an hour', () => {
    const { settle, waitMs } = open()
    settle(carl, 0, 'proved', 0)
    for (let i = 0; i < 20; i++) settle(carl, 10, 'failed', 10)
    expect(waitMs(carl, 10)).toBe(0)
    expect(settle(carl, 5, 'proved', 10)).toBe(true)
  })

  it('is again like others when the hour is over, whoever failed meanwhile', () => {
    const { settle, fail } = open()
    settle(carl, 0, 'proved', 0)
    for (let i = 0; i < 20; i++) settle(carl, 10, 'failed', 10)
    expect(fail(H)).toBe(S)
  })

  it('clears what he failed before', () => {
    const { settle, fail } = open()
    fail(0)
    fail(S)
    settle(carl, 3 * S, 'proved', 3 * S)
    expect(fail(3 * S + H)).toBe(S)
  })
})

it('remembers no more than it has room for', () => {
  const { fail, waitMs } = open()
  fail(0)
  for (let i = 0; i < 100_000; i++) fail(0, { ...carl, address: `a${i}` })
  expect(waitMs(carl, 0)).toBe(0)
})
