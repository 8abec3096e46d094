/** Whatever a client makes up: a message or a statement is read, or refused with a row of failure.ts. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { splitStatements } from '../../src/answers/split.ts'
import { answerDriver } from '../../src/console/drivers.ts'
import { parseStatement } from '../../src/console/grammar.ts'
import { Failure } from '../../src/failure.ts'
import { decodeStatementMessage } from '../../src/wire/statement_messages.ts'

const ASKER = { user: 'ops', database: 'postern', version: '1' }
const WORDS = [
  ...[
    'SHOW',
    'SESSIONS',
    'SET',
    'CLUSTER',
    'SETTING',
    'REVOKE',
    'TOKEN',
    'ISSUER',
    'BEFORE',
    'WHERE',
    'LIMIT',
  ],
  ...[
    "'",
    '"',
    '$',
    '$1',
    '=',
    ';',
    '--',
    '/*',
    '*/',
    '\0',
    ' ',
    '\n',
    'x',
    '1',
    "'x'",
    'select',
    'set',
  ],
]

function orRefuses(work: () => unknown): void {
  try {
    work()
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(Failure)
  }
}

it('statements', () => {
  const texts = fc
    .array(fc.constantFrom(...WORDS), { maxLength: 30 })
    .map((words) => words.join(' '))
  fc.assert(
    fc.property(fc.oneof(texts, fc.string({ unit: 'binary' })), (text) => {
      orRefuses(() => splitStatements(text))
      orRefuses(() => parseStatement(text, ['a', undefined]))
      orRefuses(() => parseStatement(text, 'described'))
      orRefuses(() => answerDriver(text, ASKER))
    }),
    { numRuns: 2_000 },
  )
})

it('messages', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...'QPBDCESHXdcf?'),
      fc.uint8Array({ maxLength: 60 }),
      (type, bytes) => {
        const body = Buffer.from(bytes)
        const frame = { type: type.charCodeAt(0), body, whole: body }
        orRefuses(() => decodeStatementMessage(frame))
      },
    ),
    { numRuns: 2_000 },
  )
})
