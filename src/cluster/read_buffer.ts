/**
 * The memory that a node's socket reads into, again and again (`onread`). It grows when it was filled, and
 * shrinks when little comes: most sessions are idle, or ask for little.
 * https://nodejs.org/docs/latest-v24.x/api/net.html#socketconnectoptions-connectlistener
 * Rule: nothing is read into memory that a write still needs.
 */

const READ_BYTES = { min: 1024, max: 64 * 1024 }
/** A buffer is four times too large after so many reads that fill less than an eighth of it. */
const SMALL_READS = 32

/** @param receive - @returns whether it still needs the memory: it is given another one then. */
export function readIntoOneBuffer(receive: (bytes: Buffer) => boolean) {
  let buffer = Buffer.allocUnsafeSlow(READ_BYTES.min)
  let small = 0
  const next = (size: number): number => {
    small = size * 8 < buffer.length ? small + 1 : 0
    if (size === buffer.length) return Math.min(buffer.length * 4, READ_BYTES.max)
    if (small < SMALL_READS) return buffer.length
    small = 0
    return Math.max(buffer.length / 4, READ_BYTES.min)
  }
  return {
    buffer: () => buffer,
    callback(size: number): boolean {
      const bytes = next(size)
      const kept = receive(buffer.subarray(0, size))
      if (kept || bytes !== buffer.length) buffer = Buffer.allocUnsafeSlow(bytes)
      return true
    },
  }
}
