/**
 * The nodes of a cluster, with those who watch them: a line in the log for each change, and metrics.
 * Rule: a reason that is told once a look is told once.
 */
import { randomInt } from 'node:crypto'
import type { Metric } from '../peers/messages.ts'
import type { Logger } from '../telemetry/log.ts'
import { openNames } from './node_names.ts'
import { type NodeEvent, type Nodes, type NodesPlan, openNodes } from './nodes.ts'
import { probe } from './probe.ts'

export interface Watched {
  name: string
  nodes: NodesPlan
  signIn: string
  management: { role: string } | undefined
}

export interface Watchers {
  log: Logger
  count(metric: Metric): void
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
  /** Nodes that get no new sessions, whatever is known of them. */
  drained?(): ReadonlySet<string>
  /** Sessions go to this node no more, or not now. */
  left?(node: string): void
}

export function openWatchedNodes(
  { name: cluster, nodes, signIn, management }: Watched,
  { log, count, elapsed, left, drained }: Watchers,
): Nodes {
  // By `forward` only a user's token signs in.
  const role = signIn === 'forward' ? undefined : management?.role
  const troubles = new Map<string, string>()
  const tell = (event: NodeEvent) => {
    switch (event.kind) {
      case 'new':
        count({ name: 'node_state', cluster, node: event.node, before: 'gone', state: event.state })
        log.debug({ cluster, node: event.node }, 'a node to go to')
        return
      case 'state': {
        const { node, before, state, why } = event
        if (state !== 'up') left?.(node)
        count({ name: 'node_state', cluster, node, before, state })
        const level = state === 'down' || state === 'draining' ? 'warn' : 'info'
        log[level]({ cluster, node }, `the node is ${state}${why === '' ? '' : `: ${why}`}`)
        return
      }
      case 'gone': {
        const { node, before, why } = event
        left?.(node)
        count({ name: 'node_state', cluster, node, before, state: 'gone' })
        log.debug({ cluster, node }, `no node to go to any more: ${why}`)
        return
      }
      case 'failed':
        count({ name: 'node_failed', cluster, node: event.node })
        log.debug({ cluster, node: event.node }, event.why)
        return
      case 'looked_up':
        troubles.delete(event.name)
        return
      case 'lookup_failed':
        if (troubles.get(event.name) === event.why) return
        troubles.set(event.name, event.why)
        log.warn({ cluster }, `the nodes stay as they are: ${event.why}`)
    }
  }
  return openNodes(nodes, {
    names: openNames(),
    probe: (member, signal) => probe(member, role, signal),
    elapsed,
    tie: (ways) => randomInt(ways),
    drained,
    tell,
  })
}
