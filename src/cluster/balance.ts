/**
 * Which node a session goes to: the least loaded of those that are best to go to. Pure.
 * Rule: no node that a session may go to is left out for good. One that is down is only tried last.
 */
import type { Health } from './health.ts'

export interface Candidate {
  health: Health
  /** Sessions failed there lately, whatever looks say: it may answer those, and no session. */
  struck: boolean
  /** Of the locality that is preferred; true for all where none is. */
  near: boolean
  /** Lower is tried first, as in an SRV record. */
  priority: number
  /** Above 0: twice the weight, twice the sessions. */
  weight: number
  /** Those that it has, and those that are on their way to it. */
  sessions: number
}

/**
 * One pass over them.
 * @param tie - a number from 0 up to the one given, that one left out, each as likely.
 * @returns undefined where there is none
 */
export function best<C extends Candidate>(
  candidates: Iterable<C>,
  tie: (count: number) => number,
): C | undefined {
  let found: C | undefined
  let equals = 0
  for (const candidate of candidates) {
    const order = found === undefined ? -1 : compare(candidate, found)
    if (order > 0) continue
    equals = order < 0 ? 1 : equals + 1
    // Each of the equal ones so far ends up here with the same chance.
    if (order < 0 || tie(equals) === 0) found = candidate
  }
  return found
}

/** Negative where a session had better go to the first. */
export function compare(one: Candidate, other: Candidate): number {
  return (
    trouble(one) - trouble(other) ||
    Number(other.near) - Number(one.near) ||
    one.priority - other.priority ||
    load(one) - load(other)
  )
}

/** What it would be with one session more: of empty nodes, too, the heavier comes first. */
function load({ sessions, weight }: Candidate): number {
  return (sessions + 1) / weight
}

/** Whoever failed just now waits behind those that didn't. */
function trouble({ health: { state, bad }, struck }: Candidate): number {
  if (state === 'up') return bad === 0 && !struck ? 0 : 1
  return state === 'draining' ? 2 : 3
}
