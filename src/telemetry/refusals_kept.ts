/**
 * Who was refused within the last hour, and why: the newest of them one by one, and how many there were a
 * minute for each failure. The primary's, for all workers; a client that hadn't said its name is not here.
 * Rule: however many are refused, what is kept has a bound; the counts hold where the list has to forget.
 */
import type { FailureCode } from '../failure.ts'
import type { AuditEvent } from './events.ts'

export interface Refusal {
  /** Milliseconds since the epoch. */
  atMs: number
  /** The request id that the client was told. */
  request: string
  cluster: string
  user: string
  database: string
  /** `host:port`; empty on a unix socket. */
  address: string
  /** Of a token that was found good; else empty. */
  issuer: string
  principal: string
  method: string
  failure: string
  sqlstate: string
  /** What the client was told, and what only the log is told. */
  detail: string
}

export interface RefusalCount {
  failure: string
  /** Within the last hour. */
  count: number
  /** The last one of these is the minute that has begun. */
  perMinute: readonly number[]
}

export interface RefusalsKept {
  note(event: AuditEvent, nowMs: number): void
  /** Those of the last hour, the newest first. */
  list(nowMs: number): Refusal[]
  /** Of the last hour, the most frequent first. */
  counts(nowMs: number): RefusalCount[]
}

export const KEPT_MAX = 10_000
const DETAIL_CHARACTERS_MAX = 512
const MINUTE_MS = 60_000
export const MINUTES = 60

type Failed = Extract<AuditEvent, { EventType: 'client_authentication_failed' }>

export function openRefusalsKept(): RefusalsKept {
  /** A ring: the place of the next one is that of the oldest. */
  const ring: Refusal[] = []
  let next = 0
  const counted = new Map<FailureCode | string, Minutes>()
  return {
    note(event, nowMs) {
      if (event.EventType !== 'client_authentication_failed') return
      ring[next] = refusalOf(event, nowMs)
      next = (next + 1) % KEPT_MAX
      const minutes = counted.get(event.Failure) ?? openMinutes()
      counted.set(event.Failure, minutes)
      minutes.note(nowMs)
    },
    list(nowMs) {
      const inOrder = [...ring.slice(next), ...ring.slice(0, next)]
      const since = nowMs - MINUTES * MINUTE_MS
      return inOrder.filter(({ atMs }) => atMs > since).reverse()
    },
    counts(nowMs) {
      return Array.from(counted, ([failure, minutes]) => {
        const perMinute = minutes.of(nowMs)
        return { failure, count: perMinute.reduce((sum, each) => sum + each, 0), perMinute }
      })
        .filter(({ count }) => count > 0)
        .sort((one, other) => other.count - one.count || (one.failure < other.failure ? -1 : 1))
    },
  }
}

type Minutes = ReturnType<typeof openMinutes>

/** So many in each of the last sixty minutes. */
export function openMinutes() {
  const counts = new Array<number>(MINUTES).fill(0)
  let last = Number.NEGATIVE_INFINITY
  /** What lies in between had none; a clock that was set back counts on in the last one. */
  const go = (nowMs: number): void => {
    const minute = Math.floor(nowMs / MINUTE_MS)
    for (let each = Math.max(last + 1, minute - MINUTES + 1); each <= minute; each++)
      counts[each % MINUTES] = 0
    last = Math.max(last, minute)
  }
  return {
    note(nowMs: number, by = 1): void {
      go(nowMs)
      counts[last % MINUTES] = (counts[last % MINUTES] ?? 0) + by
    },
    of(nowMs: number): number[] {
      go(nowMs)
      const from = (last + 1) % MINUTES
      return [...counts.slice(from), ...counts.slice(0, from)]
    },
  }
}

function refusalOf(event: Failed, atMs: number): Refusal {
  return {
    atMs,
    request: event.SessionID,
    cluster: event.Cluster,
    user: event.User,
    database: event.Database,
    address: event.RemoteAddress,
    issuer: event.Issuer ?? '',
    principal: event.SystemIdentity ?? '',
    method: event.Method,
    failure: event.Failure,
    sqlstate: event.Sqlstate,
    detail: event.Detail.slice(0, DETAIL_CHARACTERS_MAX),
  }
}
