import { describe, expect, it } from 'vitest'
import type { CancelTarget } from '../../src/sql/cancel_keys.ts'
import { openCancelKeys } from '../../src/sql/cancel_keys.ts'

const target = { key: Buffer.from('nodekey!') } as CancelTarget

describe('cancel keys', () => {
  it('find their session until it ends, and nothing else does', () => {
    const keys = openCancelKeys(0)
    const { key, revoke } = keys.issue(target, 0)
    expect(keys.find(Buffer.from(key))).toBe(target)
    for (let bit = 0; bit < 64; bit++) {
      const other = Buffer.from(key)
      other.writeUInt8(other.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      expect(keys.find(other)).toBeUndefined()
    }
    expect(keys.find(key.subarray(0, 7))).toBeUndefined()
    revoke()
    expect(keys.find(key)).toBeUndefined()
  })

  it.each([
    [0, 8],
    [1, 8],
    [2, 36],
  ])('of a client that speaks 3.%i have %i bytes', (minor, bytes) => {
    const keys = openCancelKeys(7)
    const { key } = keys.issue(target, minor)
    expect(key).toHaveLength(bytes)
    expect(keys.find(Buffer.from(key))).toBe(target)
    expect(keys.find(key.subarray(0, -1))).toBeUndefined()
    expect(keys.isOurs(key)).toBe(true)
  })

  it.each([0, 1, 255, 256, 4095])('carry the number of worker %i, and 52 random bits', (worker) => {
    const keys = openCancelKeys(worker)
    const issued = Array.from({ length: 200 }, () => keys.issue(target, 0).key)
    for (const key of issued) {
      expect(keys.isOurs(key)).toBe(true)
      expect(openCancelKeys((worker + 1) & 0xfff).isOurs(key)).toBe(false)
    }
    // Every random bit was seen as 0 and as 1.
    const ones = issued.reduce((seen, key) => seen | key.readBigUInt64BE(), 0n)
    const zeros = issued.reduce((seen, key) => seen | ~key.readBigUInt64BE(), 0n)
    const random = (1n << 52n) - 1n
    expect(ones & random).toBe(random)
    expect(zeros & random).toBe(random)
  })
})
