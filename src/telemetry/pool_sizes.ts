/**
 * What one worker's pools hold, as it told it: to be taken back when the worker is gone without a word.
 */
import type { Metric } from '../peers/messages.ts'

type PoolSize = Extract<Metric, { name: 'pool_size' }>

export interface PoolSizes {
  note(metric: PoolSize): void
  /** What makes all of it nothing again. */
  endAll(): PoolSize[]
}

export function openPoolSizes(): PoolSizes {
  const held = new Map<string, PoolSize>()
  return {
    note(metric) {
      const key = `${metric.of} ${metric.cluster}`
      const change = (held.get(key)?.change ?? 0) + metric.change
      if (change === 0) held.delete(key)
      else held.set(key, { ...metric, change })
    },
    endAll() {
      const ends = [...held.values()].map((size) => ({ ...size, change: -size.change }))
      held.clear()
      return ends
    },
  }
}
