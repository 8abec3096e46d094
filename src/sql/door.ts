/**
 * DOOR. The sockets that Postgres clients connect to: TCP and unix, each with its own terms. A
 * connection gets an id and a place, or is told at once that there is none.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { cancel } from '../cluster/cancel.ts'
import { Failure } from '../failure.ts'
import type { ToPrimary, ToWorker } from '../peers/messages.ts'
import type { Port } from '../peers/port.ts'
import type { Logger } from '../telemetry/log.ts'
import { errorResponse } from '../wire/server_messages.ts'
import { openCancelKeys } from './cancel_keys.ts'
import type { Entrance } from './handshake.ts'
import { type Cluster, serve } from './session.ts'

/** Where a listener is. A unix socket is named as PostgreSQL names it: `DIR/.s.PGSQL.PORT`. */
export type Bind = { host: string; port: number } | { path: string; mode: number }

export interface DoorParts {
  listeners: { bind: Bind; entrance: Entrance }[]
  cluster: Cluster
  /** This worker's number, and its line to the primary. */
  worker: number
  port: Port<ToPrimary, ToWorker>
  log: Logger
  now(): number
  limits: { connections: number; authenticationTimeoutMs: number }
}

export interface Door {
  /** What was bound, in the listeners' order; a port of 0 has become a real one. */
  addresses: Bind[]
  /** Stops accepting, ends every session with the reason, and waits for them. */
  close(why: Failure): Promise<void>
}

const CANCELS_MAX = 64
const CANCEL_TIMEOUT_MS = 10_000
const CLOSE_TIMEOUT_MS = 5_000

/** @throws Failure `cannot_listen` */
export async function openDoor(parts: DoorParts): Promise<Door> {
  const { port, cluster, log, now, limits } = parts
  const cancelKeys = openCancelKeys(parts.worker)
  const live = new Map<Socket, { stop(why: Failure): void; over: Promise<void> }>()
  const forward = openCancelling(parts, cancelKeys.find)
  const takeCancel = async (key: Buffer) => {
    if (cancelKeys.isOurs(key)) await forward(key)
    else port.send({ kind: 'cancel', key })
  }
  port.hear((message) => void forward(message.key))

  const accept = (socket: Socket, entrance: Entrance) => {
    const id = randomBytes(8).toString('hex')
    if (live.size >= limits.connections) return turnAway(socket, id, log)
    let stop: (why: Failure) => void = () => undefined
    const over = serve(socket, {
      id,
      cluster,
      entrance,
      cancelKeys,
      cancel: takeCancel,
      tell: port.send,
      log,
      now,
      authenticationTimeoutMs: limits.authenticationTimeoutMs,
      onStop: (next) => {
        stop = next
      },
    }).catch((thrown: unknown) => {
      // Not even the refusal could be told: without a line in the log nobody goes on.
      socket.destroy()
      log.error({ request: id }, `the session ended without a word: ${String(thrown)}`)
    })
    live.set(socket, { stop: (why) => stop(why), over })
    socket.once('close', () => live.delete(socket))
  }

  const servers: Server[] = []
  const addresses: Bind[] = []
  try {
    for (const { bind, entrance } of parts.listeners) {
      const server = createServer(
        { allowHalfOpen: true, noDelay: true, keepAlive: true },
        (socket) => accept(socket, entrance),
      )
      servers.push(server)
      addresses.push(await listen(server, bind, log))
    }
  } catch (thrown) {
    await Promise.all(servers.map(stopListening))
    throw thrown
  }
  return {
    addresses,
    async close(why) {
      const stopped = servers.map(stopListening)
      for (const session of live.values()) session.stop(why)
      const over = Promise.all([...live.values()].map((session) => session.over))
      await Promise.race([over, deadline(CLOSE_TIMEOUT_MS)])
      for (const socket of live.keys()) socket.destroy()
      await Promise.all(stopped)
    },
  }
}

/** Passes cancels on to the nodes, a bounded number at a time, and tells nobody but the metrics. */
function openCancelling(
  { port, log }: DoorParts,
  find: ReturnType<typeof openCancelKeys>['find'],
): (key: Buffer) => Promise<void> {
  let running = 0
  const count = (result: 'sent' | 'unknown' | 'dropped' | 'failed') =>
    port.send({ kind: 'metric', metric: { name: 'cancel', result } })
  return async (key) => {
    const target = find(key)
    if (target === undefined) return count('unknown')
    if (running >= CANCELS_MAX) return count('dropped')
    running++
    try {
      await cancel(target.node, target.key, AbortSignal.timeout(CANCEL_TIMEOUT_MS))
      count('sent')
    } catch (thrown) {
      count('failed')
      log.warn({ node: target.node.name }, `a cancel did not reach the node: ${String(thrown)}`)
    } finally {
      running--
    }
  }
}

/** The one answer that costs nothing: no TLS, no session, no wait. */
function turnAway(socket: Socket, id: string, log: Logger): void {
  const { row, message } = new Failure('too_many_connections')
  log[row.level]({ request: id, failure: 'too_many_connections' }, message)
  const hint = `request id: ${id}`
  socket.on('error', () => undefined)
  socket.end(errorResponse({ severity: 'FATAL', sqlstate: row.sqlstate, message, hint }), () =>
    socket.destroy(),
  )
}

async function listen(server: Server, bind: Bind, log: Logger): Promise<Bind> {
  const where = 'path' in bind ? { path: bind.path } : bind
  if ('path' in bind) await removeStale(bind.path)
  server.listen(where)
  await once(server, 'listening').catch((error: Error) => {
    const address = 'path' in bind ? bind.path : `${bind.host}:${bind.port}`
    throw new Failure('cannot_listen', { values: { address, problem: error.message } })
  })
  // Out of file descriptors: a connection is lost, the gate is not.
  server.on('error', (error) => log.error(`a connection could not be accepted: ${error.message}`))
  if ('path' in bind) {
    await chmod(bind.path, bind.mode)
    return bind
  }
  const bound = server.address()
  return typeof bound === 'object' && bound !== null ? { host: bind.host, port: bound.port } : bind
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

function stopListening(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

function deadline(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}
