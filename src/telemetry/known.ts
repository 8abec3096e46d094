/**
 * What the primary knows of its workers' sessions by what they tell it anyway: lines of the audit stream, and
 * metrics. For the console and the status page.
 */
import type { Metric } from '../peers/messages.ts'
import type { AuditWriter } from './audit.ts'
import { type NodesSeen, openNodesSeen } from './nodes_seen.ts'
import { openRefusalsKept, type RefusalsKept } from './refusals_kept.ts'
import { openTally, type Tally } from './tally.ts'
import { openWhoIsIn, type WhoIsIn } from './who_is_in.ts'

export interface Known {
  whoIsIn: WhoIsIn
  refusals: RefusalsKept
  nodesSeen: NodesSeen
  tally: Tally
  count(metric: Metric): void
  /** Notes what is written. */
  audited(write: AuditWriter): AuditWriter
}

/** @param now - milliseconds since the epoch. */
export function openKnown(now: () => number): Known {
  const whoIsIn = openWhoIsIn()
  const refusals = openRefusalsKept()
  const nodesSeen = openNodesSeen()
  const tally = openTally(now)
  return {
    whoIsIn,
    refusals,
    nodesSeen,
    tally,
    count(metric) {
      nodesSeen.count(metric)
      tally.count(metric)
    },
    audited: (write) => (worker, event) => {
      whoIsIn.ends(event)
      const written = write(worker, event)
      whoIsIn.begins(worker, event, now())
      refusals.note(event, now())
      return written
    },
  }
}
