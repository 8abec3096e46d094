/** What the gate says, byte by byte, and read back by a reader that shares nothing with it. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FAILURES, Failure, type FailureCode } from '../../src/failure.ts'
import { message, packet } from '../../src/wire/encode.ts'
import {
  AUTHENTICATION_OK,
  backendKeyData,
  CLEARTEXT_PASSWORD,
  ENCRYPTION_REFUSED,
  errorResponse,
  negotiateProtocolVersion,
  noticeResponse,
  type Report,
  SSL_ACCEPTED,
} from '../../src/wire/server_messages.ts'
import { outcome } from '../support/decoding.ts'

describe('bytes', () => {
  test.each<[name: string, bytes: Buffer, expected: string]>([
    ['S', SSL_ACCEPTED, 'S'],
    ['N', ENCRYPTION_REFUSED, 'N'],
    ['AuthenticationOk', AUTHENTICATION_OK, 'R\0\0\0\x08\0\0\0\0'],
    ['AuthenticationCleartextPassword', CLEARTEXT_PASSWORD, 'R\0\0\0\x08\0\0\0\x03'],
    ['BackendKeyData', backendKeyData(Buffer.from('12345678')), 'K\0\0\0\x0c12345678'],
    [
      'NegotiateProtocolVersion',
      negotiateProtocolVersion(0, ['_pq_.a', '_pq_.b']),
      'v\0\0\0\x1a\0\x03\0\0\0\0\0\x02_pq_.a\0_pq_.b\0',
    ],
    [
      'NegotiateProtocolVersion without options',
      negotiateProtocolVersion(2, []),
      'v\0\0\0\x0c\0\x03\0\x02\0\0\0\0',
    ],
    [
      'ErrorResponse',
      errorResponse({
        severity: 'FATAL',
        sqlstate: '28000',
        message: 'no',
        detail: 'd',
        hint: 'h',
      }),
      'E\0\0\0\x24SFATAL\0VFATAL\0C28000\0Mno\0Dd\0Hh\0\0',
    ],
    [
      'NoticeResponse',
      noticeResponse({ severity: 'WARNING', sqlstate: '01000', message: 'soon' }),
      'N\0\0\0\x24SWARNING\0VWARNING\0C01000\0Msoon\0\0',
    ],
  ])('%s', (_name, bytes, expected) => {
    expect(bytes.toString('latin1')).toBe(expected)
  })
})

/** Fields in order, each with its letter; undefined where the message is not exactly a list of them. */
function readFields(bytes: Buffer): [letter: string, text: string][] | undefined {
  if (bytes.readUInt32BE(1) !== bytes.length - 1) return undefined
  const words = bytes.toString('utf8', 5).split('\0')
  // The last string's NUL, and the list's.
  if (words.pop() !== '' || words.pop() !== '') return undefined
  return words.map((word) => [word.slice(0, 1), word.slice(1)])
}

describe('a NUL in a text', () => {
  const forged = 'x\0Mall is well\0\0Z\0\0\0\x05I'
  const shown = forged.replaceAll('\0', '\ufffd')
  test.each<[name: keyof Report, letter: string]>([
    ['message', 'M'],
    ['detail', 'D'],
    ['hint', 'H'],
  ])('of the %s begins no field', (name, letter) => {
    const report: Report = { severity: 'FATAL', sqlstate: '28000', message: 'no', [name]: forged }
    const read = readFields(errorResponse(report))
    expect(read?.filter(([each]) => each === letter)).toEqual([[letter, shown]])
    expect(read?.length).toBe(name === 'message' ? 4 : 5)
  })

  test.each<[name: string, work: () => Buffer]>([
    ['a message', () => message('S', 'application_name', 'a\0user\0root')],
    ['a packet', () => packet(3 << 16, 'user', 'a\0database\0b')],
    ["a client's option", () => negotiateProtocolVersion(0, ['_pq_.a\0b'])],
  ])('of %s is never written', (_name, work) => {
    expect(outcome(work)).toEqual({ sqlstate: 'XX000', says: 'internal error' })
  })
})

test('whatever the texts are, they are read as what they are', () => {
  const text = fc.string({ unit: 'binary', maxLength: 30 })
  const unsaid = fc.option(text, { nil: undefined })
  const reports = fc.record({ message: text, detail: unsaid, hint: unsaid })
  const shown = (letter: string, said: string | undefined) =>
    said === undefined ? [] : [[letter, said.replaceAll('\0', '\ufffd')]]
  fc.assert(
    fc.property(reports, ({ message, detail, hint }) => {
      const bytes = errorResponse({ severity: 'ERROR', sqlstate: '08P01', message, detail, hint })
      expect(readFields(bytes)).toEqual([
        ['S', 'ERROR'],
        ['V', 'ERROR'],
        ['C', '08P01'],
        ...shown('M', message),
        ...shown('D', detail),
        ...shown('H', hint),
      ])
    }),
  )
})

test.each(Object.keys(FAILURES) as FailureCode[])('%s can be told', (code) => {
  const { row, message } = new Failure(code)
  const report: Report = { severity: 'FATAL', sqlstate: row.sqlstate, message, hint: row.hint }
  expect(readFields(errorResponse(report))).toEqual([
    ['S', 'FATAL'],
    ['V', 'FATAL'],
    ['C', row.sqlstate],
    ['M', message],
    ...(row.hint === undefined ? [] : [['H', row.hint]]),
  ])
})
