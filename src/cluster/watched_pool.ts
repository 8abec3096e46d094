/**
 * The pool of a cluster, with those who watch it: metrics, and a line in the log for what should be rare.
 */
import type { Metric } from '../peers/messages.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Nodes } from './nodes.ts'
import { openPool, type Pool, type PoolEvent, type PoolPlan } from './pool.ts'

interface Watchers {
  log: Logger
  count(metric: Metric): void
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
}

/** @returns undefined where the plan says that nothing is kept. */
export function openWatchedPool(
  { name: cluster, pool }: { name: string; pool: PoolPlan | undefined },
  nodes: Nodes,
  { log, count, elapsed }: Watchers,
): Pool | undefined {
  if (pool === undefined) return undefined
  const tell = (event: PoolEvent) => {
    switch (event.kind) {
      case 'taken':
        count({ name: 'pool_taken', cluster, how: event.how })
        return
      case 'closed':
        count({ name: 'pool_closed', cluster, why: event.why })
        if (event.detail !== '')
          log.debug({ cluster }, `a kept session was closed (${event.why}): ${event.detail}`)
        return
      default:
        count({ name: 'pool_size', cluster, of: event.kind, change: event.change })
    }
  }
  return openPool(pool, { elapsed, isUp: nodes.isUp, tell })
}
