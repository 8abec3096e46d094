/**
 * What observers may know of one session: its audit events, its metrics, its log lines. The session
 * tells it what happened; it decides nothing. A token never comes here.
 */
import type { Socket } from 'node:net'
import type { Failure } from '../failure.ts'
import type { Principal } from '../identity/principal.ts'
import type { Metric, ToPrimary } from '../peers/messages.ts'
import type { Grant } from '../policy/decide.ts'
import type { AuditEvent, Connection, Happening, Identity } from '../telemetry/events.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Report as Said } from '../wire/server_messages.ts'
import type { Asked } from './ask.ts'
import type { Ended } from './relay.ts'

export interface Observers {
  id: string
  cluster: { name: string; node: { name: string } }
  tell(message: ToPrimary): void
  log: Logger
  now(): number
}

/** Opened with the connection, closed with it. */
export class Report {
  readonly #observers: Observers
  readonly #connection: Connection
  readonly #startedMs: number
  #openedMs = 0
  #asked = false
  #identity: Identity | undefined

  constructor(socket: Socket, observers: Observers) {
    this.#observers = observers
    this.#connection = describe(socket, observers)
    this.#startedMs = observers.now()
    this.#count({ name: 'connection_opened' })
  }

  /** `host:port` of the client; empty on a unix socket. */
  get remoteAddress(): string {
    return this.#connection.RemoteAddress
  }

  asked({ ask, applicationName }: Asked, encrypted: boolean): void {
    const connection = this.#connection
    this.#asked = true
    connection.User = ask.user
    connection.Database = ask.database
    connection.ApplicationName = applicationName
    if (connection.Network === 'tcp') connection.Transport = encrypted ? 'hostssl' : 'host'
  }

  identified(principal: Principal): void {
    this.#identity = identify(principal)
  }

  granted({ role }: Grant): void {
    const { node } = this.#observers.cluster
    const Info = `JWT authentication succeeded; signing in to node ${node.name} as ${role}`
    if (this.#identity === undefined) return
    this.#audit({ EventType: 'client_authentication_info', ...this.#identity, Info })
  }

  opened(): void {
    this.#openedMs = this.#observers.now()
    const Duration = this.#openedMs - this.#startedMs
    this.#count({ name: 'login', result: 'ok', seconds: Duration / 1000 })
    this.#count({ name: 'session_opened' })
    const Node = this.#observers.cluster.node.name
    if (this.#identity === undefined) return
    this.#audit({ EventType: 'client_authentication_ok', ...this.#identity, Node, Duration })
  }

  ended({ how }: Ended, bytes: { toClient: number; toNode: number }): void {
    this.#count({ name: 'session_closed' })
    this.#count({ name: 'relayed', direction: 'to_client', bytes: bytes.toClient })
    this.#count({ name: 'relayed', direction: 'to_node', bytes: bytes.toNode })
    if (this.#identity === undefined) return
    this.#audit({
      EventType: 'client_session_end',
      ...this.#identity,
      Duration: this.#observers.now() - this.#openedMs,
      Ended: how,
      BytesToClient: bytes.toClient,
      BytesToNode: bytes.toNode,
    })
  }

  /** Who was refused before saying its name is in the log alone. */
  refused({ code, row, message, detail, log }: Failure): void {
    const { id, now } = this.#observers
    const Detail = [message, detail, log].filter((part) => part !== undefined).join('; ')
    const about = { request: id, failure: code, user: this.#connection.User }
    this.#observers.log[row.level](about, Detail)
    this.#count({ name: 'login', result: code, seconds: (now() - this.#startedMs) / 1000 })
    if (!this.#asked) return
    this.#audit({
      EventType: 'client_authentication_failed',
      ...this.#identity,
      Reason: row.reason,
      Failure: code,
      Sqlstate: row.sqlstate,
      Detail,
    })
  }

  closed(): void {
    this.#count({ name: 'connection_closed' })
  }

  /** What the client is told: the failure's sentence, and the way to its line in the log. */
  refusal({ row, message, detail }: Failure): Said {
    const request = `request id: ${this.#observers.id}`
    const hint = row.hint === undefined ? request : `${row.hint}\n${request}`
    return { severity: 'FATAL', sqlstate: row.sqlstate, message, detail, hint }
  }

  #count(metric: Metric): void {
    this.#observers.tell({ kind: 'metric', metric })
  }

  #audit(happening: Happening): void {
    const event: AuditEvent = { ...happening, ...this.#connection, Method: 'jwt_token' }
    this.#observers.tell({ kind: 'audit', event })
  }
}

function describe(socket: Socket, { id, cluster }: Observers): Connection {
  const { remoteAddress: address, remotePort: port, remoteFamily: family } = socket
  const tcp = address !== undefined && port !== undefined
  return {
    SessionID: id,
    Network: tcp ? 'tcp' : 'unix',
    RemoteAddress: tcp ? `${family === 'IPv6' ? `[${address}]` : address}:${port}` : '',
    Transport: tcp ? 'host' : 'local',
    Cluster: cluster.name,
    User: '',
    Database: '',
    ApplicationName: '',
  }
}

function identify(principal: Principal): Identity {
  return {
    SystemIdentity: principal.names.join(' '),
    Issuer: principal.issuer,
    KeyID: principal.keyId,
    TokenID: principal.tokenId ?? '',
    TokenDigest: principal.digest,
    TokenExpiry: principal.until ?? 0,
  }
}
