/** Numbers, spans and moments, as people read them. */
import { describe, expect, it } from 'vitest'
import { asText } from '../../src/ops/html.ts'
import { clock, counted, day, fromNow, moment, number, short, span } from '../../src/ops/words.ts'

const S = 1_000
const MIN = 60 * S
const H = 60 * MIN
const DAY = 24 * H

it.each([
  [0, '0 ms'],
  [0.4, '0 ms'],
  [999, '999 ms'],
  [999.7, '1 s'],
  [1 * S, '1 s'],
  [2_340, '2.3 s'],
  [9_960, '10 s'],
  [59 * S, '59 s'],
  [59_700, '1 min'],
  [60 * S, '1 min'],
  [61 * S, '1 min 1 s'],
  [12 * MIN + 5 * S, '12 min'],
  [80 * MIN, '1 h 20 min'],
  [11 * H + 5 * MIN, '11 h'],
  [DAY, '1 day'],
  [8.9 * DAY, '8 days'],
  [Number.POSITIVE_INFINITY, 'for ever'],
])('%d ms are %s', (ms, said) => {
  expect(span(ms)).toBe(said)
})

describe('a moment', () => {
  const now = Date.UTC(2026, 10, 23, 8, 40, 12, 500)

  it.each([
    [now, 'now'],
    [now - 4 * MIN, '4 min ago'],
    [now + 8 * DAY, 'in 8 days'],
  ])('%d is %s', (at, said) => {
    expect(fromNow(at, now)).toBe(said)
  })

  it('has its exact time with it', () => {
    expect(asText(moment(now - S, now))).toBe(
      '<time datetime="2026-11-23T08:40:11.500Z">1 s ago</time>',
    )
    expect([day(now), clock(now)]).toEqual(['2026-11-23', '2026-11-23 08:40:12'])
  })

  it('may be one that no date can say', () => {
    expect(day(Number.NaN)).toBe('9999-12-31')
  })
})

it('counts', () => {
  expect([number(12_345), counted(1, 'node'), counted(2_000, 'entry', 'entries')]).toEqual([
    '12,345',
    '1 node',
    '2,000 entries',
  ])
})

it('cuts what is long', () => {
  expect([short('abc', 3), short('abcd', 3)]).toEqual(['abc', 'ab…'])
})
