/** What can be said to the console, and what is said to who says something else. */
import { expect, it } from 'vitest'
import { parseStatement } from '../../src/console/grammar.ts'
import { asFailure } from '../../src/failure.ts'

const SHOW = { kind: 'show', name: '', where: [], limit: undefined }
const REVOKE = { kind: 'revoke', issuer: '', value: '', before: undefined, why: '' }
const DIGEST = 'AB'.repeat(32)

it.each<[string, unknown]>([
  ['SHOW SESSIONS', { ...SHOW, view: 'SESSIONS' }],
  ['show sessions', { ...SHOW, view: 'SESSIONS' }],
  ['SHOW CLUSTER SETTINGS', { ...SHOW, view: 'CLUSTER SETTINGS' }],
  ['SHOW CLUSTER SETTING log.level', { ...SHOW, view: 'CLUSTER SETTING', name: 'log.level' }],
  [
    'SHOW CLUSTER SETTING clusters.main-eu.session.grace',
    { ...SHOW, view: 'CLUSTER SETTING', name: 'clusters.main-eu.session.grace' },
  ],
  [
    "SHOW REFUSALS WHERE User_Name = 'carl' AND failure=invalid_token LIMIT 5",
    {
      ...SHOW,
      view: 'REFUSALS',
      where: [
        ['user_name', '=', 'carl'],
        ['failure', '=', 'invalid_token'],
      ],
      limit: 5,
    },
  ],
  [
    "SHOW SESSIONS WHERE node_ms > 10 AND session_start >= '10:02'",
    {
      ...SHOW,
      view: 'SESSIONS',
      where: [
        ['node_ms', '>', '10'],
        ['session_start', '>=', '10:02'],
      ],
    },
  ],
  [
    'SET CLUSTER SETTING limits.connections = 100',
    { kind: 'set', name: 'limits.connections', value: '100' },
  ],
  [
    "SET CLUSTER SETTING limits.idle_timeout TO '8h'",
    { kind: 'set', name: 'limits.idle_timeout', value: '8h' },
  ],
  ['set cluster setting x = 1h30m', { kind: 'set', name: 'x', value: '1h30m' }],
  ['SET CLUSTER SETTING x = true', { kind: 'set', name: 'x', value: 'true' }],
  ['SET CLUSTER SETTING x = default', { kind: 'reset', name: 'x' }],
  ['RESET CLUSTER SETTING "log.level"', { kind: 'reset', name: 'log.level' }],
  ["REVOKE TOKEN 'a''b'", { ...REVOKE, what: 'token', value: "a'b" }],
  [
    "REVOKE TOKEN 'j' ISSUER 'i' REASON 'stolen'",
    { ...REVOKE, what: 'token', value: 'j', issuer: 'i', why: 'stolen' },
  ],
  [`REVOKE DIGEST '${DIGEST}'`, { ...REVOKE, what: 'digest', value: DIGEST.toLowerCase() }],
  ["REVOKE SESSION 's'", { ...REVOKE, what: 'session', value: 's' }],
  ["REVOKE SUBJECT 's' ISSUER 'i'", { ...REVOKE, what: 'subject', value: 's', issuer: 'i' }],
  ["REVOKE ISSUER 'i'", { ...REVOKE, what: 'issuer', issuer: 'i' }],
  [
    "REVOKE ISSUER 'i' BEFORE '2026-01-31T12:00:00Z' REASON 'x'",
    { ...REVOKE, what: 'issuer', issuer: 'i', before: Date.UTC(2026, 0, 31, 12) / 1000, why: 'x' },
  ],
  [
    "REVOKE SUBJECT 's' ISSUER 'i' BEFORE '2026-01-31 12:00+01'",
    {
      ...REVOKE,
      what: 'subject',
      issuer: 'i',
      value: 's',
      before: Date.UTC(2026, 0, 31, 11) / 1000,
    },
  ],
  ["CANCEL SESSION 'abc'", { kind: 'cancel', session: 'abc' }],
  ["CANCEL SESSION ('abc'::varchar)", { kind: 'cancel', session: 'abc' }],
  ["CANCEL SESSION 'abc'::text", { kind: 'cancel', session: 'abc' }],
  ["DRAIN NODE 'db:5432'", { kind: 'drain', node: 'db:5432', cluster: undefined }],
  ["DRAIN NODE 'n1' CLUSTER 'prod'", { kind: 'drain', node: 'n1', cluster: 'prod' }],
  ["UNDRAIN NODE 'db:5432'", { kind: 'undrain', node: 'db:5432', cluster: undefined }],
  ['RELOAD', { kind: 'reload' }],
  ['help', { kind: 'help' }],
  ['SHOW HELP', { kind: 'help' }],
])('%s', (text, statement) => {
  expect(parseStatement(text, [])).toEqual({ statement, parameters: 0 })
})

it.each([
  'SELECT 1',
  'SHOW server_version',
  "SET application_name = 'x'",
  'RESET ALL',
  '',
  '\\d',
  'SHOWSESSIONS',
])('%j is somebody else’s to answer', (text) => {
  expect(parseStatement(text, [])).toBeUndefined()
})

it.each([
  ['SHOW SESSIONS x', 'syntax error at or near "x"'],
  ['SHOW SESSIONS WHERE', 'syntax error at or near "the end"'],
  ['SHOW SESSIONS WHERE a LIKE b', 'syntax error at or near "LIKE"'],
  [
    `SHOW SESSIONS WHERE ${Array(17).fill("a='x'").join(' AND ')}`,
    'WHERE takes at most 16 conditions',
  ],
  ['SHOW SESSIONS LIMIT many', 'LIMIT takes a number of rows, not "many"'],
  ["SHOW SESSIONS LIMIT ''", 'LIMIT takes a number of rows, not ""'],
  ['REVOKE', 'syntax error at or near "the end"'],
  ['REVOKE ROLE a', 'syntax error at or near "ROLE"'],
  ['REVOKE TOKEN abc', 'syntax error at or near "abc"'],
  ["REVOKE SUBJECT 's'", 'syntax error at or near "the end"'],
  ["REVOKE TOKEN 's' BEFORE '2026-01-31T12:00:00Z'", 'syntax error at or near "BEFORE"'],
  [
    "REVOKE ISSUER 'i' BEFORE 'yesterday'",
    'write a time like 2026-01-31T12:00:00Z, not "yesterday"',
  ],
  [
    "REVOKE ISSUER 'i' BEFORE '2026-01-31 12:00'",
    'write a time like 2026-01-31T12:00:00Z, not "2026-01-31 12:00"',
  ],
  ["REVOKE ISSUER 'i' BEFORE ''", 'write a time like 2026-01-31T12:00:00Z, not ""'],
  ["REVOKE SUBJECT 's' ISSUER 'i' BEFORE ''", 'write a time like 2026-01-31T12:00:00Z, not ""'],
  ["REVOKE TOKEN 't' ISSUER ''", 'ISSUER takes no empty name'],
  ["REVOKE DIGEST ''", 'a digest is 64 hexadecimal digits: token_digest of SHOW SESSIONS'],
  ["REVOKE DIGEST 'abc'", 'a digest is 64 hexadecimal digits: token_digest of SHOW SESSIONS'],
  ['SET CLUSTER SETTING x', 'syntax error at or near "the end"'],
  ["CANCEL SESSION ('a'", 'syntax error at or near "the end"'],
  ['RELOAD now', 'syntax error at or near "now"'],
  ["CANCEL SESSION 'a' 'b'", 'syntax error at or near "b"'],
])('%s is none', (text, message) => {
  let thrown: unknown
  try {
    parseStatement(text, [])
  } catch (caught) {
    thrown = caught
  }
  const { code, message: said } = asFailure(thrown)
  expect(said).toBe(message)
  expect(['answer_syntax', 'console_value']).toContain(code)
})

it('takes sixteen conditions', () => {
  const text = `SHOW SESSIONS WHERE ${Array(16).fill("a='x'").join(' AND ')}`
  expect(parseStatement(text, [])?.statement).toMatchObject({
    where: Array(16).fill(['a', '=', 'x']),
  })
})

it('takes parameters in the place of values, and counts them where there are none yet', () => {
  const text = 'REVOKE SUBJECT $1 ISSUER $2 BEFORE $3 REASON $4'
  expect(parseStatement(text, 'described')?.parameters).toBe(4)
  expect(parseStatement(text, ['s', 'i', '2026-01-31T12:00:00Z', 'why'])?.statement).toMatchObject({
    value: 's',
    issuer: 'i',
    before: 1_769_860_800,
    why: 'why',
  })
  expect(() => parseStatement(text, ['s', undefined, '', ''])).toThrow('parameter $2 is NULL')
  expect(() => parseStatement(text, ['s', 'i', '', ''])).toThrow('write a time like')
  expect(() => parseStatement('SHOW SESSIONS LIMIT $1', [''])).toThrow('LIMIT takes a number')
  expect(parseStatement('REVOKE DIGEST $1', 'described')?.parameters).toBe(1)
  expect(parseStatement('SHOW SESSIONS LIMIT $1', 'described')?.parameters).toBe(1)
})
