/** What is treated as a token, where clients don't say what they give. */
import { expect, test } from 'vitest'
import { hasJwtForm } from '../../src/identity/jwt_form.ts'
import { Secret } from '../../src/secret.ts'

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const header = part({ alg: 'RS256' })
const claims = part({ sub: 'carl' })

test.each<[string, string, boolean]>([
  ['a token', `${header}.${claims}.c2ln`, true],
  ['one with a line end, as from a file', `${header}.${claims}.c2ln\n`, true],
  ['one that nobody signed', `${part({ alg: 'none' })}.${claims}.`, true],
  ['one whose claims are broken: it is told so', `${header}.x.c2ln`, true],
  ['a password', 'hunter2', false],
  ['nothing', '', false],
  ['dots', '..', false],
  ['a password with dots', 'my.pass.word', false],
  ['two parts', `${header}.${claims}`, false],
  ['an encrypted one', `${header}.a.b.c.d`, false],
  ['a header without an algorithm', `${part({ typ: 'JWT' })}.${claims}.c2ln`, false],
  ['a header whose algorithm is no text', `${part({ alg: 1 })}.${claims}.c2ln`, false],
  ['a header that is a list', `${part(['alg'])}.${claims}.c2ln`, false],
  ['a header that is null', `${part(null)}.${claims}.c2ln`, false],
  ['no base64url', `${header}.${claims}.c2l+`, false],
  ['a space inside', `${header}. ${claims}.c2ln`, false],
])('%s', (_name, password, expected) => {
  expect(hasJwtForm(new Secret(password))).toBe(expected)
})
