/** Chunks become messages: cut anywhere, within bounds, and nothing of them stays behind. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Frame, Framing } from '../../src/wire/framing.ts'
import { outcome, type Refusal, taken } from '../support/decoding.ts'
import { message, uint32 } from '../support/wire_client.ts'

const LIMIT = 100

const readFrame = ({ type, body, whole }: Frame) => {
  expect(whole.subarray(5)).toEqual(body)
  return `${String.fromCharCode(type)}:${body.toString('latin1')}`
}
const takeMessage = (framing: Framing) => {
  const frame = framing.message(LIMIT)
  return frame && readFrame(frame)
}
const takePacket = (framing: Framing) => framing.packet(LIMIT)?.toString('latin1')

const tooLarge = (size: number): Refusal => ({
  sqlstate: '08P01',
  says: `message size ${size} out of bounds (0..${LIMIT})`,
})
const notPostgres: Refusal = { silent: 'not_postgres' }

describe('a tagged message', () => {
  const header = (length: number) => Buffer.concat([Buffer.from('p'), uint32(length)])
  test.each<[name: string, bytes: Buffer, expected: string | Refusal | undefined]>([
    ['whole', message('p', 'token\0'), 'p:token\0'],
    ['with no body', message('X', ''), 'X:'],
    ['as long as may be', message('d', 'x'.repeat(LIMIT)), `d:${'x'.repeat(LIMIT)}`],
    ['and a second one', Buffer.concat([message('a', '1'), message('b', '2')]), 'a:1'],
    ['nothing yet', Buffer.alloc(0), undefined],
    ['a type alone', Buffer.from('p'), undefined],
    ['a header cut off', header(9).subarray(0, 4), undefined],
    ['a body cut off', message('p', 'token\0').subarray(0, -1), undefined],
    ['a length that does not count itself', header(3), tooLarge(-1)],
    ['of no length', header(0), tooLarge(-4)],
    ['one byte too long', header(LIMIT + 5), tooLarge(LIMIT + 1)],
    ['of 2^31-1 bytes', header(2 ** 31 - 1), tooLarge(2 ** 31 - 5)],
    ['of 2^31 bytes', header(2 ** 31), tooLarge(2 ** 31 - 4)],
    ['of 2^32-1 bytes', header(2 ** 32 - 1), tooLarge(2 ** 32 - 5)],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\n\r\n'), tooLarge(0x4554202f - 4)],
  ])('%s', (_name, bytes, expected) => {
    expect(taken(bytes, takeMessage)).toEqual(expected)
  })
})

describe('an untagged packet', () => {
  const packet = (length: number, body = '') => Buffer.concat([uint32(length), Buffer.from(body)])
  test.each<[name: string, bytes: Buffer, expected: string | Refusal | undefined]>([
    ['whole', packet(8, 'abcd'), 'abcd'],
    ['as long as may be', packet(LIMIT, 'x'.repeat(LIMIT - 4)), 'x'.repeat(LIMIT - 4)],
    ['and bytes behind it', packet(9, 'abcdefgh'), 'abcde'],
    ['a length cut off', packet(8).subarray(0, 3), undefined],
    ['a body cut off', packet(9, 'abcd'), undefined],
    ['too short for a code', packet(7, 'abcdefgh'), notPostgres],
    ['of no length', packet(0), notPostgres],
    ['one byte too long', packet(LIMIT + 1), notPostgres],
    ['of 2^32-1 bytes', packet(2 ** 32 - 1), notPostgres],
  ])('%s', (_name, bytes, expected) => {
    expect(taken(bytes, takePacket)).toEqual(expected)
  })
})

const messages = fc.array(
  fc.record({
    type: fc.constantFrom('p', 'Q', 'S', 'd', '\0'),
    body: fc.uint8Array({ maxLength: LIMIT }),
  }),
  { maxLength: 30 },
)

test('what was written is read, however it is cut and whenever it is asked for', () => {
  const cuts = fc.infiniteStream(
    fc.record({ size: fc.integer({ min: 1, max: 250 }), ask: fc.boolean() }),
  )
  fc.assert(
    fc.property(messages, cuts, (written, stream) => {
      const bytes = Buffer.concat(written.map(({ type, body }) => message(type, Buffer.from(body))))
      const framing = new Framing()
      const read: string[] = []
      const ask = () => {
        for (let next = takeMessage(framing); next !== undefined; next = takeMessage(framing))
          read.push(next)
      }
      for (let at = 0; at < bytes.length; ) {
        const { size, ask: now } = stream.next().value
        framing.push(Buffer.from(bytes.subarray(at, at + size)))
        at += size
        if (now) ask()
      }
      ask()
      expect(read).toEqual(
        written.map(({ type, body }) => `${type}:${Buffer.from(body).toString('latin1')}`),
      )
      expect(framing.size).toBe(0)
    }),
  )
})

test('any bytes are messages, an unfinished one, or a failure; and a failure stays one', () => {
  const takes = fc.constantFrom(takeMessage, takePacket)
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), takes, (chunks, take) => {
      const framing = new Framing()
      for (const chunk of chunks) {
        framing.push(Buffer.from(chunk))
        const found = outcome(() => take(framing))
        if (typeof found !== 'object') continue
        const left = framing.size
        expect(outcome(() => take(framing))).toEqual(found)
        expect(framing.size).toBe(left)
      }
    }),
  )
})

test('a length field takes no memory', () => {
  const limit = 10_000_000
  const before = process.memoryUsage().arrayBuffers
  const framings = Array.from({ length: 500 }, () => {
    const framing = new Framing()
    framing.push(Buffer.concat([Buffer.from('p'), uint32(limit)]))
    expect(framing.message(limit)).toBeUndefined()
    return framing
  })
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(limit)
  expect(framings).toHaveLength(500)
})

test('the rest is everything not yet taken, once', () => {
  const framing = new Framing()
  expect(framing.peek()).toBeUndefined()
  framing.push(Buffer.concat([message('a', '1'), Buffer.from('Srest')]))
  expect(takeMessage(framing)).toBe('a:1')
  expect([framing.size, framing.peek()]).toEqual([5, 'S'.charCodeAt(0)])
  expect(framing.rest().toString()).toBe('Srest')
  expect([framing.size, framing.peek(), framing.rest()]).toEqual([0, undefined, Buffer.alloc(0)])
  framing.push(message('b', '2'))
  expect(takeMessage(framing)).toBe('b:2')
})

describe('nothing stays behind', () => {
  const token = message('p', 'a token\0')
  /** A view of the framing's own memory: the frame that it handed out. */
  const handedOut = (framing: Framing) => {
    framing.push(Buffer.from(token))
    const view = framing.message(LIMIT)?.whole
    expect(view).toEqual(token)
    return view
  }
  const zeros = Buffer.alloc(token.length)

  test('of a chunk', () => {
    const chunk = Buffer.from(token)
    new Framing().push(chunk)
    expect(chunk).toEqual(zeros)
  })
  test.each<[name: string, doing: (framing: Framing) => void]>([
    ['outgrown memory', (framing) => framing.push(Buffer.alloc(100_000, 1))],
    ['memory that was given back', (framing) => void framing.rest()],
    ['what was wiped', (framing) => framing.wipe()],
  ])('of %s', (_name, doing) => {
    const framing = new Framing()
    const view = handedOut(framing)
    framing.push(Buffer.from('later'))
    doing(framing)
    expect(view).toEqual(zeros)
  })
  test('the rest is a copy, which wiping leaves alone', () => {
    const framing = new Framing()
    framing.push(Buffer.from('rest'))
    const rest = framing.rest()
    framing.push(Buffer.from('more'))
    framing.wipe()
    expect(rest.toString()).toBe('rest')
    expect(framing.size).toBe(0)
  })
})
