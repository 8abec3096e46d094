/**
 * One socket that listens: TCP, or a unix socket named as PostgreSQL names it (`DIR/.s.PGSQL.PORT`).
 * Rule: a socket file is only removed when nobody answers on it.
 */
import { once } from 'node:events'
import { chmod, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { Failure } from '../failure.ts'
import type { Logger } from '../telemetry/log.ts'

export type Bind = { host: string; port: number } | { path: string; mode: number }

export interface Listener {
  /** Where it is; a port of 0 has become a real one. */
  bound: Bind
  /** No more connections; those that are open stay. Resolves when they have ended. */
  close(): Promise<void>
}

/** A client that vanished without a word is noticed within minutes. */
const KEEPALIVE_DELAY_MS = 60_000

/** @throws Failure `cannot_listen` */
export async function listen(
  bind: Bind,
  accept: (socket: Socket) => void,
  log: Logger,
): Promise<Listener> {
  const keepAlive = { keepAlive: true, keepAliveInitialDelay: KEEPALIVE_DELAY_MS }
  const server = createServer({ allowHalfOpen: true, noDelay: true, ...keepAlive }, accept)
  if ('path' in bind) await removeStale(bind.path)
  server.listen('path' in bind ? { path: bind.path } : bind)
  await once(server, 'listening').catch((error: Error) => {
    const address = 'path' in bind ? bind.path : `${bind.host}:${bind.port}`
    throw new Failure('cannot_listen', { values: { address, problem: error.message } })
  })
  // Out of file descriptors: a connection is lost, the gate is not.
  server.on('error', (error) => log.error(`a connection could not be accepted: ${error.message}`))
  if ('path' in bind) await chmod(bind.path, bind.mode)
  const at = server.address()
  const tcp = 'host' in bind && typeof at === 'object' && at !== null
  return {
    bound: tcp ? { host: bind.host, port: at.port } : bind,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

/** A socket file that nobody answers on is what a killed gate left behind. */
async function removeStale(path: string): Promise<void> {
  const probe = connect({ path })
  try {
    await once(probe, 'connect')
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ECONNREFUSED') await rm(path, { force: true })
  } finally {
    probe.destroy()
  }
}
