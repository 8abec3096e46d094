/** A client of a virtual node that reads slowly, or not at all. */
import { expect, it } from 'vitest'
import { openVirtualSession } from '../../src/answers/virtual_node.ts'

const TEXT = 'x'.repeat(1_000)
const VIEW = {
  columns: [{ name: 'text', type: 'text' }],
  rows: Array.from({ length: 500 }, () => [TEXT]),
} as const
const ANSWER_BYTES = VIEW.rows.length * TEXT.length
/** What is on its way at most: in both ends of the pair, and one portion. */
const AHEAD_BYTES_MAX = 256 * 1024

it('runs a statement when the answers before it are read, but for a little', async () => {
  const statements = 40
  const ended = Promise.withResolvers<string>()
  let ran = 0
  let read = 0
  let aheadMax = 0
  const { leg } = openVirtualSession(
    {
      describe: async () => ({ parameters: 0 }),
      async run() {
        aheadMax = Math.max(aheadMax, ran * ANSWER_BYTES - read)
        ran++
        return { view: VIEW, tag: 'SHOW' }
      },
    },
    [],
  )
  leg.flow({
    chunk(bytes) {
      read += bytes.length
      leg.socket.pause()
      setImmediate(() => leg.socket.resume())
      return undefined
    },
    end: () => ended.resolve('ended'),
    broken: ended.resolve,
  })
  for (let at = 0; at < statements; at++) leg.socket.write(message('Q', 'SHOW\0'))
  leg.socket.write(message('X', ''))
  expect(await ended.promise).toBe('ended')
  expect(ran).toBe(statements)
  expect(read).toBeGreaterThan(statements * ANSWER_BYTES)
  expect(aheadMax).toBeLessThan(AHEAD_BYTES_MAX)
})

function message(type: string, body: string): Buffer {
  const bytes = Buffer.alloc(5 + body.length)
  bytes.write(type)
  bytes.writeInt32BE(4 + body.length, 1)
  bytes.write(body, 5)
  return bytes
}
