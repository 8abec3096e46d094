/**
 * DOOR. The sockets that Postgres clients connect to: TCP and unix, each with its own terms. A
 * connection gets an id and a place, or is told at once that there is none.
 */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { cancel as cancelOnNode } from '../cluster/cancel.ts'
import type { Limits, ListenerConfig } from '../config/config.ts'
import type { ListenerTls } from '../config/listener_tls.ts'
import { asFailure, Failure } from '../failure.ts'
import type { Primary } from '../peers/primary.ts'
import type { Logger } from '../telemetry/log.ts'
import { errorResponse } from '../wire/server_messages.ts'
import { openCancelKeys } from './cancel_keys.ts'
import { type ClientTls, openClientTls } from './client_tls.ts'
import type { Entrance } from './handshake.ts'
import { openPlaces } from './limits.ts'
import { type Bind, type Listener, listen } from './listener.ts'
import type { Clusters } from './route.ts'
import { type Cluster, type Stop, serve } from './session.ts'

export interface DoorParts {
  listeners: ListenerConfig[]
  /** Calls back when one of the files has changed, until it is told to stop. */
  watch(files: readonly string[], changed: () => void): () => void
  /** Those of the moment. */
  clusters(): Clusters<Cluster>
  /** This worker's number, and its line to the primary. */
  worker: number
  primary: Primary
  log: Logger
  now(): number
  limits: Limits
  /** Connections that other workers have. */
  elsewhere(): number
}

/** What may change while the door is open. */
export type Terms = Pick<DoorParts, 'listeners' | 'limits'>

export interface Door {
  /** What was bound, in the listeners' order; a port of 0 has become a real one. */
  addresses: Bind[]
  /** Takes no connection any more; resolves when the last one has ended by itself. */
  retire(): Promise<void>
  /**
   * Lets nobody new in, ends each session with the reason as soon as nothing is under way in it, and
   * waits for them. The sockets stay for cancels: newcomers are told to come back.
   */
  drain(why: Failure): Promise<void>
  /** Other terms for whom comes from now on, on the same sockets. */
  renew(terms: Terms): void
  /** A cancel that came in elsewhere, with a key of this worker's. */
  cancel(key: Buffer): void
  /** Stops accepting, ends every session with the reason, and waits for them. */
  close(why: Failure): Promise<void>
}

const CLOSING = { values: { problem: 'the gate is shutting down' } }
const CANCELS_MAX = 64
const CANCEL_TIMEOUT_MS = 10_000
const CLOSE_TIMEOUT_MS = 5_000
/** What last words get to reach a client. */
const FLUSH_MS = 500

/** @throws Failure `cannot_listen` */
export async function openDoor(parts: DoorParts): Promise<Door> {
  const sessions = openSessions(parts)
  const listeners: Listener[] = []
  const entrances = openEntrances(parts)
  const stopListening = async () => {
    entrances.close()
    await Promise.all(listeners.map((listener) => listener.close()))
  }
  try {
    for (const [at, listener] of parts.listeners.entries()) {
      const accept = (socket: Socket) => sessions.accept(socket, entrances.of(at).entrance)
      const terms = { ...listener, proxies: () => entrances.of(at).proxies }
      const listening = await listen(terms, accept, parts)
      listeners.push(listening)
      // TLS tells its sockets apart by their addresses, and on a unix socket they have none.
      if (listener.tls !== undefined && 'fd' in listening.bound) throw noTls(listening.bound.fd)
    }
  } catch (thrown) {
    await stopListening()
    throw thrown
  }
  return {
    addresses: listeners.map(({ bound }) => bound),
    retire: stopListening,
    async drain(why) {
      // Who comes to a socket of systemd's waits there for the next gate.
      for (const [at, { bind }] of parts.listeners.entries())
        if ('fd' in bind) void listeners[at]?.close()
      await sessions.drain(why)
    },
    cancel: (key) => void sessions.cancel(key),
    renew(terms) {
      entrances.renew(terms.listeners)
      sessions.renew(terms.limits)
    },
    async close(why) {
      const stopped = stopListening()
      await sessions.close(why)
      await stopped
    },
  }
}

/** The sessions of this door, each with its place. */
function openSessions(parts: DoorParts) {
  const { primary, clusters, log, now } = parts
  let { limits } = parts
  const cancelKeys = openCancelKeys(parts.worker)
  const enter = openPlaces()
  const live = new Map<Socket, { stop: Stop; over: Promise<void> }>()
  let ending: Parameters<Stop> | undefined
  const forward = openCancelling(parts, cancelKeys.find)
  const cancel = async (key: Buffer) => {
    if (cancelKeys.isOurs(key)) await forward(key)
    else primary.cancel(key)
  }
  return {
    cancel: forward,
    accept(socket: Socket, entrance: Entrance): void {
      const id = randomBytes(8).toString('hex')
      if (live.size + parts.elsewhere() >= limits.connections) {
        turnAway(socket, id, parts)
        return
      }
      let stop: Stop = () => undefined
      const late = ending !== undefined
      const onStop = (next: Stop) => {
        stop = next
        // Told while it went from one stage to the next.
        if (!late && ending !== undefined) stop(...ending)
      }
      const about = {
        id,
        clusters,
        entrance,
        cancelKeys,
        cancel,
        primary,
        log,
        now,
        closing: () => (ending === undefined ? undefined : new Failure('not_ready', CLOSING)),
        limits,
        places: enter(limits),
      }
      const over = serve(socket, { ...about, onStop }).catch((thrown: unknown) => {
        // Not even the refusal could be told: without a line in the log nobody goes on.
        socket.destroy()
        const why = asFailure(thrown).log ?? String(thrown)
        log.error({ request: id }, `the session ended without a word: ${why}`)
      })
      live.set(socket, { stop: (...how) => stop(...how), over })
      socket.once('close', () => live.delete(socket))
    },
    renew(next: Limits): void {
      limits = next
    },
    async drain(why: Failure): Promise<void> {
      ending = [why, 'quiet']
      const sessions = [...live.values()]
      for (const session of sessions) session.stop(...ending)
      await Promise.all(sessions.map((session) => session.over))
    },
    async close(why: Failure): Promise<void> {
      ending = [why, 'now']
      for (const session of live.values()) session.stop(...ending)
      const over = Promise.all([...live.values()].map((session) => session.over))
      await Promise.race([over, deadline(CLOSE_TIMEOUT_MS)])
      const closed = [...live.keys()].map(closing)
      await Promise.race([Promise.all(closed), deadline(FLUSH_MS)])
      for (const socket of live.keys()) socket.destroy()
    },
  }
}

function noTls(fd: number): Failure {
  const problem = 'it is a unix socket, which takes no TLS; let systemd listen on a port'
  return new Failure('cannot_listen', { values: { address: `fd:${fd}`, problem } })
}

/** What each listener lets a client do, and whom; where other ones are listed now, they stay as they were. */
function openEntrances(parts: DoorParts) {
  const watches: (() => void)[] = []
  const openAll = (listeners: readonly ListenerConfig[]) =>
    listeners.map(({ tls, allowPlaintext, proxies }) => ({
      proxies,
      entrance: {
        proxied: proxies !== undefined,
        tls: tls && openTls(tls, parts, watches),
        allowPlaintext,
      },
    }))
  const unwatch = () => {
    for (const each of watches.splice(0)) each()
  }
  let entrances = openAll(parts.listeners)
  return {
    of: (at: number) => entrances[at] as (typeof entrances)[number],
    renew(listeners: readonly ListenerConfig[]): void {
      if (!isDeepStrictEqual(sockets(listeners), sockets(parts.listeners))) return
      unwatch()
      entrances = openAll(listeners)
    },
    close: unwatch,
  }
}

/** What of the listeners can't be another one while they are open. */
export function sockets(listeners: readonly ListenerConfig[]) {
  return listeners.map(({ bind, keepAliveMs }) => ({ bind, keepAliveMs }))
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
  { primary, log }: DoorParts,
  find: ReturnType<typeof openCancelKeys>['find'],
): (key: Buffer) => Promise<void> {
  let running = 0
  const count = (result: 'sent' | 'unknown' | 'dropped' | 'failed') =>
    primary.count({ name: 'cancel', result })
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
function turnAway(socket: Socket, id: string, { log, primary }: DoorParts): void {
  primary.count({ name: 'connection_refused' })
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
