/**
 * The nodes of the moment, and how many workers see each of them in which state. The primary's, from what
 * workers tell it; a worker that is lost takes back what it saw.
 */
import type { Metric, NodeState } from '../peers/messages.ts'

export interface SeenNode {
  cluster: string
  node: string
  /** How many workers see it so. */
  up: number
  draining: number
  down: number
}

export interface NodesSeen {
  count(metric: Metric): void
  /** By cluster and name. */
  nodes(): SeenNode[]
}

export function openNodesSeen(): NodesSeen {
  const seen = new Map<string, SeenNode>()
  const note = ({ cluster, node, before, state }: NodeState) => {
    const key = JSON.stringify([cluster, node])
    const known = seen.get(key) ?? { cluster, node, up: 0, draining: 0, down: 0 }
    if (before !== 'gone') known[before]--
    if (state !== 'gone') known[state]++
    if (known.up + known.draining + known.down > 0) seen.set(key, known)
    else seen.delete(key)
  }
  return {
    count(metric) {
      if (metric.name === 'node_state') note(metric)
    },
    nodes: () =>
      [...seen].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, node]) => ({ ...node })),
  }
}
