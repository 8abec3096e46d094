/**
 * One socket that listens: TCP, or a unix socket named as PostgreSQL names it (`DIR/.s.PGSQL.PORT`).
 * Rule: a socket file is only removed when nobody answers on it.
 */
import { once } from 'node:events'
import { chmod, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { Failure } from '../failure.ts'
import type { Networks } from '../policy/networks.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Peer } from '../wire/proxy_header.ts'
import type { Origin } from './handshake.ts'

/** A TCP address, a unix socket, or a socket that listens already. */
export type Bind = { host: string; port: number } | { path: string; mode: number } | { fd: number }

export interface Terms {
  bind: Bind
  /** The descriptor of the socket, where it was bound before. */
  descriptor?: number | undefined
  /** Who may connect at this moment, where these are proxies; undefined: everybody. */
  proxies(): Networks | undefined
  /** How long a silent TCP connection waits for a sign of life. */
  keepAliveMs: number
}

export interface Listener {
  /** Where it is; a port of 0 has become a real one. */
  bound: Bind
  /** No more connections; those that are open stay. Resolves when they have ended. */
  close(): Promise<void>
}

/** Takes a connection; the socket alone can't say where it comes from. */
type Accept = (socket: Socket, origin: Origin) => void

/** Who is not welcome is logged no more often. */
const TELL_MS = 60_000

/** @throws Failure `cannot_listen` */
export async function listen(
  { bind, descriptor, proxies, keepAliveMs }: Terms,
  accept: Accept,
  { log, now }: { log: Logger; now(): number },
): Promise<Listener> {
  const keepAlive = { keepAlive: keepAliveMs > 0, keepAliveInitialDelay: keepAliveMs }
  const server = createServer({ allowHalfOpen: true, noDelay: true, ...keepAlive })
  const path = 'path' in bind && descriptor === undefined ? bind : undefined
  if (path !== undefined) await removeStale(path.path)
  server.listen(descriptor === undefined ? (path ?? bind) : { fd: descriptor })
  await once(server, 'listening').catch((error: Error) => {
    throw cannotListen(bind, error)
  })
  const at = server.address()
  const isTcp = typeof at === 'object' && at !== null
  server.on('connection', welcome(isTcp, fromProxies(proxies, accept, log, now)))
  // Out of file descriptors: a connection is lost, the gate is not.
  server.on('error', (error) => log.error(`a connection could not be accepted: ${error.message}`))
  if (path !== undefined) await chmod(path.path, path.mode)
  return {
    bound: isTcp ? { host: 'host' in bind ? bind.host : at.address, port: at.port } : bind,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

/**
 * Who resets a TCP connection before it is accepted has no address any more, and what he sent could still be
 * read: with no address he is nobody, and not somebody on this machine.
 */
function welcome(isTcp: boolean, accept: Accept): (socket: Socket) => void {
  return (socket) => {
    const origin = isTcp ? otherEnd(socket) : 'unix'
    if (origin === undefined) socket.destroy()
    else accept(socket, origin)
  }
}

function otherEnd({ remoteAddress: address, remotePort: port }: Socket): Peer | undefined {
  return address === undefined || port === undefined ? undefined : { address, port }
}

/** What others say of the client they speak for is nothing to go by: they are not let in. */
function fromProxies(
  proxies: Terms['proxies'],
  accept: Accept,
  log: Logger,
  now: () => number,
): Accept {
  let closed = 0
  let toldMs = -Infinity
  return (socket, origin) => {
    const address = origin === 'unix' ? '' : origin.address
    if (proxies()?.include(address) !== false) {
      accept(socket, origin)
      return
    }
    socket.destroy()
    closed++
    if (now() - toldMs < TELL_MS) return
    const what = 'closed: a connection from an address that proxy_protocol.from does not name'
    log.warn({ address, closed }, what)
    toldMs = now()
    closed = 0
  }
}

export function cannotListen(bind: Bind, thrown: unknown): Failure {
  const problem = thrown instanceof Error ? thrown.message : String(thrown)
  return new Failure('cannot_listen', { values: { address: nameOf(bind), problem } })
}

function nameOf(bind: Bind): string {
  if ('path' in bind) return bind.path
  return 'fd' in bind ? `fd:${bind.fd}` : `${bind.host}:${bind.port}`
}

/** A socket file that nobody answers on is what a killed gate left behind. */
export async function removeStale(path: string): Promise<void> {
  const probe = connect({ path })
  try {
    await once(probe, 'connect')
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ECONNREFUSED') await rm(path, { force: true })
  } finally {
    probe.destroy()
  }
}
