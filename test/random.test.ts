import { expect, it } from 'vitest'
import { openRandomBytes } from '../src/random.ts'

it('gives as many bytes as are asked for, and none twice', () => {
  const randomBytes = openRandomBytes()
  const given = Array.from({ length: 2_000 }, (_, at) => randomBytes(8 + (at % 29)))
  expect(given.map(({ length }) => length)).toEqual(given.map((_, at) => 8 + (at % 29)))
  const seen = new Set(given.map((bytes) => bytes.toString('hex', 0, 8)))
  expect(seen.size).toBe(given.length)
})

it('gives memory that nobody else has', () => {
  const randomBytes = openRandomBytes()
  const [first, second] = [randomBytes(16), randomBytes(16)]
  const before = second.toString('hex')
  first.fill(0)
  expect(second.toString('hex')).toBe(before)
})

it('gives a block whole, and the next one', () => {
  const randomBytes = openRandomBytes()
  expect(randomBytes(4096).equals(randomBytes(4096))).toBe(false)
})
