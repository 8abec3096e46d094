/**
 * The end of a session at its token's `exp`, where the cluster's settings want one, and a notice
 * before it. One timer a session.
 * Rule: the clock decides, not the timer: it is asked again at least once an hour.
 */
import type { AtExpiry } from '../config/config.ts'
import { Failure, TOKEN_EXPIRES_SOON } from '../failure.ts'
import { noticeResponse } from '../wire/server_messages.ts'
import type { Relay } from './relay.ts'

/** A clock may be set, and a longer wait than 24 days would be over at once. */
const WAIT_MS_MAX = 3_600_000
const NOTICE_MS_MAX = 60_000

export interface Expiry extends AtExpiry {
  /** When the gate would refuse the token, in milliseconds since the epoch; undefined: never. */
  untilMs: number | undefined
  /** Milliseconds since the epoch. */
  now(): number
}

type Ending = Pick<Relay, 'inject' | 'whenQuiet' | 'stopAtQuiet' | 'stop'>

/** @returns what the session's own end calls. */
export function endAtExpiry(relay: Ending, { end, graceMs, untilMs, now }: Expiry): () => void {
  if (end === 'never' || untilMs === undefined) return () => undefined
  const why = new Failure('token_expired')
  const warn = () => {
    const leftMs = untilMs - now()
    if (leftMs > 0) relay.inject(notice(leftMs))
  }
  const steps = [
    {
      atMs: untilMs - Math.min(NOTICE_MS_MAX, (untilMs - now()) / 2),
      act: () => relay.whenQuiet(warn),
    },
    { atMs: untilMs, act: () => relay.stopAtQuiet(why) },
  ]
  if (end === 'always') steps.push({ atMs: untilMs + graceMs, act: () => relay.stop(why) })
  let timer: NodeJS.Timeout | undefined
  const go = () => {
    let next = steps[0]
    while (next !== undefined && next.atMs <= now()) {
      steps.shift()
      next.act()
      next = steps[0]
    }
    if (next === undefined) return
    timer = setTimeout(go, Math.min(next.atMs - now(), WAIT_MS_MAX)).unref()
  }
  go()
  return () => clearTimeout(timer)
}

function notice(leftMs: number): Buffer {
  return noticeResponse({
    severity: 'WARNING',
    sqlstate: TOKEN_EXPIRES_SOON,
    message: `the token expires in ${Math.ceil(leftMs / 1000)} s, and this session ends with it`,
    hint: 'sign in again with a fresh token',
  })
}
