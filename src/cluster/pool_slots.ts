/**
 * Room on the nodes of a cluster: a slot is one session that a node has of us, or is about to have. So
 * many a node, and so many a group there (a role in a database); who finds none waits in the group's
 * line. Groups that there is room for take turns, and in each one its principals. No IO.
 * Rule: a slot is counted until `free`, which may be called again; nobody waits while there is room.
 */
import { Failure } from '../failure.ts'

export interface Bounds {
  /** Slots of one group on one node. */
  group: number
  /** Slots of all groups on one node. */
  node: number
  /** How long somebody may wait for one. */
  waitMs: number
}

export interface Slot<T> {
  /** Nobody uses it now: for whoever comes with the same key, or needs the room. */
  offer(item: T, key: string): void
  /** What was offered is not to be had any more; the slot itself stays taken. */
  withdraw(): void
  /** The session is gone. */
  free(): void
}

export interface Taken<T> {
  slot: Slot<T>
  /** What was offered in this slot, by whoever had it before. */
  found: { item: T; sameKey: boolean } | undefined
}

export interface Slots<T> {
  /** @throws Failure `pool_timeout`; the signal's reason; why it was closed, where there is no room */
  take(node: string, wanted: Wanted, signal: AbortSignal): Promise<Taken<T>>
  /** What is offered on all nodes. */
  offered(): T[]
  /** Nobody waits for this node any more. */
  sendAway(node: string, why: Failure): void
  /** Nor for any, from now on. */
  close(why: Failure): void
}

/** @param waits - told of each who begins to wait (1), and of each who doesn't any more (-1). */
export function openSlots<T>(bounds: Bounds, waits: (change: 1 | -1) => void): Slots<T> {
  const rooms = new Map<string, Room<T>>()
  let closed: Failure | undefined
  const roomOf = (node: string) => {
    const known = rooms.get(node)
    if (known !== undefined) return known
    const room = new Room<T>(bounds, () => rooms.delete(node))
    rooms.set(node, room)
    return room
  }
  return {
    async take(node, wanted, signal) {
      signal.throwIfAborted()
      const room = roomOf(node)
      const taken = room.find(wanted)
      if (taken !== undefined) return taken
      if (closed !== undefined) throw closed
      waits(1)
      return await room.inLine(wanted, signal).finally(() => waits(-1))
    },
    offered: () => [...rooms.values()].flatMap((room) => room.offered()),
    sendAway(node, why) {
      rooms.get(node)?.sendAway(why)
    },
    close(why) {
      closed = why
      for (const room of rooms.values()) room.sendAway(why)
    },
  }
}

export interface Wanted {
  group: string
  /** Of sessions of this group alone; undefined where nothing that was offered would do. */
  key: string | undefined
  /** Whoever wants many waits behind those who want one. */
  who: string
}

interface Waiting<T> extends Wanted {
  go(taken: Taken<T>): void
  giveUp(why: unknown): void
}

/** By who waits, whose turn it is first; each one's own in the order in which they came. */
type Line<T> = Map<string, Set<Waiting<T>>>

/** What there is on one node. Sets have the oldest first, lists by key the youngest last. */
class Room<T> {
  readonly #bounds: Bounds
  readonly #empty: () => void
  readonly #groups = new Map<string, { taken: number; offers: Set<Holding<T>> }>()
  readonly #offers = new Set<Holding<T>>()
  readonly #byKey = new Map<string, Holding<T>[]>()
  /** By group, whose turn it is first. */
  readonly #lines = new Map<string, Line<T>>()
  #taken = 0

  /** @param empty - told when nothing is taken any more; nobody waits then. */
  constructor(bounds: Bounds, empty: () => void) {
    this.#bounds = bounds
    this.#empty = empty
  }

  find({ group, key }: Omit<Wanted, 'who'>): Taken<T> | undefined {
    const warm = key === undefined ? undefined : this.#byKey.get(key)?.at(-1)
    if (warm !== undefined) return this.#takeOver(warm, { group, key })
    const own = this.#groups.get(group)
    const full = own !== undefined && own.taken >= this.#bounds.group
    if (!full && this.#taken < this.#bounds.node) {
      this.#count(group, 1)
      return { slot: new Holding(this, group), found: undefined }
    }
    // Somebody else's has to go for it; one of the own group, where that is what is full.
    const [oldest] = full ? own.offers : this.#offers
    return oldest && this.#takeOver(oldest, { group, key })
  }

  /** @throws Failure `pool_timeout`; the signal's reason */
  async inLine(wanted: Wanted, signal: AbortSignal): Promise<Taken<T>> {
    return await new Promise<Taken<T>>((resolve, reject) => {
      const end = () => {
        this.#stepOut(waiting)
        clearTimeout(timer)
        signal.removeEventListener('abort', giveUp)
      }
      const waiting: Waiting<T> = {
        ...wanted,
        go(taken) {
          end()
          resolve(taken)
        },
        giveUp(why) {
          end()
          reject(why)
        },
      }
      const late = () => waiting.giveUp(new Failure('pool_timeout'))
      const giveUp = () => waiting.giveUp(signal.reason)
      const timer = setTimeout(late, this.#bounds.waitMs)
      signal.addEventListener('abort', giveUp, { once: true })
      const line: Line<T> = this.#lines.get(wanted.group) ?? new Map()
      this.#lines.set(wanted.group, line)
      line.set(wanted.who, (line.get(wanted.who) ?? new Set()).add(waiting))
    })
  }

  /**
   * One of each group in turn. However many wait, this passes by few: while the node has room, those who
   * wait are of groups that are full, and there can't be more of these than the node's size allows.
   */
  serve(): void {
    for (const [group, line] of this.#lines) {
      if (this.#taken >= this.#bounds.node && this.#offers.size === 0) break
      if (!this.#serveOne(line)) continue
      // Behind the others, where this walk comes by once more.
      this.#lines.delete(group)
      if (line.size > 0) this.#lines.set(group, line)
    }
    if (this.#taken === 0) this.#empty()
  }

  sendAway(why: Failure): void {
    const lines = [...this.#lines.values()].flatMap((line) => [...line.values()])
    for (const own of lines) for (const each of [...own]) each.giveUp(why)
  }

  /** The first of a line speaks for all in it: what is found for one of a group is found for any other. */
  #serveOne(line: Line<T>): boolean {
    for (const [who, own] of line)
      for (const waiting of own) {
        const taken = this.find(waiting)
        if (taken === undefined) return false
        line.delete(who)
        line.set(who, own)
        waiting.go(taken)
        return true
      }
    return false
  }

  #stepOut(waiting: Waiting<T>): void {
    const { group, who } = waiting
    const line = this.#lines.get(group)
    const own = line?.get(who)
    own?.delete(waiting)
    if (own?.size === 0) line?.delete(who)
    if (line?.size === 0) this.#lines.delete(group)
  }

  offered(): T[] {
    return [...this.#offers].flatMap(({ offered }) => (offered === undefined ? [] : [offered.item]))
  }

  put(holding: Holding<T>, key: string): void {
    this.#offers.add(holding)
    this.#groups.get(holding.group)?.offers.add(holding)
    const same = this.#byKey.get(key)
    if (same === undefined) this.#byKey.set(key, [holding])
    else same.push(holding)
  }

  remove(holding: Holding<T>, key: string): void {
    this.#offers.delete(holding)
    this.#groups.get(holding.group)?.offers.delete(holding)
    const same = this.#byKey.get(key) ?? []
    same.splice(same.indexOf(holding), 1)
    if (same.length === 0) this.#byKey.delete(key)
  }

  leave({ group }: Holding<T>): void {
    this.#count(group, -1)
  }

  /** The slot goes from hand to hand, and into another group where it is needed for one. */
  #takeOver(holding: Holding<T>, { group, key }: Omit<Wanted, 'who'>): Taken<T> {
    const { offered } = holding
    holding.withdraw()
    this.#count(holding.group, -1)
    holding.group = group
    this.#count(group, 1)
    const found = offered && { item: offered.item, sameKey: offered.key === key }
    return { slot: holding, found }
  }

  #count(name: string, change: 1 | -1): void {
    const group = this.#groups.get(name) ?? { taken: 0, offers: new Set() }
    this.#taken += change
    group.taken += change
    if (group.taken > 0) this.#groups.set(name, group)
    else this.#groups.delete(name)
  }
}

class Holding<T> implements Slot<T> {
  group: string
  offered: { item: T; key: string } | undefined
  readonly #room: Room<T>
  #freed = false

  constructor(room: Room<T>, group: string) {
    this.#room = room
    this.group = group
  }

  offer(item: T, key: string): void {
    if (this.#freed || this.offered !== undefined) return
    this.offered = { item, key }
    this.#room.put(this, key)
    this.#room.serve()
  }

  withdraw(): void {
    const { offered } = this
    if (offered === undefined) return
    this.offered = undefined
    this.#room.remove(this, offered.key)
  }

  free(): void {
    if (this.#freed) return
    this.withdraw()
    this.#freed = true
    this.#room.leave(this)
    this.#room.serve()
  }
}
