/**
 * What a worker says has begun, and not yet that it has ended: connections, sessions, what its pools
 * hold, what it sees of nodes. When the worker is lost, its primary ends them in the metrics and in the audit stream.
 */
import type { Metric, NodeState } from '../peers/messages.ts'
import type { AuditEvent } from './events.ts'
import { openPoolSizes } from './pool_sizes.ts'

export interface Unended {
  readonly connections: number
  count(metric: Metric): void
  /** Of a line that was written; or of an end, though it could not be. The time is in milliseconds. */
  line(event: AuditEvent, atMs: number): void
  /** What ends all of it; it is forgotten. */
  endAll(atMs: number): { metrics: Metric[]; lines: AuditEvent[] }
}

type Begun = Extract<AuditEvent, { EventType: 'client_authentication_ok' }>

export function openUnended(): Unended {
  const has = { connections: 0, sessions: 0 }
  const nodes = openNodes()
  const pools = openPoolSizes()
  const begun = new Map<string, { event: Begun; atMs: number }>()
  return {
    get connections() {
      return has.connections
    },
    count(metric) {
      if (metric.name === 'connection_opened') has.connections++
      if (metric.name === 'connection_closed') has.connections--
      if (metric.name === 'session_opened') has.sessions++
      if (metric.name === 'session_closed') has.sessions--
      if (metric.name === 'node_state') nodes.count(metric)
      if (metric.name === 'pool_size') pools.note(metric)
    },
    line(event, atMs) {
      const { EventType, SessionID } = event
      if (EventType === 'client_authentication_ok') begun.set(SessionID, { event, atMs })
      // One that has failed behind its beginning was none: its line was not durable.
      if (EventType === 'client_session_end' || EventType === 'client_authentication_failed')
        begun.delete(SessionID)
    },
    endAll(atMs) {
      const lines = [...begun.values()].map((session) => endOf(session.event, atMs - session.atMs))
      const lost: Metric = { name: 'session_closed', by: 'gate', failure: 'worker_lost' }
      const metrics = [
        ...nodes.endAll(),
        ...pools.endAll(),
        ...Array<Metric>(has.sessions).fill(lost),
        ...Array<Metric>(has.connections).fill({ name: 'connection_closed' }),
      ]
      begun.clear()
      Object.assign(has, { connections: 0, sessions: 0 })
      return { metrics, lines }
    },
  }
}

/** The states that nodes are seen in, each as what would end it. */
function openNodes() {
  const ends: NodeState[] = []
  return {
    count(metric: NodeState): void {
      const { cluster, node, before, state } = metric
      const at = ends.findIndex(
        (each) => each.cluster === cluster && each.node === node && each.before === before,
      )
      if (before !== 'gone' && at >= 0) ends.splice(at, 1)
      if (state !== 'gone') ends.push({ ...metric, before: state, state: 'gone' })
    },
    endAll: (): NodeState[] => ends.splice(0),
  }
}

function endOf({ Node: _, ...session }: Begun, ms: number): AuditEvent {
  return {
    ...session,
    EventType: 'client_session_end',
    Duration: Math.round(ms),
    Ended: 'the worker process was lost',
    BytesToClient: null,
    BytesToNode: null,
  }
}
