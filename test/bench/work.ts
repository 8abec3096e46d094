/**
 * A client's work through a peer, with the time it took and the CPU that the peer's processes used for it.
 * What signing in costs is measured by a run that does nothing else, and taken off.
 */
import { cpuBetween, readCpu } from './cpu.ts'
import type { Peer } from './peers.ts'

export interface Cost {
  seconds: number
  /** CPU seconds of the peer's process tree; undefined for `direct`. */
  cpuSeconds: number | undefined
}

/** Of what `work` does. */
export async function costOf(peer: Peer, work: () => Promise<unknown>): Promise<Cost> {
  const before = peer.pid === undefined ? undefined : await readCpu(peer.pid)
  const start = process.hrtime.bigint()
  await work()
  const seconds = Number(process.hrtime.bigint() - start) / 1e9
  if (peer.pid === undefined || before === undefined) return { seconds, cpuSeconds: undefined }
  return { seconds, cpuSeconds: cpuBetween(before, await readCpu(peer.pid)) }
}

/** Of `work` without what `signIn` cost. */
export async function costWithout(
  peer: Peer,
  signIn: () => Promise<unknown>,
  work: () => Promise<unknown>,
): Promise<Cost> {
  const less = await costOf(peer, signIn)
  const all = await costOf(peer, work)
  const seconds = all.seconds - less.seconds
  if (all.cpuSeconds === undefined || less.cpuSeconds === undefined)
    return { seconds, cpuSeconds: undefined }
  return { seconds, cpuSeconds: all.cpuSeconds - less.cpuSeconds }
}
