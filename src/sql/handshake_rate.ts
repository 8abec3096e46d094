/**
 * How many connections a second may come from one range of addresses: a handshake with TLS costs a gate far
 * more than it costs whoever begins it. Counted here, in this worker.
 * Rule: a range is what one holder easily has: an IPv4 network of 256 addresses, an IPv6 network of /48.
 */
import { Failure } from '../failure.ts'
import type { Primary } from '../peers/primary.ts'
import { holder } from './limits.ts'
import { openTokenBuckets } from './token_bucket.ts'

/** @throws Failure `too_many_from_address` */
export type HandshakeRate = (address: string, perSecond: number | undefined) => void

/** @param now - milliseconds */
export function openHandshakeRate(now: () => number, count: Primary['count']): HandshakeRate {
  let current: { perSecond: number; may: (range: string) => boolean } | undefined
  return (address, perSecond) => {
    if (perSecond === undefined) return
    if (current?.perSecond !== perSecond) {
      // A second's worth at once: pools open their sessions side by side.
      const may = openTokenBuckets({ atOnce: perSecond, perSecond }, now)
      current = { perSecond, may }
    }
    const range = rangeOf(address)
    if (current.may(range)) return
    count({ name: 'throttled', reason: 'handshakes' })
    throw new Failure('too_many_from_address', { log: `handshakes of ${range} in this second` })
  }
}

export function rangeOf(address: string): string {
  const held = holder(address)
  const [first, second, third] = held.split(held.includes(':') ? ':' : '.')
  return held.includes(':')
    ? `${first}:${second}:${third}::/48`
    : `${first}.${second}.${third}.0/24`
}
