/** A claim's value becomes names: each as it is written in the token. */
import { expect, test } from 'vitest'
import { Failure } from '../../src/failure.ts'
import { principalNames } from '../../src/identity/claim.ts'

/** The names, or the code and DETAIL of the refusal. */
function read(payload: string, claim: string): string[] | [code: string, detail: string] {
  try {
    return principalNames(payload, JSON.parse(payload), claim)
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown
    return [thrown.code, thrown.detail ?? '']
  }
}

test.each<[string, string[]]>([
  ['"maxroach"', ['maxroach']],
  ['" maxroach "', [' maxroach ']],
  ['"max, carl"', ['max, carl']],
  ['"\\u0041\\n"', ['A\n']],
  ['["a", "b", "a"]', ['a', 'b', 'a']],
  ['[]', []],
  ['["", null]', []],
  ['["a", "", null, "b"]', ['a', 'b']],
  ['1', ['1']],
  ['0', ['0']],
  ['1.50', ['1.50']],
  ['1e400', ['1e400']],
  ['-0', ['-0']],
  ['1E+2', ['1E+2']],
  ['1234567', ['1234567']],
  ['113794436627259432046', ['113794436627259432046']],
  ['[113794436627259432046, "x", 1.0]', ['113794436627259432046', 'x', '1.0']],
  ['true', ['true']],
  ['false', ['false']],
  ['{"id": 12345678901234567890, "n": [1.0]}', ['{"id":12345678901234567890,"n":[1.0]}']],
  ['[["a"], {"b": 1}]', ['["a"]', '{"b":1}']],
  ['["1", 1]', ['1', '1']],
])('%s', (value, names) => {
  expect(read(`{"id": ${value}, "sub": "other"}`, 'id')).toEqual(names)
})

test.each<[string, string, string]>([
  ['{"id": "x"}', '', 'sub'],
  ['{"id": "x"}', 'sub', 'sub'],
  ['{"id": null}', 'id', 'id'],
  ['{"id": ""}', 'id', 'id'],
  ['{"user": {"name": "x"}}', 'user.name', 'user.name'],
  ['{"ID": "x"}', 'id', 'id'],
  ['{}', 'constructor', 'constructor'],
  ['{}', '__proto__', '__proto__'],
])('%s has no claim "%s"', (payload, claim, name) => {
  expect(read(payload, claim)).toEqual([
    'missing_claim',
    `token does not contain a claim for ${name}`,
  ])
})

test.each<[string, string, string]>([
  ['{"sub": "x"}', '', 'x'],
  ['{"user.name": "x"}', 'user.name', 'x'],
  ['{"https://idp.test/user": "x"}', 'https://idp.test/user', 'x'],
  ['{"__proto__": ["x"]}', '__proto__', 'x'],
  ['{"id": 1, "id": 2}', 'id', '2'],
  ['{"id": 1, "id": "2"}', 'id', '2'],
])('%s has one in "%s"', (payload, claim, name) => {
  expect(read(payload, claim)).toEqual([name])
})

test('what is nested too deeply is refused', () => {
  const deep = `${'['.repeat(40_000)}${']'.repeat(40_000)}`
  const refused = ['invalid_claim_value', 'the value of the claim id is nested too deeply']
  expect(read(`{"id": ${deep}}`, 'id')).toEqual(refused)
  expect(read(`{"id": "x", "other": ${deep}}`, 'id')).toEqual(['x'])
})
