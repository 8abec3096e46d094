/** Which node a session goes to: properties of the choice, and shares as the weights say. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { best, type Candidate, loadOf, rankOf } from '../../src/cluster/balance.ts'
import type { Health } from '../../src/cluster/health.ts'

const UP: Health = { state: 'up', good: 0, bad: 0 }
const SUSPECT: Health = { state: 'up', good: 0, bad: 1 }
const DRAINING: Health = { state: 'draining', good: 0, bad: 0 }
const DOWN: Health = { state: 'down', good: 0, bad: 3 }

const candidate = (more: Partial<Candidate> = {}): Candidate => ({
  health: UP,
  struckUntilMs: 0,
  near: true,
  priority: 0,
  weight: 1,
  sessions: 0,
  standby: undefined,
  ...more,
})

const anyCandidate = fc.record({
  health: fc.constantFrom(UP, SUSPECT, DRAINING, DOWN),
  struckUntilMs: fc.nat(200),
  near: fc.boolean(),
  priority: fc.nat(3),
  weight: fc.integer({ min: 1, max: 100 }),
  sessions: fc.nat(1_000),
  standby: fc.constantFrom(true, false, undefined),
})
const first = () => 0
const nowMs = 100
const ANY = { primary: false, except: new Set<Candidate>(), nowMs }

describe('the choice', () => {
  it('is one of those that were not tried, and none of them is better', () => {
    const some = fc.array(anyCandidate, { minLength: 1 })
    fc.assert(
      fc.property(some, fc.nat(), fc.nat(5), fc.boolean(), (all, seed, tried, primary) => {
        const choice = { primary, except: new Set(all.slice(0, tried)), nowMs }
        const left = all.slice(tried)
        const chosen = best(all, choice, (count) => seed % count)
        if (left.length === 0) {
          expect(chosen).toBeUndefined()
          return
        }
        expect(left).toContain(chosen)
        const [rank, load] = [rankOf(chosen as Candidate, choice), loadOf(chosen as Candidate)]
        for (const each of left) {
          expect(rankOf(each, choice)).toBeGreaterThanOrEqual(rank)
          if (rankOf(each, choice) === rank) expect(loadOf(each)).toBeGreaterThanOrEqual(load)
        }
      }),
    )
  })

  it.each<[string, Partial<Candidate>, Partial<Candidate>]>([
    ['fewer sessions', { sessions: 1 }, { sessions: 2 }],
    ['sessions by weight', { sessions: 3, weight: 4 }, { sessions: 2, weight: 2 }],
    ['the heavier of two empty ones', { weight: 2 }, {}],
    ['a node of the locality', { sessions: 900 }, { near: false }],
    ['an SRV record of lower priority', { sessions: 900 }, { priority: 1 }],
    ['no failure just now', { sessions: 900, near: false }, { health: SUSPECT }],
    ['no session that failed lately', { sessions: 900, near: false }, { struckUntilMs: nowMs + 1 }],
    ['a failure over draining', { health: SUSPECT, near: false }, { health: DRAINING }],
    ['draining over down', { health: DRAINING, near: false }, { health: DOWN }],
    ['the locality over priority', { priority: 65_535 }, { near: false }],
  ])('prefers %s', (_name, better, worse) => {
    const [one, other] = [candidate(better), candidate(worse)]
    expect(best([one, other], ANY, first)).toBe(one)
    expect(best([other, one], ANY, first)).toBe(one)
  })

  it.each<[string, Partial<Candidate>, Partial<Candidate>]>([
    ['a primary', { health: SUSPECT, near: false, standby: false }, { standby: true }],
    ['one to one of which it is not known', { standby: false }, {}],
    ['one that drains to one that is down', { health: DRAINING }, { health: DOWN }],
    ['even one that is down to a standby', { health: DOWN, standby: false }, { standby: true }],
  ])('prefers, where writes are wanted, %s', (_name, better, worse) => {
    const [one, other] = [candidate(better), candidate(worse)]
    expect(best([other, one], { ...ANY, primary: true }, first)).toBe(one)
  })

  it('gives equal ones the same chance', () => {
    const equals = [1, 2, 3, 4].map(() => candidate())
    const all = [candidate({ sessions: 1 }), ...equals, candidate({ sessions: 2 })]
    const chosen = equals.map((_, way) =>
      best(all, ANY, (count) => {
        expect(count).toBe(equals.length)
        return way
      }),
    )
    expect(chosen).toEqual(equals)
    expect(new Set(chosen).size).toBe(equals.length)
  })
})

it('shares are as the weights', () => {
  const weights = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 })
  fc.assert(
    fc.property(weights, (each) => {
      const all = each.map((weight) => candidate({ weight }))
      const rounds = 10
      const total = rounds * each.reduce((sum, weight) => sum + weight, 0)
      for (let at = 0; at < total; at++) {
        const chosen = best(all, ANY, first)
        if (chosen !== undefined) chosen.sessions++
      }
      expect(all.map(({ sessions }) => sessions)).toEqual(each.map((weight) => weight * rounds))
    }),
  )
})
