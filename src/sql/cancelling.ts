/**
 * What becomes of a cancel in this worker: the node of the session whose key it has gets it; of a key that
 * isn't known here, the primary may know more.
 * Rule: nobody is told anything, but for the metrics; one source can't have everybody searched, one node
 * can't keep the others waiting, and clients take no place of the gate's own cancels.
 */
import { cancel as cancelOnNode } from '../cluster/cancel.ts'
import { openNamedTurns } from '../cluster/turns.ts'
import { asFailure } from '../failure.ts'
import type { Primary } from '../peers/primary.ts'
import type { Logger } from '../telemetry/log.ts'
import { type CancelKeys, type CancelTarget, isCancelKey } from './cancel_keys.ts'
import { holder } from './limits.ts'
import { openTokenBuckets, type Rate } from './token_bucket.ts'

export interface Cancelling {
  /** A client's CancelRequest; resolves when the node has it, or nobody knows the key. */
  request(key: Buffer, from: string): Promise<void>
  /** One that came in elsewhere; resolves as above, to whether the key is known here. */
  found(key: Buffer, from: string): Promise<boolean>
  /** The gate's own: what a session was doing that it ended, or that its client left. */
  cut(target: CancelTarget): Promise<void>
  /** The same for what goes on all the same, and without a word in the log; never throws. */
  cutAgain(target: CancelTarget): Promise<void>
}

interface CancellingParts {
  cancelKeys: CancelKeys
  primary: Primary
  log: Logger
  now(): number
}

/** On one node. Who waits for a place is one of its sessions, each of them once. */
const AT_ONCE = 32
/** Of those that were cancelled before; what is cancelled for the first time doesn't wait behind them. */
const AGAIN_AT_ONCE = 4
/** For a place and for the node together; a node that works takes milliseconds. */
const TIMEOUT_MS = 5_000
/** Of keys that aren't known where they were looked for, for one address. */
const UNKNOWN: Rate = { atOnce: 100, perSecond: 20 }

export function openCancelling({ cancelKeys, primary, log, now }: CancellingParts): Cancelling {
  const elsewhere = boundByAddress(primary.cancel, { now, count: primary.count })
  const [clients, own] = [openNamedTurns(AT_ONCE), openNamedTurns(AT_ONCE)]
  const repeated = openNamedTurns(AGAIN_AT_ONCE)
  const count = (result: 'sent' | 'own' | 'unknown' | 'dropped' | 'failed') =>
    primary.count({ name: 'cancel', result })
  const send = async ({ node, key }: CancelTarget, turns: typeof own, sent: 'sent' | 'own') => {
    // Whatever it was, it is done: the gate's own answers take no time.
    if (node.isVirtual) {
      count(sent)
      return
    }
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    try {
      await turns(node.name, signal, () => cancelOnNode(node, Buffer.from(key, 'latin1'), signal))
      count(sent)
    } catch (thrown) {
      count('failed')
      if (turns === repeated) return
      log.warn(
        { node: node.name },
        `a cancel did not reach the node: ${asFailure(thrown).log ?? String(thrown)}`,
      )
    }
  }
  const once = oneAtATime((target) => send(target, clients, 'sent'))
  const found = async (key: Buffer, from: string) => {
    const target = cancelKeys.find(key, from)
    if (target === undefined) return false
    await once(target)
    return true
  }
  return {
    cut: (target) => send(target, own, 'own'),
    cutAgain: (target) => send(target, repeated, 'own'),
    found,
    async request(key, from) {
      if (await found(key, from)) return
      if (!isCancelKey(key)) count('unknown')
      else await elsewhere(key, from)
    },
  }
}

/** Whoever looks further on for cancels' keys, a worker or the primary for all of them, does it so often. */
export function boundByAddress(
  cancel: Primary['cancel'],
  { now, count }: Pick<Primary, 'count'> & { now(): number },
): Primary['cancel'] {
  const may = openTokenBuckets(UNKNOWN, now)
  return async (key, from) => {
    if (may(holder(from))) await cancel(key, from)
    else count({ name: 'cancel', result: 'dropped' })
  }
}

/**
 * For those who come while the same is under way there is one more, between all of them: the first may
 * have come too early for what they mean, and whoever has a session's key takes no other one's place.
 */
function oneAtATime(cancel: (target: CancelTarget) => Promise<void>): typeof cancel {
  const underWay = new Map<CancelTarget, { now: Promise<void>; next?: Promise<void> }>()
  const begin = (target: CancelTarget): Promise<void> => {
    const now = cancel(target).finally(() => {
      if (underWay.get(target)?.next === undefined) underWay.delete(target)
    })
    underWay.set(target, { now })
    return now
  }
  return async (target) => {
    const flight = underWay.get(target)
    if (flight === undefined) return await begin(target)
    flight.next ??= flight.now.then(() => begin(target))
    await flight.next
  }
}
