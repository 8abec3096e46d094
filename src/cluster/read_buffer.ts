/**
 * The memory that a node's socket reads into, again and again (`onread`). It grows when it was filled, and
 * shrinks when little comes: most sessions are idle, or ask for little.
 * https://nodejs.org/docs/latest-v24.x/api/net.html#socketconnectoptions-connectlistener
 * Rule: nothing is read into memory that a write still needs.
 */
import type { Writable } from 'node:stream'

const READ_BYTES = { min: 1024, max: 64 * 1024 }
/** A buffer is four times too large after so many reads that fill less than an eighth of it. */
const SMALL_READS = 32

/** @param receive - @returns where the bytes, or some of them, still wait to be written. */
export function readIntoOneBuffer(receive: (bytes: Buffer) => Writable | undefined) {
  let buffer: Buffer = Buffer.allocUnsafeSlow(READ_BYTES.min)
  /** Read into right before, and where that waited: a stream of TLS records needs two in turn. */
  let before: { buffer: Buffer; waitedIn: Writable } | undefined
  let small = 0
  const next = (size: number): number => {
    small = size * 8 < buffer.length ? small + 1 : 0
    if (size === buffer.length) return Math.min(buffer.length * 4, READ_BYTES.max)
    if (small < SMALL_READS) return buffer.length
    small = 0
    return Math.max(buffer.length / 4, READ_BYTES.min)
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
      const waitsIn = receive(buffer.subarray(0, size))
      const last = buffer
      if (waitsIn !== undefined || bytes !== last.length) buffer = free(bytes, size, waitsIn)
      before = waitsIn && { buffer: last, waitedIn: waitsIn }
      return true
    },
  }
}
