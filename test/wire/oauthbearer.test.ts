/** Responses of OAUTHBEARER: libpq's, the RFC's own, and those that PostgreSQL refuses as well. */
import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Secret } from '../../src/secret.ts'
import { configurationOf, encodeRefusal, parseResponse } from '../../src/wire/oauthbearer.ts'
import { outcome, type Refusal } from '../support/decoding.ts'

const TOKEN = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl'

/** `^` stands for the separator, as it does in the RFC. */
function read(text: string): string | undefined | Refusal {
  const response = new Secret(text.replaceAll('^', '\x01'))
  return outcome(() => parseResponse(response)?.reveal())
}

const malformed = (problem: string): Refusal => ({
  sqlstate: '08P01',
  says: `invalid message: malformed OAUTHBEARER response: ${problem}`,
})
const header = malformed('it does not begin with a GS2 header')
const identity = malformed('an authorization identity is not supported')
const binding = malformed('it asks for channel binding, which OAUTHBEARER does not have')
const endless = malformed('it does not end')
const goesOn = malformed('it goes on after its end')
const noAuth = malformed('it has no auth value')
const twoAuths = malformed('it has more than one auth value')
const noKey = malformed('a key is not made of letters')
const noValue = malformed('a key has no value')
const noText = malformed('a value is not plain text')
const noToken: Refusal = { sqlstate: '28000', says: 'JWT authentication: invalid token' }

describe('a response', () => {
  test.each<[name: string, text: string, said: string | undefined | Refusal]>([
    ['as libpq writes it', `n,,^auth=Bearer ${TOKEN}^^`, TOKEN],
    ['as libpq asks for the issuer', 'n,,^auth=^^', undefined],
    ['with host and port', `n,,^host=db.example^port=5432^auth=Bearer ${TOKEN}^^`, TOKEN],
    ['with keys that nobody knows', `n,,^auth=Bearer ${TOKEN}^x=^Auth=y^^`, TOKEN],
    ['from one who could bind channels', `y,,^auth=Bearer ${TOKEN}^^`, TOKEN],
    ['with another case of the scheme', `n,,^auth=bEARER ${TOKEN}^^`, TOKEN],
    ['with more spaces', `n,,^auth=Bearer    ${TOKEN}^^`, TOKEN],
    ['with every character of a token', 'n,,^auth=Bearer aZ09-._~+/==^^', 'aZ09-._~+/=='],
    ['with white space in a value', `n,,^host=a b\t\r\n^auth=Bearer ${TOKEN}^^`, TOKEN],
    ['with an equals sign in a value', `n,,^host=a=b^auth=Bearer ${TOKEN}^^`, TOKEN],

    ['of nothing', '', header],
    ['of a separator', '^', header],
    ['that is a token', TOKEN, header],
    ['without its header', `^auth=Bearer ${TOKEN}^^`, header],
    ['with half a header', `n,^auth=Bearer ${TOKEN}^^`, header],
    ['with another flag', `x,,^auth=Bearer ${TOKEN}^^`, header],
    ['with a flag in another case', `N,,^auth=Bearer ${TOKEN}^^`, header],
    ['of another standard', `F,n,,^auth=Bearer ${TOKEN}^^`, header],
    ['without the first separator', `n,,auth=Bearer ${TOKEN}^^`, header],
    ['with a NUL in its header', `n\0,,^auth=Bearer ${TOKEN}^^`, header],
    ['with channel binding', `p=tls-exporter,,^auth=Bearer ${TOKEN}^^`, binding],
    ['for somebody else', `n,a=root,^auth=Bearer ${TOKEN}^^`, identity],
    ['for nobody else', `y,a=,^auth=Bearer ${TOKEN}^^`, identity],
    ['of a header alone', 'n,,', endless],
    ['of a header and a separator', 'n,,^', endless],
    ['with one separator at the end', `n,,^auth=Bearer ${TOKEN}^`, endless],
    ['with none', `n,,^auth=Bearer ${TOKEN}`, endless],
    ['with more behind its end', `n,,^auth=Bearer ${TOKEN}^^x`, endless],
    ['with a pair behind its end', `n,,^auth=Bearer ${TOKEN}^^x=y^^`, goesOn],
    ['with three separators at the end', `n,,^auth=Bearer ${TOKEN}^^^`, goesOn],
    ['without pairs', 'n,,^^', noAuth],
    ['without auth', 'n,,^host=db.example^^', noAuth],
    ['with auth in another case', `n,,^AUTH=Bearer ${TOKEN}^^`, noAuth],
    ['with two tokens', `n,,^auth=Bearer ${TOKEN}^auth=Bearer x^^`, twoAuths],
    ['with a token and none', `n,,^auth=Bearer ${TOKEN}^auth=^^`, twoAuths],
    ['with none and a token', `n,,^auth=^auth=Bearer ${TOKEN}^^`, twoAuths],
    ['with a key alone', 'n,,^auth^^', noValue],
    ['with a key of nothing', `n,,^=x^auth=Bearer ${TOKEN}^^`, noKey],
    ['with a key of digits', `n,,^x1=x^auth=Bearer ${TOKEN}^^`, noKey],
    ['with a space before the sign', `n,,^auth =Bearer ${TOKEN}^^`, noKey],
    ['with a NUL in a key', `n,,^au\0th=Bearer ${TOKEN}^^`, noKey],
    ['with a NUL in a value', `n,,^auth=Bearer ${TOKEN}\0^^`, noText],
    ['with a NUL in a value that nobody reads', `n,,^x=\0^auth=Bearer ${TOKEN}^^`, noText],
    ['with what is not ASCII', `n,,^auth=Bearer ${TOKEN}\xe9^^`, noText],
    ['with a DEL', `n,,^auth=Bearer ${TOKEN}\x7f^^`, noText],

    ['with another scheme', 'n,,^auth=Basic cm9vdDpyb290^^', noToken],
    ['with a scheme alone', 'n,,^auth=Bearer^^', noToken],
    ['with a scheme and a space', 'n,,^auth=Bearer ^^', noToken],
    ['with padding alone', 'n,,^auth=Bearer ==^^', noToken],
    ['with padding inside', 'n,,^auth=Bearer a=b^^', noToken],
    ['with a token alone', `n,,^auth=${TOKEN}^^`, noToken],
    ['with a tab behind the scheme', `n,,^auth=Bearer\t${TOKEN}^^`, noToken],
    ['with a space before the scheme', `n,,^auth= Bearer ${TOKEN}^^`, noToken],
    ['with a space behind the token', `n,,^auth=Bearer ${TOKEN} ^^`, noToken],
    ['with a line behind the token', `n,,^auth=Bearer ${TOKEN}\n^^`, noToken],
    ['with two tokens in one', `n,,^auth=Bearer ${TOKEN} ${TOKEN}^^`, noToken],
    ['of a space', 'n,,^auth= ^^', noToken],
  ])('%s', (_name, text, said) => {
    expect(read(text)).toEqual(said)
  })

  test('that is refused is told nothing of what it holds', () => {
    const spoiled = [`n,,^auth=${TOKEN}^^`, TOKEN, `n,a=${TOKEN},^^`, `n,,^${TOKEN}=x^auth=^^`]
    for (const text of spoiled)
      try {
        parseResponse(new Secret(text.replaceAll('^', '\x01')))
        expect.unreachable()
      } catch (thrown) {
        expect(inspect(thrown, { depth: 9, showHidden: true })).not.toContain('eyJ')
      }
  })

  test('of any token gives that token', () => {
    const token = fc.stringMatching(/^[A-Za-z0-9\-._~+/]+={0,3}$/)
    const pairs = fc.array(fc.stringMatching(/^[A-Z]{1,5}=[ -~]{0,9}$/), { maxLength: 3 })
    fc.assert(
      fc.property(token, pairs, pairs, (token, before, after) => {
        const response = ['n,,', ...before, `auth=Bearer ${token}`, ...after, '', ''].join('\x01')
        expect(parseResponse(new Secret(response))?.reveal()).toBe(token)
      }),
    )
  })

  test('of anything is a token or a refusal', () => {
    const piece = fc.constantFrom('n,,', 'y,a=x,', '\x01', '\0', 'auth=', 'Bearer ', 'x', '=', 'é')
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const said = read(pieces.join(''))
        if (typeof said === 'string') expect(said).toMatch(/^x+=*$/)
      }),
      { numRuns: 2000 },
    )
  })

  test('of 64 Ki empty pairs, and a value that nearly is a token, are soon refused', () => {
    expect(read(`n,,${'^'.repeat(65536)}`)).toEqual(goesOn)
    expect(read(`n,,^auth=Bearer ${' '.repeat(65536)}^^`)).toEqual(noToken)
    expect(read(`n,,^auth=Bearer ${'a'.repeat(65536)}${'='.repeat(65536)}!^^`)).toEqual(noToken)
  })
})

test.each(['https://issuer.test', 'https://issuer.test/', 'https://issuer.test/realm'])(
  'libpq finds %s again in what it is told',
  (issuer) => {
    const found = configurationOf(issuer).replace('/.well-known/openid-configuration', '')
    expect(found).toBe(issuer)
  },
)

describe('a refusal', () => {
  const configuration = configurationOf('https://issuer.test')
  test.each([
    [
      'invalid_token',
      { scope: 'openid email', configuration },
      `{"status":"invalid_token","openid-configuration":"${configuration}","scope":"openid email"}`,
    ],
    [
      'insufficient_scope',
      { scope: 'openid', configuration },
      `{"status":"insufficient_scope","openid-configuration":"${configuration}","scope":"openid"}`,
    ],
    [
      'invalid_token',
      { scope: '', configuration },
      `{"status":"invalid_token","openid-configuration":"${configuration}"}`,
    ],
    [
      'invalid_token',
      { scope: '"', configuration: 'https://a.test/"\\\0\n' },
      '{"status":"invalid_token","openid-configuration":"https://a.test/\\"\\\\\\u0000\\n","scope":"\\""}',
    ],
  ] as const)('%s of %j', (status, challenge, json) => {
    expect(encodeRefusal(status, challenge).toString()).toBe(json)
  })
})
