import { expect, it } from 'vitest'
import { slope } from './flat.ts'

const weighed = (...kib: number[]) =>
  kib.map((pssKib, at) => ({ logins: (at + 1) * 2_000, pssKib, heapKib: 7 }))

it.each([
  { kib: [100, 100, 100], expected: 0 },
  { kib: [100, 110, 120], expected: 5 },
  { kib: [120, 110, 100], expected: -5 },
  { kib: [100, 130, 100], expected: 0 },
])('finds $expected KiB a thousand sign-ins in $kib', ({ kib, expected }) => {
  expect(slope(weighed(...kib), 'pssKib')).toBeCloseTo(expected, 9)
  expect(slope(weighed(...kib), 'heapKib')).toBe(0)
})
