/**
 * What gates share, as it was at one moment: plain data, the same in every process of the gate, never changed
 * and only replaced by another one. Rule: who lets somebody in asks first how old it is.
 */
import { Failure } from '../failure.ts'
import type { Revocation } from '../policy/revocation.ts'

export interface StateSnapshot {
  /** Another one for each change of what is kept; empty before anything was read. */
  number: string
  /** Those that had not ended when this was made. */
  revocations: readonly Revocation[]
  entries: readonly AccessEntry[]
}

/** One entry of an allowlist or a denylist. */
export interface AccessEntry {
  list: 'allow' | 'deny'
  /** Of an allowlist's entry: the cluster that it is for. */
  cluster: string
  /** An address or a network, or a cluster's name: what `kind` says. */
  item: string
  kind: 'ip' | 'cluster'
  /** Seconds since the epoch: when it ends. Undefined: never. */
  until: number | undefined
  why: string
  /** Of who wrote it: it only grows. */
  sequence: number
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

export const EMPTY: StateSnapshot = { number: '', revocations: [], entries: [] }

/**
 * Nobody new comes in by what may not hold any more.
 * @throws Failure `state_stale`
 */
export function demandFresh({ ageMs, maxAgeMs }: Pick<StateView, 'ageMs' | 'maxAgeMs'>): void {
  const age = ageMs()
  if (age <= maxAgeMs) return
  const how = Number.isFinite(age)
    ? `was last heard of ${Math.round(age / 1000)} s ago`
    : 'has not been read yet'
  const log = `the shared state ${how}; state.max_age allows ${maxAgeMs / 1000} s`
  throw new Failure('state_stale', { log })
}
