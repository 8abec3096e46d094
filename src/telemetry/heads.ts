/**
 * The audit stream's head, kept elsewhere every ten seconds and at the end: what came before it can't be cut
 * off or written anew without its showing.
 * Rule: a head is kept when all that it stands for is durable, so that a crash never looks like a cut.
 */
import { open } from 'node:fs/promises'
import type { Metric } from '../peers/messages.ts'
import type { Logger } from './log.ts'
import type { Head } from './seal.ts'

export interface HeadPlace {
  /** As the log names it. */
  name: string
  keep(head: Head): Promise<void>
}

export interface HeadsParts {
  /** Undefined before there is one. */
  head(): Head | undefined
  /** Resolves when all of it is durable. */
  sync(): Promise<void>
  places: readonly HeadPlace[]
  log: Pick<Logger, 'info' | 'error'>
  count(metric: Metric): void
}

const EVERY_MS = 10_000
/** For the last one; who is slow then has one that is older. */
const CLOSE_MS = 5_000

export interface Heads {
  /** Keeps the last one. */
  close(): Promise<void>
}

export function openHeads(parts: HeadsParts, everyMs = EVERY_MS): Heads {
  const places = parts.places.map((place) => openPlace(place, parts))
  let running: Promise<unknown> = Promise.resolve()
  let busy = false
  const look = async () => {
    const head = parts.head()
    if (head === undefined) return
    const durable = parts.sync()
    await Promise.all(places.map((keep) => keep(head, durable)))
  }
  const tick = () => {
    if (busy) return
    busy = true
    running = look()
      .catch(() => undefined)
      .finally(() => {
        busy = false
      })
  }
  const timer = setInterval(tick, everyMs).unref()
  return {
    async close() {
      clearInterval(timer)
      const late = Promise.withResolvers<void>()
      const giveUp = setTimeout(late.resolve, CLOSE_MS)
      const last = running.then(look).catch(() => undefined)
      await Promise.race([last, late.promise])
      clearTimeout(giveUp)
    },
  }
}

/** Each head once, and each trouble once. */
function openPlace({ name, keep }: HeadPlace, { log, count }: Pick<HeadsParts, 'log' | 'count'>) {
  const told = (result: 'kept' | 'failed') => count({ name: 'audit_head', place: name, result })
  let kept: string | undefined
  let trouble: string | undefined
  return async (head: Head, durable: Promise<void>) => {
    try {
      await durable
      if (head.mac === kept) return
      await keep(head)
      kept = head.mac
      told('kept')
      if (trouble !== undefined) log.info(`${name}: the head of the audit stream is kept again`)
      trouble = undefined
    } catch (thrown) {
      told('failed')
      const { message } = thrown as Error
      if (message !== trouble)
        log.error(`${name}: the head of the audit stream can't be kept: ${message}`)
      trouble = message
    }
  }
}

/** A file that is appended to, one line a head; opened anew each time, so that it may be moved. */
export function anchorFile(path: string, now: () => number): HeadPlace {
  return {
    name: 'audit.anchor',
    async keep({ chain, seq, mac }) {
      const at = new Date(now()).toISOString()
      const file = await open(path, 'a', 0o600)
      try {
        await file.write(`${JSON.stringify({ At: at, Chain: chain, Seq: seq, Mac: mac })}\n`)
        await file.datasync()
      } finally {
        await file.close()
      }
    },
  }
}
