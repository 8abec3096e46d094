import { expect, it } from 'vitest'
import { slope } from './flat.ts'

const weighed = (...kib: number[]) =>
  kib.map((pssKib, at) => ({ logins: (at + 1) * 2_000, pssKib, heapKib: 7 }))

it.each([
  { kib: [100, 100, 100], expected: 0, noise: 0 },
  { kib: [100, 110, 120], expected: 5, noise: 0 },
  { kib: [120, 110, 100], expected: -5, noise: 0 },
  { kib: [100, 130, 100], expected: 0, noise: 10 * Math.sqrt(3) },
])('finds $expected KiB a thousand sign-ins in $kib', ({ kib, expected, noise }) => {
  const { median, least, most } = slope(weighed(...kib), 'pssKib')
  expect(median).toBeCloseTo(expected, 9)
  expect([least, most]).toEqual([
    expect.closeTo(expected - noise, 9),
    expect.closeTo(expected + noise, 9),
  ])
  expect(slope(weighed(...kib), 'heapKib').median).toBe(0)
})
