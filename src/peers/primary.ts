/**
 * What a worker has of its primary: who writes down, who counts, and the way to the other workers. With
 * one process it is a few calls; with several the same calls go over a channel.
 */
import type { ConsoleAnswer, ConsoleQuestion } from '../console/console.ts'
import type { Attempting, Outcome } from '../policy/throttle.ts'
import type { AuditEvent } from '../telemetry/events.ts'
import type { Metric } from './messages.ts'

export interface Primary {
  /** A line of the audit stream. Nothing that it tells of may happen before this resolves. */
  audit(event: AuditEvent): Promise<void>
  /** Something to count, sooner or later. */
  count(metric: Metric): void
  /** How long somebody has to wait before trying to prove who he is, and when this was asked; in milliseconds. */
  mayTry(who: Attempting): Promise<{ waitMs: number; beganMs: number }>
  /** What came of it. @returns whether it counts: one that began in a wait doesn't */
  settle(who: Attempting, beganMs: number, outcome: Outcome): Promise<boolean>
  /**
   * A cancel whose key this worker doesn't know, with the client's address: another worker may, or another
   * gate. Resolves when it is done, or nobody does; never rejects.
   */
  cancel(key: Buffer, from: string): Promise<void>
  /** A statement for the console, of one of this worker's sessions. */
  console(question: ConsoleQuestion): Promise<ConsoleAnswer>
}
