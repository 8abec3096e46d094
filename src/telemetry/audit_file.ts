/**
 * Where the audit stream goes, where that is a file or standard output: a line is written when `write`
 * returns, or it throws, so that nothing happens that was not written down. A file can be read by its
 * owner alone.
 * Rule: what was torn, by a full disk or by a crash before us, is ended by a line feed and left as it is.
 */
import { closeSync, fdatasync, fstatSync, openSync, readSync, statSync, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import type { DestinationStream } from 'pino'
import { Failure } from '../failure.ts'
import { LINE_BYTES_MAX } from './lines.ts'
import { openWithin } from './within.ts'

export interface AuditSink extends DestinationStream {
  /** Resolves when all that was written so far is durable; rejects where that isn't sure. Not of what never is. */
  sync?(): Promise<void>
  /** The last whole line of what was there before, and whether a torn one comes after it. */
  found?(): { line: Uint8Array; torn: boolean } | undefined
  /** @returns whether it is another file by now. @throws Failure `cannot_write`: the old one goes on */
  reopen?(): boolean
  /** Told what is wrong with it, and undefined when it is well again. */
  onTrouble?(heard: (problem: string | undefined) => void): void
  /** @returns how many lines are lost by it */
  close?(): Promise<number>
}

/** Fails a login whose line is not durable by then. */
const SYNC_MS = 5_000
const LATE = `the audit stream was not durable within ${SYNC_MS / 1000} s`

/** @throws Failure `cannot_write` */
export function openAuditStream(to: 'stdout' | (string & {})): AuditSink {
  return to === 'stdout' ? { write: writerTo(1, false) } : openAuditFile(to)
}

function openAuditFile(path: string): AuditSink {
  const end = endOf(path)
  let file = begin(openFile(path), end?.torn ?? false)
  /** Of the files before, until somebody was told. */
  let before: Promise<unknown> | undefined
  const synced = (): Promise<unknown> => {
    const asked = before
    const told = asked?.finally(() => {
      if (before === asked) before = undefined
    })
    return Promise.all([file.sync(), told])
  }
  const sync = openWithin(synced, SYNC_MS, LATE)
  return {
    write: (line) => file.write(line),
    ...(fstatSync(file.fd).isFile() && { sync }),
    found: () => end,
    reopen() {
      if (isStill(path, file.fd)) return false
      const old = file
      file = begin(openFile(path), endOf(path)?.torn ?? false)
      before = Promise.all([before, old.sync()])
      const close = () => closeSync(old.fd)
      before.then(close, close)
      return true
    },
  }
}

function begin(fd: number, torn: boolean) {
  const sync = promisify(fdatasync)
  return { fd, write: writerTo(fd, torn), sync: openGrouped(() => sync(fd)) }
}

function writerTo(fd: number, wasTorn: boolean): (line: string) => void {
  let torn = wasTorn
  return (line) => {
    const bytes = Buffer.from(torn ? `\n${line}` : line)
    torn = true
    writeAll(fd, bytes)
    torn = false
  }
}

/** One at a time: whoever comes while one is under way shares the next one with all who come until then. */
export function openGrouped(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined
  let next: Promise<void> | undefined
  const start = () => {
    running = work().finally(() => {
      running = undefined
    })
    return running
  }
  return () => {
    if (next !== undefined) return next
    if (running === undefined) return start()
    next = running
      .catch(() => undefined)
      .then(() => {
        next = undefined
        return start()
      })
    return next
  }
}

/** @throws Failure `cannot_write` */
export function openFile(path: string): number {
  try {
    return openSync(path, 'a', 0o600)
  } catch (thrown) {
    const { message } = thrown as Error
    throw new Failure('cannot_write', { values: { file: path, problem: message }, cause: thrown })
  }
}

function isStill(path: string, fd: number): boolean {
  const [now, then] = [statSync(path, { throwIfNoEntry: false }), fstatSync(fd)]
  return now?.ino === then.ino && now.dev === then.dev
}

/** Undefined for what can't be read from its end, or is empty. */
function endOf(path: string): { line: Uint8Array; torn: boolean } | undefined {
  const is = statSync(path, { throwIfNoEntry: false })
  if (!is?.isFile() || is.size === 0) return undefined
  try {
    const bytes = Buffer.alloc(Math.min(is.size, LINE_BYTES_MAX))
    const fd = openSync(path, 'r')
    try {
      const read = readSync(fd, bytes, 0, bytes.length, is.size - bytes.length)
      return lastLine(bytes.subarray(0, read))
    } finally {
      closeSync(fd)
    }
  } catch {
    // Who may only append doesn't know what came before.
    return undefined
  }
}

function lastLine(bytes: Buffer): { line: Uint8Array; torn: boolean } {
  const end = bytes.lastIndexOf(NEWLINE)
  const from = end <= 0 ? 0 : bytes.lastIndexOf(NEWLINE, end - 1) + 1
  // A copy: what is around it need not be kept.
  const line = Uint8Array.from(bytes.subarray(from, Math.max(end, 0)))
  return { line, torn: end !== bytes.length - 1 }
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

const NEWLINE = 0x0a
const BUSY_MS = 2
const BUSY_TRIES_MAX = 100
const pause = new Int32Array(new SharedArrayBuffer(4))
