import { describe, expect, it } from 'vitest'
import { readIntoOneBuffer } from '../../src/cluster/read_buffer.ts'

const KB = 1024

/** What a socket does with it: reads so many bytes into it, each time as many as fit at most. */
function reader(kept: () => boolean) {
  const received: Buffer[] = []
  const onread = readIntoOneBuffer((bytes) => {
    received.push(bytes)
    return kept()
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

describe('the memory that a socket reads into', () => {
  it('grows as it is filled, and no further than 64 KB', () => {
    const { read } = reader(() => false)
    const sizes = Array.from({ length: 6 }, () => read(1_000_000))
    expect(sizes).toEqual([1, 4, 16, 64, 64, 64].map((each) => each * KB))
  })

  it('shrinks when little comes, and not before', () => {
    const { read, size } = reader(() => false)
    while (size() < 64 * KB) read(1_000_000)
    for (let i = 0; i < 31; i++) read(100)
    expect(size()).toBe(64 * KB)
    read(9_000)
    for (let i = 0; i < 31; i++) read(100)
    expect(size()).toBe(64 * KB)
    read(100)
    expect(size()).toBe(16 * KB)
    for (let i = 0; i < 200; i++) read(100)
    expect(size()).toBe(KB)
  })

  it('is the same as long as nobody needs it, and another one where somebody does', () => {
    let kept = true
    const { read, received } = reader(() => kept)
    for (let i = 0; i < 3; i++) read(10)
    kept = false
    for (let i = 0; i < 3; i++) read(10)
    expect(new Set(received.map(({ buffer }) => buffer)).size).toBe(4)
    expect(received.slice(0, 3).map((bytes) => bytes[0])).toEqual([0, 1, 2])
  })
})
