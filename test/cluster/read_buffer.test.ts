import { Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { readIntoOneBuffer } from '../../src/cluster/read_buffer.ts'

const KB = 1024

/** Where chunks wait to be written; `waiting` is how many bytes of them. */
function destination() {
  const stream = new Writable({ highWaterMark: 1e9, write: () => undefined })
  const state = { waiting: 0 }
  Object.defineProperty(stream, 'writableLength', { get: () => state.waiting })
  return { stream, state }
}

/** What a socket does with it: reads so many bytes into it, each time as many as fit at most. */
function reader(receive: (bytes: Buffer) => Writable | undefined) {
  const received: Buffer[] = []
  const onread = readIntoOneBuffer((bytes) => {
    received.push(bytes)
    return receive(bytes)
  })
  const read = (wanted: number) => {
    const buffer = onread.buffer()
    const size = Math.min(wanted, buffer.length)
    buffer.fill(received.length, 0, size)
    onread.callback(size)
    return buffer.length
  }
  return { read, received, size: () => onread.buffer().length }
}

/** One whose reads were large enough for memory of its own: 16 KB. */
function ownReader(receive: (bytes: Buffer) => Writable | undefined) {
  let began = false
  const all = reader((bytes) => (began ? receive(bytes) : undefined))
  all.read(1_000_000)
  began = true
  const before = all.received.length
  const memories = () => new Set(all.received.slice(before).map(({ buffer }) => buffer)).size
  return { ...all, memories }
}

const taken = () => undefined

describe('the memory that a socket reads into', () => {
  it('grows as it is filled, and no further than 64 KB', () => {
    const { read } = reader(taken)
    const sizes = Array.from({ length: 6 }, () => read(1_000_000))
    expect(sizes).toEqual([4, 16, 64, 64, 64, 64].map((each) => each * KB))
  })

  it('shrinks when little comes: soon where it is the largest, else after a while', () => {
    const { read, size } = reader(taken)
    while (size() < 64 * KB) read(1_000_000)
    read(17_000)
    expect(size()).toBe(64 * KB)
    for (let i = 0; i < 3; i++) {
      read(16_000)
      expect(size()).toBe(64 * KB)
      read(60_000)
    }
    read(16_000)
    read(16_000)
    expect(size()).toBe(16 * KB)
    for (let i = 0; i < 7; i++) read(100)
    read(5_000)
    for (let i = 0; i < 7; i++) read(100)
    expect(size()).toBe(16 * KB)
    read(100)
    expect(size()).toBe(4 * KB)
    for (let i = 0; i < 20; i++) read(100)
    expect(size()).toBe(4 * KB)
  })

  it('is not held by a small chunk that waits', () => {
    const { stream, state } = destination()
    const { read, received, size } = reader(({ length }) => {
      state.waiting += length
      return stream
    })
    while (size() < 64 * KB) read(1_000_000)
    const before = received.length
    for (let i = 0; i < 10; i++) read(100)
    const held = new Set(received.slice(before).map(({ buffer }) => buffer))
    expect([...held].reduce((sum, { byteLength }) => sum + byteLength, 0)).toBeLessThan(17 * KB)
  })

  it('stays as large as a record of TLS while such records stream', () => {
    const onread = readIntoOneBuffer(taken, 16 * KB)
    const sizes = Array.from({ length: 12 }, (_, at) => {
      onread.callback(Math.min(at % 4 === 3 ? 9 * KB : 16 * KB, onread.buffer().length))
      return onread.buffer().length
    })
    expect(new Set(sizes)).toEqual(new Set([16 * KB]))
  })

  it('is the same as long as nothing waits in it', () => {
    const { read, memories } = ownReader(taken)
    for (let i = 0; i < 5; i++) read(8 * KB)
    expect(memories()).toBe(1)
  })

  it('is two in turn where each chunk is written when the next one comes', () => {
    const { stream, state } = destination()
    const { read, received, memories } = ownReader(({ length }) => {
      state.waiting = length
      return stream
    })
    for (let i = 0; i < 6; i++) read(8 * KB)
    expect(memories()).toBe(2)
    // Only what was read right before may still be needed.
    const [first, last] = received.slice(-2).map((bytes) => bytes[0] ?? 0)
    expect((last ?? 0) - (first ?? 0)).toBe(1)
  })

  it.each<[string, () => (bytes: Buffer) => Writable | undefined]>([
    [
      'where earlier chunks wait as well',
      () => {
        const { stream, state } = destination()
        return ({ length }) => {
          state.waiting += length
          return stream
        }
      },
    ],
    [
      'where the next one waits elsewhere: the first may still wait there',
      () => {
        return ({ length }) => {
          const { stream, state } = destination()
          state.waiting = length
          return stream
        }
      },
    ],
  ])('is another one each time %s', (_, receive) => {
    const { read, received, memories } = ownReader(receive())
    const start = received.length
    for (let i = 0; i < 5; i++) read(8 * KB)
    expect(memories()).toBe(5)
    expect(received.slice(start).map((bytes) => (bytes[0] ?? 0) - start)).toEqual([0, 1, 2, 3, 4])
  })

  it('is another one than a chunk that waits in a stream which another chunk passed by', () => {
    const first = destination()
    const second = destination()
    const order = [first, undefined, second, second]
    let own = false
    const { read, received } = ownReader(({ length }) => {
      const to = own ? order.shift() : undefined
      if (to !== undefined) to.state.waiting = length
      return to?.stream
    })
    own = true
    const start = received.length
    for (let i = 0; i < 4; i++) read(8 * KB)
    expect(received[start]?.[0]).toBe(start)
  })

  it("is one for all whose reads are small, and none of them sees another one's bytes", () => {
    const { stream } = destination()
    const readers = [reader(() => stream), reader(taken), reader(() => stream)]
    for (let i = 0; i < 100; i++) for (const { read } of readers) read(100 + i)
    const begin = readers.map(({ received }) => received.map((bytes) => [bytes[0], bytes.length]))
    const expected = Array.from({ length: 100 }, (_, i) => [i, 100 + i])
    expect(begin).toEqual([expected, expected, expected])
    for (const { read } of readers) read(1_000_000)
    const [one, other] = readers.map((each) => each.read(9 * KB) && each.received.at(-1)?.buffer)
    expect(one).not.toBe(other)
  })

  it('is its own for each small piece of who is behind: none of them holds what others share', () => {
    const { stream, state } = destination()
    const { read, received } = reader(({ length }) => {
      state.waiting += length
      return stream
    })
    for (let i = 0; i < 20; i++) read(20)
    const held = new Set(received.slice(1).map(({ buffer }) => buffer.byteLength))
    expect([...held]).toEqual([20])
  })
})
