/**
 * Who is signed in at the moment, as the audit stream tells of it: a session is in from its
 * `client_authentication_ok` to its `client_session_end`. The primary's, for all workers.
 * Rule: nothing is asked of a worker, so the list is there however busy one is; and what a worker tells is about
 * its own sessions alone.
 */
import type { AuditEvent } from './events.ts'
import type { LoginParts } from './login_time.ts'

/** A session that goes on. Of what comes from a token, texts are empty where there was none. */
export interface LiveSession {
  id: string
  cluster: string
  user: string
  database: string
  node: string
  /** The names in the token's claim. */
  principal: string
  issuer: string
  tokenId: string
  tokenDigest: string
  /** Seconds since the epoch; undefined where the token says nothing, or there is none. */
  tokenExpiry: number | undefined
  /** `host:port`; empty on a unix socket. */
  address: string
  transport: string
  method: string
  applicationName: string
  /** The access rule that let it in; empty where there are none. */
  rule: string
  /** How long its login took in all, and whom that waited for. */
  login: { ms: number; parts: LoginParts }
  /** Milliseconds since the epoch. */
  sinceMs: number
  /** The number of the worker that has it. */
  worker: number
}

export interface WhoIsIn {
  /** Before a line is written: an end is one, whether it can be written down or not. */
  ends(worker: number, event: AuditEvent): void
  /** Once it was written. */
  begins(worker: number, event: AuditEvent, nowMs: number): void
  /** The longest-lived first. */
  sessions(): LiveSession[]
  /** As it was told, and by which worker; undefined where it is not, or no more. */
  event(id: string): { event: LiveEvent; worker: number } | undefined
  readonly size: number
}

/** A session's `client_authentication_ok`. */
export type LiveEvent = Extract<AuditEvent, { EventType: 'client_authentication_ok' }>

interface Kept {
  event: LiveEvent
  worker: number
  sinceMs: number
}

export function openWhoIsIn(): WhoIsIn {
  const kept = new Map<string, Kept>()
  /** No other worker has it. */
  const isOwn = (worker: number, id: string) => (kept.get(id)?.worker ?? worker) === worker
  return {
    ends(worker, { EventType, SessionID }) {
      if (ENDS.has(EventType) && isOwn(worker, SessionID)) kept.delete(SessionID)
    },
    begins(worker, event, sinceMs) {
      if (event.EventType === 'client_authentication_ok' && isOwn(worker, event.SessionID))
        kept.set(event.SessionID, { event, worker, sinceMs })
    },
    sessions: () => Array.from(kept.values(), shown),
    event: (id) => kept.get(id),
    get size() {
      return kept.size
    },
  }
}

/** What could not be begun has failed. */
const ENDS: ReadonlySet<string> = new Set(['client_session_end', 'client_authentication_failed'])

function shown({ event, worker, sinceMs }: Kept): LiveSession {
  return {
    id: event.SessionID,
    cluster: event.Cluster,
    user: event.User,
    database: event.Database,
    node: event.Node,
    principal: event.SystemIdentity,
    issuer: event.Issuer,
    tokenId: event.TokenID,
    tokenDigest: event.TokenDigest,
    tokenExpiry: event.TokenExpiry === 0 ? undefined : event.TokenExpiry,
    address: event.RemoteAddress,
    transport: event.Transport,
    method: event.Method,
    applicationName: event.ApplicationName,
    rule: event.AccessRule,
    login: { ms: event.Duration, parts: event.Durations },
    sinceMs,
    worker,
  }
}
