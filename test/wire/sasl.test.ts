/** SASL's messages: what is offered byte by byte, and the client's answers however they arrive. */
import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PASSWORD_BYTES_MAX } from '../../src/wire/client_messages.ts'
import { Framing } from '../../src/wire/framing.ts'
import {
  authenticationSasl,
  authenticationSaslContinue,
  decodeSaslInitialResponse,
  decodeSaslResponse,
} from '../../src/wire/sasl.ts'
import { outcome, type Refusal, taken } from '../support/decoding.ts'
import { message, password, query, uint32 } from '../support/wire_client.ts'

const TOKEN = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl'

/** SASLInitialResponse, with a length that may be a lie. */
function initial(mechanism: string, data: string, length = data.length): Buffer {
  const parts = [Buffer.from(`${mechanism}\0`), uint32(length), Buffer.from(data, 'latin1')]
  return message('p', Buffer.concat(parts))
}

const violation = (problem: string): Refusal => ({
  sqlstate: '08P01',
  says: `invalid message: ${problem}`,
})
const short = violation('SASLInitialResponse is cut short')
const lying = violation('SASLInitialResponse is not as long as it says')
const expected: Refusal = { sqlstate: '08P01', says: "client didn't send required auth data" }
const gone: Refusal = { silent: 'client_gone' }
const tooLarge = (size: number): Refusal => ({
  sqlstate: '08P01',
  says: `message size ${size} out of bounds (0..${PASSWORD_BYTES_MAX})`,
})

test.each<[name: string, bytes: Buffer, said: string]>([
  ['AuthenticationSASL', authenticationSasl(['A', 'BC']), 'R\0\0\0\x0e\0\0\0\x0aA\0BC\0\0'],
  [
    'AuthenticationSASLContinue',
    authenticationSaslContinue(Buffer.from('{}')),
    'R\0\0\0\x0a\0\0\0\x0b{}',
  ],
  ['an empty challenge', authenticationSaslContinue(Buffer.alloc(0)), 'R\0\0\0\x08\0\0\0\x0b'],
])('%s', (_name, bytes, said) => {
  expect(bytes.toString('latin1')).toBe(said)
})

/** What was read, its Secret revealed; the frame must be empty in every case. */
function takeInitial(framing: Framing) {
  const frame = framing.message(PASSWORD_BYTES_MAX)
  if (frame === undefined) return undefined
  const read = outcome(() => {
    const { mechanism, response } = decodeSaslInitialResponse(frame)
    return [mechanism, response?.reveal()]
  })
  expect(frame.body.every((byte) => byte === 0)).toBe(true)
  return read
}

function takeResponse(framing: Framing) {
  const frame = framing.message(PASSWORD_BYTES_MAX)
  if (frame === undefined) return undefined
  const read = outcome(() => decodeSaslResponse(frame).reveal())
  expect(frame.body.every((byte) => byte === 0)).toBe(true)
  return read
}

const NOT_SASL: [name: string, bytes: Buffer, said: Refusal][] = [
  ['Terminate', message('X', ''), gone],
  ['Query', query(TOKEN), expected],
  ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\n\r\n'), tooLarge(0x4554202f - 4)],
]

describe('SASLInitialResponse', () => {
  test.each<[name: string, bytes: Buffer, said: unknown]>([
    ['with a response', initial('M', TOKEN), ['M', TOKEN]],
    ['with an empty one', initial('M', ''), ['M', '']],
    ['without one', initial('M', '', -1), ['M', undefined]],
    ['with a mechanism of no name', initial('', TOKEN), ['', TOKEN]],
    ['with NULs in the response', initial('M', 'a\0b\0'), ['M', 'a\0b\0']],
    ['with bytes that are no text', initial('M', '\xff\xc3'), ['M', '\xff\xc3']],
    ['with more behind it', Buffer.concat([initial('M', 'x'), query('SELECT 1')]), ['M', 'x']],
    ['not whole yet', initial('M', TOKEN).subarray(0, -1), undefined],
    ['with nothing in it', message('p', ''), short],
    ['with half a length', message('p', 'M\0\0\0'), short],
    ['without a length, as a password is', password(TOKEN), short],
    ['without a NUL', message('p', TOKEN), short],
    ['longer than it says', initial('M', TOKEN, TOKEN.length - 1), lying],
    ['shorter than it says', initial('M', TOKEN, TOKEN.length + 1), lying],
    ['that says it has none, and has one', initial('M', TOKEN, -1), lying],
    ['of length -2', initial('M', '', -2), lying],
    ['of length 2^31-1', initial('M', TOKEN, 0x7fffffff), lying],
    ['of length -2^31', initial('M', TOKEN, 0x80000000), lying],
    ['of 2^32-1 bytes', Buffer.from('70ffffffff', 'hex'), tooLarge(2 ** 32 - 5)],
    ...NOT_SASL,
  ])('%s', (_name, bytes, said) => {
    expect(taken(bytes, takeInitial)).toEqual(said)
  })

  test('of 128 KiB, and of one more', () => {
    const longest = 'x'.repeat(PASSWORD_BYTES_MAX - 6)
    const takeWhole = (bytes: Buffer) => {
      const framing = new Framing()
      framing.push(bytes)
      return outcome(() => takeInitial(framing))
    }
    expect(takeWhole(initial('M', longest))).toEqual(['M', longest])
    expect(takeWhole(initial('M', `${longest}x`))).toEqual(tooLarge(PASSWORD_BYTES_MAX + 1))
  })
})

describe('SASLResponse', () => {
  test.each<[name: string, bytes: Buffer, said: unknown]>([
    ['with a response', message('p', TOKEN), TOKEN],
    ['with an empty one', message('p', ''), ''],
    ['with NULs in it', message('p', 'a\0b\0'), 'a\0b\0'],
    ['not whole yet', message('p', TOKEN).subarray(0, -1), undefined],
    ['of 2^32-1 bytes', Buffer.from('70ffffffff', 'hex'), tooLarge(2 ** 32 - 5)],
    ...NOT_SASL,
  ])('%s', (_name, bytes, said) => {
    expect(taken(bytes, takeResponse)).toEqual(said)
  })
})

test('nothing of a token can be seen, read or refused', () => {
  const seen = [initial('M', TOKEN), initial('M', TOKEN, 5), password(TOKEN), query(TOKEN)].map(
    (bytes) => {
      const framing = new Framing()
      framing.push(bytes)
      const frame = framing.message(PASSWORD_BYTES_MAX)
      expect(frame).toBeDefined()
      try {
        return frame && decodeSaslInitialResponse(frame)
      } catch (thrown) {
        return thrown
      }
    },
  )
  expect(inspect(seen, { depth: 9, showHidden: true })).not.toContain('eyJ')
  expect(JSON.stringify(seen)).not.toContain('eyJ')
})

test('any choice comes as it was made', () => {
  const name = fc.string({ unit: 'grapheme-ascii', maxLength: 9 })
  const data = fc.option(fc.uint8Array({ maxLength: 20 }), { nil: undefined })
  fc.assert(
    fc.property(name, data, (mechanism, bytes) => {
      const response = bytes && Buffer.from(bytes).toString('latin1')
      const written = initial(mechanism, response ?? '', response === undefined ? -1 : undefined)
      expect(taken(written, takeInitial)).toEqual([mechanism, response])
    }),
    { numRuns: 20 },
  )
})

test('any message is a choice or a refusal', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 127 }), fc.uint8Array(), (type, body) => {
      const framing = new Framing()
      framing.push(message(String.fromCharCode(type), Buffer.from(body)))
      expect(outcome(() => takeInitial(framing))).toBeDefined()
    }),
  )
})
