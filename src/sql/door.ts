/**
 * DOOR. The sockets that Postgres clients connect to: TCP and unix, each with its own terms. A
 * connection gets an id and a place, or is told at once that there is none.
 */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { cancel as cancelOnNode } from '../cluster/cancel.ts'
import type { ListenerTls } from '../config/listener_tls.ts'
import { asFailure, Failure } from '../failure.ts'
import type { ToPrimary, ToWorker } from '../peers/messages.ts'
import type { Port } from '../peers/port.ts'
import type { Logger } from '../telemetry/log.ts'
import { errorResponse } from '../wire/server_messages.ts'
import { openCancelKeys } from './cancel_keys.ts'
import { type ClientTls, openClientTls } from './client_tls.ts'
import type { Entrance } from './handshake.ts'
import { type Bind, type Listener, listen } from './listener.ts'
import type { Clusters } from './route.ts'
import { type Cluster, serve } from './session.ts'

export interface DoorParts {
  listeners: { bind: Bind; tls: ListenerTls | undefined; allowPlaintext: boolean }[]
  /** Calls back when one of the files has changed, until it is told to stop. */
  watch(files: readonly string[], changed: () => void): () => void
  clusters: Clusters<Cluster>
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
/** What last words get to reach a client. */
const FLUSH_MS = 500

/** @throws Failure `cannot_listen` */
export async function openDoor(parts: DoorParts): Promise<Door> {
  const sessions = openSessions(parts)
  const listeners: Listener[] = []
  const watches: (() => void)[] = []
  const stopListening = async () => {
    for (const unwatch of watches) unwatch()
    await Promise.all(listeners.map((listener) => listener.close()))
  }
  try {
    for (const { bind, tls, allowPlaintext } of parts.listeners) {
      const entrance = { tls: tls && openTls(tls, parts, watches), allowPlaintext }
      const accept = (socket: Socket) => sessions.accept(socket, entrance)
      listeners.push(await listen(bind, accept, parts.log))
    }
  } catch (thrown) {
    await stopListening()
    throw thrown
  }
  return {
    addresses: listeners.map(({ bound }) => bound),
    async close(why) {
      const stopped = stopListening()
      await sessions.close(why)
      await stopped
    },
  }
}

/** The sessions of this door, each with its place. */
function openSessions(parts: DoorParts) {
  const { port, clusters, log, now, limits } = parts
  const cancelKeys = openCancelKeys(parts.worker)
  const live = new Map<Socket, { stop(why: Failure): void; over: Promise<void> }>()
  const forward = openCancelling(parts, cancelKeys.find)
  port.hear((message) => void forward(message.key))
  const cancel = async (key: Buffer) => {
    if (cancelKeys.isOurs(key)) await forward(key)
    else port.send({ kind: 'cancel', key })
  }
  return {
    accept(socket: Socket, entrance: Entrance): void {
      const id = randomBytes(8).toString('hex')
      if (live.size >= limits.connections) {
        turnAway(socket, id, parts)
        return
      }
      let stop: (why: Failure) => void = () => undefined
      const onStop = (next: typeof stop) => {
        stop = next
      }
      const { authenticationTimeoutMs } = limits
      const about = {
        id,
        clusters,
        entrance,
        cancelKeys,
        cancel,
        log,
        now,
        authenticationTimeoutMs,
      }
      const over = serve(socket, { ...about, tell: port.send, onStop }).catch((thrown: unknown) => {
        // Not even the refusal could be told: without a line in the log nobody goes on.
        socket.destroy()
        const why = asFailure(thrown).log ?? String(thrown)
        log.error({ request: id }, `the session ended without a word: ${why}`)
      })
      live.set(socket, { stop: (why) => stop(why), over })
      socket.once('close', () => live.delete(socket))
    },
    async close(why: Failure): Promise<void> {
      for (const session of live.values()) session.stop(why)
      const over = Promise.all([...live.values()].map((session) => session.over))
      await Promise.race([over, deadline(CLOSE_TIMEOUT_MS)])
      const closed = [...live.keys()].map(closing)
      await Promise.race([Promise.all(closed), deadline(FLUSH_MS)])
      for (const socket of live.keys()) socket.destroy()
    },
  }
}

/** New certificates are taken as they come; bad ones leave those that are in use where they are. */
function openTls(
  { material, files, read }: ListenerTls,
  { watch, log }: DoorParts,
  watches: (() => void)[],
): ClientTls {
  const tls = openClientTls(material)
  const renew = () => {
    try {
      tls.renew(read())
      log.info({ files }, 'the certificates were read again')
    } catch (thrown) {
      log.error({ files }, `the certificates in use are kept: ${asFailure(thrown).message}`)
    }
  }
  watches.push(watch(files, renew))
  return tls
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
      await cancelOnNode(target.node, target.key, AbortSignal.timeout(CANCEL_TIMEOUT_MS))
      count('sent')
    } catch (thrown) {
      count('failed')
      log.warn(
        { node: target.node.name },
        `a cancel did not reach the node: ${asFailure(thrown).log ?? String(thrown)}`,
      )
    } finally {
      running--
    }
  }
}

/** The one answer that costs nothing: no TLS, no session, no wait. */
function turnAway(socket: Socket, id: string, { log, port }: DoorParts): void {
  port.send({ kind: 'metric', metric: { name: 'connection_refused' } })
  const { row, message } = new Failure('too_many_connections')
  log[row.level]({ request: id, failure: 'too_many_connections' }, message)
  const hint = `request id: ${id}`
  socket.on('error', () => undefined)
  socket.end(errorResponse({ severity: 'FATAL', sqlstate: row.sqlstate, message, hint }), () =>
    socket.destroy(),
  )
}

function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) =>
    socket.closed ? resolve() : socket.once('close', () => resolve()),
  )
}

function deadline(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}
