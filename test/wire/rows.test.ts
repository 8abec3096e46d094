/** Answers to a Query: what is whole is read, what is not is refused, without a loop past its end. */
import { expect, test } from 'vitest'
import { Failure } from '../../src/failure.ts'
import { decodeRowMessage, query } from '../../src/wire/rows.ts'

const frame = (type: string, body: Buffer) => {
  const whole = Buffer.concat([Buffer.from(type), Buffer.alloc(4), body])
  whole.writeUInt32BE(whole.length - 1, 1)
  return { type: whole.readUInt8(0), body: whole.subarray(5), whole }
}
const column = (name: string) => Buffer.concat([Buffer.from(`${name}\0`), Buffer.alloc(18)])
const value = (text: string | null) => {
  const size = Buffer.alloc(4)
  size.writeInt32BE(text === null ? -1 : Buffer.byteLength(text))
  return Buffer.concat([size, Buffer.from(text ?? '')])
}
const counted = (count: number, ...parts: Buffer[]) =>
  Buffer.concat([Buffer.from([count >> 8, count & 255]), ...parts])

test.each([
  ['T', counted(2, column('a'), column('é')), { kind: 'columns', names: ['a', 'é'] }],
  ['T', counted(0), { kind: 'columns', names: [] }],
  ['D', counted(3, value('x'), value(null), value('')), { kind: 'row', values: ['x', null, ''] }],
  ['D', counted(0), { kind: 'row', values: [] }],
  ['C', Buffer.from('SELECT 1\0'), undefined],
  ['Z', Buffer.from('I'), undefined],
])('%s %j', (type, body, expected) => {
  expect(decodeRowMessage(frame(type, body))).toEqual(expected)
})

test.each([
  ['T', Buffer.alloc(0)],
  ['T', counted(1)],
  ['T', counted(1, Buffer.from('no end'))],
  ['T', counted(1, Buffer.from('short\0'))],
  ['T', counted(1, Buffer.alloc(16, 'no end'))],
  ['T', counted(2, column('a'))],
  ['T', counted(0, column('a'))],
  ['D', Buffer.alloc(1)],
  ['D', counted(1)],
  ['D', counted(1, value('x').subarray(0, 4))],
  ['D', counted(1, Buffer.from([255, 255, 255, 254]))],
  ['D', counted(1, Buffer.from([127, 255, 255, 255]))],
  ['D', counted(65_535, value('x'))],
])('malformed: %s %j', (type, body) => {
  expect(() => decodeRowMessage(frame(type, body))).toThrow(Failure)
})

test('a Query', () => {
  expect(query('SELECT 1').toString('latin1')).toBe('Q\0\0\0\rSELECT 1\0')
})
