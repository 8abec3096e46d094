/**
 * What the primary knows of its workers' sessions by what they tell it anyway: lines of the audit stream, and
 * metrics. For the console and the status page.
 */
import type { Metric } from '../peers/messages.ts'
import type { AuditWriter } from './audit.ts'
import { type Evidence, openEvidence } from './evidence.ts'
import { type NodesSeen, openNodesSeen } from './nodes_seen.ts'
import { openRefusalsKept, type RefusalsKept } from './refusals_kept.ts'
import { openTally, type Tally } from './tally.ts'
import { openWhoIsIn, type WhoIsIn } from './who_is_in.ts'

export interface Known {
  whoIsIn: WhoIsIn
  refusals: RefusalsKept
  nodesSeen: NodesSeen
  tally: Tally
  evidence(): Evidence
  count(metric: Metric): void
  /** Notes what is written; an end and a refusal, whether they can be or not. */
  audited(write: AuditWriter): AuditWriter
}

/** @param now - milliseconds since the epoch. */
export function openKnown(now: () => number): Known {
  const whoIsIn = openWhoIsIn()
  const refusals = openRefusalsKept()
  const nodesSeen = openNodesSeen()
  const tally = openTally(now)
  const evidence = openEvidence(now)
  return {
    whoIsIn,
    refusals,
    nodesSeen,
    tally,
    evidence: evidence.evidence,
    count(metric) {
      nodesSeen.count(metric)
      tally.count(metric)
      evidence.count(metric)
    },
    audited: (write) => (worker, event) => {
      whoIsIn.ends(worker, event)
      // Whoever is refused is, and that most of all where nothing can be written.
      refusals.note(event, now())
      const written = write(worker, event)
      whoIsIn.begins(worker, event, now())
      return written
    },
  }
}
