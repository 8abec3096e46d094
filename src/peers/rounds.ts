/**
 * What each worker is told again and again: how many connections the others have, because the limit is for
 * all of them; and a ping, because one whose process hangs keeps its sessions and says nothing.
 * Rule: one that doesn't answer is ended; its primary then does what it does when one is lost.
 */
import type { Logger } from '../telemetry/log.ts'
import type { Unended } from '../telemetry/unended.ts'
import type { ToPrimary, ToWorker } from './messages.ts'
import type { Link } from './processes.ts'

export interface Visited {
  number: number
  link: Link<ToWorker, ToPrimary>
  unended: Unended
  /** Those that were sent since it said something. */
  pings: number
}

const TELL_MS = 100
/** No worker is ever busy for as long as so many pings take. */
const PING_MS = 10_000
const PINGS_MAX = 3

/** @returns ends them */
export function startRounds(workers: ReadonlySet<Visited>, log: Logger): () => void {
  const told = new WeakMap<Visited, number>()
  const tell = () => {
    const sum = [...workers].reduce((so, { unended }) => so + unended.connections, 0)
    for (const worker of workers) {
      const connections = sum - worker.unended.connections
      // One that has not taken the last one yet is told the newest when it has.
      if (told.get(worker) === connections || worker.link.waiting > 0) continue
      told.set(worker, connections)
      worker.link.send({ kind: 'elsewhere', connections })
    }
  }
  // Pings are counted, and not the time: where the whole gate stands still for long, nobody hangs.
  const ping = () => {
    for (const worker of workers) {
      worker.pings++
      if (worker.pings <= PINGS_MAX) worker.link.send({ kind: 'ping' })
      else {
        log.error({ worker: worker.number }, 'a worker does not answer: it is ended')
        worker.link.kill()
      }
    }
  }
  const timers = [setInterval(tell, TELL_MS).unref(), setInterval(ping, PING_MS).unref()]
  return () => timers.forEach(clearInterval)
}
