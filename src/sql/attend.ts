/**
 * The session itself, from the node's greeting to the end of either side.
 * Rule: a client that has gone, or was told that it is over, leaves nothing running on the node.
 */
import type { NodeSession } from '../cluster/connect.ts'
import type { LeftQuiet } from '../cluster/pool_session.ts'
import type { AtExpiry, Limits } from '../config/config.ts'
import { Failure } from '../failure.ts'
import type { Leg } from '../leg.ts'
import { errorResponse } from '../wire/server_messages.ts'
import type { CancelTarget } from './cancel_keys.ts'
import type { Cancelling } from './cancelling.ts'
import { endAtExpiry } from './expiry.ts'
import type { Guard, Guarded } from './guard.ts'
import { type Ended, Relay } from './relay.ts'
import type { Report } from './report.ts'

/** `quiet` lets a session go on until nothing is under way, and a silent client say what it came for. */
export type Stop = (why: Failure, when: 'quiet' | 'now') => void

/** A session that has begun; all that is kept of its login for as long as it goes on. */
export interface Session extends Pick<NodeSession, 'leg' | 'keep'> {
  target: CancelTarget | undefined
  /** As what it is judged for as long as it goes on. */
  guarded: Guarded
  /** When the token is no longer taken, and what happens then. */
  expiry: AtExpiry & { untilMs: number | undefined }
  /** Gives back what it had, when the node is through with it. Called once. */
  end(how: Left): void
}

/** How a session was left: quiet, for a pool to take it back, or with the node at something. */
export interface Left {
  quiet?: LeftQuiet
  busy?: boolean
}

interface AttendParts {
  limits: Pick<Limits, 'idleTimeoutMs'>
  onStop(stop: Stop): void
  cancelling: Pick<Cancelling, 'cut'>
  guard: Guard
  /** Milliseconds since the epoch. */
  now(): number
}

export async function attend(
  client: Leg,
  { leg, keep, target, guarded, expiry, end }: Session,
  report: Report,
  { limits, onStop, now, cancelling, guard }: AttendParts,
): Promise<void> {
  let left: Left = {}
  try {
    const relay = new Relay(client, leg, keep !== undefined)
    onStop((why, when) => (when === 'quiet' ? relay.stopAtQuiet(why) : relay.stop(why)))
    if (limits.idleTimeoutMs !== undefined)
      relay.stopWhenIdle(limits.idleTimeoutMs, new Failure('idle_timeout'))
    const disarm = endAtExpiry(relay, { ...expiry, now })
    const leaveGuard = guard.enter(guarded, (why) => relay.stop(why))
    relay.begin()
    const ended = await relay.ended
    leaveGuard()
    disarm()
    // The node would finish a statement whose client was told that it is over, or is gone.
    const busy = !relay.idle
    left = { busy }
    // Before the report: what that may throw is not to be said in the middle of a message.
    client.close(lastWords(ended, report))
    const cancelled = busy && target !== undefined ? cancelling.cut(target) : undefined
    await report.ended(ended, relay.bytes).finally(() => cancelled)
    const { leftQuiet, parametersTold } = relay
    if (leftQuiet) left = { quiet: { canceled: target?.wanted === true, parametersTold } }
  } finally {
    end(left)
  }
}

/** Said only between messages, and only when the node didn't give the reason itself. */
function lastWords({ why, atBoundary, explained }: Ended, report: Report) {
  if (!atBoundary || explained || why === undefined) return undefined
  return errorResponse(report.refusal(why))
}
