/**
 * What was changed on this gate, and by whom: kept in the shared state where there is one, for all gates and
 * for good; else here, as long as the gate runs.
 * Rule: that the list can't be written to keeps nothing from being done: the audit stream is the proof. One is
 * written after the other, and what can't be is listed here.
 */

import { wordsOf } from '../cluster/refusals.ts'
import { Failure } from '../failure.ts'
import type { Said } from '../state/changes.ts'
import type { HistoryEntry } from '../state/history.ts'
import type { State } from '../state/state.ts'
import type { Logger } from '../telemetry/log.ts'

/** Times are in seconds since the epoch. */
export type Changed = HistoryEntry

export interface Changes {
  /** Something that the state doesn't keep by itself. Resolves when it is in the list, or may take longer. */
  note(who: string, said: Said): Promise<void>
  /** The newest first. @returns `missing` - why others are not in it, where they are not */
  list(limit: number): Promise<{ changes: Changed[]; missing: string | undefined }>
}

/** Without a state, while it can't be reached, and until it has them. */
const KEPT_MAX = 1_000
/** Each of them takes a connection to the state. */
const WAITING_MAX = 100
/** Less than a statement has: the node of the state may be down, and what is said is about that. */
const PATIENCE_MS = 4_000

export interface ChangesParts {
  state: Pick<State, 'note' | 'history'> | undefined
  log: Pick<Logger, 'warn'>
  /** Milliseconds since the epoch. */
  now(): number
}

export function openChanges({ state, log, now }: ChangesParts): Changes {
  const here: Changed[] = []
  const keep = (change: Changed) => {
    here.unshift(change)
    here.length = Math.min(here.length, KEPT_MAX)
  }
  let waiting = 0
  let last: Promise<void> = Promise.resolve()
  const write = async (change: Changed, work: () => Promise<void>) => {
    waiting++
    try {
      await last
      await work()
      const at = here.indexOf(change)
      if (at >= 0) here.splice(at, 1)
    } catch (thrown) {
      log.warn(`${NOT_SHARED}: ${wordsOf(thrown)}`)
    } finally {
      waiting--
    }
  }
  return {
    async note(who, said) {
      const change = { ...said, who, at: now() / 1000 }
      keep(change)
      if (state === undefined) return
      if (waiting >= WAITING_MAX) {
        log.warn(`${NOT_SHARED}: ${waiting} others wait for that`)
        return
      }
      last = write(change, () => state.note(who, said))
      await inTime(last).catch(() => undefined)
    },
    async list(limit) {
      const { shared, missing } = await sharedBy(state, limit)
      const changes = [...here, ...shared].toSorted((one, other) => other.at - one.at)
      return { changes: changes.slice(0, limit), missing }
    },
  }
}

const NOT_SHARED = 'a change is not in the list that gates share'

/** While the state is down, what this gate has is not. */
async function sharedBy(state: ChangesParts['state'], limit: number) {
  try {
    const shared = state === undefined ? [] : await inTime(state.history(limit))
    return { shared, missing: undefined }
  } catch (thrown) {
    return { shared: [], missing: wordsOf(thrown) }
  }
}

/** @throws Failure `console_timeout` */
async function inTime<T>(work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Failure('console_timeout')), PATIENCE_MS)
  try {
    return await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
    work.catch(() => undefined)
  }
}
