/**
 * JSON lines (pino): the log, for those who run the gate, and the audit stream, for those who ask
 * afterwards. Rule: a secret is a type that doesn't print; the redaction here is the second net.
 */
import { type DestinationStream, destination, type Logger, pino } from 'pino'
import { Failure } from '../failure.ts'
import type { AuditEvent } from './events.ts'

export type { DestinationStream, Logger }

export type Level = 'debug' | 'info' | 'warn' | 'error'

/** Names under which a secret could be logged by mistake. */
const REDACTED = ['password', 'token', 'key', 'secret', 'authorization'].flatMap((name) => [
  name,
  `*.${name}`,
])

/**
 * Where lines go: each is written before `write` returns, and a file can be read by its owner alone.
 * @throws Failure `cannot_write`
 */
export function openStream(to: string): DestinationStream {
  if (to === 'stdout') return destination({ fd: 1, sync: true })
  if (to === 'stderr') return destination({ fd: 2, sync: true })
  try {
    return destination({ dest: to, sync: true, append: true, mode: 0o600 })
  } catch (thrown) {
    const { message } = thrown as Error
    throw new Failure('cannot_write', { values: { file: to, problem: message }, cause: thrown })
  }
}

/** @param now - milliseconds since the epoch. */
export function openLog(to: DestinationStream, level: Level, now: () => number): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date(now()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED, censor: '[secret]' },
    },
    to,
  )
}

/** The audit stream has one writer, in the primary; a line is written before its effect. */
export interface AuditWriter {
  write(event: AuditEvent): void
}

/** Timestamp is in nanoseconds since the epoch, as CockroachDB writes it. */
export function openAudit(
  to: DestinationStream,
  instanceId: number,
  now: () => number,
): AuditWriter {
  const stream = pino(
    {
      base: { InstanceID: instanceId },
      timestamp: () => `,"Timestamp":${now()}000000`,
      formatters: { level: () => ({ channel: 'SESSIONS' }) },
    },
    to,
  )
  return { write: (event) => stream.info(event) }
}
