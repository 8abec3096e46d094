/**
 * How a client says hello: SSLRequest, GSSENCRequest, CancelRequest and StartupMessage, in one
 * bounded loop. https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-SSL
 * Rule: each request for encryption is answered once; nothing may be glued to it (CVE-2021-23214),
 * and nothing here calls itself (CVE-2026-6479).
 */
import type { TLSSocket } from 'node:tls'
import { Failure } from '../failure.ts'
import { isLoopback } from '../issuers/addresses.ts'
import { type Leg, LegEnded } from '../leg.ts'
import type { Peer } from '../wire/proxy_header.ts'
import {
  ENCRYPTION_REFUSED,
  negotiateProtocolVersion,
  SSL_ACCEPTED,
} from '../wire/server_messages.ts'
import {
  decodeStartup,
  MINOR_MAX,
  protocolCode,
  STARTUP_BYTES_MAX,
  type Startup,
  unsupportedProtocol,
} from '../wire/startup.ts'
import { ALPN, type ClientTls } from './client_tls.ts'

/** Both requests for encryption, refused, and then a startup packet. */
const PACKETS_MAX = 3
/** The first byte of a TLS handshake; no packet of ours begins with it. */
const TLS_HANDSHAKE = 0x16

/** What a listener lets a client do before it is known. */
export interface Entrance {
  /** Every connection comes from a proxy, which says first whom it speaks for. */
  proxied: boolean
  tls: ClientTls | undefined
  /** A token may be asked for without TLS: a unix socket, or loopback by `allow_plaintext`. */
  allowPlaintext: boolean
}

/** Where a connection comes from, in its listener's words: a missing address says nothing of that. */
export type Origin = Peer | 'unix'

export type Hello = { kind: 'cancel'; key: Buffer } | { kind: 'startup'; startup: Startup }

/** Who is at the other end. */
export interface Caller {
  /** Whose connection it is, as the proxy in front says, or the listener. */
  peer: Origin
  /** It is on this machine, be it behind a proxy: nothing of it crosses a network. */
  here: boolean
}

export async function whose(client: Leg, origin: Origin, { proxied }: Entrance): Promise<Caller> {
  if (!proxied) return { peer: origin, here: origin === 'unix' || isLoopback(origin.address) }
  const told = await client.proxyHeader()
  // One that the proxy says nothing of may be anywhere.
  return { peer: told ?? origin, here: told !== undefined && isLoopback(told.address) }
}

/** Whether a password of the database may be asked for: over TLS, or on a unix socket. */
export function isPrivate(client: Leg, { peer }: Caller): boolean {
  return client.encrypted || peer === 'unix'
}

export async function handshake(client: Leg, entrance: Entrance, { here }: Caller): Promise<Hello> {
  const clear = entrance.allowPlaintext && here
  const asked = { ssl: false, gssenc: false }
  if ((await client.peek()) === TLS_HANDSHAKE) await acceptDirectTls(client, entrance)
  for (let packets = 0; packets < PACKETS_MAX; packets++) {
    const packet = decodeStartup(await client.packet(STARTUP_BYTES_MAX))
    switch (packet.kind) {
      case 'cancel':
        return packet
      case 'startup':
        if (!client.encrypted && !clear) throw new Failure('encryption_required')
        negotiate(client, packet.startup)
        return packet
      case 'ssl':
      case 'gssenc':
        if (asked[packet.kind] || client.encrypted)
          throw unsupportedProtocol(protocolCode(packet.kind))
        asked[packet.kind] = true
        await answerEncryption(client, packet.kind, entrance)
    }
  }
  throw new Failure('not_postgres')
}

async function answerEncryption(client: Leg, kind: 'ssl' | 'gssenc', entrance: Entrance) {
  const request = kind === 'ssl' ? 'SSL' : 'GSSAPI encryption'
  if (client.waiting > 0) throw new Failure('unencrypted_data', { values: { request } })
  if (kind === 'gssenc' || entrance.tls === undefined) {
    client.send(ENCRYPTION_REFUSED)
    return
  }
  client.send(SSL_ACCEPTED)
  await startTls(client, entrance.tls)
}

/**
 * TLS from the first byte, since PostgreSQL 17. Who doesn't ask for PostgreSQL by ALPN may have been
 * sent here on the way to another server (the ALPACA attack).
 */
async function acceptDirectTls(client: Leg, { tls }: Entrance): Promise<void> {
  if (tls === undefined) throw new Failure('not_postgres')
  const { alpnProtocol } = await startTls(client, tls, 'first byte')
  if (alpnProtocol !== ALPN)
    throw new Failure('tls_handshake_failed', { log: `direct TLS without ALPN "${ALPN}"` })
}

async function startTls(client: Leg, tls: ClientTls, from?: 'first byte'): Promise<TLSSocket> {
  try {
    return await client.upgrade(tls.accept, from)
  } catch (thrown) {
    if (!(thrown instanceof LegEnded)) throw thrown
    throw new Failure('tls_handshake_failed', { log: thrown.message })
  }
}

/** Who asks for a newer version, or for options of the protocol, is told once what there is. */
function negotiate(client: Leg, startup: Startup): void {
  const unknown = [...startup.parameters.keys()].filter((name) => name.startsWith('_pq_.'))
  for (const name of unknown) startup.parameters.delete(name)
  const tooNew = startup.minor > MINOR_MAX
  startup.minor = Math.min(startup.minor, MINOR_MAX)
  if (tooNew || unknown.length > 0) client.send(negotiateProtocolVersion(startup.minor, unknown))
}
