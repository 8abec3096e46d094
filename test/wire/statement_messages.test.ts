/** What clients say to have statements run, byte by byte as the protocol's pages have it. */
import { expect, it } from 'vitest'
import { decodeStatementMessage } from '../../src/wire/statement_messages.ts'

function decode(type: string, ...parts: (string | number | Buffer)[]) {
  const body = Buffer.concat(
    parts.map((part) => {
      if (Buffer.isBuffer(part)) return part
      if (typeof part === 'string') return Buffer.from(`${part}\0`)
      const bytes = Buffer.alloc(2)
      bytes.writeInt16BE(part)
      return bytes
    }),
  )
  return decodeStatementMessage({ type: type.charCodeAt(0), body, whole: body })
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

it.each<[string, ReturnType<typeof decode>, unknown]>([
  ['Query', decode('Q', 'SELECT 1'), { kind: 'query', sql: 'SELECT 1' }],
  [
    'Parse',
    decode('P', 's', 'HELP', 1, int32(25)),
    { kind: 'parse', name: 's', sql: 'HELP', types: [25] },
  ],
  [
    'Bind',
    decode('B', 'p', 's', 1, 0, 2, int32(1), Buffer.from('x'), int32(-1), 1, 1),
    {
      kind: 'bind',
      portal: 'p',
      statement: 's',
      formats: [0],
      parameters: [Buffer.from('x'), undefined],
      results: [1],
    },
  ],
  [
    'Describe',
    decode('D', Buffer.from('S'), 's'),
    { kind: 'describe', what: 'statement', name: 's' },
  ],
  ['Close', decode('C', Buffer.from('P'), ''), { kind: 'close', what: 'portal', name: '' }],
  ['Execute', decode('E', 'p', int32(5)), { kind: 'execute', portal: 'p', rows: 5 }],
  ['Sync', decode('S'), { kind: 'sync' }],
  ['Flush', decode('H'), { kind: 'flush' }],
  ['Terminate', decode('X'), { kind: 'terminate' }],
  ['CopyData', decode('d', Buffer.from('abc')), { kind: 'copy' }],
  ['FunctionCall', decode('F', int32(1)), undefined],
])('%s', (_, said, message) => {
  expect(said).toEqual(message)
})

it.each<[string, () => unknown]>([
  ['Query without its end', () => decode('Q', Buffer.from('SELECT 1'))],
  ['Query and more', () => decode('Q', 'SELECT 1', Buffer.from('x'))],
  ['Parse without its types', () => decode('P', 's', 'HELP')],
  ['Parse with a long list of nothing', () => decode('P', 's', 'HELP', -1)],
  ['Bind with a value that is longer than it', () => decode('B', '', '', 0, 1, int32(99), 0)],
  ['Bind with a value of less than nothing', () => decode('B', '', '', 0, 1, int32(-2), 0)],
  ['Bind with another format', () => decode('B', '', '', 1, 2, 0, 0)],
  ['Describe of what', () => decode('D', Buffer.from('X'), 's')],
  ['Execute cut short', () => decode('E', 'p', Buffer.alloc(3))],
])('%s is refused', (_, said) => {
  expect(said).toThrow(/^invalid message: malformed '.' message$/)
})
