/**
 * How many connections an address may have, and how many sessions a role: what one client may take
 * of everybody's. Counted here, in this worker, and given back when a session is over.
 * Rule: whatever was counted is given back exactly once.
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
  /** Gives back all of it. */
  leave(): void
}

type Bounds = Pick<Limits, 'connectionsPerAddress' | 'sessionsPerUser'>

/** @returns what a session calls first: its places, none of them taken yet. */
export function openPlaces(): (bounds: Bounds) => Places {
  const connections = new Map<string, number>()
  const clients = new Map<string, number>()
  const roles = new Map<string, number>()
  return ({ connectionsPerAddress: perAddress = Infinity, sessionsPerUser = Infinity }) => {
    const held: { counts: Map<string, number>; key: string }[] = []
    const take = (counts: Map<string, number>, key: string, bound: number): boolean => {
      const count = counts.get(key) ?? 0
      if (count >= bound) return false
      counts.set(key, count + 1)
      held.push({ counts, key })
      return true
    }
    const ofAddress = (counts: Map<string, number>, address: string, bound: number) => {
      const key = holder(address)
      if (!take(counts, key, bound))
        throw new Failure('too_many_from_address', { log: `from ${key}` })
    }
    return {
      arrive: (address) => ofAddress(connections, address, perAddress * 2),
      stay: (address) => ofAddress(clients, address, perAddress),
      ofRole(cluster, role) {
        // A NUL is in no name.
        if (!take(roles, `${cluster}\0${role}`, sessionsPerUser))
          throw new Failure('too_many_sessions', { values: { user: role } })
      },
      leave() {
        for (const { counts, key } of held.splice(0)) giveBack(counts, key)
      },
    }
  }
}

function giveBack(counts: Map<string, number>, key: string): void {
  const left = (counts.get(key) ?? 0) - 1
  if (left > 0) counts.set(key, left)
  else counts.delete(key)
}

/** Who holds an IPv6 address holds its /64, and could come from as many as it likes. */
function holder(address: string): string {
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
