/**
 * The memory that a node's socket reads into, again and again (`onread`). Most sessions are idle, or ask for
 * little: they have one buffer in common. Whoever fills it gets one of its own, which grows when it is filled
 * as well, and shrinks when little comes. An idle socket keeps what it has, and Node asks for another one
 * only after a read: so the largest one goes soon, but not between two bursts of a stream.
 * https://nodejs.org/docs/latest-v24.x/api/net.html#socketconnectoptions-connectlistener
 * Rule: nothing is read into memory that a write still needs; what was read in common is copied at once.
 */
import type { Writable } from 'node:stream'

const READ_BYTES = { min: 4096, max: 64 * 1024 }
/** A buffer is four times too large after so many reads in a row that fill no more than a quarter of it. */
const SMALL_READS = 8
const SMALL_READS_OF_LARGEST = 2
/** Holds something only from a read to its callback, and nothing else is read in between. */
const COMMON: Buffer = Buffer.allocUnsafeSlow(READ_BYTES.min)

/** A record of TLS has no more (RFC 8446 section 5.1). */
export const TLS_READ_BYTES_MAX = 16 * 1024

/**
 * @param receive - @returns where the bytes, or some of them, still wait to be written.
 * @param max - as many as ever come at once
 */
export function readIntoOneBuffer(
  receive: (bytes: Buffer) => Writable | undefined,
  max = READ_BYTES.max,
) {
  let buffer = COMMON
  /** What was read right before waited in it: a stream of TLS records needs two in turn. */
  let other: Buffer | undefined
  /** Where that was. */
  let waitedIn: Writable | undefined
  let small = 0
  const next = (size: number): number => {
    const { length } = buffer
    small = isSmall(size, length) ? small + 1 : 0
    if (size === length) return Math.min(length * 4, max)
    const enough = length === READ_BYTES.max ? SMALL_READS_OF_LARGEST : SMALL_READS
    if (small < enough) return length
    small = 0
    return length / 4
  }
  const copyOf = (read: Buffer): Buffer =>
    waitedIn !== undefined && waitedIn.writableLength > 0 ? copyAlone(read) : Buffer.from(read)
  /** Memory of so many bytes that nothing waits in any more: what waits now came after it. */
  const free = (bytes: number, size: number, waitsIn: Writable | undefined): Buffer => {
    if (bytes === READ_BYTES.min) return COMMON
    const written = waitsIn !== undefined && waitsIn === waitedIn && waitsIn.writableLength <= size
    return written && other?.length === bytes ? other : Buffer.allocUnsafeSlow(bytes)
  }
  return {
    buffer: () => buffer,
    callback(size: number): boolean {
      const bytes = next(size)
      const read = buffer.subarray(0, size)
      const copied = buffer === COMMON || isSmall(size, buffer.length)
      const waitsIn = receive(copied ? copyOf(read) : read)
      const last = waitsIn === undefined || copied ? undefined : buffer
      if (last !== undefined || bytes !== buffer.length) buffer = free(bytes, size, waitsIn)
      other = last
      waitedIn = waitsIn
      return true
    },
  }
}

/** Where it may have to wait, it shall not hold what is four times its size. Nothing is small for the common one. */
function isSmall(size: number, length: number): boolean {
  return length > READ_BYTES.min && size * 4 <= length
}

/** For who reads slowly: in memory that others share, each of many small pieces would hold all of it. */
function copyAlone(chunk: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(chunk.length)
  chunk.copy(copy)
  return copy
}
