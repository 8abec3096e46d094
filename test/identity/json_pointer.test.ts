import { describe, expect, it } from 'vitest'
import { Failure } from '../../src/failure.ts'
import { principalNames } from '../../src/identity/claim.ts'
import { parsePointer } from '../../src/identity/json_pointer.ts'

const PAYLOAD = `{
  "email": "max@example.com",
  "user": { "name": "max", "profile": { "role": "admin" }, "id": 113794436627259432046 },
  "roles": ["viewer", "editor", "admin"],
  "nested_arr": { "items": [{ "id": "first" }, { "id": "second" }] },
  "a/b": "slash", "a~c": "tilde", "~0": "escape0", "~1": "escape1", "": "nothing",
  "kubernetes.io": {
    "namespace": "ns", "pod": { "name": "p", "uid": "pod-uid" },
    "serviceaccount": { "name": "sa", "uid": "sa-uid" }
  }
}`

function names(claim: string): string[] | [code: string, detail: string | undefined] {
  try {
    return principalNames(PAYLOAD, JSON.parse(PAYLOAD), claim)
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown
    return [thrown.message, thrown.detail]
  }
}

describe('a claim that is pointed to', () => {
  it.each<[string, string[]]>([
    ['/email', ['max@example.com']],
    ['/user/name', ['max']],
    ['/user/profile/role', ['admin']],
    ['/user/id', ['113794436627259432046']],
    ['/a~1b', ['slash']],
    ['/a~0c', ['tilde']],
    ['/~00', ['escape0']],
    ['/~01', ['escape1']],
    ['/roles', ['viewer', 'editor', 'admin']],
    ['/roles/0', ['viewer']],
    ['/roles/2', ['admin']],
    ['/nested_arr/items/1/id', ['second']],
    ['/kubernetes.io/serviceaccount/uid', ['sa-uid']],
    ['/kubernetes.io/serviceaccount/name', ['sa']],
    ['/kubernetes.io/pod/uid', ['pod-uid']],
    ['/kubernetes.io/namespace', ['ns']],
    ['a/b', ['slash']],
  ])('%s is found', (claim, found) => {
    expect(names(claim)).toEqual(found)
  })

  it.each([
    ['/roles/5', 'JSON pointer: array index 5 out of bounds (len 3)'],
    ['/roles/-', 'JSON pointer: invalid array index "-"'],
    ['/roles/abc', 'JSON pointer: invalid array index "abc"'],
    ['/roles/01', 'JSON pointer: invalid array index "01"'],
    ['/roles/length', 'JSON pointer: invalid array index "length"'],
    ['/email/0', 'JSON pointer: value at "/email" is neither an object nor an array'],
    ['/user/id/rawJSON', 'JSON pointer: value at "/user/id" is neither an object nor an array'],
  ])('%s leads nowhere', (claim, why) => {
    expect(names(claim)).toEqual([
      'JWT authentication: failed to extract claim',
      `failed to extract claim ${claim}: ${why}`,
    ])
  })

  it.each([
    '/user/missing',
    '/nonexistent/deep/path',
    '/user/constructor',
    '/__proto__',
    'user.name',
  ])('%s is missing', (claim) => {
    expect(names(claim)).toEqual([
      'JWT authentication: missing claim',
      `token does not contain a claim for ${claim}`,
    ])
  })
})

it.each([
  ['/a//b', 'contains an empty segment'],
  ['/', 'contains an empty segment'],
  ['/a/', 'contains an empty segment'],
  ['/1/2/3/4/5/6/7/8/9/10/11', 'exceeds maximum depth of 10 segments'],
  ['/a~b', 'contains a "~" that is neither ~0 nor ~1'],
])('%s is no pointer', (text, why) => {
  expect(parsePointer(text)).toEqual({
    ok: false,
    problem: `JWT authentication: JSON Pointer ${JSON.stringify(text)} ${why}`,
  })
})

it('takes ten segments', () => {
  expect(parsePointer('/1/2/3/4/5/6/7/8/9/10').ok).toBe(true)
})
