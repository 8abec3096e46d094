/**
 * The nodes that a cluster has now, each with what is known of it: its sessions, its health, whether it
 * takes writes. Names are looked up again, nodes are looked at again.
 * Rule: whoever is gone from a name gets no new sessions; those that it has go on.
 */
import type { Candidate } from './balance.ts'
import {
  type Health,
  isUnsettled,
  keepLooking,
  type Looking,
  observed,
  type Seen,
  UNSEEN,
} from './health.ts'
import { type Answer, follow, type Names } from './node_names.ts'
import type { Entry, Member, NodesParts, NodesPlan } from './nodes.ts'

/** A member as it is now. */
export interface Seat extends Candidate {
  member: Member
  health: Health
  /** Sessions that failed in a row, and until when it waits behind other nodes for that. */
  strikes: number
  struckUntilMs: number
  /** Undefined until somebody could ask. */
  standby: boolean | undefined
  looking: Looking | undefined
}

export interface Seats {
  /** By the node's name. */
  seats: ReadonlyMap<string, Seat>
  /** A session was had there, or was refused in the node's own words. */
  note(seat: Seat, seen: 'good'): void
  /** A session could not be had there. */
  strike(seat: Seat, seen: Seen, why: string): void
  close(): void
}

const UNSETTLED_MS = 1_000
const STRUCK_MS_MAX = 60_000

export function openSeats(plan: NodesPlan, parts: NodesParts): Seats {
  const { health: patience } = plan
  const seats = new Map<string, Seat>()
  let closed = false

  function note(seat: Seat, seen: Seen, why: string): void {
    const { name } = seat.member.node
    if (closed || seats.get(name) !== seat) return
    const before = seat.health.state
    seat.health = observed(seat.health, seen, patience)
    const { state } = seat.health
    if (state !== before) parts.tell({ kind: 'state', node: name, state, why })
  }

  function add(member: Member): void {
    const { name } = member.node
    const seat = newSeat(member, plan, parts.elapsed)
    seats.set(name, seat)
    parts.tell({ kind: 'new', node: name })
    if (needsLooks(plan)) seat.looking = lookAfter(seat, plan, parts, note)
  }

  function remove(name: string): void {
    seats.get(name)?.looking?.stop()
    seats.delete(name)
    const why = 'its name leads there no more'
    parts.tell({ kind: 'state', node: name, state: 'gone', why })
  }

  const follows = plan.entries.map((entry) => {
    if (entry.kind !== 'node') return followName(entry, parts, { seats, add, remove })
    if (!seats.has(entry.member.node.name)) add(entry.member)
    return undefined
  })

  return {
    seats,
    note(seat) {
      seat.strikes = 0
      seat.struckUntilMs = 0
      note(seat, 'good', 'sessions are had there again')
    },
    strike(seat, seen, why) {
      const waitMs = Math.min(patience.intervalMs * 2 ** seat.strikes++, STRUCK_MS_MAX)
      seat.struckUntilMs = parts.elapsed() + waitMs
      note(seat, seen, why)
      seat.looking?.hurry()
    },
    close() {
      closed = true
      for (const each of follows) each?.stop()
      for (const { looking } of seats.values()) looking?.stop()
    },
  }
}

function newSeat(member: Member, { locality }: NodesPlan, elapsed: () => number): Seat {
  return {
    member,
    weight: member.weight,
    priority: member.priority,
    near: locality === undefined || locality === member.locality,
    sessions: 0,
    health: UNSEEN,
    strikes: 0,
    struckUntilMs: 0,
    get struck() {
      return elapsed() < this.struckUntilMs
    },
    standby: undefined,
    looking: undefined,
  }
}

/** There is no choice, and there will be none. */
export function isAlone({ entries: [first, ...others] }: NodesPlan): boolean {
  return first.kind === 'node' && others.length === 0
}

/** A node alone is left in peace, unless something has to be known of it. */
function needsLooks(plan: NodesPlan): boolean {
  const [first] = plan.entries
  const hasPage = first.kind === 'node' && first.member.healthUrl !== undefined
  return !isAlone(plan) || plan.target !== 'any' || hasPage
}

function lookAfter(
  seat: Seat,
  { target, health: { intervalMs, timeoutMs } }: NodesPlan,
  { probe, elapsed, tie }: NodesParts,
  note: (seat: Seat, seen: Seen, why: string) => void,
): Looking {
  const look = async (stop: AbortSignal) => {
    const signal = AbortSignal.any([stop, AbortSignal.timeout(timeoutMs)])
    const { seen, why, standby } = await probe(seat.member, signal)
    if (stop.aborted) return
    // One that can't be asked now is still what it was.
    seat.standby = standby ?? seat.standby
    // It drains, or is down, said a session: a look that goes less far doesn't know better yet.
    const early = seen === 'good' && seat.struck && seat.health.state !== 'up'
    if (!early) note(seat, seen, why)
  }
  const delayMs = () => (isUnsettled(seat.health) ? Math.min(intervalMs, UNSETTLED_MS) : intervalMs)
  // Not all of them at the same moment, unless somebody has to know.
  const firstMs = target === 'any' ? tie(intervalMs) : 0
  return keepLooking(look, { firstMs, delayMs, elapsed })
}

type Named = Exclude<Entry, { kind: 'node' }>

/** The nodes of one name, each time in the place of those that it had before. */
function followName(
  entry: Named,
  { names, tell }: NodesParts,
  {
    seats,
    add,
    remove,
  }: {
    seats: ReadonlyMap<string, Seat>
    add(member: Member): void
    remove(name: string): void
  },
): { stop(): void } {
  const { name, kind } = entry
  const had = new Set<string>()
  return follow(() => placesOf(entry, names), {
    found(places) {
      const members = places.map(entry.memberAt)
      const now = new Set(members.map(({ node }) => node.name))
      for (const each of had)
        if (!now.has(each)) {
          had.delete(each)
          remove(each)
        }
      for (const member of members) {
        const seat = seats.get(member.node.name)
        if (seat === undefined) {
          had.add(member.node.name)
          add(member)
        } else Object.assign(seat, { weight: member.weight, priority: member.priority })
      }
      tell({ kind: 'looked_up', name })
    },
    failed: (why) => tell({ kind: 'lookup_failed', name, why: `${kind} ${name}: ${why}` }),
  })
}

export async function placesOf(entry: Named, names: Names): Promise<Answer> {
  return entry.kind === 'dns'
    ? await names.addresses(entry.name, entry.port)
    : await names.services(entry.name)
}
