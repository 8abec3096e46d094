/**
 * What gates share, as it was at one moment: plain data, the same in every process of the gate, never changed
 * and only replaced by another one. Rule: who lets somebody in asks first how old it is.
 */
import type { AccessEntry } from '../policy/lists.ts'
import type { Revocation } from '../policy/revocation.ts'

export interface StateSnapshot {
  /** Another one for each change of what is kept; empty before anything was read. */
  number: string
  /** Those that had not ended when this was made. */
  revocations: readonly Revocation[]
  entries: readonly AccessEntry[]
  /** What was set for all gates, under what their files say. */
  settings: readonly KeptSetting[]
}

/** By its name in the configuration file: `limits.connections`. */
export interface KeptSetting {
  name: string
  /** As it was written. */
  value: string
  who: string
  /** Seconds since the epoch. */
  at: number
}

/** The shared state, for whom it is there to be asked: the same in the primary and in a worker. */
export interface StateView {
  snapshot(): StateSnapshot
  /** Milliseconds since it was known to be so; infinite before anything was read. */
  ageMs(): number
  /** How old it may be for newcomers. */
  maxAgeMs: number
  /** Calls back once for each other snapshot. */
  changed(heard: (snapshot: StateSnapshot) => void): void
}

export const EMPTY: StateSnapshot = { number: '', revocations: [], entries: [], settings: [] }

/** @returns why nobody new comes in by it, for who runs the gate; undefined while it is fresh enough. */
export function staleness({
  ageMs,
  maxAgeMs,
}: Pick<StateView, 'ageMs' | 'maxAgeMs'>): string | undefined {
  const age = ageMs()
  if (age <= maxAgeMs) return undefined
  const how = Number.isFinite(age)
    ? `was last heard of ${Math.round(age / 1000)} s ago`
    : 'has not been read yet'
  return `the shared state ${how}; state.max_age allows ${maxAgeMs / 1000} s`
}
