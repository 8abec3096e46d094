/** The password message: the token comes out as a Secret, and nothing of it stays in the frame. */
import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Secret } from '../../src/secret.ts'
import { decodePassword, PASSWORD_BYTES_MAX, takePassword } from '../../src/wire/client_messages.ts'
import { Framing } from '../../src/wire/framing.ts'
import { outcome, type Refusal, taken } from '../support/decoding.ts'
import { message, password, query } from '../support/wire_client.ts'

type Row = [name: string, bytes: Buffer, expected: string | Refusal | undefined]

/** The token, or what the client is told; the frame must be empty in every case. */
function take(framing: Framing): string | Refusal | undefined {
  const frame = framing.message(PASSWORD_BYTES_MAX)
  if (frame === undefined) return undefined
  const read = outcome(() => decodePassword(frame))
  expect(frame.body.every((byte) => byte === 0)).toBe(true)
  return read instanceof Secret ? read.reveal() : read
}

const expected: Refusal = { sqlstate: '08P01', says: "client didn't send required auth data" }
const unterminated: Refusal = { sqlstate: '08P01', says: 'expected 0-terminated byte array' }
const gone: Refusal = { silent: 'client_gone' }
const tooLarge = (size: number): Refusal => ({
  sqlstate: '08P01',
  says: `message size ${size} out of bounds (0..131072)`,
})

const TOKEN = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl'
const longest = 'x'.repeat(PASSWORD_BYTES_MAX - 1)

describe('a password message', () => {
  test.each<Row>([
    ['with a token', password(TOKEN), TOKEN],
    ['with UTF-8', password('пароль😀'), 'пароль😀'],
    ['with an empty password', password(''), ''],
    ['with more behind it', Buffer.concat([password(TOKEN), query('SELECT 1')]), TOKEN],
    ['not whole yet', password(TOKEN).subarray(0, -1), undefined],
    ['without its NUL', message('p', TOKEN), unterminated],
    ['with nothing in it', message('p', ''), unterminated],
    ['with a NUL inside', password(`${TOKEN}\0x`), unterminated],
    ['with a NUL inside and none at the end', message('p', `${TOKEN}\0x`), unterminated],
    ['with two NULs at the end', message('p', `${TOKEN}\0\0`), unterminated],
    ['of 128 KiB', password(longest), longest],
    ['of 128 KiB and one', password(`${longest}x`), tooLarge(131073)],
    ['of 2^32-1 bytes', Buffer.from('70ffffffff', 'hex'), tooLarge(2 ** 32 - 5)],
  ])('%s', (_name, bytes, said) => {
    // The long ones come whole: cut at every byte they would be copied as often.
    if (bytes.length > 1000) expect(takeWhole(bytes)).toEqual(said)
    else expect(taken(bytes, take)).toEqual(said)
  })
})

function takeWhole(bytes: Buffer) {
  const framing = new Framing()
  framing.push(Buffer.from(bytes))
  return outcome(() => take(framing))
}

describe('instead of a password message', () => {
  test.each<Row>([
    ['Terminate', message('X', ''), gone],
    ['Terminate with a body', message('X', 'x'), gone],
    ['Query', query('SELECT 1'), expected],
    ['Query that is a token', query(TOKEN), expected],
    ['a message of type 0', message('\0', TOKEN), expected],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\n\r\n'), tooLarge(0x4554202f - 4)],
  ])('%s', (_name, bytes, said) => {
    expect(taken(bytes, take)).toEqual(said)
  })
})

test('a refusal has nothing of what was sent', () => {
  for (const bytes of [message('p', TOKEN), password(`${TOKEN}\0`), query(TOKEN)]) {
    const framing = new Framing()
    framing.push(bytes)
    const frame = framing.message(PASSWORD_BYTES_MAX)
    try {
      if (frame !== undefined) decodePassword(frame)
      expect.unreachable()
    } catch (thrown) {
      expect(inspect(thrown, { depth: 9, showHidden: true })).not.toContain('eyJ')
    }
  }
})

test('any password without a NUL comes as it was written', () => {
  const text = fc.string({ unit: 'binary', maxLength: 20 }).map((each) => each.replaceAll('\0', ''))
  fc.assert(
    fc.property(text, (written) => {
      expect(taken(password(written), take)).toBe(written)
    }),
    { numRuns: 20 },
  )
})

test('any bytes without a NUL go on as they came, and leave nothing behind', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const sent = message('p', Buffer.from([...bytes.filter((byte) => byte !== 0), 0]))
      const framing = new Framing()
      framing.push(Buffer.from(sent))
      const frame = framing.message(PASSWORD_BYTES_MAX)
      expect(frame && takePassword(frame)).toEqual(sent)
      expect(frame?.body.every((byte) => byte === 0)).toBe(true)
    }),
  )
})

test('any message is a token or a refusal', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 127 }), fc.uint8Array(), (type, body) => {
      const said = takeWhole(message(String.fromCharCode(type), Buffer.from(body)))
      expect(said).toBeDefined()
    }),
  )
})
