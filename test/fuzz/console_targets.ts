/**
 * The console: whatever an admin's program says is read, or refused with a row of the table, and the answers
 * keep to the protocol; see https://www.postgresql.org/docs/18/protocol-flow.html.
 */
import fc from 'fast-check'
import { openConversation } from '../../src/answers/conversation.ts'
import { splitStatements } from '../../src/answers/split.ts'
import { answerDriver } from '../../src/console/drivers.ts'
import { parseStatement } from '../../src/console/grammar.ts'
import { decodeStatementMessage, type StatementMessage } from '../../src/wire/statement_messages.ts'
import { bytes, few, nearly, nearlyText } from './made_up.ts'
import { must, mustEqual, outcome, type Target, target } from './target.ts'

const PIECES = [
  ...['SHOW', 'SESSIONS', 'CLUSTER SETTING', 'WHERE', 'LIMIT', 'SET', 'TO', 'DEFAULT', 'REVOKE'],
  ...['TOKEN', 'SUBJECT', 'ISSUER', 'BEFORE', 'REASON', 'DRAIN NODE', 'BEGIN', 'COMMIT', 'select'],
  ...[
    "'",
    '"',
    '$1',
    '$2',
    '$9999',
    '$',
    '=',
    '<',
    '>=',
    ';',
    '--',
    '/*',
    '*/',
    '::text',
    '(',
    ')',
  ],
  ...["'x'", "''", "'2026-01-31'", "'today'", '10:02', '-1', '1e9', 'a.b-c', 'extra_float_digits'],
].map((piece) => ` ${piece} `)

const RIGHT = [
  "SHOW SESSIONS WHERE user_name = 'carl' AND login_ms > 100 LIMIT 5",
  "SHOW REFUSALS WHERE refused_at >= '10:02' AND refused_at < $1",
  "SET CLUSTER SETTING limits.connections = '90'; SHOW CLUSTER SETTING limits.connections",
  "REVOKE SUBJECT $1 ISSUER $2 BEFORE '2026-01-31T12:00:00Z' REASON 'lost'",
  "DRAIN NODE 'n1' CLUSTER 'main' -- for now",
  'SELECT 1 /* a /* nested */ one */; BEGIN; RELOAD; COMMIT',
  "SET client_encoding = 'UTF8'",
  'SHOW HELP',
] as const

const statement = nearlyText(fc.constantFrom(...RIGHT), PIECES)
const ASKER = { user: 'ops', database: 'postern', version: '1' }

function judgeStatement(text: string): void {
  const split = outcome(() => splitStatements(text), ['answer_syntax'])
  for (const each of 'value' in split ? split.value : [text]) {
    // What was taken apart is one, but for spaces where comments were.
    const again = (text: string) => splitStatements(text).map((one) => one.replace(/ +/g, ' '))
    if ('value' in split) mustEqual(again(each), [each.replace(/ +/g, ' ')], 'taken apart again')
    outcome(() => answerDriver(each, ASKER))
    const described = outcome(() => parseStatement(each, 'described'))
    const run = outcome(() => parseStatement(each, ['one', undefined]))
    if ('value' in described && 'value' in run)
      mustEqual(run.value?.parameters, described.value?.parameters, 'parameters of one that is run')
    if ('code' in described) must('code' in run, 'is run, and can not be described', each)
  }
}

const letter = fc.constantFrom(...'QPBDECSHXdcf?')
const cstring = (text: fc.Arbitrary<string>) => text.map((each) => `${each.replaceAll('\0', '')}\0`)
const short = cstring(fc.constantFrom('', 'a', 'b'))
/** Of one kind, as it is said, or nearly so. */
const BODIES: [type: string, body: fc.Arbitrary<string>][] = [
  ['Q', cstring(statement)],
  ['P', fc.tuple(short, cstring(statement)).map((parts) => `${parts.join('')}\0\0`)],
  ['B', fc.tuple(short, short).map((parts) => `${parts.join('')}${'\0'.repeat(6)}`)],
  ['D', fc.tuple(fc.constantFrom('S', 'P'), short).map((parts) => parts.join(''))],
  [
    'E',
    fc.tuple(short, fc.nat(3)).map(([name, rows]) => `${name}\0\0\0${String.fromCharCode(rows)}`),
  ],
  ['C', fc.tuple(fc.constantFrom('S', 'P'), short).map((parts) => parts.join(''))],
  ['S', fc.constant('')],
  ['S', fc.constant('')],
  ['H', fc.constant('')],
  ['d', fc.constant('x')],
]
const said = fc.oneof(
  ...BODIES.map(([type, body]) =>
    fc.tuple(
      fc.constant(type),
      body.map((text) => Buffer.from(text)),
    ),
  ),
)
const anything = fc.tuple(letter, fc.oneof(bytes(60), nearly(said.map(([, body]) => body))))

function decode([type, body]: [string, Buffer]): StatementMessage | undefined {
  const frame = { type: type.charCodeAt(0), body, whole: body }
  const decoded = outcome(() => decodeStatementMessage(frame), ['protocol_violation'])
  return 'value' in decoded ? decoded.value : undefined
}

const ROWS = Array.from({ length: 5 }, (_, row) => [`row ${row}`, row, undefined])
const VIEW = {
  columns: [
    { name: 'a', type: 'text' as const },
    { name: 'b', type: 'int8' as const },
    { name: 'c', type: 'bool' as const },
  ],
  rows: ROWS,
}

function answering() {
  return openConversation({
    async describe(sql) {
      const parsed = parseStatement(sql, 'described')
      return { columns: VIEW.columns, parameters: parsed?.parameters ?? 0 }
    },
    async run(sql, parameters) {
      parseStatement(sql, parameters)
      return { view: VIEW, tag: 'SHOW' }
    },
  })
}

/** The types of what is answered, each of them as long as it says. */
function typesOf(answer: readonly Buffer[]): string {
  const all = Buffer.concat(answer)
  let types = ''
  for (let at = 0; at < all.length; at += 1 + all.readUInt32BE(at + 1)) {
    must(at + 5 <= all.length, 'an answer that is cut', all)
    types += String.fromCharCode(all[at] ?? 0)
  }
  return types
}

const RIGHT_ANSWER: Record<StatementMessage['kind'], RegExp> = {
  query: /^(?:I|(?:N?(?:TD*)?C)*E?)Z$/,
  sync: /^Z$/,
  parse: /^[1E]$/,
  bind: /^[2E]$/,
  describe: /^(?:t?[Tn]|E)$/,
  execute: /^(?:N?D*[CsI]|E)$/,
  close: /^[3E]$/,
  flush: /^$/,
  terminate: /^E?$/,
  copy: /^E?$/,
}

async function judgeConversation(messages: [string, Buffer][]): Promise<void> {
  const { hear } = answering()
  let isSkipping = false
  for (const each of messages) {
    const message = decode(each)
    if (message === undefined || message.kind === 'terminate') continue
    const answer: Buffer[] = []
    for await (const part of hear(message)) answer.push(part)
    const types = typesOf(answer)
    if (message.kind === 'sync') isSkipping = false
    const right = isSkipping ? /^$/ : RIGHT_ANSWER[message.kind]
    must(right.test(types), `the answer to ${message.kind}`, types, isSkipping)
    isSkipping ||= message.kind !== 'query' && types.endsWith('E')
  }
}

export const consoleTargets: readonly Target[] = [
  target('console/statements', statement, judgeStatement),
  target('console/messages', anything, (one) => void decode(one)),
  target('console/conversation', few(said), judgeConversation),
]
