/** What the metrics add up to: open things, and the sign-ins of the last hour with the time that they took. */
import { describe, expect, it } from 'vitest'
import type { Metric } from '../../src/peers/messages.ts'
import { openTally } from '../../src/telemetry/tally.ts'

const MINUTE_MS = 60_000

function world() {
  let nowMs = 1_000 * MINUTE_MS
  const tally = openTally(() => nowMs)
  return {
    tally,
    later: (minutes: number) => {
      nowMs += minutes * MINUTE_MS
    },
    count: (...metrics: Metric[]) => metrics.forEach(tally.count),
  }
}

const parts = { client: 10, issuer: 0, node: 20, gate: 5 }
const login = (ms: number, more: Partial<Extract<Metric, { name: 'login' }>> = {}): Metric => ({
  name: 'login',
  result: 'ok',
  seconds: ms / 1000,
  ...more,
})

it('knows what is open', () => {
  const { tally, count } = world()
  count({ name: 'connection_opened' }, { name: 'connection_opened' }, { name: 'worker_opened' })
  expect([tally.connections, tally.workers]).toEqual([2, 1])
  count({ name: 'connection_closed' }, { name: 'worker_ended', how: 'lost' })
  expect([tally.connections, tally.workers]).toEqual([1, 0])
})

describe('sign-ins', () => {
  it('are none to begin with', () => {
    const { count, perMinute, ...means } = world().tally.signIns()
    expect([count, perMinute.length, Math.max(...perMinute)]).toEqual([0, 60, 0])
    expect(means).toEqual({ meanMs: undefined, meanParts: undefined })
  })

  it('are those that had success, minute by minute, for an hour', () => {
    const { tally, count, later } = world()
    count(login(30), login(50), login(5_000, { result: 'invalid_token' }))
    later(1)
    count(login(40))
    expect(tally.signIns()).toMatchObject({ count: 3, meanMs: 40 })
    expect(tally.signIns().perMinute.slice(-2)).toEqual([2, 1])
    later(59)
    expect(tally.signIns()).toMatchObject({ count: 1, meanMs: 40 })
    later(1)
    expect(tally.signIns()).toMatchObject({ count: 0, meanMs: undefined })
  })

  it('say whom they waited for, where that is known', () => {
    const { tally, count } = world()
    count(login(1_000))
    expect(tally.signIns().meanParts).toBeUndefined()
    count(login(35, { parts }), login(55, { parts: { ...parts, node: 40 } }))
    expect(tally.signIns().meanParts).toEqual({ client: 10, issuer: 0, node: 30, gate: 5 })
  })
})
