/**
 * DOOR. What other gates tell: `POST /cancel` over TLS 1.3, from who shows a gate's certificate. Everybody
 * else's connection ends with the handshake.
 * Rule: the answer to a cancel is always the same one, and says that it was heard.
 */
import type { Server } from 'node:https'
import { isIP } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { type FastifyInstance, fastify } from 'fastify'
import { z } from 'zod'
import type { HostPort } from '../config/values.ts'
import { Failure, PEERS_SAY } from '../failure.ts'
import type { Metric } from '../peers/messages.ts'
import { type Credentials, isGate } from './credentials.ts'

/** Looks for the key in this gate; resolves when the node has the cancel, to false where nobody knows it. */
export type Found = (key: Buffer, from: string) => Promise<boolean>

export interface PeerDoor {
  port: number
  renew(credentials: Credentials): void
  close(): Promise<void>
}

/** Below what the other gate waits for. */
const ANSWER_MS = 1_500
const CANCELS_MAX = 64
/** Strangers' sockets among them, for as long as a handshake may take. */
const SOCKETS_MAX = 256
const HANDSHAKE_MS = 2_000
const REQUEST_MS = 2_000
const IDLE_MS = 60_000
const BODY_BYTES_MAX = 1_024

/** A key of eight bytes or of thirty-six, and the address that the cancel came from. */
const told = z.strictObject({
  key: z.string().regex(/^(?:[\w-]{11}|[\w-]{48})$/),
  from: z.string().max(64),
})

/** @throws Failure `cannot_listen` */
export async function listenToGates(
  address: HostPort,
  credentials: Credentials,
  parts: { count(metric: Metric): void; found: Found },
): Promise<PeerDoor> {
  const verify = { requestCert: true, rejectUnauthorized: true, handshakeTimeout: HANDSHAKE_MS }
  const app = fastify({
    logger: false,
    https: { ...credentials.tls, ...verify },
    forceCloseConnections: true,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: IDLE_MS,
  })
  app.server.maxConnections = SOCKETS_MAX
  turnStrangersAway(app)
  const take = openTaking(parts)
  app.post('/cancel', async (request, reply) => {
    const read = told.safeParse(request.body)
    if (read.success) await take(Buffer.from(read.data.key, 'base64url'), read.data.from)
    return reply.code(PEERS_SAY.heard).send()
  })
  try {
    await app.listen(address)
  } catch (thrown) {
    const problem = thrown instanceof Error ? thrown.message : String(thrown)
    const values = { address: `${address.host}:${address.port}`, problem }
    throw new Failure('cannot_listen', { values, cause: thrown })
  }
  const bound = app.server.address()
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : address.port,
    renew({ tls }) {
      app.server.setSecureContext(tls)
      app.server.closeIdleConnections()
    },
    close: () => app.close(),
  }
}

/** By its own name no role's certificate is a gate's, though the same authority signed it. */
function turnStrangersAway(app: FastifyInstance<Server>): void {
  const isKnown = (socket: TLSSocket) => isGate(socket.getPeerX509Certificate()?.subjectAltName)
  app.server.on('secureConnection', (socket) => {
    if (!isKnown(socket)) socket.destroy()
  })
  // What came with the end of the handshake is read even so.
  app.addHook('onRequest', async (request, reply) => {
    if (isKnown(request.raw.socket as TLSSocket)) return
    reply.hijack()
    request.raw.destroy()
  })
}

function openTaking({ count, found }: Parameters<typeof listenToGates>[2]) {
  let running = 0
  return async (key: Buffer, from: string): Promise<void> => {
    if (running >= CANCELS_MAX) return count({ name: 'cancel', result: 'dropped' })
    running++
    // A unix socket's client is nobody's on another machine. What takes longer keeps no place from others.
    const looking = found(key, isIP(from) ? from : '')
    const known = await Promise.race([looking, inTime(ANSWER_MS)]).finally(() => running--)
    if (known === false) count({ name: 'cancel', result: 'unknown' })
  }
}

function inTime(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}
