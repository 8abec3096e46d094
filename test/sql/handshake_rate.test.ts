/** How many connections a second come from one range of addresses. */
import { describe, expect, it } from 'vitest'
import { openHandshakeRate, rangeOf } from '../../src/sql/handshake_rate.ts'

describe('a range of addresses', () => {
  it.each([
    ['192.0.2.7', '192.0.2.0/24'],
    ['::ffff:192.0.2.7', '192.0.2.0/24'],
    ['2001:db8:1:2::3', '2001:db8:1::/48'],
    ['fe80::1%eth0', 'fe80:0:0::/48'],
    ['::1', '0:0:0::/48'],
  ])('of %s is %s', (address, range) => {
    expect(rangeOf(address)).toBe(range)
  })
})

describe('its handshakes', () => {
  function open() {
    const clock = { ms: 1_000_000 }
    const metrics: unknown[] = []
    const rate = openHandshakeRate(
      () => clock.ms,
      (metric) => metrics.push(metric),
    )
    const refusal = (address: string, perSecond: number | undefined) => {
      try {
        rate(address, perSecond)
        return undefined
      } catch (thrown) {
        return thrown
      }
    }
    return { clock, refusal, metrics }
  }

  it('are so many a second; more are refused, and nobody elsewhere is', () => {
    const { clock, refusal, metrics } = open()
    expect([refusal('192.0.2.1', 2), refusal('192.0.2.2', 2)]).toEqual([undefined, undefined])
    expect(refusal('192.0.2.3', 2)).toMatchObject({
      code: 'too_many_from_address',
      log: 'handshakes of 192.0.2.0/24 in this second',
    })
    expect(refusal('192.0.3.1', 2)).toBe(undefined)
    clock.ms += 500
    expect(refusal('192.0.2.3', 2)).toBe(undefined)
    expect(refusal('192.0.2.3', 2)).toMatchObject({ code: 'too_many_from_address' })
    expect(metrics).toEqual(Array(2).fill({ name: 'throttled', reason: 'handshakes' }))
  })

  it('have no bound where there is none, and another one as soon as it is', () => {
    const { refusal } = open()
    for (let i = 0; i < 100; i++) expect(refusal('192.0.2.1', undefined)).toBe(undefined)
    expect(refusal('192.0.2.1', 1)).toBe(undefined)
    expect(refusal('192.0.2.1', 1)).toMatchObject({ code: 'too_many_from_address' })
    expect(refusal('192.0.2.1', 3)).toBe(undefined)
  })
})
