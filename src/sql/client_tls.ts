/**
 * TLS towards clients: which certificate by which name (SNI), whether a client shows one of its own,
 * and new certificates without a restart. Handshakes are a tls.Server's, which is handed sockets
 * that somebody else accepted. https://www.postgresql.org/docs/18/ssl-tcp.html
 * Rule: a client need not show a certificate; one that does and can't be verified is refused.
 */
import { constants } from 'node:crypto'
import type { Socket } from 'node:net'
import { createSecureContext, createServer, type SecureContext, TLSSocket } from 'node:tls'
import type { TlsMaterial } from '../config/listener_tls.ts'

export interface ClientTls {
  /** The server's end of TLS on the socket, when the handshake is over. */
  accept(raw: Socket): Promise<TLSSocket>
  /** For connections from now on. */
  renew(material: TlsMaterial): void
}

/** https://www.iana.org/assignments/tls-extensiontype-values (application-layer protocols) */
export const ALPN = 'postgresql'

/** The CN of the certificate that a client showed and that was verified; undefined without one. */
export function certificateName(socket: Socket): string | undefined {
  const shown = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined
  return shown && (/^CN=(.*)$/m.exec(shown.subject)?.[1] ?? '')
}

type Waiting = { resolve: (socket: TLSSocket) => void; reject: (error: Error) => void }

export function openClientTls(first: TlsMaterial): ClientTls {
  let byName = contextsByName(first)
  const waiting = new Map<string, Waiting>()
  const server = createServer({
    ...serverOptions(first),
    // Asked, and not a list: each socket would have a copy of it for as long as it lives.
    ALPNCallback: ({ protocols }) => (protocols.includes(ALPN) ? ALPN : undefined),
    rejectUnauthorized: false,
    SNICallback: (name, done) => done(null, find(byName, name)),
  })
  server.on('secureConnection', (socket) => {
    socket.on('error', ignore)
    socket.disableRenegotiation()
    const shown = socket.getPeerX509Certificate() !== undefined
    const accepted = waiting.get(endpoints(socket))
    if (!shown || socket.authorized) accepted?.resolve(socket)
    else accepted?.reject(new Error(`the client's certificate: ${socket.authorizationError}`))
  })
  server.on('tlsClientError', (error, socket) => waiting.get(endpoints(socket))?.reject(error))
  return {
    accept: (raw) => handshake(raw, waiting, () => server.emit('connection', raw)),
    renew(material) {
      byName = contextsByName(material)
      server.setSecureContext(serverOptions(material))
    },
  }
}

/** What goes wrong later on is the leg's business. */
function ignore(): void {}

/** The server tells of its sockets by themselves; which raw one each is made of, by their addresses. */
async function handshake(
  raw: Socket,
  waiting: Map<string, Waiting>,
  begin: () => void,
): Promise<TLSSocket> {
  const key = endpoints(raw)
  const closed = () => waiting.get(key)?.reject(new Error('closed during the TLS handshake'))
  try {
    // Who closes its side in the middle of a handshake will not end it; later on it may half-close.
    raw.allowHalfOpen = false
    const socket = await new Promise<TLSSocket>((resolve, reject) => {
      waiting.set(key, { resolve, reject })
      raw.once('close', closed)
      whenItSpeaks(raw, begin)
    })
    socket.allowHalfOpen = true
    return socket
  } finally {
    waiting.delete(key)
    raw.off('close', closed)
  }
}

/**
 * TLS makes as much room as there is in what it is given, and 64 KB a session for what it reads first itself:
 * so the beginning of the client's hello is read here, and given back.
 */
function whenItSpeaks(raw: Socket, begin: () => void): void {
  if (raw.readableLength > 0) {
    begin()
    return
  }
  raw.once('data', (hello) => {
    raw.pause().unshift(hello)
    begin()
  })
  raw.resume()
}

function endpoints({ localAddress, localPort, remoteAddress, remotePort }: Socket): string {
  return `${localAddress} ${localPort} ${remoteAddress} ${remotePort}`
}

function serverOptions({ certificates: [{ certPem, keyPem }], clientCaPem }: TlsMaterial) {
  const requestCert = clientCaPem !== undefined
  return {
    cert: certPem,
    key: keyPem,
    minVersion: 'TLSv1.2' as const,
    // libpq resumes no session: none is kept in a ticket for nobody.
    secureOptions: constants.SSL_OP_NO_TICKET,
    requestCert,
    ...(requestCert && { ca: clientCaPem }),
  }
}

function contextsByName(material: TlsMaterial): ReadonlyMap<string, SecureContext> {
  const byName = new Map<string, SecureContext>()
  for (const certificate of material.certificates) {
    const options = serverOptions({ ...material, certificates: [certificate] })
    const context = createSecureContext(options)
    for (const name of certificate.names)
      if (!byName.has(name.toLowerCase())) byName.set(name.toLowerCase(), context)
  }
  return byName
}

/** By the name itself, or by a wildcard for its first label (RFC 6125 section 6.4.3). */
function find(contexts: ReadonlyMap<string, SecureContext>, name: string) {
  const folded = name.toLowerCase()
  return contexts.get(folded) ?? contexts.get(folded.replace(/^[^.]+/, '*'))
}
