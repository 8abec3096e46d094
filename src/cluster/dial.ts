/**
 * A connection to a node, before anybody has signed in on it: TCP or a unix socket, and TLS with the
 * node's name verified. Sockets read into one buffer that they keep (`onread`), with TLS from the
 * first byte as well; one that turns to TLS after SSLRequest can't (the callback never fires there).
 */
import { once } from 'node:events'
import { connect as connectSocket, isIP, type Socket } from 'node:net'
import {
  checkServerIdentity,
  connect as connectTls,
  type PeerCertificate,
  type TLSSocket,
  type ConnectionOptions as TlsOptions,
} from 'node:tls'
import { Failure } from '../failure.ts'
import { Leg } from '../leg.ts'
import { sslRequest } from '../wire/node_messages.ts'
import type { Node, NodeTls } from './node.ts'
import { readIntoOneBuffer, TLS_READ_BYTES_MAX } from './read_buffer.ts'

const KEEPALIVE_DELAY_MS = 60_000
const ALPN = 'postgresql'
export const LATE = 'no connection within connect_timeout'

/**
 * @param secureContext - in the place of the node's own, for who comes with a certificate.
 * @throws Failure `node_unreachable`, or `node_signin_failed` where the node refuses TLS
 */
export async function dial(
  node: Node,
  signal: AbortSignal,
  secureContext = node.tls?.secureContext,
): Promise<Leg> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(node.connectTimeoutMs)])
  const tls = node.tls && secureContext && { ...node.tls, secureContext }
  const { socket, leg } = open(node, tls, signal)
  const giveUp = () => leg.destroy()
  try {
    await once(socket, tls?.direct ? 'secureConnect' : 'connect', { signal: deadline })
    // A node that takes the connection and then doesn't answer to TLS is late, too.
    deadline.addEventListener('abort', giveUp)
    if (tls?.direct) acceptDirect(socket as TLSSocket, leg)
    else if (tls !== undefined) await startTls(leg, tls, deadline)
    return leg
  } catch (thrown) {
    leg.destroy()
    signal.throwIfAborted()
    if (thrown instanceof Failure) throw thrown
    const reason = deadline.aborted ? LATE : reasonOf(thrown, tls)
    const log = `node ${node.name}: ${reason}`
    throw new Failure('node_unreachable', { log, cause: thrown })
  } finally {
    deadline.removeEventListener('abort', giveUp)
  }
}

/** What to look at first, for who reads the log. */
function reasonOf(thrown: unknown, tls: NodeTls | undefined): string {
  if (!(thrown instanceof Error)) return String(thrown)
  const code = 'code' in thrown ? thrown.code : undefined
  if (tls?.direct && (code === 'ECONNRESET' || code === 'ERR_SSL_WRONG_VERSION_NUMBER'))
    return `${thrown.message}: sslnegotiation: direct needs PostgreSQL 17 or newer, with TLS on`
  return thrown.message
}

function open(
  node: Node,
  tls: NodeTls | undefined,
  signal: AbortSignal,
): { socket: Socket; leg: Leg } {
  const to = { ...node.address, ...SOCKET_OPTIONS }
  if (tls !== undefined && !tls.direct) {
    const socket = connectSocket(to)
    return { socket, leg: new Leg(socket, 'node', signal) }
  }
  const receive = (bytes: Buffer) => leg.receive(bytes)
  const onread = readIntoOneBuffer(receive, tls && TLS_READ_BYTES_MAX)
  const options = { ...to, onread, ...(tls && verified(tls)) }
  const socket: Socket =
    tls === undefined ? connectSocket(options) : connectTls(options as TlsOptions)
  const leg = new Leg(socket, 'node', signal)
  return { socket, leg }
}

const SOCKET_OPTIONS = {
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: KEEPALIVE_DELAY_MS,
  allowHalfOpen: true,
  autoSelectFamily: true,
}

/** What makes sure that the other end is the node. An IP address is no name for SNI. */
export function verified({ secureContext, serverName }: NodeTls, alpn = ALPN) {
  return {
    secureContext,
    // Said aloud: an environment variable must not turn it off.
    rejectUnauthorized: true,
    ...(isIP(serverName) ? {} : { servername: serverName }),
    checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
      checkServerIdentity(serverName, certificate),
    ALPNProtocols: [alpn],
  }
}

async function startTls(leg: Leg, tls: NodeTls, signal: AbortSignal): Promise<void> {
  leg.send(sslRequest)
  if ((await leg.byte()) !== 'S'.charCodeAt(0))
    throw new Failure('node_signin_failed', { log: 'the node refused TLS' })
  await leg.upgrade(async (socket) => {
    const secure = connectTls({ socket, ...verified(tls) })
    // What comes after the deadline is nobody's error.
    secure.on('error', () => undefined)
    await once(secure, 'secureConnect', { signal })
    return secure
  })
}

/** Without ALPN the other end may be any TLS server (the ALPACA attack). */
function acceptDirect(socket: TLSSocket, leg: Leg): void {
  if (socket.alpnProtocol !== ALPN)
    throw new Failure('node_signin_failed', { log: 'the node did not choose ALPN "postgresql"' })
  leg.encrypted = true
}
