/**
 * Lines of the audit stream that could not be written, counted. What such a line tells of is not done: a
 * login ends. Rule: somebody has to hear of it, and the log may be on the same disk.
 */
import type { Metric } from '../peers/messages.ts'
import type { AuditWriter } from './audit.ts'

export function countingFailures(
  write: AuditWriter,
  { count }: { count(metric: Metric): void },
): AuditWriter {
  const failed = (thrown: unknown): never => {
    count({ name: 'audit_failed' })
    throw thrown
  }
  return (worker, event) => {
    try {
      return write(worker, event)?.catch(failed)
    } catch (thrown) {
      return failed(thrown)
    }
  }
}
