/** A secret, in every way that a program prints things by accident. */
import { Console } from 'node:console'
import { Writable } from 'node:stream'
import { format, formatWithOptions, inspect } from 'node:util'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { Secret } from '../src/secret.ts'

const TEXT = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl'
const secret = new Secret(TEXT)
const MASK = '[secret]'

/** What the program writes when it is given a place to write to. */
function written(print: (to: Writable) => void): string {
  let text = ''
  const to = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk)
      done()
    },
  })
  print(to)
  return text
}

describe('shows a mask', () => {
  test.each<[way: string, print: () => string]>([
    ['String', () => String(secret)],
    ['a template', () => `${secret}`],
    ['concatenation', () => `the token ${secret} expired`],
    ['toString', () => secret.toString()],
    ['join', () => [secret, secret].join()],
    ['toLocaleString', () => secret.toLocaleString()],
    ['JSON', () => JSON.stringify(secret)],
    ['JSON of what holds it', () => JSON.stringify({ grant: { token: [secret] } })],
    ['inspect', () => inspect(secret)],
    ['inspect of what holds it', () => inspect({ grant: { token: [secret] } }, { depth: 9 })],
    ['inspect of a Map', () => inspect(new Map([[secret, secret]]))],
    ['%s', () => format('%s', secret)],
    ['%o', () => format('%o', secret)],
    ['%O', () => format('%O', secret)],
    ['%j', () => format('%j', secret)],
    ['colours', () => formatWithOptions({ colors: true }, 'token', secret)],
    ['console', () => written((to) => new Console(to).log('%o', { secret }, secret))],
    ['the log', () => written((to) => pino(to).info({ secret, deep: [{ secret }] }, 'a token'))],
    ["an error's message", () => new Error(`bad: ${secret}`).message],
    ["an error's cause", () => inspect(new Error('bad', { cause: secret }))],
  ])('to %s', (_way, print) => {
    const printed = print()
    expect(printed).toContain(MASK)
    expect(printed).not.toContain('eyJ')
  })
})

describe('shows nothing', () => {
  test.each<[way: string, print: () => unknown]>([
    ['keys', () => [Object.keys(secret), Reflect.ownKeys(secret), Object.entries(secret)]],
    ['a copy', () => ({ ...secret })],
    ['a clone', () => structuredClone(secret)],
    ['%d', () => format('%d', secret)],
    [
      'an inspector that asks for all',
      () => inspect(secret, { showHidden: true, customInspect: false, getters: true }),
    ],
    ['a console table', () => written((to) => new Console(to).table([{ ...secret }]))],
  ])('to %s', (_way, print) => {
    expect(inspect(print(), { depth: 9, showHidden: true })).not.toContain('eyJ')
  })
})

test('reveals its text to who asks for it', () => {
  expect(secret.reveal()).toBe(TEXT)
})

test.each([
  ['', true],
  [' ', false],
  [TEXT, false],
])('%j is empty: %s', (text, empty) => {
  expect(new Secret(text).empty).toBe(empty)
})
