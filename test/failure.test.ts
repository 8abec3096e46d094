/** The table of failures: its rows hold together, and a Failure says what its row says. */
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { asFailure, FAILURES, Failure, type FailureCode, type FailureRow } from '../src/failure.ts'

const rows: [FailureCode, FailureRow][] = Object.entries(FAILURES).map(([code, row]) => [
  code as FailureCode,
  row,
])

describe('a row', () => {
  test.each(rows)('%s', (_code, row) => {
    // Class 00, 01 and 02 are no errors.
    expect(row.sqlstate).toMatch(/^(?!0[012])[0-9A-Z]{5}$/)
    expect(row.say).toMatch(/^[^\s].*[^\s.]$/)
    expect(row.say.replace(/\{[a-z]+\}/g, '')).not.toMatch(/[{}\0\n]/)
    expect((row.hint ?? 'none').replace(/\{[a-z]+\}/g, '')).not.toMatch(/[{}\0]|\.$/)
    expect(row.exit ?? 1).toBeGreaterThan(0)
    expect(row.exit ?? 1).toBeLessThan(126)
    expect(row.http ?? 500).toBeGreaterThanOrEqual(400)
  })

  test('that tells nobody tells the log', () => {
    const silent = rows.filter(([, row]) => row.silent).map(([code]) => code)
    expect(silent).toEqual(['client_gone', 'not_postgres', 'proxy_header', 'tls_handshake_failed'])
  })
})

describe('the documented texts', () => {
  test.each<[code: FailureCode, sqlstate: string, says: string]>([
    ['jwt_not_enabled', '28000', 'JWT authentication: not enabled'],
    ['invalid_token', '28000', 'JWT authentication: invalid token'],
    ['invalid_issuer', '28000', 'JWT authentication: invalid issuer'],
    ['missing_claim', '28000', 'JWT authentication: missing claim'],
    ['invalid_claim_value', '28000', 'JWT authentication: invalid claim value'],
    ['invalid_principal', '28000', 'JWT authentication: invalid principal'],
    ['invalid_identity', '28000', 'JWT authentication: invalid identity'],
    ['invalid_audience', '28000', 'JWT authentication: invalid audience'],
  ])('%s', (code, sqlstate, says) => {
    const { row, message } = new Failure(code)
    expect([row.sqlstate, message]).toEqual([sqlstate, says])
  })
})

describe('a sentence', () => {
  const says = (values: Record<string, string | number>) =>
    new Failure('invalid_parameter', { values }).message
  test.each<[name: string, values: Record<string, string | number>, expected: string]>([
    ['is filled', { name: 'a', value: 'b' }, 'invalid value for parameter "a": "b"'],
    ['takes numbers', { name: 0, value: 1.5 }, 'invalid value for parameter "0": "1.5"'],
    ['takes nothing', { name: '', value: '' }, 'invalid value for parameter "": ""'],
    ['keeps what it has no value for', { name: 'a' }, 'invalid value for parameter "a": "{value}"'],
    [
      'is filled once',
      { name: '{value}', value: '{name}' },
      'invalid value for parameter "{value}": "{name}"',
    ],
    ['takes text as it is', { name: '$&', value: '$1' }, 'invalid value for parameter "$&": "$1"'],
  ])('%s', (_name, values, expected) => {
    expect(says(values)).toBe(expected)
  })

  test('two rows for one refusal of a role read the same', () => {
    const values = { user: 'alice' }
    const codes = ['role_refused', 'password_authentication_failed', 'token_required'] as const
    for (const code of codes) {
      const { row, message } = new Failure(code, { values })
      expect(row.sqlstate).toBe('28P01')
      expect(message).toBe('password authentication failed for user alice')
    }
  })
})

test('a failure has its parts, and its sentence has none of what is for the log', () => {
  const cause = new Error('cause')
  const response = Buffer.from('E')
  const parts = { values: { message: 'no' }, detail: 'detail', log: 'log', response, cause }
  const failure = new Failure('node_refused', parts)
  expect(failure).toMatchObject({
    code: 'node_refused',
    detail: 'detail',
    log: 'log',
    response,
    cause,
  })
  expect(failure.message).toBe('no')
  expect(failure.row).toBe(FAILURES.node_refused)
  const bare = new Failure('internal_error')
  expect([bare.detail, bare.log, bare.response, bare.cause]).toEqual(Array(4).fill(undefined))
  expect(Object.hasOwn(bare, 'cause')).toBe(false)
})

describe('what was thrown', () => {
  test('is itself when it is one of ours', () => {
    const failure = new Failure('invalid_token')
    expect(asFailure(failure)).toBe(failure)
  })

  test.each<[name: string, thrown: unknown, log: string]>([
    ['an error', new RangeError('out of bounds'), 'RangeError: out of bounds'],
    ['an error without a stack', Object.assign(new Error('bare'), { stack: undefined }), 'bare'],
    ['a text', 'a text', 'a text'],
    ['nothing', undefined, 'undefined'],
    ['a symbol', Symbol('why'), 'Symbol(why)'],
  ])('is an internal error: %s', (_name, thrown, log) => {
    const failure = asFailure(thrown)
    expect([failure.row.sqlstate, failure.message]).toEqual(['XX000', 'internal error'])
    expect([failure.detail, failure.row.hint]).toEqual([undefined, undefined])
    expect(failure.log).toContain(log)
    expect(failure.cause).toBe(thrown)
    expect(inspect(failure.message)).not.toContain(log)
  })
})
