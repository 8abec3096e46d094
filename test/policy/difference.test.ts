/** What came and what went: with it the one list becomes the other, and in a list that kept its order it is little. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { difference } from '../../src/policy/difference.ts'

const same = (one: number, other: number) => one === other
const sorted = (list: readonly number[]) => list.toSorted((one, other) => one - other)
const few = fc.array(fc.nat(5), { maxLength: 12 })

it('makes the one list the other', () => {
  fc.assert(
    fc.property(few, few, (before, after) => {
      const { gone, come } = difference(before, after, same, String)
      const left = [...before]
      for (const each of gone) left.splice(left.indexOf(each), 1)
      expect(sorted([...left, ...come])).toEqual(sorted(after))
    }),
  )
})

it.each<[string, number[], number[], number[], number[]]>([
  ['nothing', [1, 2, 3], [1, 2, 3], [], []],
  ['one that came', [1, 2, 4], [1, 2, 3, 4], [], [3]],
  ['one that went', [1, 2, 3, 4], [1, 3, 4], [2], []],
  ['one in the place of another', [1, 2, 3], [1, 9, 3], [2], [9]],
  ['two far apart', [1, 2, 3, 4, 5, 6], [2, 3, 4, 9, 5, 6], [1], [9]],
  ['nothing, where they are in another order', [1, 2, 3], [3, 1, 2], [], []],
  ['one of two that are the same', [1, 2, 2, 3], [2, 3, 1], [2], []],
  ['the first of them', [], [1, 2], [], [1, 2]],
  ['all of them', [1, 2], [], [1, 2], []],
])('is %s', (_, before, after, gone, come) => {
  expect(difference(before, after, same, String)).toEqual({ gone, come })
})
