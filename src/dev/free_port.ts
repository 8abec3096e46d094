/**
 * A TCP port of 127.0.0.1 that nobody listens on. PostgreSQL can't choose one by itself (its
 * `port` starts at 1). Whoever asks next may get it too: bind soon, and be ready to ask again.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('a TCP server has a port')
  return address.port
}
