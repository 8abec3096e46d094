/** What may stand in a set of keys, and what each key may then be used for. */
import { createHash, generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { parseKeySet, parsePublishedKeySet } from '../../src/identity/keys.ts'
import { ec, ed25519, jwk, rsa } from '../support/forge.ts'

const rsaPair = rsa()
const RSA = jwk(rsaPair, { kid: 'k' })
const EC = jwk(ec('P-256'), { kid: 'k' })
const ED = jwk(ed25519(), { kid: 'k' })
const RSA_ALL = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']

function sizeOf(document: unknown): number | string {
  const read = parseKeySet(document)
  return read.ok ? read.keys.size : read.problem
}

test.each<[string, unknown, number]>([
  ['an empty set', { keys: [] }, 0],
  ['a bare key', RSA, 1],
  ['a set of one', { keys: [RSA] }, 1],
  ['a set of two', { keys: [RSA, { ...EC, kid: 'other' }] }, 2],
  ['members that we have no use for', { keys: [{ ...RSA, x5t: 'x', n2: 5 }], next: 'x' }, 1],
  ['names of other things', { keys: [{ ...RSA, kid: '__proto__' }] }, 1],
])('%s is read', (_name, document, size) => {
  expect(sizeOf(document)).toBe(size)
})

describe('refused with a sentence', () => {
  const symmetric = 'a symmetric key (oct) cannot be published, so nobody may sign with it'
  const oct = { kty: 'oct', kid: 'k', alg: 'HS256', k: 'c2VjcmV0LXNlY3JldC1zZWNyZXQ' }
  const neither = 'neither a key nor a set of keys'
  const invalid = 'key 1: the key is not a valid public key'

  test.each<[string, unknown, string]>([
    ['nothing', undefined, neither],
    ['null', null, neither],
    ['text', 'issuer1', neither],
    ['an empty object', {}, neither],
    ['a list', [RSA], neither],
    ['keys that are no list', { keys: RSA }, neither],
    ['a key that is null', { keys: [null] }, 'key 1: not a JSON Web Key'],
    ['a key that is a list', { keys: [[]] }, 'key 1: not a JSON Web Key'],
    ['no kty', { keys: [{ ...RSA, kty: undefined }] }, 'key 1: not a JSON Web Key'],
    ['a strange kty', { keys: [RSA, { ...EC, kty: 'DSA' }] }, 'key 2: unknown key type "DSA"'],
    ...['__proto__', 'constructor', 'toString'].map((kty): [string, unknown, string] => [
      kty,
      { keys: [{ ...RSA, kty }] },
      `key 1: unknown key type "${kty}"`,
    ]),
    ['a symmetric key', { keys: [oct] }, `key 1: ${symmetric}`],
    ['a bare symmetric key', oct, `key 1: ${symmetric}`],
    ['RSA without n and e', { kty: 'RSA', kid: 'k' }, 'key 1: the member "n" is missing'],
    ['RSA with a number', { ...RSA, e: 65537 }, 'key 1: the member "e" is missing'],
    ['EC without y', { ...EC, y: undefined }, 'key 1: the member "y" is missing'],
    ['OKP without x', { ...ED, x: undefined }, 'key 1: the member "x" is missing'],
    [
      'no kid',
      { ...RSA, kid: undefined },
      'key 1: the key has no "kid"; tokens name their key by it',
    ],
    [
      'an empty kid',
      { ...RSA, kid: '' },
      'key 1: the key has no "kid"; tokens name their key by it',
    ],
    ['a point off the curve', { ...EC, x: EC.y, y: EC.x }, invalid],
    ['a strange curve', { ...EC, crv: 'P-999' }, invalid],
    ['a strange OKP curve', { ...ED, crv: 'Ed1' }, invalid],
    ['Ed25519 cut short', { ...ED, x: 'AAAA' }, invalid],
    [
      'a short modulus',
      jwk(rsa(1024), { kid: 'k' }),
      'key 1: an RSA key of 1024 bits; 2048 to 8192 are accepted',
    ],
    [
      'a modulus that takes a while',
      { ...RSA, n: Buffer.alloc(2048, 0xff).toString('base64url') },
      'key 1: an RSA key of 16384 bits; 2048 to 8192 are accepted',
    ],
    [
      'exponent 1',
      { ...RSA, e: 'AQ' },
      'key 1: an RSA key whose exponent is not odd and at least 3',
    ],
    [
      'exponent 4',
      { ...RSA, e: 'BA' },
      'key 1: an RSA key whose exponent is not odd and at least 3',
    ],
    ['five of one name', { keys: Array(5).fill(EC) }, 'more than 4 keys have the id "k"'],
  ])('%s', (_name, document, problem) => {
    expect(sizeOf(document)).toBe(problem)
  })

  test('that does not hold the secret', () => {
    const { k } = oct
    expect(sizeOf({ keys: [oct] })).not.toContain(k)
  })
})

describe('algorithms come from the key', () => {
  const secp256k1 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
  const ed448 = generateKeyPairSync('ed448')
  const x25519 = generateKeyPairSync('x25519')

  test.each<[string, object, string[], boolean]>([
    ['RSA', RSA, RSA_ALL, true],
    ['RSA for PS384', { ...RSA, alg: 'PS384' }, ['PS384'], false],
    ['RSA for signatures', { ...RSA, use: 'sig' }, RSA_ALL, true],
    ['RSA for encryption', { ...RSA, use: 'enc' }, [], false],
    ['RSA for an algorithm of encryption', { ...RSA, alg: 'RSA-OAEP' }, [], false],
    ['RSA for HS256', { ...RSA, alg: 'HS256' }, [], false],
    ['RSA for none', { ...RSA, alg: 'none' }, [], false],
    ['RSA for ES256', { ...RSA, alg: 'ES256' }, [], false],
    ['RSA for a number', { ...RSA, alg: 256 }, [], false],
    ['P-256', EC, ['ES256'], true],
    ['P-384', jwk(ec('P-384'), { kid: 'k' }), ['ES384'], true],
    ['P-521', jwk(ec('P-521'), { kid: 'k' }), ['ES512'], true],
    ['P-256 for ES384', { ...EC, alg: 'ES384' }, [], false],
    ['Ed25519', ED, ['EdDSA', 'Ed25519'], true],
    ['Ed25519 by its own name', { ...ED, alg: 'Ed25519' }, ['Ed25519'], false],
    ['secp256k1', jwk(secp256k1, { kid: 'k' }), [], true],
    ['Ed448', jwk(ed448, { kid: 'k' }), [], true],
    ['X25519', jwk(x25519, { kid: 'k' }), [], true],
  ])('%s', (_name, document, algorithms, inferred) => {
    const read = parseKeySet(document)
    expect(read.ok && read.keys.find('k')).toMatchObject([{ kid: 'k', algorithms, inferred }])
  })
})

describe('a set that an issuer publishes', () => {
  const oct = { kty: 'oct', kid: 'k', alg: 'HS256', k: 'c2VjcmV0LXNlY3JldC1zZWNyZXQ' }
  const ed448 = jwk(generateKeyPairSync('ed448'), { kid: 'k' })
  const secp256k1 = jwk(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }), { kid: 'k' })
  const x25519 = jwk(generateKeyPairSync('x25519'), { kid: 'k' })
  const privateKey = { ...rsaPair.privateKey.export({ format: 'jwk' }), kid: 'k' }
  const broken = 'key 1: the key is not a valid public key'

  /** How many keys have the id `k`, or what is wrong with the set. */
  function published(keys: unknown): number | string {
    const read = parsePublishedKeySet({ keys })
    return read.ok ? read.keys.find('k').length : read.problem
  }

  test.each<[string, unknown[], number]>([
    ['nothing', [], 0],
    ['a key', [RSA], 1],
    ['private keys', [privateKey], 1],
    ['keys for encryption', [{ ...RSA, use: 'enc' }], 1],
    ['symmetric keys', [oct, RSA], 1],
    ['a strange kty', [{ ...RSA, kty: 'AKP' }, RSA], 1],
    ['a kty of another kind', [{ ...RSA, kty: 'constructor' }, RSA], 1],
    ['a strange curve', [{ ...EC, crv: 'P-999' }, RSA], 1],
    ['Ed448', [ed448, ED], 1],
    ['secp256k1', [secp256k1, EC], 1],
    ['X25519', [x25519, ED], 1],
    ['keys without kid', [{ ...RSA, kid: undefined }, { ...EC, kid: '' }, RSA], 1],
    ['keys whose kid is a number', [{ ...RSA, kid: 7 }, RSA], 1],
    ['a short RSA key', [jwk(rsa(1024), { kid: 'k' }), RSA], 1],
    ['a long one', [{ ...RSA, n: Buffer.alloc(2048, 0xff).toString('base64url') }, RSA], 1],
    ['six of one name, of which four are used', [...Array(6).fill(EC), RSA], 4],
    ['a hundred keys', [...Array(99).fill({ ...EC, kid: 'other' }), RSA], 1],
  ])('may hold %s', (_name, keys, size) => {
    expect(published(keys)).toBe(size)
  })

  test.each<[string, unknown[], string]>([
    ['a zero modulus', [{ ...RSA, n: 'AA' }], 'key 1: an RSA key whose modulus is zero'],
    ['no modulus', [{ ...RSA, n: '' }], 'key 1: an RSA key whose modulus is zero'],
    ['a modulus that is a number', [{ ...RSA, n: 5 }], 'key 1: the member "n" is missing'],
    [
      'exponent 1',
      [{ ...RSA, e: 'AQ' }],
      'key 1: an RSA key whose exponent is not odd and at least 3',
    ],
    ['a point off the curve', [{ ...EC, x: EC.y, y: EC.x }], broken],
    ['Ed25519 cut short', [{ ...ED, x: 'AAAA' }], broken],
    ['a broken key behind good ones', [RSA, EC, { ...ED, x: 'AAAA' }], broken.replace('1', '3')],
    ['a key that is null', [null], 'key 1: not a JSON Web Key'],
    ['a key without kty', [{ kid: 'k' }], 'key 1: not a JSON Web Key'],
    ['more than a hundred keys', Array(101).fill(EC), 'more than 100 keys'],
  ])('is unusable with %s', (_name, keys, problem) => {
    expect(published(keys)).toBe(problem)
  })

  test.each<[unknown]>([[undefined], [null], ['text'], [[]], [{}], [{ keys: 'none' }]])(
    'is not %j',
    (document) => {
      expect(parsePublishedKeySet(document)).toEqual({
        ok: false,
        problem: 'neither a key nor a set of keys',
      })
    },
  )

  test('uses the first four of one name, in their order', () => {
    const pairs = Array.from({ length: 5 }, (_, n) => jwk(ec('P-256'), { kid: 'k', n }))
    const print = (keys: unknown[]) => {
      const read = parsePublishedKeySet({ keys })
      return read.ok ? read.keys.find('k').map(({ thumbprint }) => thumbprint) : []
    }
    expect(print(pairs)).toEqual(pairs.slice(0, 4).flatMap((each) => print([each])))
  })
})

test.each<[string, object, boolean]>([
  ['the same key', { ...RSA }, true],
  ['the same key by another name', { ...RSA, kid: 'other' }, true],
  ['the same key with members that we have no use for', { ...RSA, x5t: 'x' }, true],
  ['the same key for fewer algorithms', { ...RSA, alg: 'RS256' }, false],
  ['another key', EC, false],
])('the thumbprint of %s', (_name, other, same) => {
  const print = (document: unknown) => {
    const read = parseKeySet(document)
    return read.ok ? [...read.keys.find('k'), ...read.keys.find('other')][0]?.thumbprint : undefined
  }
  expect(print(other)).toBeDefined()
  expect(print(other) === print(RSA)).toBe(same)
})

test('a key is found by its name alone, and by the whole of it', () => {
  const read = parseKeySet({ keys: [RSA, EC, { ...ED, kid: 'constructor' }] })
  const kids = ['k', 'constructor', 'K', '', 'k ', 'toString', '../k']
  const found = kids.map((kid) => (read.ok ? read.keys.find(kid).length : undefined))
  expect(found).toEqual([2, 1, 0, 0, 0, 0, 0])
  const all = read.ok ? read.keys.all().map(({ kid }) => kid) : []
  expect(all).toEqual(['k', 'k', 'constructor'])
})

test('of a private key only the public half stays', () => {
  const read = parseKeySet({ ...rsaPair.privateKey.export({ format: 'jwk' }), kid: 'k' })
  const [kept] = read.ok ? read.keys.find('k') : []
  expect(kept?.key.type).toBe('public')
  const print = (der: Buffer | undefined) =>
    createHash('sha256')
      .update(der ?? '')
      .digest('hex')
  const spki = { type: 'spki', format: 'der' } as const
  expect(print(kept?.key.export(spki))).toBe(print(rsaPair.publicKey.export(spki)))
})
