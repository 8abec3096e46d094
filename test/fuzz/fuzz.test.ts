/** The short run of the fuzzing, some hundred cases a target; `npm run fuzz` is the long one. */
import { randomInt } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { TARGETS } from './targets.ts'

/** Those that take more than a millisecond a case. */
const SLOW =
  /^(?:config\/(?:values|yaml)|token\/contents|issuer\/(?:get|issuer)$|gates\/|session\/)/

describe('holds, whatever comes', () => {
  test.each(TARGETS.map((target) => [target.name, target] as const))('%s', async (name, target) => {
    const open = await target.open()
    try {
      const cases = SLOW.test(name) ? 25 : 200
      expect(await open.check({ seed: randomInt(2 ** 31), cases })).toBeUndefined()
    } finally {
      await open.close()
    }
  })
})

test('every target has a name of its own, and its room in front', () => {
  const names = TARGETS.map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
  expect(names.filter((name) => !/^[a-z]+\/[a-z_]+$/.test(name))).toEqual([])
})
