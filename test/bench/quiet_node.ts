/**
 * A node without a database, in a process of its own (see quiet_nodes.ts): it lets everybody in and has
 * one answer to all. Thousands of sessions cost it nothing, so that what they cost the peer can be seen.
 */
import { startScriptedNode } from '../support/scripted_node.ts'
import { message, uint32 } from '../support/wire_client.ts'

const ROW = Buffer.concat([
  message('T', Buffer.concat([Buffer.from('\0\x01?column?\0'), Buffer.alloc(18)])),
  message('D', Buffer.concat([Buffer.from([0, 1]), uint32(1), Buffer.from('1')])),
  message('C', 'SELECT 1\0'),
  message('Z', 'I'),
])
const TERMINATE = 0x58

process.once('disconnect', () => process.exit())
const { port } = await startScriptedNode({
  session(chunk, { socket }) {
    if (chunk[0] === TERMINATE) socket.end()
    else socket.write(ROW)
  },
})
process.send?.(port)
