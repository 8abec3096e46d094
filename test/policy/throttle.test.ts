/** How long who failed has to wait, and whom that concerns. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Attempting, openThrottle, openThrottles } from '../../src/policy/throttle.ts'

const S = 1_000
const H = 3_600 * S
const carl = { proof: 'password' as const, cluster: 'main', user: 'carl', address: '192.0.2.1' }

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

describe('names that somebody makes up', () => {
  const made = (i: number, address = carl.address) => ({ ...carl, user: `made-up-${i}`, address })

  it('have nobody at the address forgotten, and are no more tries', () => {
    const { fail, settle, waitMs, remembered } = open()
    fail(0)
    let counted = 0
    for (let i = 0; i < 100_000; i++) if (settle(made(i), 0, 'failed', 0)) counted++
    expect([counted, remembered(), waitMs(carl, 0)]).toEqual([64, 65, S])
  })

  it('wait together from the sixty-fifth on, the longer the more of them fail', () => {
    const { fail, waitMs } = open()
    for (let i = 0; i < 64; i++) expect(fail(0, made(i))).toBe(S)
    expect(waitMs(made(64), 0)).toBe(0)
    expect([fail(0, made(64)), waitMs(made(65), 0)]).toEqual([S, S])
    expect([fail(S, made(65)), waitMs(made(66), S), waitMs(made(0), S)]).toEqual([2 * S, 2 * S, 0])
    expect(waitMs(made(64, '192.0.2.2'), S)).toBe(0)
  })

  it('keep nobody from coming in who came in within the hour', () => {
    const { settle, waitMs } = open()
    settle(carl, 0, 'proved', 0)
    for (let i = 0; i < 100; i++) settle(made(i), 0, 'failed', 0)
    expect([waitMs(made(100), 0), waitMs(carl, 0)]).toEqual([S, 0])
    expect([settle(carl, 0, 'proved', 500), waitMs(carl, 500)]).toEqual([true, 0])
  })

  it('do so until a day after the last of them, somebody’s coming in or not', () => {
    const { settle, waitMs, fail, remembered } = open()
    for (let i = 0; i < 65; i++) fail(0, made(i))
    settle(made(0), S, 'proved', S)
    expect([fail(S, made(70)), remembered()]).toEqual([2 * S, 64])
    const late = S + H + 24 * H
    expect([waitMs(made(70), late - 1), remembered()]).toEqual([0, 1])
    expect([waitMs(made(70), late), remembered()]).toEqual([0, 0])
    expect(fail(late, made(70))).toBe(S)
  })
})

it('with tokens, names that somebody makes up make nobody else wait, and no password either', () => {
  const { settle, waitMs } = openThrottles({ firstMs: S, maxMs: H })
  const token = { ...carl, proof: 'token' as const }
  for (let i = 0; i < 1_000; i++) settle({ ...token, user: `made-up-${i}` }, 0, 'failed', 0)
  expect([waitMs(token, 0), waitMs(carl, 0)]).toEqual([0, 0])
  expect([settle(token, 0, 'failed', 0), waitMs(token, 0), waitMs(carl, 0)]).toEqual([true, S, 0])
})

it('an attempt that was neither right nor wrong counts, and changes nothing', () => {
  const { settle, waitMs, fail } = open()
  expect([settle(carl, 0, 'unclear', 0), waitMs(carl, 0)]).toEqual([true, 0])
  fail(0)
  expect([settle(carl, 0, 'unclear', 10), waitMs(carl, 10)]).toEqual([false, 990])
})

describe('whatever happens', () => {
  const users = ['u0', 'u1', 'u2', 'u3', 'u4', 'u5']
  const bounds = { rememberedMax: 9, usersMax: 2 }
  const step = fc.record({
    user: fc.constantFrom(...users),
    address: fc.constantFrom('a', 'b', 'c'),
    outcome: fc.constantFrom('failed', 'failed', 'failed', 'proved', 'unclear'),
    /** How much later it is. */
    passed: fc.oneof(
      { weight: 30, arbitrary: fc.nat(100) },
      { weight: 6, arbitrary: fc.nat(4 * S) },
      { weight: 1, arbitrary: fc.nat(2 * H) },
      { weight: 1, arbitrary: fc.nat(50 * H) },
    ),
    /** How long ago it began. */
    under: fc.oneof(fc.constant(0), fc.nat(5 * S)),
  } as const)

  it('a wait ends for nobody before its time, by what others do at as many addresses as there is room for', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 100 }), (steps) => {
        const { settle, waitMs, remembered } = openThrottle({ firstMs: S, maxMs: H }, bounds)
        const waiting = new Map<string, { who: Attempting; untilMs: number }>()
        let now = 0
        for (const { user, address, outcome, passed, under } of steps) {
          now += passed
          const who = { proof: 'password' as const, cluster: 'main', user, address }
          const name = `${address} ${user}`
          const before = waitMs(who, now)
          const began = Math.max(0, now - under)
          const counts = settle(who, began, outcome, now)
          if (before > 0) expect(counts).toBe(false)
          if (counts && outcome === 'proved') waiting.delete(name)
          if (counts && outcome === 'failed')
            waiting.set(name, { who, untilMs: now + waitMs(who, now) })
          for (const each of waiting.values())
            expect(waitMs(each.who, now)).toBeGreaterThanOrEqual(each.untilMs - now)
          expect(waitMs(who, now)).toBeLessThanOrEqual(H)
          expect(remembered()).toBeLessThanOrEqual(bounds.rememberedMax)
        }
      }),
    )
  })

  it('one address has so many tries and no more, however many names and tries at once', () => {
    const attack = fc.record({ name: fc.nat(30), passed: fc.nat(2 * S), hangs: fc.nat(8) })
    fc.assert(
      fc.property(fc.array(attack, { minLength: 50, maxLength: 300 }), (steps) => {
        const { settle, waitMs } = openThrottle({ firstMs: S, maxMs: H }, bounds)
        const under: { who: Attempting; beganMs: number; endsAt: number }[] = []
        let [now, tries] = [0, 0]
        for (const [at, { name, passed, hangs }] of steps.entries()) {
          now += passed
          const who = {
            proof: 'password' as const,
            cluster: 'main',
            user: `made-up-${name}`,
            address: 'a',
          }
          if (waitMs(who, now) === 0) under.push({ who, beganMs: now, endsAt: at + hangs })
          for (const each of under.filter(({ endsAt }) => endsAt === at))
            if (settle(each.who, each.beganMs, 'failed', now)) tries++
        }
        const ofEach = Math.floor(Math.log2(now / S + 1)) + 1
        expect(tries).toBeLessThanOrEqual((bounds.usersMax + 1) * ofEach)
      }),
    )
  })

  it('no more is remembered than there is room for, the latest', () => {
    const { settle, waitMs, remembered } = openThrottle({ firstMs: S, maxMs: H }, bounds)
    const from = (at: number) => ({ ...carl, address: `a${at}` })
    for (let at = 0; at < 100; at++) settle(from(at), 0, 'failed', 0)
    expect([remembered(), waitMs(from(90), 0), waitMs(from(91), 0)]).toEqual([9, 0, S])
  })
})
