/**
 * Whether the audit stream is written, and its seal's head kept, as the metrics tell of it: for those who look
 * at a page. Rule: a line that was not written is long over, and is told of with its time; a head that is not
 * kept is told of until one is.
 */
import type { Metric } from '../peers/messages.ts'

/** Times are in milliseconds since the epoch. */
export interface Evidence {
  /** When a line was last one that could not be written; undefined where there was none. */
  unwrittenMs: number | undefined
  /** Where the head can't be kept, and since when. */
  unkept: readonly { place: string; sinceMs: number }[]
}

/** @param now - milliseconds since the epoch. */
export function openEvidence(now: () => number) {
  let unwrittenMs: number | undefined
  const unkept = new Map<string, number>()
  return {
    count(metric: Metric): void {
      if (metric.name === 'audit_failed') unwrittenMs = now()
      if (metric.name !== 'audit_head' || metric.heads === 0) return
      if (metric.result === 'kept') unkept.delete(metric.place)
      else if (!unkept.has(metric.place)) unkept.set(metric.place, now())
    },
    evidence: (): Evidence => ({
      unwrittenMs,
      unkept: Array.from(unkept, ([place, sinceMs]) => ({ place, sinceMs })),
    }),
  }
}
