/**
 * What was changed on this gate, and by whom: kept in the shared state where there is one, for all gates and
 * for good; else here, as long as the gate runs.
 * Rule: that the list can't be written to keeps nothing from being done: the audit stream is the proof.
 */

import { wordsOf } from '../cluster/refusals.ts'
import type { Said } from '../state/changes.ts'
import type { HistoryEntry } from '../state/history.ts'
import type { State } from '../state/state.ts'
import type { Logger } from '../telemetry/log.ts'

/** Times are in seconds since the epoch. */
export type Changed = HistoryEntry

export interface Changes {
  /** Something that the state doesn't keep by itself. */
  note(who: string, said: Said): void
  /** The newest first. */
  list(limit: number): Promise<Changed[]>
}

/** Without a state, or while it can't be reached. */
const KEPT_MAX = 1_000

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
  return {
    note(who, said) {
      const change = { ...said, who, at: now() / 1000 }
      if (state === undefined) {
        keep(change)
        return
      }
      state.note(who, said).catch((thrown: unknown) => {
        log.warn(`a change is not in the list that gates share: ${wordsOf(thrown)}`)
        keep(change)
      })
    },
    async list(limit) {
      const shared = (await state?.history(limit)) ?? []
      return [...here, ...shared].toSorted((one, other) => other.at - one.at).slice(0, limit)
    },
  }
}
