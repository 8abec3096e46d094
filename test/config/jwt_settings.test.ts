/** The documented forms of the settings, each as JSON in a string and as YAML, and the refusals. */
import { describe, expect, test } from 'vitest'
import type { z } from 'zod'
import { audience, claim, issuers, jwks } from '../../src/config/jwt_settings.ts'
import { check } from '../../src/config/mistakes.ts'
import { ec, jwk, rsa } from '../support/forge.ts'

/** What a setting accepts: names, or a number of keys; or the sentence that refuses it. */
function read(setting: z.ZodType, written: unknown): unknown {
  const read = check(setting, written)
  if (!read.ok) return read.mistakes.map(({ message }) => message).join('\n')
  return read.value
}

function accepted(setting: typeof audience | typeof issuers, written: unknown): unknown {
  const found = check<ReadonlySet<string> | z.output<typeof issuers>>(setting, written)
  if (!found.ok) return found.mistakes.map(({ message }) => message).join('\n')
  return ['names' in found.value ? found.value.names : found.value].flatMap((set) => [...set])
}

const LISTS: [unknown, string[]][] = [
  // Deliberately not a list of the empty string: what is not set accepts nothing.
  ['', []],
  ['issuer1', ['issuer1']],
  ['issuer1{}`[]!@#%#^$&*', ['issuer1{}`[]!@#%#^$&*']],
  ['https://issuer.test/', ['https://issuer.test/']],
  [' spaced ', [' spaced ']],
  ['a,b', ['a,b']],
  ["['a']", ["['a']"]],
  ['["a"] junk', ['["a"] junk']],
  ['[]', []],
  [[], []],
  ['["issuer 1"]', ['issuer 1']],
  ['["a","b","c","d","e"]', ['a', 'b', 'c', 'd', 'e']],
  [' ["a"] ', ['a']],
  [
    ['a', 'b', 'a'],
    ['a', 'b'],
  ],
  ['[""]', []],
  [['', 'a'], ['a']],
  [['7'], ['7']],
]

const NO_LISTS: [unknown, string][] = [
  [
    '{"redirect_urls":{"key":"http://example.com"}}',
    '"{\\"redirect_urls\\":{\\"key\\":\\"http://example.com\\"}}"',
  ],
  [
    '{"issuers":[{"issuer":"x","audience":"y"}]}',
    '"{\\"issuers\\":[{\\"issuer\\":\\"x\\",\\"audience\\":\\"y\\"}]}"',
  ],
  ['{}', '"{}"'],
  ['null', '"null"'],
  ['true', '"true"'],
  // Digits are JSON, too: a number is written as a list of its text.
  ['113794436627259432046', '"113794436627259432046"'],
  ['"quoted"', '"\\"quoted\\""'],
  ['[1]', '"[1]"'],
  ['["a",null]', '"[\\"a\\",null]"'],
  ['[["a"]]', '"[[\\"a\\"]]"'],
  [7, '7'],
  [null, 'null'],
  [true, 'true'],
  [[1], '[1]'],
  [{}, '{}'],
]

describe('audience', () => {
  test.each(LISTS)('%j', (written, names) => {
    expect(accepted(audience, written)).toEqual(names)
  })

  test.each([
    ...NO_LISTS,
    [{ issuer_jwks_map: { a: 'b' } }, '{"issuer_jwks_map":{"a":"b"}}'] as const,
  ])('%j is none', (written, quoted) => {
    expect(accepted(audience, written)).toBe(
      `JWT authentication audiences JSON not valid: ${quoted}; write one audience, or a list like ["one", "two"]`,
    )
  })
})

describe('issuers', () => {
  const map = {
    'https://accounts.google.com': 'https://www.googleapis.com/oauth2/v3/certs',
    'example.com/adfs': 'https://example.com/adfs/discovery/keys',
  }

  test.each([
    ...LISTS,
    [JSON.stringify({ issuer_jwks_map: map }), Object.keys(map)] as const,
    [{ issuer_jwks_map: map }, Object.keys(map)] as const,
    ['{"issuer_jwks_map":{}}', []] as const,
  ])('%j', (written, names) => {
    expect(accepted(issuers, written)).toEqual(names)
  })

  test('keep the places of their keys', () => {
    const written = JSON.stringify({ issuer_jwks_map: map })
    expect(read(issuers, written)).toEqual({
      names: new Set(Object.keys(map)),
      jwksUris: new Map(Object.entries(map)),
    })
  })

  test.each([
    ...NO_LISTS,
    [{ issuer_jwks_map: { a: 'b' }, more: 1 }, '{"issuer_jwks_map":{"a":"b"},"more":1}'] as const,
    [{ issuer_jwks_map: { a: 1 } }, '{"issuer_jwks_map":{"a":1}}'] as const,
    [{ issuer_jwks_map: ['a'] }, '{"issuer_jwks_map":["a"]}'] as const,
    [{ ISSUER_JWKS_MAP: { a: 'b' } }, '{"ISSUER_JWKS_MAP":{"a":"b"}}'] as const,
  ])('%j are none', (written, quoted) => {
    expect(accepted(issuers, written)).toBe(
      `JWT authentication: issuers JSON not valid: ${quoted}; write one issuer, a list like ["one", "two"], or {"issuer_jwks_map": {"<issuer>": "<JWKS URI>"}}`,
    )
  })
})

describe('jwks', () => {
  const one = jwk(rsa(), { kid: 'one', alg: 'RS256' })
  const two = jwk(ec('P-384'), { kid: 'two' })
  const oct = { kty: 'oct', kid: 'k', k: 'dGhlLXNoYXJlZC1zZWNyZXQ' }
  const notJson = 'it is not JSON; write the set as the issuer publishes it'
  const neither = 'neither a key nor a set of keys'
  const symmetric = 'a symmetric key (oct) cannot be published, so nobody may sign with it'

  test.each<[string, unknown, number]>([
    ['an empty set', { keys: [] }, 0],
    ['a bare key', one, 1],
    ['a set of one', { keys: [one] }, 1],
    ['a set of two', { keys: [one, two] }, 2],
  ])('%s, as JSON and as YAML', (_name, document, size) => {
    expect(read(jwks, document)).toMatchObject({ size })
    expect(read(jwks, JSON.stringify(document, null, 2))).toMatchObject({ size })
  })

  test.each<[string, unknown, string]>([
    ['nothing', '', notJson],
    ['text', 'issuer1', notJson],
    ['a PEM', '-----BEGIN PUBLIC KEY-----', notJson],
    ['an empty object', '{}', neither],
    ['a number', 7, neither],
    ['null', null, neither],
    ['a list', [one], neither],
    ['RSA without n and e', { kty: 'RSA', kid: 'one' }, 'key 1: the member "n" is missing'],
    [
      'one bad key of two',
      { keys: [one, { kty: 'EC', kid: 'two' }] },
      'key 2: the member "crv" is missing',
    ],
    ['a symmetric key', oct, `key 1: ${symmetric}`],
    ['a symmetric key among others', { keys: [one, oct] }, `key 2: ${symmetric}`],
    ['a symmetric key as JSON', JSON.stringify({ keys: [oct] }), `key 1: ${symmetric}`],
  ])('refused: %s', (_name, written, problem) => {
    expect(read(jwks, written)).toBe(`JWT authentication JWKS not a valid JWKS: ${problem}`)
  })
})

describe('claim', () => {
  test.each([
    '',
    'sub',
    'email',
    'preferred_username',
    'https://idp.test/user',
    'a/b',
    '__proto__',
    '/email',
    '/user/name',
    '/kubernetes.io/serviceaccount/uid',
    '/a~1b/c~0d',
    '/1/2/3/4/5/6/7/8/9/10',
  ])('%j', (name) => {
    expect(read(claim, name)).toBe(name)
  })

  test.each([
    ['/', 'contains an empty segment'],
    ['/a//b', 'contains an empty segment'],
    ['/1/2/3/4/5/6/7/8/9/10/11', 'exceeds maximum depth of 10 segments'],
  ])('refused: %s', (name, problem) => {
    expect(read(claim, name)).toBe(`JWT authentication: JSON Pointer "${name}" ${problem}`)
  })
})
