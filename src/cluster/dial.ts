/**
 * A connection to a node, before anybody has signed in on it: TCP or a unix socket, and TLS with the
 * node's name verified. Plain sockets read into one buffer that they keep (`onread`); a socket that
 * turns to TLS after SSLRequest can't (the callback never fires there), so it hands out chunks.
 */
import { once } from 'node:events'
import { connect as connectSocket, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Failure } from '../failure.ts'
import { Leg } from '../leg.ts'
import { sslRequest } from '../wire/node_messages.ts'
import type { Node, NodeTls } from './node.ts'

const READ_BYTES_FIRST = 8 * 1024
const READ_BYTES_MAX = 64 * 1024
const KEEPALIVE_DELAY_MS = 60_000

/** @throws Failure `node_unreachable` */
export async function dial(node: Node, signal: AbortSignal): Promise<Leg> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(node.connectTimeoutMs)])
  const { socket, leg } = node.tls === undefined ? open(node, signal) : openChunks(node, signal)
  try {
    await once(socket, 'connect', { signal: deadline })
    if (node.tls !== undefined) await startTls(leg, node.tls)
    return leg
  } catch (thrown) {
    leg.destroy()
    signal.throwIfAborted()
    if (thrown instanceof Failure) throw thrown
    const late = deadline.aborted ? 'no connection within connect_timeout' : undefined
    const reason = late ?? (thrown instanceof Error ? thrown.message : String(thrown))
    throw new Failure('node_unreachable', { log: `node ${node.name}: ${reason}`, cause: thrown })
  }
}

/** Reads into one buffer, which grows while it is filled and is left to a sink that still needs it. */
function open(node: Node, signal: AbortSignal): { socket: Socket; leg: Leg } {
  let buffer = Buffer.allocUnsafeSlow(READ_BYTES_FIRST)
  const socket: Socket = connectSocket({
    ...node.address,
    ...SOCKET_OPTIONS,
    onread: {
      buffer: () => buffer,
      callback(size: number): boolean {
        const filled = size === buffer.length && size < READ_BYTES_MAX
        const kept = leg.receive(buffer.subarray(0, size))
        const next = filled ? READ_BYTES_MAX : buffer.length
        if (kept || filled) buffer = Buffer.allocUnsafeSlow(next)
        return true
      },
    },
  })
  const leg = new Leg(socket, 'node', signal)
  return { socket, leg }
}

function openChunks(node: Node, signal: AbortSignal): { socket: Socket; leg: Leg } {
  const socket = connectSocket({ ...node.address, ...SOCKET_OPTIONS })
  return { socket, leg: new Leg(socket, 'node', signal) }
}

const SOCKET_OPTIONS = {
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: KEEPALIVE_DELAY_MS,
  allowHalfOpen: true,
  autoSelectFamily: true,
}

async function startTls(leg: Leg, { secureContext, serverName }: NodeTls): Promise<void> {
  leg.send(sslRequest)
  if ((await leg.byte()) !== 'S'.charCodeAt(0))
    throw new Failure('node_signin_failed', { log: 'the node refused TLS' })
  await leg.startTls((socket) =>
    connectTls({
      socket,
      secureContext,
      ...(isIP(serverName) ? { host: serverName } : { servername: serverName }),
      ALPNProtocols: ['postgresql'],
    }),
  )
}
