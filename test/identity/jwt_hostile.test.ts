/**
 * Tokens that nobody honest sends: algorithms and keys of the sender's choice, texts that only look
 * like tokens, claims of the wrong kind, names too long or unprintable. A row says what the client
 * reads; that nothing of the token is in what is said or logged, `check` looks at each time.
 */
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { authenticate } from '../../src/identity/jwt.ts'
import { Secret } from '../../src/secret.ts'
import { ec, forge, jwk, part, rsa } from '../support/forge.ts'
import {
  type Claims,
  check,
  claims,
  clusterOf,
  es256,
  FAR,
  ISS,
  login,
  NOW,
  p256,
  stranger,
  trusting,
  unparsed,
  unverified,
} from '../support/log_in.ts'

const one = rsa()
const two = rsa()
const K1 = jwk(one, { kid: 'test', alg: 'RS256', use: 'sig' })

describe('algorithms', () => {
  const inferred = `${unparsed}algorithm in the message does not match any of the inferred algorithms`
  const pem = String(one.publicKey.export({ type: 'spki', format: 'pem' }))
  const der = one.publicKey.export({ type: 'spki', format: 'der' }).toString('latin1')

  test.each<[string, Claims, string, string]>([
    ['none', {}, `${part({ alg: 'none', kid: 'k' })}.${part(claims)}.`, unverified],
    [
      'none, no alg in the key',
      { alg: undefined },
      `${part({ alg: 'none', kid: 'k' })}.${part(claims)}.`,
      inferred,
    ],
    ['None', {}, `${part({ alg: 'None', kid: 'k' })}.${part(claims)}.`, unverified],
    [
      'none over a signature',
      {},
      forge({ alg: 'none', kid: 'k' }, claims, 'RS256', one),
      unverified,
    ],
    ['no alg', { alg: undefined }, forge({ kid: 'k' }, claims, 'RS256', one), inferred],
    [
      'alg that is no text',
      { alg: undefined },
      forge({ kid: 'k', alg: ['RS256'] }, claims, 'RS256', one),
      inferred,
    ],
    ['HS256 by the PEM', {}, forge({ alg: 'HS256', kid: 'k' }, claims, 'HS256', pem), unverified],
    [
      'HS256 by the PEM without its end',
      {},
      forge({ alg: 'HS256', kid: 'k' }, claims, 'HS256', pem.trimEnd()),
      unverified,
    ],
    [
      'HS256 by the DER',
      { alg: undefined },
      forge({ alg: 'HS256', kid: 'k' }, claims, 'HS256', der),
      inferred,
    ],
    [
      'HS256 by the JWK',
      { alg: undefined },
      forge({ alg: 'HS256', kid: 'k' }, claims, 'HS256', JSON.stringify(K1)),
      inferred,
    ],
    [
      'HS256 said to be RS256',
      {},
      forge({ alg: 'RS256', kid: 'k' }, claims, 'HS256', pem),
      unverified,
    ],
    [
      'RS256 for a key of PS256',
      { alg: 'PS256' },
      forge({ alg: 'RS256', kid: 'k' }, claims, 'RS256', one),
      unverified,
    ],
    [
      'RS512 for a key of RS256',
      {},
      forge({ alg: 'RS512', kid: 'k' }, claims, 'RS512', one),
      unverified,
    ],
    [
      'PS256 said to be RS256',
      {},
      forge({ alg: 'RS256', kid: 'k' }, claims, 'PS256', one),
      unverified,
    ],
    [
      'ES256 for an RSA key',
      { alg: undefined },
      forge({ alg: 'ES256', kid: 'k' }, claims, 'ES256', p256),
      inferred,
    ],
    [
      'RS256 for a key that only encrypts',
      { alg: 'RSA-OAEP' },
      forge({ alg: 'RS256', kid: 'k' }, claims, 'RS256', one),
      unverified,
    ],
    [
      'another of its issuer',
      {},
      forge({ alg: 'RS256', kid: 'k' }, claims, 'RS256', two),
      unverified,
    ],
    [
      'rs256 in small letters',
      { alg: undefined },
      forge({ alg: 'rs256', kid: 'k' }, claims, 'RS256', one),
      inferred,
    ],
  ])('refused: %s', async (_name, members, token, expected) => {
    const settings = {
      ...trusting,
      jwks: { keys: [jwk(one, { kid: 'k', alg: 'RS256', ...members })] },
    }
    await check({ ...login, settings, token }, expected)
  })
})

describe('keys', () => {
  const decoy = jwk(stranger, { kid: 'p256', alg: 'ES256' })
  const decoys = {
    jku: 'https://evil.test/jwks.json',
    x5u: 'https://evil.test/chain.pem',
    jwk: decoy,
    x5c: ['MIIB'],
    x5t: 'AAAA',
  }

  test('of the token itself are not looked at', async () => {
    await check({ ...login, token: es256({}, decoys) }, 'in as maxroach')
    for (const [name, value] of Object.entries(decoys)) {
      const token = forge({ alg: 'ES256', kid: 'p256', [name]: value }, claims, 'ES256', stranger)
      await check({ ...login, token }, unverified)
    }
  })

  test('are chosen by a name that is only a name', async () => {
    for (const kid of ['../../etc/passwd', "' OR 1=1 --", '__proto__', 'P256', 'p256\0', ' p256']) {
      const token = es256({}, { kid })
      const shown = kid.replace('\0', '\ufffd')
      const expected = `${unparsed}key provider 0 failed: failed to find key with key ID "${shown}" in key set`
      await check({ ...login, token }, expected)
    }
    const long = 'k'.repeat(10_000)
    await check(
      { ...login, token: es256({}, { kid: long }) },
      `${unparsed}key provider 0 failed: failed to find key with key ID "${long.slice(0, 256)}…" in key set`,
    )
    for (const kid of ['', 7, null, ['p256'], { p256: 1 }])
      await check(
        { ...login, token: es256({}, { kid }) },
        `${unparsed}key provider 0 failed: failed to find matching key: no key ID ("kid") specified in token`,
      )
  })

  test('of one name are each tried', async () => {
    const keys = [stranger, two, p256].map((pair) => jwk(pair, { kid: 'p256' }))
    const settings = { ...trusting, jwks: { keys } }
    await check({ ...login, settings }, 'in as maxroach')
    const token = forge({ alg: 'ES256', kid: 'p256' }, claims, 'ES256', ec('P-256'))
    await check({ ...login, settings, token }, unverified)
  })

  test('can be bound to an issuer, in both directions', async () => {
    const OTHER = 'https://other.test'
    const bound = jwk(stranger, { kid: 'bound' })
    const settings = {
      ...trusting,
      issuers: [ISS, OTHER],
      issuer_options: { [OTHER]: { jwks: bound } },
    }
    const byBound = (iss: string) =>
      forge({ alg: 'ES256', kid: 'bound' }, { ...claims, iss }, 'ES256', stranger)
    await check({ ...login, settings }, 'in as maxroach')
    await check({ ...login, settings, token: byBound(OTHER) }, 'in as maxroach')
    const unknown = (kid: string) =>
      `${unparsed}key provider 0 failed: failed to find key with key ID "${kid}" in key set`
    await check({ ...login, settings, token: byBound(ISS) }, unknown('bound'))
    await check({ ...login, settings, token: es256({ iss: OTHER }) }, unknown('p256'))
  })
})

describe('what is no token', () => {
  const [header = '', payload = '', signature = ''] = login.token.split('.')
  const three = 'invalid token / token parsing failed: invalid JWT: a token has three parts'
  const strict =
    'invalid token / token parsing failed: invalid JWT: its parts are not base64url without padding'
  const objects =
    'invalid token / token parsing failed: invalid JWT: its parts are not JSON objects'
  const jwe = 'invalid token / token parsing failed: encrypted tokens (JWE) are not supported'
  const crit = `${unparsed}the header asks for an extension ("crit")`
  const json = { payload, protected: header, signature }
  const general = { payload, signatures: [{ protected: header, signature }] }
  const signed = (text: string) => forge({ alg: 'ES256', kid: 'p256' }, text, 'ES256', p256)
  const badUtf8 = Buffer.from([...Buffer.from('{"iss":"'), 0xff, ...Buffer.from('"}')])

  test.each<[string, string, string]>([
    ['JWE', `${login.token}.a.b`, jwe],
    ['five parts of nothing', '....', jwe],
    ['three parts of nothing', '..', objects],
    ['dots', '.'.repeat(1000), three],
    ['JSON serialisation', JSON.stringify(json), three],
    [
      'JSON serialisation with two dots',
      JSON.stringify({ ...json, header: { a: 'b.c.d' } }),
      strict,
    ],
    ['general JSON serialisation', JSON.stringify(general), three],
    ['claims alone', JSON.stringify(claims), three],
    ['a nested token', signed(login.token), objects],
    ['claims that are a list', signed('[]'), objects],
    ['claims that are null', signed('null'), objects],
    ['claims that are text', signed(JSON.stringify(JSON.stringify(claims))), objects],
    ['claims that end early', signed(JSON.stringify(claims).slice(0, -1)), objects],
    [
      'claims that are not UTF-8',
      `${header}.${badUtf8.toString('base64url')}.${signature}`,
      objects,
    ],
    ['a header that is a list', forge('[]', claims, 'ES256', p256), objects],
    ['padding', `${header}.${payload}.${signature}==`, strict],
    ['a signature in base64', `${header}.${payload}.+/${signature.slice(2)}`, strict],
    [
      'white space within',
      `${header}.${payload}.${signature.slice(0, 9)} ${signature.slice(9)}`,
      strict,
    ],
    ['a letter that is no ASCII', `${header}.${payload}.${signature}é`, strict],
    ['a second spelling of the signature', `${header}.${payload}.${respelled(signature)}`, strict],
    ['a signature cut short', `${header}.${payload}.${signature.slice(0, -2)}`, unverified],
    ['no signature', `${header}.${payload}.`, unverified],
    ['a long signature', `${header}.${payload}.${'A'.repeat(40_000)}`, unverified],
    ['other claims', `${header}.${part({ ...claims, sub: 'root' })}.${signature}`, unverified],
    ['crit', es256({}, { crit: ['exp'], exp: FAR }), crit],
    ['crit of an unencoded payload', es256({}, { crit: ['b64'], b64: false }), crit],
    ['an empty crit', es256({}, { crit: [] }), crit],
    ['crit that is null', es256({}, { crit: null }), crit],
  ])('%s', async (_name, token, expected) => {
    await check({ ...login, token }, expected)
  })

  test('white space around a token is no part of it', async () => {
    await check({ ...login, token: ` \t${login.token}\r\n` }, 'in as maxroach')
    const { trust } = clusterOf(trusting)
    const [plain, wrapped] = await Promise.all(
      [login.token, `${login.token}\n`].map((text) =>
        authenticate(new Secret(text), trust, () => NOW * 1000),
      ),
    )
    expect(wrapped).toEqual(plain)
  })
})

/** The same bytes in other letters: the bits that base64url leaves over are set. */
function respelled(signature: string): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = letters.indexOf(signature.slice(-1))
  return signature.slice(0, -1) + letters.charAt(last + 1)
}

describe('claims', () => {
  const noIssuer = 'invalid issuer / token issued by '
  const noAudience = (list: string) =>
    `invalid audience / token issued with an audience of [${list}]`
  const noTime = (name: string) => `${unparsed}"${name}" is not a time in seconds`
  const noText = `${unparsed}"jti" is not a text`
  const required = `${unparsed}"exp" not satisfied: required claim not found`

  test.each(
    titled([
      [{ iss: [ISS] }, noIssuer],
      [{ iss: undefined }, noIssuer],
      [{ iss: null }, noIssuer],
      [{ iss: 5 }, noIssuer],
      [{ iss: { [ISS]: 1 } }, noIssuer],
      [{ iss: '' }, noIssuer],
      [{ iss: `${ISS}/` }, `${noIssuer}${ISS}/`],
      [{ iss: 'i'.repeat(5000) }, `${noIssuer}${'i'.repeat(256)}…`],
      [{ iss: 'a\0b\u001b[31m' }, `${noIssuer}a\ufffdb\ufffd[31m`],
      [{ exp: String(FAR) }, noTime('exp')],
      [{ exp: 1e300 }, noTime('exp')],
      [{ exp: -1 }, noTime('exp')],
      [{ exp: true }, noTime('exp')],
      [{ exp: [FAR] }, noTime('exp')],
      [{ exp: null }, required],
      [{ exp: 0 }, `${unparsed}"exp" not satisfied`],
      [{ iat: 'now' }, noTime('iat')],
      [{ iat: 0, nbf: 0 }, 'in as maxroach'],
      [{ iat: null, nbf: null }, 'in as maxroach'],
      [{ nbf: {} }, noTime('nbf')],
      [{ exp: FAR + 0.5, iat: NOW + 0.9 }, 'in as maxroach'],
      [{ jti: ['gone'] }, noText],
      [{ jti: 5 }, noText],
      [{ jti: { gone: 1 } }, noText],
      [{ jti: false }, noText],
      [{ jti: [], exp: 'x' }, noText],
      [{ jti: null }, 'in as maxroach'],
      [{ jti: '' }, 'in as maxroach'],
      [{ aud: undefined }, noAudience('')],
      [{ aud: { db: 1 } }, noAudience('')],
      [{ aud: 7 }, noAudience('')],
      [{ aud: [['db']] }, noAudience('')],
      [{ aud: [] }, noAudience('')],
      [{ aud: ['', 'DB', 'db '] }, noAudience(' DB db ')],
      [{ aud: ['other', 'db'] }, 'in as maxroach'],
      [{ aud: 'a'.repeat(50_000) }, noAudience(`${'a'.repeat(1024)}…`)],
      [{ sub: undefined }, 'missing claim / token does not contain a claim for sub'],
      [{ sub: null }, 'missing claim / token does not contain a claim for sub'],
      [{ sub: '' }, 'missing claim / token does not contain a claim for sub'],
      [{ sub: [] }, 'invalid principal / token issued for [] and login was for maxroach'],
      [{ sub: ['', null] }, 'invalid principal / token issued for [] and login was for maxroach'],
      [{ sub: ['carl', 'maxroach'] }, 'in as maxroach'],
      [{ sub: 42 }, 'invalid principal / token issued for [42] and login was for maxroach'],
      [
        { sub: { maxroach: 1 } },
        'invalid principal / token issued for [{"maxroach":1}] and login was for maxroach',
      ],
      [
        { sub: Array(3000).fill('some-group') },
        `invalid principal / token issued for [${'some-group '.repeat(93)}s…] and login was for maxroach`,
      ],
    ]),
  )('%s', async (_title, more, expected) => {
    await check({ ...login, token: es256(more) }, expected)
  })

  const twice = (first: string, last: string) =>
    `{"iss":${first},"sub":"maxroach","aud":"db","exp":${FAR},"iss":${last}}`

  test.each(
    titled([
      [twice('"https://evil.test"', `"${ISS}"`), 'in as maxroach'],
      [twice(`"${ISS}"`, '"https://evil.test"'), `${noIssuer}https://evil.test`],
      [`{"iss":"${ISS}","sub":"root","aud":"db","exp":${FAR},"sub":"maxroach"}`, 'in as maxroach'],
      [
        `{"iss":"${ISS}","sub":"maxroach","aud":"db","exp":${FAR},"exp":1}`,
        `${unparsed}"exp" not satisfied`,
      ],
      [`{"iss":"${ISS}","sub":"maxroach","aud":"db","exp":1e400}`, noTime('exp')],
      [`{"__proto__":{"iss":"${ISS}","sub":"maxroach","aud":"db","exp":${FAR}}}`, noIssuer],
      [`{"iss":"${ISS}","__proto__":{"sub":"maxroach","aud":"db","exp":${FAR}}}`, required],
      [` {"iss":"${ISS}","sub":"maxroach","aud":"db","exp":${FAR}}\n`, 'in as maxroach'],
      [
        `{"iss":"${ISS}","aud":"db","exp":${FAR},"sub":${'['.repeat(40_000)}${']'.repeat(40_000)}}`,
        'invalid claim value / the value of the claim sub is nested too deeply',
      ],
    ]),
  )('as they are written: %s', async (_title, payload, expected) => {
    const token = forge({ alg: 'ES256', kid: 'p256' }, payload, 'ES256', p256)
    await check({ ...login, token }, expected)
  })

  test.each([
    '113794436627259432046',
    '1.50',
    '1e400',
    '-0',
    '1234567',
    '9007199254740993',
    '0.1000000000000000055511151231257827',
  ])('the number %s is the user of those digits', async (digits) => {
    for (const value of [digits, `["carl", ${digits}]`]) {
      const payload = `{"iss":"${ISS}","aud":"db","exp":${FAR},"id":${value}}`
      const token = forge({ alg: 'ES256', kid: 'p256' }, payload, 'ES256', p256)
      await check(
        { settings: { ...trusting, claim: 'id' }, token, user: digits },
        `in as ${digits}`,
      )
    }
  })
})

describe('principals', () => {
  const refused = (shown: string) =>
    `invalid claim value / the value ${shown} for the issuer ${ISS} is invalid`
  const most = 'é'.repeat(512)

  test.each<[string, string, string]>([
    ['NUL', 'maxroach\0', refused('maxroach\ufffd')],
    ['a new line', 'max\nroach', refused('max\ufffdroach')],
    ['DEL', 'maxroach\u007f', refused('maxroach\ufffd')],
    ['CSI in one character', '\u009b31m', refused('\ufffd31m')],
    ['half a surrogate pair', 'max\ud800', refused('max\ufffd')],
    ['the other half', '\udc00max', refused('\ufffdmax')],
    ['a whole pair', 'max\u{1fab3}', 'in as max\u{1fab3}'],
    ['spaces', 'max roach', 'in as max roach'],
  ])('%s', async (_name, sub, expected) => {
    await check({ ...login, token: es256({ sub }), user: sub }, expected)
    const token = es256({ sub: ['carl', sub] })
    await check({ ...login, token, user: sub }, expected)
  })

  test.each<[string, string, string]>([
    ['1 KiB', most, 'in as maxroach'],
    ['a byte more', `${most}x`, refused(`${'é'.repeat(256)}…`)],
    ['100 KB', 'x'.repeat(100_000), refused(`${'x'.repeat(256)}…`)],
  ])('of %s are judged before the map is asked', async (_name, sub, expected) => {
    const settings = { ...trusting, map: `${ISS} /^.*$ maxroach` }
    await check({ ...login, settings, token: es256({ sub }) }, expected)
  })
})

/** A row with its first value as its title, as far as that can be read. */
function titled<T>(rows: [T, string][]): [string, T, string][] {
  return rows.map(([value, expected]) => [
    (JSON.stringify(value) === '{}' ? inspect(value) : JSON.stringify(value)).slice(0, 60),
    value,
    expected,
  ])
}
