/**
 * What a worker in a process of its own tells the primary, and the primary a worker: plain data, over the
 * channel between them. https://nodejs.org/docs/latest-v24.x/api/child_process.html#advanced-serialization
 */
import type { Source } from '../config/source.ts'
import type { ConsoleAnswer, ConsoleQuestion } from '../console/console.ts'
import type { FailureCode } from '../failure.ts'
import type { PortableKeys } from '../identity/portable_keys.ts'
import type { Attempting, Outcome } from '../policy/throttle.ts'
import type { StateSnapshot } from '../state/snapshot.ts'
import type { AuditEvent } from '../telemetry/events.ts'
import type { Lap, LoginParts } from '../telemetry/login_time.ts'

export type ToPrimary =
  /** It takes connections; its addresses, in the order of the listeners. */
  | { kind: 'open'; addresses: Address[] }
  /** It could not open, and ends. */
  | { kind: 'failed'; problem: string }
  | { kind: 'log'; line: string }
  /** Several at a time. */
  | { kind: 'count'; metrics: Metric[] }
  /** The node has a cancel that this worker was asked for, or its key is none of this worker's. */
  | { kind: 'cancelled'; id: number; found: boolean }
  /** Nothing is under way in it any more. */
  | { kind: 'drained' }
  | { kind: 'ask'; id: number; ask: Question }
  /** The answer to a ping. */
  | { kind: 'pong' }

export type ToWorker =
  /**
   * `workers`: how many there are. `listening`: by what the sockets were bound, where that is another one
   * by now. `state`: there is one that gates share, and how old it may be.
   */
  | {
      kind: 'begin'
      number: number
      workers: number
      source: Source
      listening?: Source | undefined
      state?: { maxAgeMs: number } | undefined
    }
  /** The configuration was read again. */
  | { kind: 'renew'; source: Source }
  /** A cancel that came in elsewhere, with the client's address. */
  | { kind: 'cancel'; id: number; key: Uint8Array; from: string }
  /** What gates share is another one now: to be asked for. */
  | { kind: 'state_changed' }
  /** How many connections the other workers have. */
  | { kind: 'elsewhere'; connections: number }
  /** Nodes that get no new sessions from now on; all of them. */
  | { kind: 'drained_nodes'; nodes: readonly DrainedNode[] }
  /** One of its sessions is to end, if it still is. */
  | { kind: 'end_session'; id: string; why: string }
  /** Does it still work? Whatever it says is an answer. */
  | { kind: 'ping' }
  /** Take nobody new, and end when the last session has ended. */
  | { kind: 'retire' }
  | { kind: 'drain' }
  | { kind: 'close' }
  | { kind: 'answer'; id: number; answer: Answer }

/** Its name may be another cluster's node's as well. */
export interface DrainedNode {
  cluster: string
  node: string
}

/** What is waited for. */
export type Question =
  /** A line of the audit stream, to be written before its effect. */
  | { kind: 'audit'; event: AuditEvent }
  | { kind: 'keys'; cluster: string; issuer: string; kid: string }
  | { kind: 'userinfo'; cluster: string; issuer: string }
  | { kind: 'may_try'; who: Attempting }
  | { kind: 'settle'; who: Attempting; beganMs: number; outcome: Outcome }
  | { kind: 'console'; question: ConsoleQuestion }
  /** What gates share, and which of it is known: 0 for nothing yet. */
  | { kind: 'state'; known: number }
  /** A cancel whose key this worker doesn't know. */
  | { kind: 'cancel'; key: Uint8Array; from: string }

export type Answer =
  | { kind: 'written' }
  | { kind: 'keys'; found: PortableKeys }
  | { kind: 'userinfo'; endpoint: string }
  | { kind: 'may_try'; waitMs: number; beganMs: number }
  | { kind: 'settled'; counts: boolean }
  /**
   * Which it is, and so many milliseconds ago it was known to be so; all of it, unless that is what was known.
   */
  | { kind: 'state'; number: number; ageMs: number; snapshot: StateSnapshot | undefined }
  | { kind: 'cancelled' }
  | { kind: 'console'; answer: ConsoleAnswer }
  | { kind: 'failed'; code: FailureCode; log: string }

/** TCP, or a unix socket. */
export type Address =
  | { host: string; port: number }
  | { path: string; mode: number }
  | { fd: number }

export type Metric =
  | { name: 'connection_opened' }
  | { name: 'connection_closed' }
  | { name: 'login'; result: string; seconds: number; parts?: LoginParts | undefined }
  | LoginTrace
  | { name: 'token'; result: 'verified' | 'remembered' }
  | { name: 'role_created' }
  | { name: 'memberships'; granted: number; revoked: number }
  | { name: 'session_opened' }
  | { name: 'session_closed'; by: 'client' | 'node' | 'gate'; failure: string }
  | { name: 'connection_refused' }
  | { name: 'throttled'; reason: 'wait' | 'handshakes' }
  | { name: 'access_refused'; by: 'rule' | 'list' | 'revoked' | 'state' }
  | NodeState
  | { name: 'node_failed'; cluster: string; node: string }
  | { name: 'pool_taken'; cluster: string; how: 'warm' | 'new' }
  | { name: 'pool_closed'; cluster: string; why: string }
  | { name: 'pool_size'; cluster: string; of: 'idle' | 'waiting'; change: number }
  | { name: 'relayed'; direction: 'to_client' | 'to_node'; bytes: number }
  | { name: 'worker_opened' }
  | { name: 'worker_ended'; how: 'retired' | 'lost' }
  | { name: 'cancel'; result: 'sent' | 'own' | 'unknown' | 'passed_on' | 'dropped' | 'failed' }
  | { name: 'peer_told'; result: 'ok' | 'failed' }
  | { name: 'console_statement'; kind: string; result: 'ok' | 'refused' }
  /** Of one line, or of several. */
  | { name: 'audit_failed'; lines?: number }
  /** Of one; 0: there is such a place. */
  | { name: 'audit_head'; place: string; result: 'kept' | 'failed'; heads?: 0 }
  | { name: 'traces'; result: 'sent' | 'dropped'; logins: number }

/** A login that is over, for who follows it: whom it waited for, and when. */
export interface LoginTrace {
  name: 'login_trace'
  /** The request id. */
  request: string
  cluster: string
  /** Empty where none was reached. */
  node: string
  /** `ok`, or the failure's code. */
  result: string
  /** Milliseconds since the epoch. */
  startMs: number
  laps: readonly Lap[]
}

/** Whoever looks after a node sees it in another state; to begin with, and in the end, it is gone. */
export interface NodeState {
  name: 'node_state'
  cluster: string
  node: string
  before: SeenState
  state: SeenState
}

type SeenState = 'up' | 'draining' | 'down' | 'gone'
