/**
 * What the metrics add up to at the moment, for those who look at a page and not at a graph: connections,
 * worker processes, and the sign-ins of the last hour. The primary's, for all workers.
 */
import type { Metric } from '../peers/messages.ts'
import { type LoginParts, WHOM } from './login_time.ts'
import { openMinutes } from './refusals_kept.ts'

export interface SignIns {
  /** Within the last hour. */
  count: number
  /** The last one of these is the minute that has begun. */
  perMinute: readonly number[]
  /** How long they took on average, from the connection to the first query; undefined without any. */
  meanMs: number | undefined
  /** Whom they waited for in this time, in milliseconds. */
  meanParts: LoginParts | undefined
}

export interface Tally {
  count(metric: Metric): void
  /** Open now, signed in or not. */
  readonly connections: number
  /** Processes that are open. */
  readonly workers: number
  signIns(): SignIns
}

/** @param now - milliseconds since the epoch. */
export function openTally(now: () => number): Tally {
  const open = { connections: 0, workers: 0 }
  const logins = openLogins()
  return {
    count(metric) {
      if (metric.name === 'connection_opened') open.connections++
      if (metric.name === 'connection_closed') open.connections--
      if (metric.name === 'worker_opened') open.workers++
      if (metric.name === 'worker_ended') open.workers--
      if (metric.name === 'login' && metric.result === 'ok') logins.note(metric, now())
    },
    get connections() {
      return open.connections
    },
    get workers() {
      return open.workers
    },
    signIns: () => logins.of(now()),
  }
}

/** Those that had success. */
function openLogins() {
  const succeeded = openMinutes()
  const took = openMinutes()
  const parted = openMinutes()
  const waited = new Map(WHOM.map((whom) => [whom, openMinutes()]))
  return {
    note({ seconds, parts }: Extract<Metric, { name: 'login' }>, nowMs: number): void {
      succeeded.note(nowMs)
      took.note(nowMs, seconds * 1000)
      if (parts === undefined) return
      parted.note(nowMs)
      for (const [whom, minutes] of waited) minutes.note(nowMs, parts[whom])
    },
    of(nowMs: number): SignIns {
      const perMinute = succeeded.of(nowMs)
      const count = sum(perMinute)
      const ofParts = sum(parted.of(nowMs))
      const mean = (whom: keyof LoginParts) => sum(waited.get(whom)?.of(nowMs) ?? []) / ofParts
      return {
        count,
        perMinute,
        meanMs: count === 0 ? undefined : sum(took.of(nowMs)) / count,
        meanParts:
          ofParts === 0
            ? undefined
            : {
                client: mean('client'),
                issuer: mean('issuer'),
                node: mean('node'),
                gate: mean('gate'),
              },
      }
    },
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, each) => all + each, 0)
}
