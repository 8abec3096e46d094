/**
 * JSON lines (pino): the log, for those who run the gate, and the audit stream, for those who ask
 * afterwards. Rule: a secret is a type that doesn't print; the redaction here is the second net.
 */
import { openSync, writeSync } from 'node:fs'
import { type DestinationStream, destination, type Logger, pino } from 'pino'
import { Failure } from '../failure.ts'
import type { AuditEvent } from './events.ts'
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

/**
 * Where the audit goes: a line is written when `write` returns, or it throws, so that nothing happens
 * that was not written down. A file can be read by its owner alone. @throws Failure `cannot_write`
 */
export function openAuditStream(to: string): DestinationStream {
  const fd = to === 'stdout' ? 1 : openFile(to)
  let torn = false
  return {
    write(line) {
      const bytes = Buffer.from(torn ? `\n${line}` : line)
      torn = true
      writeAll(fd, bytes)
      torn = false
    },
  }
}

function openFile(path: string): number {
  try {
    return openSync(path, 'a', 0o600)
  } catch (thrown) {
    const { message } = thrown as Error
    throw new Failure('cannot_write', { values: { file: path, problem: message }, cause: thrown })
  }
}

/** A pipe whose reader is slow says EAGAIN: it gets a moment, and no more. */
function writeAll(fd: number, bytes: Buffer): void {
  let tries = 0
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (thrown) {
      const busy = (thrown as NodeJS.ErrnoException).code === 'EAGAIN'
      if (!busy || ++tries > BUSY_TRIES_MAX) throw thrown
      Atomics.wait(pause, 0, 0, BUSY_MS)
    }
  }
}

const LOG_BYTES_MAX = 8 * 1024 * 1024
const BUSY_MS = 2
const BUSY_TRIES_MAX = 100
const pause = new Int32Array(new SharedArrayBuffer(4))

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

/** The audit stream has one writer, in the primary; a line is written before its effect. */
export type AuditWriter = (worker: number, event: AuditEvent) => void

/** Timestamp is in nanoseconds since the epoch, as CockroachDB writes it; InstanceID is the worker. */
export function openAudit(to: DestinationStream, now: () => number): AuditWriter {
  const out = shownTo(to)
  return (worker, event) => {
    // By hand: so many nanoseconds are more than a number of JavaScript's holds.
    const head = `{"channel":"SESSIONS","Timestamp":${now()}000000,"InstanceID":${worker}`
    out.write(`${head},${JSON.stringify(event).slice(1)}\n`)
  }
}
