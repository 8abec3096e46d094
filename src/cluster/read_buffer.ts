/**
 * The memory that a node's socket reads into, again and again (`onread`). It grows when it was filled, and
 * shrinks when little comes: most sessions are idle, or ask for little. An idle socket keeps what it has, and
 * Node asks for another one only after a read, so the largest one is for what streams, and goes at once.
 * https://nodejs.org/docs/latest-v24.x/api/net.html#socketconnectoptions-connectlistener
 * Rule: nothing is read into memory that a write still needs.
 */
import type { Writable } from 'node:stream'

const READ_BYTES = { min: 1024, max: 64 * 1024 }
/** A buffer is four times too large after so many reads that fill no more than a quarter of it. */
const SMALL_READS = 8

/** @param receive - @returns where the bytes, or some of them, still wait to be written. */
export function readIntoOneBuffer(receive: (bytes: Buffer) => Writable | undefined) {
  let buffer: Buffer = Buffer.allocUnsafeSlow(READ_BYTES.min)
  /** Read into right before, and where that waited: a stream of TLS records needs two in turn. */
  let before: { buffer: Buffer; waitedIn: Writable } | undefined
  let small = 0
  const next = (size: number): number => {
    const { length } = buffer
    small = isSmall(size, length) ? small + 1 : 0
    if (size === length) return Math.min(length * 4, READ_BYTES.max)
    if (small === 0 || (length < READ_BYTES.max && small < SMALL_READS)) return length
    small = 0
    return length / 4
  }
  /** Memory of so many bytes that nothing waits in any more: what waits now came after it. */
  const free = (bytes: number, size: number, waitsIn: Writable | undefined): Buffer => {
    const written = waitsIn === before?.waitedIn && waitsIn && waitsIn.writableLength <= size
    if (written && before?.buffer.length === bytes) return before.buffer
    return Buffer.allocUnsafeSlow(bytes)
  }
  return {
    buffer: () => buffer,
    callback(size: number): boolean {
      const bytes = next(size)
      const chunk = buffer.subarray(0, size)
      // Where it has to wait, it shall not hold what is four times its size.
      const waitsIn = receive(isSmall(size, buffer.length) ? copyOf(chunk) : chunk)
      const last = buffer
      if (waitsIn !== undefined || bytes !== last.length) buffer = free(bytes, size, waitsIn)
      before = waitsIn && { buffer: last, waitedIn: waitsIn }
      return true
    },
  }
}

/** Its own: of Node's, which many share, it would hold as much again. */
function copyOf(chunk: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(chunk.length)
  chunk.copy(copy)
  return copy
}

/** Of the smallest one nothing is small. */
function isSmall(size: number, length: number): boolean {
  return length > READ_BYTES.min && size * 4 <= length
}
