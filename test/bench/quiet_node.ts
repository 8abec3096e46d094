/**
 * A node without a database, in a process of its own (see quiet_nodes.ts): it lets everybody in and has
 * one answer to all, but for who wants a wide row. Thousands of sessions cost it nothing, so that what they cost the peer can be seen.
 */
import { startScriptedNode } from '../support/scripted_node.ts'
import { message, query, uint32 } from '../support/wire_client.ts'
import { WIDE } from './visit.ts'

const WIDE_BYTES = 300_000
const ROW = rowOf('1')
const WIDE_QUERY = query(WIDE)
const WIDE_ROW = rowOf('w'.repeat(WIDE_BYTES))
const TERMINATE = 0x58

process.once('disconnect', () => process.exit())
const { port } = await startScriptedNode({
  session(chunk, { socket }) {
    if (chunk[0] === TERMINATE) socket.end()
    else socket.write(chunk.equals(WIDE_QUERY) ? WIDE_ROW : ROW)
  },
})
process.send?.(port)

/** The whole answer. */
function rowOf(value: string): Buffer {
  return Buffer.concat([
    message('T', Buffer.concat([Buffer.from('\0\x01?column?\0'), Buffer.alloc(18)])),
    message('D', Buffer.concat([Buffer.from([0, 1]), uint32(value.length), Buffer.from(value)])),
    message('C', 'SELECT 1\0'),
    message('Z', 'I'),
  ])
}
