/**
 * What observers may know of one session: its audit events, its metrics, its log lines. The session
 * tells it what happened; it decides nothing. A token never comes here.
 */
import type { Socket } from 'node:net'
import type { SessionParameters } from '../cluster/connect.ts'
import type { Failure } from '../failure.ts'
import type { Principal } from '../identity/principal.ts'
import type { Grant } from '../policy/decide.ts'
import type { Connection, Identity } from '../telemetry/events.ts'
import type { Report as WireReport } from '../wire/server_messages.ts'
import type { Asked } from './ask.ts'
import type { Ended } from './relay.ts'
import type { SessionParts } from './session.ts'

const METHOD = { Method: 'jwt_token' } as const

export interface Report {
  asked(asked: Asked, encrypted: boolean): void
  identified(principal: Principal): void
  granted(grant: Grant): void
  opened(): void
  ended(ended: Ended, bytes: { toClient: number; toNode: number }): void
  refused(failure: Failure): void
  closed(): void
  /** The startup parameters for the node, with the client's address. */
  about(asked: Asked): SessionParameters
  /** What the client is told: the failure's sentence and the request id. */
  refusal(failure: Failure): WireReport
}

export function openReport(
  socket: Socket,
  parts: Pick<SessionParts, 'id' | 'cluster' | 'tell' | 'now' | 'log'>,
): Report {
  const { id, cluster, tell, now, log } = parts
  const startedMs = now()
  const connection = describe(socket, id, cluster.name)
  let known = false
  let identity: Identity | undefined
  let openedMs = 0
  const seconds = () => (now() - startedMs) / 1000
  tell({ kind: 'metric', metric: { name: 'connection_opened' } })

  return {
    asked({ ask, applicationName }, encrypted) {
      known = true
      connection.User = ask.user
      connection.Database = ask.database
      connection.ApplicationName = applicationName
      if (connection.Network === 'tcp') connection.Transport = encrypted ? 'hostssl' : 'host'
    },
    identified(principal) {
      identity = identify(principal)
    },
    granted(grant) {
      if (identity === undefined) return
      const Info = `JWT authentication succeeded; signing in to node ${cluster.node.name} as ${grant.role}`
      const EventType = 'client_authentication_info'
      tell({ kind: 'audit', event: { EventType, ...connection, ...METHOD, ...identity, Info } })
    },
    opened() {
      openedMs = now()
      tell({ kind: 'metric', metric: { name: 'login', result: 'ok', seconds: seconds() } })
      tell({ kind: 'metric', metric: { name: 'session_opened' } })
      if (identity === undefined) return
      const about = { Node: cluster.node.name, Duration: openedMs - startedMs }
      const EventType = 'client_authentication_ok'
      tell({ kind: 'audit', event: { EventType, ...connection, ...METHOD, ...identity, ...about } })
    },
    ended(ended, bytes) {
      tell({ kind: 'metric', metric: { name: 'session_closed' } })
      const relayed = { name: 'relayed' } as const
      tell({
        kind: 'metric',
        metric: { ...relayed, direction: 'to_client', bytes: bytes.toClient },
      })
      tell({ kind: 'metric', metric: { ...relayed, direction: 'to_node', bytes: bytes.toNode } })
      if (identity === undefined) return
      const about = {
        Duration: now() - openedMs,
        Ended: ended.how,
        BytesToClient: bytes.toClient,
        BytesToNode: bytes.toNode,
      }
      const EventType = 'client_session_end'
      tell({ kind: 'audit', event: { EventType, ...connection, ...METHOD, ...identity, ...about } })
    },
    refused(failure) {
      const { code, row, message, detail } = failure
      const said = [message, detail, failure.log].filter((part) => part !== undefined)
      log[row.level]({ request: id, failure: code, user: connection.User }, said.join('; '))
      tell({ kind: 'metric', metric: { name: 'login', result: code, seconds: seconds() } })
      if (!known) return
      const about = {
        Reason: row.reason,
        Failure: code,
        Sqlstate: row.sqlstate,
        Detail: said.join('; '),
      }
      const EventType = 'client_authentication_failed'
      tell({ kind: 'audit', event: { EventType, ...connection, ...METHOD, ...identity, ...about } })
    },
    closed() {
      tell({ kind: 'metric', metric: { name: 'connection_closed' } })
    },
    about({ options, replication, others }) {
      const remoteAddress = connection.RemoteAddress || undefined
      return { options, replication, others, remoteAddress }
    },
    refusal({ row, message, detail }) {
      const hint = [row.hint, `request id: ${id}`].filter((part) => part !== undefined).join('\n')
      return { severity: 'FATAL', sqlstate: row.sqlstate, message, detail, hint }
    },
  }
}

function describe(socket: Socket, id: string, cluster: string): Connection {
  const { remoteAddress: address, remotePort: port, remoteFamily: family } = socket
  const tcp = address !== undefined && port !== undefined
  return {
    SessionID: id,
    Network: tcp ? 'tcp' : 'unix',
    RemoteAddress: tcp ? `${family === 'IPv6' ? `[${address}]` : address}:${port}` : '',
    Transport: tcp ? 'host' : 'local',
    Cluster: cluster,
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
