/**
 * A node that does as a test says: it accepts connections, keeps what it was sent, and speaks as
 * PostgreSQL or CockroachDB would, or as neither should.
 */
import { createServer, type Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'
import { message, uint32 } from './wire_client.ts'

export interface ScriptedNode {
  address: string
  port: number
  /** One entry a connection that sent a startup packet, in order. */
  startups: Record<string, string>[]
  /** Keys of CancelRequests, in order. */
  cancels: Buffer[]
  /** Passwords that connections gave. */
  passwords: string[]
  sockets: Socket[]
  close(): Promise<void>
}

export interface Script {
  /** What follows the startup packet; the default lets everybody in. */
  greet?: (conversation: Conversation) => void
  /** Bytes of a session after its greeting. */
  session?: (chunk: Buffer, conversation: Conversation) => void
  tls?: {
    certPem: string
    keyPem: string
    /** Asks for a certificate; a test looks at it by `getPeerCertificate`. */
    clientCaPem?: string
    /** TLS from the first byte. */
    direct?: boolean
    alpn?: string[]
  }
}

export interface Conversation {
  socket: Socket
  parameters: Record<string, string>
  send(...bytes: Buffer[]): void
  /** Asks for a password in clear, and goes on when it came. */
  askPassword(then: (password: string) => void): void
}

export const authenticationOk = message('R', uint32(0))
export const readyForQuery = (status = 'I') => message('Z', status)
export const keyData = (pid: number, secret: number) =>
  message('K', Buffer.concat([uint32(pid), uint32(secret)]))
export const parameterStatus = (name: string, value: string) => message('S', `${name}\0${value}\0`)
export const error = (sqlstate: string, text: string) =>
  message('E', `SFATAL\0VFATAL\0${sqlstate === '' ? '' : `C${sqlstate}\0`}M${text}\0\0`)

export const NODE_KEY = { pid: 4711, secret: 0x1234567 }

export function letIn({ send }: Conversation): void {
  send(
    authenticationOk,
    parameterStatus('server_version', '18.4 (scripted)'),
    keyData(NODE_KEY.pid, NODE_KEY.secret),
    readyForQuery(),
  )
}

export async function startScriptedNode(script: Script = {}): Promise<ScriptedNode> {
  const node: Omit<ScriptedNode, 'address' | 'port' | 'close'> = {
    startups: [],
    cancels: [],
    passwords: [],
    sockets: [],
  }
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    node.sockets.push(socket)
    converse(socket, script, node, script.tls?.direct)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  return {
    ...node,
    address: `127.0.0.1:${port}`,
    port,
    async close() {
      for (const socket of node.sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function converse(
  socket: Socket,
  script: Script,
  node: Pick<ScriptedNode, 'startups' | 'cancels' | 'passwords'>,
  direct = false,
): void {
  let received = Buffer.alloc(0)
  let handle = (): void => first()
  const conversation: Conversation = {
    socket,
    parameters: {},
    send: (...bytes) => void socket.write(Buffer.concat(bytes)),
    askPassword(then) {
      socket.write(message('R', uint32(3)))
      handle = () => {
        if (received.length < 5 || received.length <= received.readUInt32BE(1)) return
        const size = received.readUInt32BE(1) + 1
        const password = received.toString('utf8', 5, size - 1)
        received = received.subarray(size)
        node.passwords.push(password)
        handle = inSession
        then(password)
      }
    },
  }
  const inSession = () => {
    const chunk = received
    received = Buffer.alloc(0)
    if (chunk.length > 0) script.session?.(chunk, conversation)
  }
  const first = () => {
    if (received.length < 8 || received.length < received.readUInt32BE(0)) return
    const packet = received.subarray(0, received.readUInt32BE(0))
    received = received.subarray(packet.length)
    const code = packet.readUInt32BE(4)
    if (code === 80877103) return encrypt()
    if (code === 80877102) {
      node.cancels.push(packet.subarray(8))
      socket.end()
      return
    }
    const words = packet.toString('utf8', 8, packet.length - 2).split('\0')
    for (let at = 0; at + 1 < words.length; at += 2)
      conversation.parameters[words[at] ?? ''] = words[at + 1] ?? ''
    node.startups.push(conversation.parameters)
    handle = inSession
    ;(script.greet ?? letIn)(conversation)
  }
  const encrypt = () => {
    if (script.tls === undefined) return void socket.write('N')
    socket.removeListener('data', onData)
    if (!direct) socket.write('S')
    const { certPem, keyPem, clientCaPem: ca, alpn } = script.tls
    const secureContext = createSecureContext({ cert: certPem, key: keyPem, ...(ca && { ca }) })
    const tls = new TLSSocket(socket, {
      isServer: true,
      secureContext,
      requestCert: ca !== undefined,
      rejectUnauthorized: false,
      ...(alpn && { ALPNProtocols: alpn }),
    })
    converse(tls, script, node)
  }
  const onData = (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    handle()
  }
  socket.on('error', () => undefined)
  if (direct) {
    encrypt()
    return
  }
  socket.on('data', onData)
  socket.on('end', () => socket.end())
}
