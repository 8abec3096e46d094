/**
 * How many connections an address may have, and how many sessions a role: what one client may take
 * of everybody's. Counted here, in this worker.
 * Rule: whatever was counted is given back exactly once: a role's when the session is over, an address's
 * when its socket is closed as well.
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
  /** The session is over. */
  end(): void
  /** And its socket is closed: gives back all of it. */
  leave(): void
}

type Bounds = Pick<Limits, 'connectionsPerAddress' | 'sessionsPerUser'>

/** One more under this key, until it is given back. */
interface Held {
  counts: Map<string, number>
  key: string
}

/** @returns what a session calls first: its places, none of them taken yet. */
export function openPlaces(): (bounds: Bounds) => Places {
  const connections = new Map<string, number>()
  const clients = new Map<string, number>()
  const roles = new Map<string, number>()
  return ({ connectionsPerAddress: perAddress = Infinity, sessionsPerUser = Infinity }) => {
    const address: Held[] = []
    const role: Held[] = []
    const takeOf = (counts: Map<string, number>, from: string, bound: number) => {
      const key = holder(from)
      if (!take({ counts, key }, bound, address))
        throw new Failure('too_many_from_address', { log: `from ${key}` })
    }
    return {
      arrive: (from) => takeOf(connections, from, perAddress * 2),
      stay: (from) => takeOf(clients, from, perAddress),
      ofRole(cluster, name) {
        // A NUL is in no name.
        if (!take({ counts: roles, key: `${cluster}\0${name}` }, sessionsPerUser, role))
          throw new Failure('too_many_sessions', { values: { user: name } })
      },
      end: () => giveBack(role),
      leave() {
        giveBack(role)
        giveBack(address)
      },
    }
  }
}

function take(one: Held, bound: number, held: Held[]): boolean {
  const count = one.counts.get(one.key) ?? 0
  if (count >= bound) return false
  one.counts.set(one.key, count + 1)
  held.push(one)
  return true
}

function giveBack(held: Held[]): void {
  for (const { counts, key } of held.splice(0)) {
    const left = (counts.get(key) ?? 0) - 1
    if (left > 0) counts.set(key, left)
    else counts.delete(key)
  }
}

/** Who holds an IPv6 address holds its /64, and could come from as many as it likes. */
export function holder(address: string): string {
  const [bare = ''] = address.split('%')
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
