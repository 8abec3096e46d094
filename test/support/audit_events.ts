/** Events of the audit stream, as sessions tell them, for those who read them. */
import type { AuditEvent, Connection } from '../../src/telemetry/events.ts'

export const CONNECTION: Connection = {
  SessionID: 'a1',
  Network: 'tcp',
  RemoteAddress: '192.0.2.7:5000',
  Transport: 'hostssl',
  Cluster: 'main',
  User: 'carl',
  Database: 'bank',
  ApplicationName: 'psql',
}

export const IDENTITY = {
  SystemIdentity: 'carl@example.com',
  Subject: 'carl',
  Issuer: 'https://issuer.test',
  KeyID: 'k',
  TokenID: 'jti',
  TokenDigest: 'ab'.repeat(32),
  TokenExpiry: 1_900_000_000,
}

type Ok = Extract<AuditEvent, { EventType: 'client_authentication_ok' }>
type Failed = Extract<AuditEvent, { EventType: 'client_authentication_failed' }>
type End = Extract<AuditEvent, { EventType: 'client_session_end' }>

export function ok(more: Partial<Ok> = {}): Ok {
  return {
    EventType: 'client_authentication_ok',
    ...CONNECTION,
    ...IDENTITY,
    Method: 'jwt_token',
    Node: 'db:5432',
    NodeSession: 'new',
    AccessRule: 'access[0] (postern.yaml:3:5)',
    Duration: 12,
    Durations: { client: 1, issuer: 2, node: 8, gate: 1 },
    ...more,
  }
}

export function failed(more: Partial<Failed> = {}): Failed {
  return {
    EventType: 'client_authentication_failed',
    ...CONNECTION,
    Method: 'jwt_token',
    Reason: 'CREDENTIALS_INVALID',
    Failure: 'invalid_token',
    Sqlstate: '28000',
    Detail: 'JWT authentication: invalid token; expired',
    ...more,
  }
}

export function end(more: Partial<End> = {}): End {
  return {
    EventType: 'client_session_end',
    ...CONNECTION,
    ...IDENTITY,
    Method: 'jwt_token',
    Duration: 5,
    Ended: 'the client closed the connection',
    BytesToClient: 1,
    BytesToNode: 2,
    ...more,
  }
}
