/** Which node a session goes to: properties of the choice, and shares as the weights say. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { best, type Candidate, compare } from '../../src/cluster/balance.ts'
import type { Health } from '../../src/cluster/health.ts'

const UP: Health = { state: 'up', good: 0, bad: 0 }
const SUSPECT: Health = { state: 'up', good: 0, bad: 1 }
const DRAINING: Health = { state: 'draining', good: 0, bad: 0 }
const DOWN: Health = { state: 'down', good: 0, bad: 3 }

const candidate = (more: Partial<Candidate> = {}): Candidate => ({
  health: UP,
  struck: false,
  near: true,
  priority: 0,
  weight: 1,
  sessions: 0,
  ...more,
})

const anyCandidate = fc.record({
  health: fc.constantFrom(UP, SUSPECT, DRAINING, DOWN),
  struck: fc.boolean(),
  near: fc.boolean(),
  priority: fc.nat(3),
  weight: fc.integer({ min: 1, max: 100 }),
  sessions: fc.nat(1_000),
})
const first = () => 0

describe('the choice', () => {
  it('is one of them, and none is better', () => {
    fc.assert(
      fc.property(fc.array(anyCandidate, { minLength: 1 }), fc.nat(), (all, seed) => {
        const chosen = best(all, (count) => seed % count)
        expect(all).toContain(chosen)
        for (const each of all) expect(compare(each, chosen as Candidate)).toBeGreaterThanOrEqual(0)
      }),
    )
  })

  it('is none of none', () => {
    expect(best([], first)).toBeUndefined()
  })

  it.each<[string, Partial<Candidate>, Partial<Candidate>]>([
    ['fewer sessions', { sessions: 1 }, { sessions: 2 }],
    ['sessions by weight', { sessions: 3, weight: 4 }, { sessions: 2, weight: 2 }],
    ['the heavier of two empty ones', { weight: 2 }, {}],
    ['a node of the locality', { sessions: 900 }, { near: false }],
    ['an SRV record of lower priority', { sessions: 900 }, { priority: 1 }],
    ['no failure just now', { sessions: 900, near: false }, { health: SUSPECT }],
    ['no session that failed lately', { sessions: 900, near: false }, { struck: true }],
    ['a failure over draining', { health: SUSPECT, near: false }, { health: DRAINING }],
    ['draining over down', { health: DRAINING, near: false }, { health: DOWN }],
    ['the locality over priority', { priority: 3 }, { near: false }],
  ])('prefers %s', (_name, better, worse) => {
    const [one, other] = [candidate(better), candidate(worse)]
    expect(best([one, other], first)).toBe(one)
    expect(best([other, one], first)).toBe(one)
  })

  it('gives equal ones the same chance', () => {
    const all = [1, 2, 3, 4].map((name) => ({ ...candidate(), name }))
    // Every way that the ties can fall, each once: 2 times 3 times 4.
    const won = new Map(all.map(({ name }) => [name, 0]))
    for (let way = 0; way < 24; way++) {
      let rest = way
      const chosen = best(all, (count) => {
        const fell = rest % count
        rest = Math.floor(rest / count)
        return fell
      })
      won.set(chosen?.name ?? 0, (won.get(chosen?.name ?? 0) ?? 0) + 1)
    }
    expect([...won.values()]).toEqual([6, 6, 6, 6])
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
        const chosen = best(all, first)
        if (chosen !== undefined) chosen.sessions++
      }
      expect(all.map(({ sessions }) => sessions)).toEqual(each.map((weight) => weight * rounds))
    }),
  )
})
