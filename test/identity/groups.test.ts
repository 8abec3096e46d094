/** What a claim's groups are: CockroachDB's cases, and whatever else a claim may hold. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { readGroups } from '../../src/identity/groups.ts'

it.each<[what: string, value: unknown, groups: string[] | undefined]>([
  ['an array', ['owner', 'user'], ['owner', 'user']],
  ['letters of either case', ['Owner', 'uSER'], ['owner', 'user']],
  ['a text', 'USER', ['user']],
  ['commas, with spaces around', 'USER , owneR', ['user', 'owner']],
  ['spaces in the elements of an array', ['OwnerS', ' userS '], ['owners', 'users']],
  ['commas, one group twice', 'A,  b ,a', ['a', 'b']],
  ['spaces', 'Foo Bar baz', ['foo', 'bar', 'baz']],
  ['tabs and new lines', 'a\tb\n c', ['a', 'b', 'c']],
  ['an inner space where there is a comma', 'data team,ops', ['data team', 'ops']],
  ['an element with a comma is one group', ['a,b'], ['a,b']],
  ['nothing between commas', ',,a,,', ['a']],
  ['an empty array', [], []],
  ['an empty text', '', []],
  ['blank texts', ['', '  '], []],
  ['numbers', [7, -1, 1.5], ['7', '-1', '1.5']],
  ['numbers that are not exact', [2 ** 53 + 2, 1e21, '9007199254740993'], ['9007199254740993']],
  ['elements that are no texts', [null, true, {}, ['a'], 'b'], ['b']],
  ['no claim', undefined, undefined],
  ['null', null, undefined],
  ['an object', { a: 1 }, undefined],
  ['a number alone', 7, undefined],
  ['a truth', true, undefined],
  ['Turkish letters, as CockroachDB folds them', ['ADMİN'], ['admin']],
])('%s', (_what, value, groups) => {
  expect(readGroups(value, true)).toEqual(groups)
})

it('keeps the case of letters towards PostgreSQL', () => {
  expect(readGroups(['Owner', 'owner', ' Owner '], false)).toEqual(['Owner', 'owner'])
})

it('gives groups that are trimmed, not empty, and each once, whatever comes', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.boolean(), (value, foldCase) => {
      const groups = readGroups(value, foldCase)
      expect(groups !== undefined).toBe(typeof value === 'string' || Array.isArray(value))
      for (const group of groups ?? []) expect([group.trim(), group]).toEqual([group, group])
      expect(new Set(groups).size).toBe(groups?.length ?? 0)
      expect(groups ?? []).not.toContain('')
    }),
  )
})
