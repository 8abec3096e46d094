/**
 * The nodes of a cluster: which one a session goes to, and what is tried when that one fails.
 * Rule: a node that fails costs a client nothing but time, and one deadline, connect_timeout, bounds
 * all of it but a wait in line. A node that answers with a refusal of its own has not failed, and nobody
 * else is asked.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Failure } from '../failure.ts'
import { LegEnded } from '../leg.ts'
import { best, type Wanted } from './balance.ts'
import type { Patience, State } from './health.ts'
import type { Node } from './node.ts'
import type { Names, Place } from './node_names.ts'
import { type Look, type Probed, seenIn } from './probe.ts'
import { isAlone, openSeats, placesOf, type Seat } from './seats.ts'
import { NodeRefused, StalledInside } from './sign_in.ts'
import { openTries, type Tries } from './tries.ts'

/** A node, and what it is in its cluster. */
export interface Member extends Probed {
  locality: string
  weight: number
  /** Lower is tried first. */
  priority: number
}

/** What the configuration names: a node, or a DNS name behind which nodes are. */
export type Entry =
  | { kind: 'node'; member: Member }
  | { kind: 'dns'; name: string; port: number; memberAt(place: Place): Member }
  | { kind: 'srv'; name: string; memberAt(place: Place): Member }

/** Which nodes are right for sessions: PostgreSQL's primary, its standbys, or any. */
export type Target = 'any' | 'read_write' | 'read_only'

export interface NodesPlan {
  entries: readonly [Entry, ...Entry[]]
  /** Nodes of this locality come first. */
  locality: string | undefined
  target: Target
  health: Patience
  /** From the wish for a node to a session there. */
  connectTimeoutMs: number
}

/** What those who watch are told. */
export type NodeEvent =
  | { kind: 'new'; node: string; state: State }
  | { kind: 'state'; node: string; before: State; state: State; why: string }
  /** It is looked after no more: no entry names it, or all nodes are closed. */
  | { kind: 'gone'; node: string; before: State; why: string }
  | { kind: 'failed'; node: string; why: string }
  | { kind: 'looked_up'; name: string }
  | { kind: 'lookup_failed'; name: string; why: string }

export interface NodesParts {
  names: Names
  probe(member: Member, signal: AbortSignal): Promise<Look>
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
  /** A number from 0 up to this one, that one left out, each as likely. */
  tie(count: number): number
  /** Those that get no new sessions, by what somebody said. */
  drained?: (() => ReadonlySet<string>) | undefined
  tell(event: NodeEvent): void
}

export interface Nodes {
  /**
   * Tries nodes, best first, and all over again after a pause, until one of them works.
   * @param attempt - is given so many milliseconds, and has to fail by then; what it tells of as waited
   *   for something else than the node comes on top.
   * @throws Failure of the last attempt, its log with all of them; what stopped the signal
   */
  reach<T>(attempt: Attempt<T>, signal: AbortSignal, wanted?: Wanted): Promise<Reached<T>>
  /** It is one of the cluster's, and up. */
  isUp(node: Node): boolean
  /** No node is looked at any more. */
  close(): void
}

export type Attempt<T> = (node: Node, ms: number, waited?: (ms: number) => void) => Promise<T>

export interface Reached<T> {
  value: T
  node: Node
  /** Called once, when the session is over. */
  release(): void
}

const BACKOFF_MS = { min: 10, max: 5_000 }
/** Nodes that one login tries before it pauses. */
const ROUND_MAX = 8
/** However little is left, an attempt has this long. */
const ATTEMPT_MS_MIN = 250
/** Where there is no other node: long enough for one that is just starting again. */
const ALONE_MS = 1_000

export function openNodes(plan: NodesPlan, parts: NodesParts): Nodes {
  const seats = openSeats(plan, parts)
  const patienceMs = isAlone(plan)
    ? Math.min(plan.connectTimeoutMs, ALONE_MS)
    : plan.connectTimeoutMs

  /** @returns undefined when every node that is right was tried, or enough of them. */
  async function round<T>(
    attempt: Attempt<T>,
    { signal, leftMs, waited, wanted, tries }: Round,
  ): Promise<Reached<T> | undefined> {
    const right = undrained(seats.right(), parts.drained?.())
    const tried = new Set<Seat>()
    while (tried.size < ROUND_MAX && leftMs() > 0) {
      signal.throwIfAborted()
      const seat = best(right, { ...wanted, except: tried, nowMs: parts.elapsed() }, parts.tie)
      if (seat === undefined) break
      tried.add(seat)
      const isLast = tried.size === right.length
      const share = isLast ? leftMs() : Math.max(leftMs() / 2, ATTEMPT_MS_MIN)
      const { node } = seat.member
      seats.take(seat)
      try {
        const value = await attempt(node, Math.min(share, leftMs()), waited)
        seats.note(seat)
        return { value, node, release: () => seats.release(seat) }
      } catch (thrown) {
        seats.release(seat)
        if (signal.aborted) throw thrown
        judge(seat, thrown, tries)
      }
    }
    return undefined
  }

  function judge(seat: Seat, thrown: unknown, tries: Tries): void {
    if (!(thrown instanceof Failure)) throw thrown
    if (!hasFailed(thrown)) {
      if (thrown.cause instanceof NodeRefused) seats.note(seat)
      throw thrown
    }
    const why = thrown.log ?? thrown.message
    tries.keep(seat.member.node.name, thrown)
    parts.tell({ kind: 'failed', node: seat.member.node.name, why })
    // What a user can bring about must not send everybody else away.
    if (!(thrown.cause instanceof StalledInside)) seats.strike(seat, seenIn(thrown), why)
  }

  return {
    async reach(attempt, signal, wanted = { primary: false }) {
      let startMs = parts.elapsed()
      const waited = (ms: number) => {
        startMs += ms
      }
      const spentMs = () => parts.elapsed() - startMs
      const leftMs = () => plan.connectTimeoutMs - spentMs()
      const tries = openTries()
      for (let waitMs = BACKOFF_MS.min; ; waitMs = Math.min(2 * waitMs, BACKOFF_MS.max)) {
        const reached = await round(attempt, { signal, leftMs, waited, wanted, tries })
        if (reached !== undefined) return reached
        if (!tries.hopeful() || spentMs() + waitMs > patienceMs)
          throw tries.failure(nobody(seats.size(), plan.target, parts.drained?.()))
        seats.hurryWrong()
        await pause(waitMs, signal)
      }
    },
    isUp: ({ name }) => seats.isUp(name),
    close: seats.close,
  }
}

interface Round {
  signal: AbortSignal
  leftMs(): number
  waited(ms: number): void
  wanted: Wanted
  tries: Tries
}

/** The node is not there, or ended or stalled the sign-in, or says that it takes nobody now. */
function hasFailed(failure: Failure): boolean {
  return (
    failure.code === 'node_unreachable' ||
    failure.cause instanceof LegEnded ||
    (failure.code === 'node_refused' && seenIn(failure) !== 'good')
  )
}

function undrained(seats: readonly Seat[], drained?: ReadonlySet<string>): readonly Seat[] {
  if (drained === undefined || drained.size === 0) return seats
  return seats.filter(({ member }) => !drained.has(member.node.name))
}

function nobody(nodes: number, target: Target, drained: ReadonlySet<string> = new Set()): string {
  if (drained.size > 0)
    return `no node is left: these are drained by the console: ${[...drained].join(', ')}`
  return nodes === 0 ? 'no node is known' : `none of ${nodes} nodes is ${target}`
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted())
}

/** All of them as they are now, for who looks at each; names are looked up once. */
export async function membersOf(entries: readonly Entry[], names: Names): Promise<Member[]> {
  const found = entries.map(async (entry) => {
    if (entry.kind === 'node') return [entry.member]
    return (await placesOf(entry, names)).places.map(entry.memberAt)
  })
  return (await Promise.all(found)).flat()
}

/** What all nodes of an entry have in common, at the place that the configuration names. */
export function nodeOf(entry: Entry): Node {
  if (entry.kind === 'node') return entry.member.node
  const port = entry.kind === 'dns' ? entry.port : 0
  return entry.memberAt({ host: entry.name, port, weight: 1, priority: 0 }).node
}
