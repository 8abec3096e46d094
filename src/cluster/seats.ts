/**
 * The nodes that a cluster has now, each with what is known of it: its sessions, its health, whether it
 * takes writes. Names are looked up again, nodes are looked at again.
 * Rule: a node has one seat, whoever names it. When nobody does any more it gets no new sessions; those
 * that it has go on, and count should it come back.
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
import type { Entry, Member, NodesParts, NodesPlan, Target } from './nodes.ts'
import type { Look } from './probe.ts'

/** A member as it is now. */
export interface Seat extends Candidate {
  /** What the first of those that name it says of it. */
  member: Member
  named: Map<Entry, Member>
  health: Health
  /** Times in a row that sessions failed, those at the same moment as one. */
  strikes: number
  looking: Looking | undefined
}

export interface Seats {
  size(): number
  /** Those that are what sessions want; another list when that changes, so that no login has to ask. */
  right(): readonly Seat[]
  isUp(node: string): boolean
  /** A session is on its way there. */
  take(seat: Seat): void
  /** It is over, or was not to be had. */
  release(seat: Seat): void
  /** A session was had there, or was refused in the node's own words. */
  note(seat: Seat): void
  /** A session could not be had there. */
  strike(seat: Seat, seen: Seen, why: string): void
  /** Whoever isn't right may be by now: it is looked at soon. */
  hurryWrong(): void
  close(): void
}

const UNSETTLED_MS = 1_000
const STRUCK_MS_MAX = 60_000

export function openSeats(plan: NodesPlan, parts: NodesParts): Seats {
  const { health: patience } = plan
  const roll = openRoll(plan, parts, looked)

  function note(seat: Seat, seen: Seen, why: string): void {
    const { name } = seat.member.node
    if (roll.seats.get(name) !== seat) return
    const before = seat.health.state
    seat.health = observed(seat.health, seen, patience)
    const { state } = seat.health
    if (state !== before) parts.tell({ kind: 'state', node: name, before, state, why })
  }

  function looked(seat: Seat, { seen, why, standby }: Look): void {
    // One that can't be asked now is still what it was.
    if (standby !== undefined) roll.mark(seat, standby)
    // It drains, or is down, said a session: a look that goes less far doesn't know better yet.
    const struck = parts.elapsed() < seat.struckUntilMs
    const early = seen === 'good' && struck && seat.health.state !== 'up'
    if (early) return
    // Looks see the trouble as well: they will see the end of it.
    if (seen !== 'good') forgive(seat)
    note(seat, seen, why)
  }

  return {
    size: () => roll.seats.size,
    right: roll.right,
    isUp: (node) => roll.seats.get(node)?.health.state === 'up',
    take(seat) {
      seat.sessions++
    },
    release: roll.release,
    note(seat) {
      forgive(seat)
      note(seat, 'good', 'sessions are had there again')
    },
    strike(seat, seen, why) {
      const nowMs = parts.elapsed()
      if (nowMs >= seat.struckUntilMs) {
        const waitMs = Math.min(patience.intervalMs * 2 ** seat.strikes++, STRUCK_MS_MAX)
        seat.struckUntilMs = nowMs + waitMs
      }
      note(seat, seen, why)
      seat.looking?.hurry()
    },
    hurryWrong() {
      for (const seat of roll.seats.values()) if (!isRight(seat, plan.target)) seat.looking?.hurry()
    },
    close: roll.close,
  }
}

/** Who has a seat, and which of them are right. */
interface Roll extends Pick<Seats, 'right' | 'release' | 'close'> {
  seats: ReadonlyMap<string, Seat>
  mark(seat: Seat, standby: boolean): void
}

function openRoll(
  plan: NodesPlan,
  parts: NodesParts,
  looked: (seat: Seat, look: Look) => void,
): Roll {
  const seats = new Map<string, Seat>()
  /** Those that nobody names any more, as long as they have sessions. */
  const leaving = new Map<string, Seat>()
  let right: readonly Seat[] | undefined

  function name(entry: Entry, member: Member): void {
    const { name } = member.node
    const seat = seats.get(name) ?? leaving.get(name) ?? newSeat(member)
    seat.named.set(entry, member)
    describe(seat, plan)
    if (seats.has(name)) return
    leaving.delete(name)
    seats.set(name, seat)
    right = undefined
    parts.tell({ kind: 'new', node: name, state: seat.health.state })
    if (needsLooks(plan)) seat.looking = lookAfter(seat, plan, parts, looked)
  }

  function remove(seat: Seat, why: string): void {
    const { name } = seat.member.node
    seat.looking?.stop()
    seats.delete(name)
    if (seat.sessions > 0) leaving.set(name, seat)
    right = undefined
    parts.tell({ kind: 'gone', node: name, before: seat.health.state, why })
  }

  const follows = plan.entries.map((entry) => {
    if (entry.kind === 'node') return name(entry, entry.member)
    return followName(entry, parts, (members) => {
      for (const [name, seat] of seats) {
        if (members.has(name) || !seat.named.delete(entry)) continue
        if (seat.named.size > 0) describe(seat, plan)
        else remove(seat, 'its name leads there no more')
      }
      for (const member of members.values()) name(entry, member)
    })
  })

  return {
    seats,
    right() {
      right ??= [...seats.values()].filter((seat) => isRight(seat, plan.target))
      return right
    },
    mark(seat, standby) {
      if (standby !== seat.standby) right = undefined
      seat.standby = standby
    },
    release(seat) {
      seat.sessions--
      if (seat.sessions === 0) leaving.delete(seat.member.node.name)
    },
    close() {
      for (const each of follows) each?.stop()
      for (const seat of seats.values()) remove(seat, 'nobody asks for it')
    },
  }
}

function forgive(seat: Seat): void {
  seat.strikes = 0
  seat.struckUntilMs = Number.NEGATIVE_INFINITY
}

function newSeat(member: Member): Seat {
  return {
    member,
    named: new Map(),
    weight: member.weight,
    priority: member.priority,
    near: true,
    sessions: 0,
    health: UNSEEN,
    strikes: 0,
    struckUntilMs: Number.NEGATIVE_INFINITY,
    standby: undefined,
    looking: undefined,
  }
}

/** As the first of those that name it says. */
function describe(seat: Seat, { locality }: NodesPlan): void {
  const [member = seat.member] = seat.named.values()
  const { weight, priority } = member
  const near = locality === undefined || locality === member.locality
  Object.assign(seat, { member, weight, priority, near })
}

/** A node of which it isn't known yet is not right either. */
function isRight({ standby }: Seat, target: Target): boolean {
  return target === 'any' || standby === (target === 'read_only')
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
  looked: (seat: Seat, look: Look) => void,
): Looking {
  const look = async (stop: AbortSignal) => {
    const signal = AbortSignal.any([stop, AbortSignal.timeout(timeoutMs)])
    const seen = await probe(seat.member, signal)
    if (!stop.aborted) looked(seat, seen)
  }
  const delayMs = () => (isUnsettled(seat.health) ? Math.min(intervalMs, UNSETTLED_MS) : intervalMs)
  // Not all of them at the same moment, unless somebody has to know.
  const patient = target === 'any' && seat.health.state === 'up'
  return keepLooking(look, { firstMs: patient ? tie(intervalMs) : 0, delayMs, elapsed })
}

type Named = Exclude<Entry, { kind: 'node' }>

/** @param found - is given all nodes of the name, by their own names, each time that it was looked up. */
function followName(
  entry: Named,
  { names, tell }: NodesParts,
  found: (members: ReadonlyMap<string, Member>) => void,
): { stop(): void } {
  const { name, kind } = entry
  return follow(() => placesOf(entry, names), {
    found(places) {
      const members = places.map(entry.memberAt)
      found(new Map(members.map((member) => [member.node.name, member])))
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
