/**
 * The two protocols, message by message, with somebody who knows a few answers. How drivers fare with it is
 * in test/real/console.test.ts.
 */
import { expect, it } from 'vitest'
import { type Answering, openConversation } from '../../src/answers/conversation.ts'
import type { Answered } from '../../src/answers/view.ts'
import { FAILURES, Failure } from '../../src/failure.ts'
import type { StatementMessage } from '../../src/wire/statement_messages.ts'

const VIEW = {
  columns: [
    { name: 'name', type: 'text' },
    { name: 'count', type: 'int8' },
    { name: 'is', type: 'bool' },
    { name: 'at', type: 'timestamptz' },
  ],
  rows: [
    ['one', 1, true, 946_684_801_500],
    ['two', 2, false, undefined],
    ['three', undefined, true, 0],
  ],
} as const

const LONG = { columns: VIEW.columns, rows: Array.from({ length: 10_000 }, () => VIEW.rows[0]) }

function open() {
  const ran: [string, readonly (string | undefined)[], boolean][] = []
  const answer = (sql: string): Answered => {
    if (sql === 'VIEW') return { view: VIEW, tag: 'SHOW' }
    if (sql === 'LONG') return { view: LONG, tag: 'SHOW' }
    if (sql.startsWith('DO')) return { tag: 'DO', notice: 'done' }
    throw new Failure('answer_unsupported', { values: { what: sql } })
  }
  const answering: Answering = {
    describe: async (sql) => ({
      columns: answer(sql).view?.columns,
      parameters: sql.split('$').length - 1,
    }),
    async run(sql, parameters, inTransaction) {
      ran.push([sql, parameters, inTransaction])
      return answer(sql)
    },
  }
  const conversation = openConversation(answering)
  const hear = async (message: StatementMessage): Promise<Buffer[]> => {
    const said: Buffer[] = []
    for await (const each of conversation.hear(message)) said.push(each)
    return said
  }
  /** What is said, by its types. */
  const say = async (...messages: StatementMessage[]): Promise<string> => {
    const said: Buffer[] = []
    for (const each of messages) said.push(...(await hear(each)))
    return said.map(shown).join(' ')
  }
  return { say, hear, ran }
}

/** Type, and of some messages what is in them. */
function shown(message: Buffer): string {
  const type = String.fromCharCode(message[0] ?? 0)
  const body = message.subarray(5)
  if (type === 'Z') return `Z${body}`
  if (type === 'C') return `C(${body.toString('utf8', 0, body.length - 1)})`
  if (type === 'E' || type === 'N') return `${type}${/C(\w{5})\0/.exec(body.toString())?.[1]}`
  return type
}

const query = (sql: string): StatementMessage => ({ kind: 'query', sql })
const parse = (sql: string, name = '', types: number[] = []): StatementMessage => ({
  kind: 'parse',
  name,
  sql,
  types,
})
const bind = (
  more: Partial<Extract<StatementMessage, { kind: 'bind' }>> = {},
): StatementMessage => ({
  kind: 'bind',
  portal: '',
  statement: '',
  formats: [],
  parameters: [],
  results: [],
  ...more,
})
const execute = (rows = 0, portal = ''): StatementMessage => ({ kind: 'execute', portal, rows })
const describeIt = (what: 'statement' | 'portal', name = ''): StatementMessage => ({
  kind: 'describe',
  what,
  name,
})
const SYNC: StatementMessage = { kind: 'sync' }

it.each<[string, StatementMessage[], string]>([
  ['nothing', [query('')], 'I ZI'],
  ['a view', [query('VIEW')], 'T D D D C(SHOW) ZI'],
  ['several', [query('DO 1; VIEW;')], 'N00000 C(DO) T D D D C(SHOW) ZI'],
  ['several, and none behind an error', [query('DO 1; WHAT; DO 2')], 'N00000 C(DO) E0A000 ZI'],
  ['a text without an end', [query("DO 1; DO '")], 'E42601 ZI'],
  [
    'a transaction',
    [query('BEGIN'), query('DO'), query('COMMIT')],
    'C(BEGIN) ZT N00000 C(DO) ZT C(COMMIT) ZI',
  ],
  [
    'a transaction that fails',
    [query('begin work'), query('WHAT'), query('DO'), query('END')],
    'C(BEGIN) ZT E0A000 ZE E25P02 ZE C(ROLLBACK) ZI',
  ],
  [
    'one that is rolled back',
    [query('START TRANSACTION READ ONLY; ROLLBACK')],
    'C(BEGIN) C(ROLLBACK) ZI',
  ],
  ['COPY data that nobody asked for', [{ kind: 'copy' }, query('')], 'I ZI'],
  [
    'the extended protocol',
    [parse('VIEW'), bind(), describeIt('portal'), execute(), SYNC],
    '1 2 T D D D C(SHOW) ZI',
  ],
  ['its empty query', [parse(' -- '), bind(), describeIt('portal'), execute(), SYNC], '1 2 n I ZI'],
  [
    'rows in portions',
    [parse('VIEW'), bind(), execute(2), execute(2), SYNC],
    '1 2 D D s D C(SHOW) ZI',
  ],
  [
    'a statement by its name, again and again',
    [
      parse('DO $1', 's'),
      describeIt('statement', 's'),
      bind({ statement: 's', parameters: [Buffer.from('x')] }),
      execute(),
      SYNC,
      bind({ statement: 's', parameters: [undefined] }),
      execute(),
      SYNC,
    ],
    '1 t n 2 N00000 C(DO) ZI 2 N00000 C(DO) ZI',
  ],
  [
    'nothing but Sync behind an error',
    [parse('WHAT'), bind(), execute(), query('VIEW'), SYNC, query('')],
    'E0A000 ZI I ZI',
  ],
  [
    'an error in a transaction',
    [parse('BEGIN'), bind(), execute(), SYNC, parse('WHAT'), SYNC],
    '1 2 C(BEGIN) ZT E0A000 ZE',
  ],
  ['two statements in one', [parse('DO; DO'), SYNC], 'E42601 ZI'],
  ['no such statement', [bind({ statement: 'x' }), SYNC], 'E26000 ZI'],
  ['no such portal', [execute(0, 'x'), SYNC], 'E34000 ZI'],
  [
    'a portal ends with its transaction',
    [parse('VIEW'), bind(), SYNC, execute(), SYNC],
    '1 2 ZI E34000 ZI',
  ],
  ['a name twice', [parse('VIEW', 's'), parse('VIEW', 's'), SYNC], '1 E42P05 ZI'],
  ['too few parameters', [parse('DO $1'), bind(), SYNC], '1 E08P01 ZI'],
  [
    'a parameter of another type, as text',
    [parse('DO $1', '', [23]), bind({ parameters: [Buffer.from('1')] }), execute(), SYNC],
    '1 2 N00000 C(DO) ZI',
  ],
  [
    'and in binary',
    [parse('DO $1', '', [23]), bind({ formats: [1], parameters: [Buffer.from('1')] }), SYNC],
    '1 E0A000 ZI',
  ],
  [
    'what is closed is gone',
    [
      parse('VIEW', 's'),
      { kind: 'close', what: 'statement', name: 's' },
      bind({ statement: 's' }),
      SYNC,
    ],
    '1 3 E26000 ZI',
  ],
])('%s', async (_, messages, said) => {
  expect(await open().say(...messages)).toBe(said)
})

it.each<[StatementMessage[], string]>([
  [[parse('DO; DO')], 'cannot insert multiple commands into a prepared statement'],
  [[query('DO;'.repeat(33))], 'more than 32 statements in one message'],
  [[parse('VIEW', 's'), parse('VIEW', 's')], 'prepared statement "s" already exists'],
  [[bind({ statement: 's' })], 'prepared statement "s" does not exist'],
  [[execute(0, 'p')], 'portal "p" does not exist'],
  [[parse('DO $1'), bind()], 'bind message supplies 0 parameters, but the statement requires 1'],
  [
    [query('BEGIN; WHAT'), query('DO')],
    'current transaction is aborted, commands ignored until end of transaction block',
  ],
])('%j is told: %s', async (messages, says) => {
  const { hear } = open()
  const said: Buffer[] = []
  for (const each of messages) said.push(...(await hear(each)))
  expect(Buffer.concat(said).toString()).toContain(`M${says}\0`)
})

it('runs nothing twice, and tells of a transaction', async () => {
  const { say, ran } = open()
  await say(parse('DO $1'), bind({ parameters: [Buffer.from('a')] }), execute(), execute(), SYNC)
  await say(query('BEGIN; DO'))
  expect(ran).toEqual([
    ['DO $1', ['a'], false],
    ['DO', [], true],
  ])
})

it('keeps a hundred statements of a client, and no more', async () => {
  const { say } = open()
  const many = Array.from({ length: 100 }, (_, at) => parse('VIEW', `s${at}`))
  expect(await say(...many)).toBe(Array(100).fill('1').join(' '))
  expect(await say(parse('VIEW', 'more'), SYNC)).toBe('E54000 ZI')
  expect(FAILURES.answer_too_many.sqlstate).toBe('54000')
  expect(await say({ kind: 'close', what: 'statement', name: 's0' }, parse('VIEW', 'more'))).toBe(
    '3 1',
  )
})

it('runs 32 statements of a message, and of a longer one none', async () => {
  const { say, ran } = open()
  expect(await say(query('DO;'.repeat(33)))).toBe('E54000 ZI')
  expect(ran).toEqual([])
  await say(query('DO;'.repeat(32)))
  expect(ran).toHaveLength(32)
})

it('runs no statement before the answer to the one in front of it was taken', async () => {
  const ran: string[] = []
  const { hear } = openConversation({
    describe: async () => ({ parameters: 0 }),
    async run(sql) {
      ran.push(sql)
      return { view: VIEW, tag: sql }
    },
  })
  for await (const message of hear({ kind: 'query', sql: 'a; b' }))
    if (shown(message) === 'C(a)') expect(ran).toEqual(['a'])
  expect(ran).toEqual(['a', 'b'])
})

it('keeps twenty thousand rows of a client, in all of its portals', async () => {
  const { say, hear } = open()
  const begin = (portal: string) => [bind({ portal, statement: 's' }), execute(1, portal)]
  expect(await say(parse('LONG', 's'), ...begin('a'), ...begin('b'))).toBe('1 2 D s 2 D s')
  const [bound, refused, ...more] = await Promise.all(begin('c').map(hear))
  expect([bound, more]).toEqual([[expect.anything()], []])
  expect(Buffer.concat(refused ?? []).toString()).toContain(
    'Mmore than 20000 rows wait in portals\0',
  )
})

it('goes on with fewer of them, once the others are fetched', async () => {
  const { say } = open()
  const begin = (portal: string) => [bind({ portal, statement: 's' }), execute(1, portal)]
  await say(query('BEGIN'), parse('LONG', 's'), ...begin('a'), ...begin('b'))
  expect((await say(execute(0, 'a'))).endsWith('D C(SHOW)')).toBe(true)
  expect(await say(...begin('c'))).toBe('2 D s')
})

it('sends values as text, and in binary to who asks for it', async () => {
  const { hear } = open()
  await hear(parse('VIEW'))
  const rowsAs = async (results: (0 | 1)[]) => {
    await hear(bind({ results }))
    return (await hear(execute())).filter((each) => each[0] === 'D'.charCodeAt(0)).map(valuesOf)
  }
  expect((await rowsAs([])).map((row) => row.map((each) => each?.toString()))).toEqual([
    ['one', '1', 't', '2000-01-01 00:00:01.500+00'],
    ['two', '2', 'f', undefined],
    ['three', undefined, 't', '1970-01-01 00:00:00+00'],
  ])
  const [first, , third] = await rowsAs([1])
  expect(first?.map((each) => each?.toString('hex'))).toEqual([
    Buffer.from('one').toString('hex'),
    '0000000000000001',
    '01',
    '000000000016e360',
  ])
  expect(third?.[3]?.readBigInt64BE()).toBe(-946_684_800_000_000n)
})

/** Of a DataRow. */
function valuesOf(message: Buffer): (Buffer | undefined)[] {
  let at = 7
  return Array.from({ length: message.readInt16BE(5) }, () => {
    const size = message.readInt32BE(at)
    at += 4
    if (size < 0) return undefined
    at += size
    return message.subarray(at - size, at)
  })
}
