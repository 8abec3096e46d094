/**
 * A proxy for tests: tunnels what CONNECT asks for (RFC 9110, 9.3.6), and may send a public name's
 * tunnel to a local server, so that https://dev-1234.okta.com can be one of ours.
 */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

export interface Asked {
  /** `host:port`, as CONNECT had it. */
  target: string
  headers: IncomingHttpHeaders
}

export interface ConnectProxy {
  /** For HTTPS_PROXY. */
  url: string
  /** Every CONNECT so far, oldest first. */
  asked: Asked[]
  close(): Promise<void>
}

/** @param routes - `host:port` -> a port of 127.0.0.1; what isn't in it goes where it says. */
export async function openConnectProxy(routes: Record<string, number> = {}): Promise<ConnectProxy> {
  const asked: Asked[] = []
  const sockets = new Set<Socket>()
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
  }
  const server = createServer()
  server.on('connection', keep)
  server.on('connect', (request, client: Socket) => {
    const target = request.url ?? ''
    asked.push({ target, headers: request.headers })
    const { hostname, port } = new URL(`tcp://${target}`)
    const route = routes[target]
    const node = route === undefined ? connect(Number(port), hostname) : connect(route, '127.0.0.1')
    keep(node)
    node.on('connect', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      client.pipe(node).pipe(client)
    })
    node.on('close', () => client.destroy())
    client.on('close', () => node.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    close: async () => {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}
