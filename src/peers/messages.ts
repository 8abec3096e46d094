/**
 * What a worker tells the primary, and the primary a worker. With one process both ends are in it;
 * with several the same values go over a channel, so they are plain data.
 */
import type { AuditEvent } from '../telemetry/events.ts'

export type ToPrimary =
  /** A line of the audit stream, to be written before its effect. */
  | { kind: 'audit'; event: AuditEvent }
  /** Something to count. */
  | { kind: 'metric'; metric: Metric }
  /** A cancel whose key names another worker. */
  | { kind: 'cancel'; key: Buffer }

export type ToWorker = { kind: 'cancel'; key: Buffer }

export type Metric =
  | { name: 'connection_opened' }
  | { name: 'connection_closed' }
  | { name: 'login'; result: string; seconds: number }
  | { name: 'token'; result: 'verified' | 'remembered' }
  | { name: 'role_created' }
  | { name: 'memberships'; granted: number; revoked: number }
  | { name: 'session_opened' }
  | { name: 'session_closed'; by: 'client' | 'node' | 'gate'; failure: string }
  | { name: 'connection_refused' }
  | { name: 'relayed'; direction: 'to_client' | 'to_node'; bytes: number }
  | { name: 'cancel'; result: 'sent' | 'unknown' | 'dropped' | 'failed' }
