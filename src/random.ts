/**
 * Random bytes from the system's generator, drawn a block at a time: a call costs as much for eight bytes as
 * for thousands. Rule: a byte is given out once, and is in no block any more then.
 */
import { randomFillSync } from 'node:crypto'

const BLOCK_BYTES = 4096

/** @returns what gives so many bytes, at most 4096, as a copy. */
export function openRandomBytes(): (count: number) => Buffer {
  const block = Buffer.alloc(BLOCK_BYTES)
  let at = BLOCK_BYTES
  return (count) => {
    if (at + count > BLOCK_BYTES) {
      randomFillSync(block)
      at = 0
    }
    const given = Buffer.from(block.subarray(at, at + count))
    block.fill(0, at, at + count)
    at += count
    return given
  }
}
