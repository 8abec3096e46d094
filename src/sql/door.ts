/**
 * DOOR. The sockets that Postgres clients connect to: TCP and unix, each with its own terms. A
 * connection gets an id and a place, or is told that there is none.
 */
import type { Socket } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import type { Limits, ListenerConfig } from '../config/config.ts'
import type { ConsoleConfig } from '../config/console_settings.ts'
import type { ListenerTls } from '../config/listener_tls.ts'
import { asFailure, Failure } from '../failure.ts'
import type { Primary } from '../peers/primary.ts'
import { openRandomBytes } from '../random.ts'
import type { Logger } from '../telemetry/log.ts'
import { errorResponse } from '../wire/server_messages.ts'
import type { Stop } from './attend.ts'
import { openCancelKeys } from './cancel_keys.ts'
import { openCancelling } from './cancelling.ts'
import { type ClientTls, openClientTls } from './client_tls.ts'
import type { Guard } from './guard.ts'
import type { Origin } from './handshake.ts'
import { openHandshakeRate } from './handshake_rate.ts'
import { openLeaving } from './leaving.ts'
import { openPlaces } from './limits.ts'
import { type Bind, type Listener, listen } from './listener.ts'
import type { Clusters } from './route.ts'
import { type Cluster, serve, type Visit } from './session.ts'

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
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
  /** Where the time of each login goes is told in full. */
  traced: boolean
  limits: Limits
  /** Connections that other workers have. */
  elsewhere(): number
  /** The gate's own, where there is one. */
  console(): ConsoleConfig | undefined
  guard: Guard
  /** Of the listeners' sockets, where they were bound before. */
  descriptors?: readonly number[] | undefined
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
  /** A cancel that came in elsewhere; resolves when the node has it, to whether the key is known here. */
  cancel(key: Buffer, from: string): Promise<boolean>
  /** Stops accepting, ends every session with the reason, and waits for them. */
  close(why: Failure): Promise<void>
}

const CLOSING = { values: { problem: 'the gate is shutting down' } }
/** Longer than the nodes may take for the cancels of those that were busy. */
const CLOSE_TIMEOUT_MS = 6_000
/** For who has come and said nothing yet, when the gate drains: to say it, and be told. */
const SILENT_MS = 1_000
/** Beyond limits.connections, for who comes to cancel; who turns out to be somebody else is refused then. */
const FOR_CANCELS = 16
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
      const accept = (socket: Socket, origin: Origin) =>
        sessions.accept(socket, { origin, entrance: entrances.of(at).entrance })
      const descriptor = parts.descriptors?.[at]
      const terms = { ...listener, descriptor, proxies: () => entrances.of(at).proxies }
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
    cancel: sessions.cancel,
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

interface Live {
  stop: Stop
  /** It hasn't said what it came for. */
  isSilent: boolean
  over: Promise<void>
}

/** The sessions of this door, each with its place. */
function openSessions(parts: DoorParts) {
  let { limits } = parts
  const cancelKeys = openCancelKeys(parts.worker)
  const randomBytes = openRandomBytes()
  const enter = openPlaces()
  const live = new Map<Socket, Live>()
  let ending: Parameters<Stop> | undefined
  const cancelling = openCancelling({ ...parts, cancelKeys })
  const leaving = openLeaving(cancelling, parts.log)
  const handshakeRate = openHandshakeRate(parts.now, parts.primary.count)
  const common = { ...parts, cancelKeys, cancelling, leaving, handshakeRate }
  return {
    cancel: cancelling.found,
    accept(socket: Socket, from: Pick<Visit, 'origin' | 'entrance'>): void {
      const id = randomBytes(8).toString('hex')
      const room = limits.connections - live.size - parts.elsewhere()
      if (room <= -FOR_CANCELS) {
        turnAway(socket, id, parts)
        return
      }
      const late = ending !== undefined
      const session: Live = { stop: () => undefined, isSilent: true, over: Promise.resolve() }
      const visit: Visit = {
        id,
        ...from,
        limits,
        places: enter(limits),
        noEntry: () => noEntry(ending !== undefined, room, parts),
        onStop(next, stage) {
          session.stop = next
          session.isSilent = stage === 'silent'
          // Told while it went from one stage to the next.
          if (!late && ending !== undefined) next(...ending)
        },
      }
      live.set(socket, session)
      session.over = serve(socket, visit, common).catch((thrown: unknown) => {
        // Not even the refusal could be told: without a line in the log nobody goes on.
        socket.destroy()
        const why = asFailure(thrown).log ?? String(thrown)
        parts.log.error({ request: id }, `the session ended without a word: ${why}`)
      })
      socket.on('close', () => live.delete(socket))
    },
    renew(next: Limits): void {
      limits = next
    },
    async drain(why: Failure): Promise<void> {
      ending = [why, 'quiet']
      const sessions = [...live.values()]
      for (const session of sessions) session.stop(...ending)
      const waits = sessions.map(({ isSilent, over }) =>
        isSilent ? Promise.race([over, deadline(SILENT_MS)]) : over,
      )
      await Promise.all(waits)
    },
    async close(why: Failure): Promise<void> {
      ending = [why, 'now']
      for (const session of live.values()) session.stop(...ending)
      const over = Promise.all([...live.values()].map((session) => session.over))
      // And what they left on the nodes: nobody cancels it any more when the gate has gone.
      const left = over.then(() => leaving.over())
      await Promise.race([left, deadline(CLOSE_TIMEOUT_MS)])
      leaving.close()
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

/** What each listener lets a client do, and whom; one that is listed no more stays as it was. */
function openEntrances(parts: DoorParts) {
  const open = ({ tls, allowPlaintext, proxies }: ListenerConfig) => {
    const opened = tls && openTls(tls, parts)
    const proxied = proxies !== undefined
    return { proxies, opened, entrance: { proxied, tls: opened?.tls, allowPlaintext } }
  }
  let entrances = parts.listeners.map(open)
  return {
    of: (at: number) => entrances[at] as (typeof entrances)[number],
    renew(listeners: readonly ListenerConfig[]): void {
      entrances = entrances.map((before, at) => {
        const { bind } = parts.listeners[at] as ListenerConfig
        const isIt = (other: ListenerConfig | undefined) => isDeepStrictEqual(other?.bind, bind)
        const next = isIt(listeners[at]) ? listeners[at] : listeners.find(isIt)
        if (next === undefined) {
          before.opened?.renew()
          return before
        }
        before.opened?.unwatch()
        return open(next)
      })
    },
    close() {
      for (const { opened } of entrances) opened?.unwatch()
    },
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
): { tls: ClientTls; renew(): void; unwatch(): void } {
  const tls = openClientTls(material)
  const renew = () => {
    try {
      tls.renew(read())
      log.info({ files }, 'the certificates were read again')
    } catch (thrown) {
      log.error({ files }, `the certificates in use are kept: ${asFailure(thrown).message}`)
    }
  }
  return { tls, renew, unwatch: watch(files, renew) }
}

function noEntry(closing: boolean, room: number, parts: DoorParts): Failure | undefined {
  if (closing) return new Failure('not_ready', CLOSING)
  return room > 0 ? undefined : noRoom(parts)
}

function noRoom({ primary }: DoorParts): Failure {
  primary.count({ name: 'connection_refused' })
  return new Failure('too_many_connections')
}

/** The one answer that costs nothing: no TLS, no session, no wait. */
function turnAway(socket: Socket, id: string, parts: DoorParts): void {
  const { row, message } = noRoom(parts)
  parts.log[row.level]({ request: id, failure: 'too_many_connections' }, message)
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
