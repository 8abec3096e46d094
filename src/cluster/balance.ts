/**
 * Which node a session goes to: the least loaded of those that are best to go to. Pure.
 * Rule: no node that a session may go to is left out for good. One that is down is only tried last.
 */
import type { Health } from './health.ts'

export interface Candidate {
  health: Health
  /** Until then, because sessions failed there, whatever looks say: it may answer those, and no session. */
  struckUntilMs: number
  /** Of the locality that is preferred; true for all where none is. */
  near: boolean
  /** Lower is tried first, as in an SRV record. */
  priority: number
  /** Above 0: twice the weight, twice the sessions. */
  weight: number
  /** Those that it has, and those that are on their way to it. */
  sessions: number
  /** Whether it takes no writes; undefined where that isn't known. */
  standby: boolean | undefined
}

/** What a session asks of its node. */
export interface Wanted {
  /** One that takes writes, where that is known of any. */
  primary: boolean
}

export interface Choice<C> extends Wanted {
  /** Those that were tried. */
  except: ReadonlySet<C>
  /** On the clock of `struckUntilMs`. */
  nowMs: number
}

/**
 * One pass over them.
 * @param tie - a number from 0 up to the one given, that one left out, each as likely.
 * @returns undefined where there is none
 */
export function best<C extends Candidate>(
  candidates: readonly C[],
  choice: Choice<C>,
  tie: (count: number) => number,
): C | undefined {
  let equals: C[] = []
  let least = { rank: Number.POSITIVE_INFINITY, load: Number.POSITIVE_INFINITY }
  for (const candidate of candidates) {
    if (choice.except.has(candidate)) continue
    const rank = rankOf(candidate, choice)
    if (rank > least.rank) continue
    const load = loadOf(candidate)
    if (rank === least.rank && load > least.load) continue
    if (rank === least.rank && load === least.load) equals.push(candidate)
    else {
      equals = [candidate]
      least = { rank, load }
    }
  }
  return equals[equals.length > 1 ? tie(equals.length) : 0]
}

const PRIORITIES = 65_536

/** Lower is better, whatever the load. One number, because each login asks it of each node. */
export function rankOf(
  candidate: Candidate,
  { primary, nowMs }: Omit<Choice<never>, 'except'>,
): number {
  const wrongness = primary ? wrongnessOf(candidate) : 0
  const distance = candidate.near ? 0 : 1
  const place = distance * PRIORITIES + candidate.priority
  return (wrongness * 4 + troubleOf(candidate, nowMs)) * 2 * PRIORITIES + place
}

/** One that seems down takes writes sooner than a standby does. */
function wrongnessOf({ standby, health }: Candidate): number {
  if (standby !== false) return 2
  return health.state === 'down' ? 1 : 0
}

/** Whoever failed just now waits behind those that didn't. */
function troubleOf({ health: { state, bad }, struckUntilMs }: Candidate, nowMs: number): number {
  if (state === 'up') return bad === 0 && nowMs >= struckUntilMs ? 0 : 1
  return state === 'draining' ? 2 : 3
}

/** What it would be with one session more: of empty nodes, too, the heavier comes first. */
export function loadOf({ sessions, weight }: Candidate): number {
  return (sessions + 1) / weight
}
