/** A text of SQL, cut into its statements. */
import { expect, it } from 'vitest'
import { splitStatements } from '../../src/answers/split.ts'
import { asFailure } from '../../src/failure.ts'

it.each<[string, string[]]>([
  ['', []],
  [' ; ;; ', []],
  ['-- nothing', []],
  ['/* nothing /* at all */ */', []],
  ['SHOW SESSIONS', ['SHOW SESSIONS']],
  ['SHOW SESSIONS;', ['SHOW SESSIONS']],
  ['show\n  sessions -- all\n; help', ['show sessions', 'help']],
  ["REVOKE TOKEN 'a;b'; HELP", ["REVOKE TOKEN 'a;b'", 'HELP']],
  ["REVOKE TOKEN 'it''s'", ["REVOKE TOKEN 'it''s'"]],
  ['DRAIN NODE "a;""b"', ['DRAIN NODE "a;""b"']],
  ["SELECT '--', '/*' /* '; */", ["SELECT '--', '/*'"]],
  ['SET x = -1', ['SET x = -1']],
  ['SELECT 1/2', ['SELECT 1/2']],
])('%j', (sql, statements) => {
  expect(splitStatements(sql)).toEqual(statements)
})

it.each([
  ["SELECT 'open", 'unterminated quoted text at or near "\'open"'],
  ['SELECT "open', 'unterminated quoted text at or near ""open"'],
  ['/* open /* */', 'unterminated comment at or near "/* open /* */"'],
])('%j has no end', (sql, message) => {
  let thrown: unknown
  try {
    splitStatements(sql)
  } catch (caught) {
    thrown = caught
  }
  expect(asFailure(thrown)).toMatchObject({ code: 'answer_syntax', message })
})

it('takes no longer for what is nested than for what is not', () => {
  expect(splitStatements(`${'/*'.repeat(4_000)}${'*/'.repeat(4_000)} HELP`)).toEqual(['HELP'])
  expect(() => splitStatements("'".repeat(16_001))).toThrow()
})
