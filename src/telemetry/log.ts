/**
 * The log: JSON lines (pino), for those who run the gate.
 * Rule: a secret is a type that doesn't print; the redaction here is the second net.
 */
import { type DestinationStream, destination, type Logger, pino } from 'pino'
import { openFile } from './audit_file.ts'
import { shownTo } from './line.ts'

export type { DestinationStream, Logger }

export type Level = 'debug' | 'info' | 'warn' | 'error'

/** Names under which a secret could be logged by mistake. */
const REDACTED = ['password', 'token', 'key', 'secret', 'authorization'].flatMap((name) => [
  name,
  `*.${name}`,
])

/**
 * Where the log goes: written in its own time and within a bound. A reader that is slow or gone costs
 * lines, never the gate. @throws Failure `cannot_write`
 */
export function openLogStream(to: 'stderr' | (string & {})): DestinationStream {
  const fd = to === 'stderr' ? 2 : openFile(to)
  const stream = destination({ fd, sync: false, maxLength: LOG_BYTES_MAX })
  stream.on('error', () => undefined)
  return stream
}

const LOG_BYTES_MAX = 8 * 1024 * 1024

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
    shownTo(to),
  )
}
