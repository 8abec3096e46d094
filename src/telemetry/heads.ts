/**
 * The audit stream's head, kept elsewhere every ten seconds and at the end: what came before it can't be cut
 * off or written anew without its showing.
 * Rule: a head is kept when all that it stands for is durable, so that a crash never looks like a cut; and a
 * place that hangs keeps no other one waiting.
 */
import type { Metric } from '../peers/messages.ts'
import type { KnownHead } from './heads_to_find.ts'
import type { Logger } from './log.ts'
import type { Head } from './seal.ts'
import { within } from './within.ts'

export interface HeadPlace {
  /** As the log names it. */
  name: string
  keep(head: Head): Promise<void>
  /** The one that was kept last; undefined where none was. */
  last(): Promise<KnownHead | undefined>
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
const GIVEN_MS = 10_000
/** For the last one; who is slow then has one that is older. */
const CLOSE_MS = 5_000

export interface Heads {
  /** Keeps the one that there is now, before it is another chain's. */
  keep(): void
  /** Keeps the last one. */
  close(): Promise<void>
}

export function openHeads(parts: HeadsParts, everyMs = EVERY_MS, givenMs = GIVEN_MS): Heads {
  const looks = parts.places.map((place) => openPlace(place, parts, givenMs))
  const all = () => Promise.all(looks.map((look) => look()))
  const timer = setInterval(all, everyMs).unref()
  return {
    keep: () => void all(),
    async close() {
      clearInterval(timer)
      // Behind those that are under way, which may be of an older one.
      const last = Promise.all(looks.map((look) => look().then(look)))
      await within(last, CLOSE_MS, 'late').catch(() => undefined)
    },
  }
}

/** Each head once, and each trouble once. */
function openPlace({ name, keep }: HeadPlace, parts: HeadsParts, givenMs: number) {
  const { log, count } = parts
  let kept: string | undefined
  let trouble: string | undefined
  let looking: Promise<void> | undefined
  let keeping: Promise<void> | undefined
  count({ name: 'audit_head', place: name, result: 'failed', heads: 0 })
  const told = (result: 'kept' | 'failed') => count({ name: 'audit_head', place: name, result })
  const late = `it took more than ${givenMs / 1000} s`
  const look = async () => {
    const head = parts.head()
    if (head === undefined) return
    try {
      await parts.sync()
      if (head.mac === kept) return
      // What hangs has no second one beside it: each would hold a thread.
      if (keeping !== undefined) throw new Error(late)
      keeping = keep(head).finally(() => {
        keeping = undefined
      })
      await within(keeping, givenMs, late)
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
  return (): Promise<void> => {
    looking ??= look().finally(() => {
      looking = undefined
    })
    return looking
  }
}

/** The one that was kept last, in whichever place; of two, the one of the place that is named first. */
export async function lastKept(
  places: readonly HeadPlace[],
  log: Pick<Logger, 'warn'>,
  givenMs = GIVEN_MS,
): Promise<Head | undefined> {
  const late = `it took more than ${givenMs / 1000} s`
  const asked = places.map(async ({ name, last }) => {
    try {
      return await within(last(), givenMs, late)
    } catch (thrown) {
      const { message } = thrown as Error
      log.warn(`${name}: the last head of the audit stream can't be read: ${message}`)
      return undefined
    }
  })
  const heads = (await Promise.all(asked)).filter((head) => head !== undefined)
  const newest = heads.toSorted((one, other) => keptMs(other) - keptMs(one))[0]
  return newest && { chain: newest.chain, seq: newest.seq, mac: newest.mac }
}

function keptMs({ at = '' }: KnownHead): number {
  return Date.parse(at) || 0
}
