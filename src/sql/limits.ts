/**
 * How many connections an address may have, and how many sessions a role: what one client may take
 * of everybody's. Counted here, in this worker.
 * Rule: whatever was counted is given back exactly once: a role's when the session is over and the node
 * is through with it, an address's when its socket is closed as well.
 */
import { isIPv6 } from 'node:net'
import type { Limits } from '../config/config.ts'
import { Failure } from '../failure.ts'

/** What one session has taken. */
export interface Places {
  /**
   * A connection: twice as many as may stay, so that who wants to cancel comes through.
   * @throws Failure `too_many_from_address`
   */
  arrive(address: string): void
  /** A client. @throws Failure `too_many_from_address` */
  stay(address: string): void
  /** A session. @throws Failure `too_many_sessions` */
  ofRole(cluster: string, role: string): void
  /** The node still has a session of the role's; it counts beside this one's until that is gone. */
  linger(gone: Promise<void>): void
  /** The session is over. */
  end(): void
  /** And its socket is closed: gives back all of it. */
  leave(): void
}

type Bounds = Pick<Limits, 'connectionsPerAddress' | 'sessionsPerUser'>

/** How many there are under each key. */
type Counts = Map<string, number>
type All = Record<'connections' | 'clients' | 'roles', Counts>

/** @returns what a session calls first: its places, none of them taken yet. */
export function openPlaces(): (bounds: Bounds) => Places {
  const all = { connections: new Map(), clients: new Map(), roles: new Map() }
  return (bounds) => new PlacesTaken(all, bounds)
}

/** By the key that each is counted under: a session has them for as long as it lives. */
class PlacesTaken implements Places {
  readonly #all: All
  readonly #bounds: Bounds
  #connection: string | undefined
  #client: string | undefined
  #role: string | undefined

  constructor(all: All, bounds: Bounds) {
    this.#all = all
    this.#bounds = bounds
  }

  arrive(address: string): void {
    const { connectionsPerAddress = Infinity } = this.#bounds
    this.#connection = takeOf(this.#all.connections, address, connectionsPerAddress * 2)
  }

  stay(address: string): void {
    const { connectionsPerAddress = Infinity } = this.#bounds
    this.#client = takeOf(this.#all.clients, address, connectionsPerAddress)
  }

  ofRole(cluster: string, name: string): void {
    const { sessionsPerUser = Infinity } = this.#bounds
    // A NUL is in no name.
    const key = `${cluster}\0${name}`
    if (!take(this.#all.roles, key, sessionsPerUser))
      throw new Failure('too_many_sessions', { values: { user: name } })
    this.#role = key
  }

  linger(gone: Promise<void>): void {
    const { roles } = this.#all
    const role = this.#role
    if (role === undefined) return
    take(roles, role, Infinity)
    void gone.then(() => giveBack(roles, role))
  }

  end(): void {
    this.#role = giveBack(this.#all.roles, this.#role)
  }

  leave(): void {
    this.end()
    this.#client = giveBack(this.#all.clients, this.#client)
    this.#connection = giveBack(this.#all.connections, this.#connection)
  }
}

/** @returns the key of the address. */
function takeOf(counts: Counts, address: string, bound: number): string {
  const key = holder(address)
  if (!take(counts, key, bound)) throw new Failure('too_many_from_address', { log: `from ${key}` })
  return key
}

function take(counts: Counts, key: string, bound: number): boolean {
  const count = counts.get(key) ?? 0
  if (count >= bound) return false
  counts.set(key, count + 1)
  return true
}

/** @returns that there is none any more. */
function giveBack(counts: Counts, key: string | undefined): undefined {
  if (key === undefined) return
  const left = (counts.get(key) ?? 0) - 1
  if (left > 0) counts.set(key, left)
  else counts.delete(key)
}

/** Who holds an IPv6 address holds its /64, and could come from as many as it likes. */
export function holder(address: string): string {
  const [bare = ''] = address.split('%')
  if (!bare.includes(':')) return bare
  const mapped = /^::ffff:([\d.]+)$/i.exec(bare)
  if (mapped !== null) return mapped[1] ?? bare
  if (!isIPv6(bare)) return bare
  const [before = '', after] = bare.replace(/[^:]+\.[^:]+$/, '0:0').split('::')
  const [first, last] = [groups(before), groups(after)]
  const zeros = Array<string>(8 - first.length - last.length).fill('0')
  return `${[...first, ...zeros, ...last].slice(0, 4).join(':')}::/64`
}

function groups(text = ''): string[] {
  return text === '' ? [] : text.split(':')
}
