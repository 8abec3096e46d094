/**
 * The file that heads of the audit stream are kept in: appended to, one line a head, and opened anew each time,
 * so that it may be moved.
 * Rule: a line that was torn takes none with it: the next one begins on a line of its own.
 */
import { type FileHandle, open } from 'node:fs/promises'
import type { HeadPlace } from './heads.ts'
import type { KnownHead } from './heads_to_find.ts'
import { readObject } from './seal.ts'

const NEWLINE = 0x0a
/** Many lines: the last ones may be torn. */
const END_BYTES = 65_536

/** @param now - milliseconds since the epoch. */
export function anchorFile(path: string, now: () => number): HeadPlace {
  return {
    name: 'audit.anchor',
    async keep({ chain, seq, mac }) {
      const at = new Date(now()).toISOString()
      const line = `${JSON.stringify({ At: at, Chain: chain, Seq: seq, Mac: mac })}\n`
      await using file = await open(path, 'a+', 0o600)
      const isTorn = ![undefined, NEWLINE].includes((await endOf(file, 1))[0])
      await file.appendFile(isTorn ? `\n${line}` : line)
      await file.datasync()
    },
    async last() {
      await using file = await open(path, 'a+', 0o600)
      const lines = (await endOf(file, END_BYTES)).toString().split('\n')
      return lines.map(headIn).findLast((head) => head !== undefined)
    },
  }
}

async function endOf(file: FileHandle, bytes: number): Promise<Buffer> {
  const { size } = await file.stat()
  const end = Buffer.alloc(Math.min(size, bytes))
  const { bytesRead } = await file.read(end, 0, end.length, size - end.length)
  return end.subarray(0, bytesRead)
}

/** @returns undefined for a line that is none, such as a torn one */
export function headIn(line: string): KnownHead | undefined {
  const { Chain, Seq, Mac, At } = readObject(line) ?? {}
  if (typeof Chain !== 'string' || typeof Seq !== 'number' || typeof Mac !== 'string')
    return undefined
  const at = typeof At === 'string' ? At : undefined
  return { chain: Chain, seq: Seq, mac: Mac, at }
}
