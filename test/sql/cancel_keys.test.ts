import { describe, expect, it } from 'vitest'
import {
  addressOf,
  type CancelTarget,
  isCancelKey,
  openCancelKeys,
  workerOf,
} from '../../src/sql/cancel_keys.ts'

const target = { key: 'nodekey!' } as CancelTarget
const HERE = '192.0.2.1'

describe('cancel keys', () => {
  it('find their session until it ends, and nothing else does', () => {
    const keys = openCancelKeys(0)
    const { key, revoke } = keys.issue(target, HERE, 0)
    expect(keys.find(Buffer.from(key), HERE)).toBe(target)
    for (let bit = 0; bit < 64; bit++) {
      const other = Buffer.from(key)
      other.writeUInt8(other.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      expect(keys.find(other, HERE)).toBeUndefined()
    }
    expect(keys.find(key.subarray(0, 7), HERE)).toBeUndefined()
    revoke()
    expect(keys.find(key, HERE)).toBeUndefined()
  })

  it.each([
    [0, 8],
    [1, 8],
    [2, 36],
  ])('of a client that speaks 3.%i have %i bytes', (minor, bytes) => {
    const keys = openCancelKeys(7)
    const { key } = keys.issue(target, HERE, minor)
    expect(key).toHaveLength(bytes)
    expect(keys.find(Buffer.from(key), HERE)).toBe(target)
    expect(keys.find(key.subarray(0, -1), HERE)).toBeUndefined()
    expect([isCancelKey(key), isCancelKey(key.subarray(1))]).toEqual([true, false])
  })

  it.each([0, 1, 255, 256, 4095])('carry the number of worker %i, and 52 random bits', (worker) => {
    const keys = openCancelKeys(worker)
    const issued = Array.from({ length: 200 }, () => keys.issue(target, HERE, 0).key)
    expect(new Set(issued.map(workerOf))).toEqual(new Set([worker]))
    // Every random bit was seen as 0 and as 1.
    const ones = issued.reduce((seen, key) => seen | key.readBigUInt64BE(), 0n)
    const zeros = issued.reduce((seen, key) => seen | ~key.readBigUInt64BE(), 0n)
    const random = (1n << 52n) - 1n
    expect(ones & random).toBe(random)
    expect(zeros & random).toBe(random)
  })

  it.each<[string, string, string, boolean]>([
    ['its own address', '192.0.2.1', '192.0.2.1', true],
    ['its own address in the other spelling', '192.0.2.1', '::ffff:192.0.2.1', true],
    ['another address', '192.0.2.1', '192.0.2.2', false],
    ['an address that begins the same', '192.0.2.1', '192.0.2.11', false],
    ['another address of its /64', '2001:db8::1', '2001:db8::2', false],
  ])('of eight bytes cancel from %s: longer ones from everywhere', (_name, at, from, same) => {
    const keys = openCancelKeys(1)
    const where = addressOf({ address: at })
    const [short, long] = [keys.issue(target, where, 0), keys.issue(target, where, 2)]
    expect(keys.find(short.key, addressOf({ address: from }))).toBe(same ? target : undefined)
    expect(keys.find(long.key, addressOf({ address: from }))).toBe(target)
  })

  it('of a unix socket are its own: no address is one', () => {
    const keys = openCancelKeys(1)
    const { key } = keys.issue(target, addressOf('unix'), 0)
    expect(keys.find(key, addressOf('unix'))).toBe(target)
    for (const from of ['', '127.0.0.1', '::1']) expect(keys.find(key, from)).toBeUndefined()
  })
})
