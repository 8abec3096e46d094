/**
 * The lines of a stream that may be any stream, and big: one at a time, in bounded memory.
 * Rule: of a line that is longer than any of ours only the beginning is kept, and it says so.
 */

export interface Line {
  /** Without its line feed; of one that is too long, less. */
  bytes: Buffer
  tooLong: boolean
  /** A line feed came after it: only the last one may have none. */
  ended: boolean
}

/** An event is shorter by far. */
export const LINE_BYTES_MAX = 1024 * 1024
const NEWLINE = 0x0a

export async function* linesOf(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  let parts: Uint8Array[] = []
  let bytes = 0
  const take = (last: Uint8Array, ended: boolean): Line => {
    const tooLong = bytes + last.length > LINE_BYTES_MAX
    const line = { bytes: Buffer.concat(tooLong ? parts : [...parts, last]), tooLong, ended }
    parts = []
    bytes = 0
    return line
  }
  for await (const chunk of stream) {
    let from = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      yield take(chunk.subarray(from, end), true)
      from = end + 1
    }
    const rest = chunk.subarray(from)
    bytes += rest.length
    if (rest.length > 0 && bytes <= LINE_BYTES_MAX) parts.push(rest)
  }
  if (bytes > 0) yield take(new Uint8Array(), false)
}
