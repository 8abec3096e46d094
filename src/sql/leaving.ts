/**
 * Node sessions that are over here, and that the node may still be at: they are closed, cancelled until the
 * node has closed them as well, and known until then. What catches its cancels is terminated, where that may be.
 * Rule: this is the one way in which a session that no pool takes back ends.
 */
import type { NodeSession } from '../cluster/connect.ts'
import { closed, UNTIL_CLOSED, untilClosed } from '../cluster/leave.ts'
import { NodeRefused } from '../cluster/sign_in.ts'
import { terminate } from '../cluster/terminate.ts'
import { openNamedTurns } from '../cluster/turns.ts'
import { asFailure } from '../failure.ts'
import type { Leg } from '../leg.ts'
import type { Logger } from '../telemetry/log.ts'
import type { CancelTarget } from './cancel_keys.ts'
import type { Cancelling } from './cancelling.ts'

export interface Leaving {
  /**
   * Closes it. Resolves when the node has closed it as well; never throws.
   * @param busy - the node was at something: it has a minute for it. Where it has a key, it was cancelled once.
   */
  leave(session: Left, busy: boolean): Promise<void>
  /** Resolves when the node has closed all of them. */
  over(): Promise<void>
  /** Waits for none of them any more. */
  close(): void
}

/** `leave` in the place of closing the leg, where a pool counts it. */
interface Left extends Pick<NodeSession, 'leg' | 'leave'> {
  target: CancelTarget | undefined
  /** Who may be able to terminate it, and whose it is. */
  management?: string | undefined
  role?: string
}

/** So many cancels, within some seconds, before anything stronger. */
const CANCELS = 2
const TERMINATE_MS = 5_000

export function openLeaving(
  { cutAgain }: Pick<Cancelling, 'cutAgain'>,
  log: Pick<Logger, 'warn'>,
): Leaving {
  const waits = new Map<Leg, Promise<void>>()
  const turns = openNamedTurns()

  /** @returns whether it may be tried again: nobody has said no, and it isn't done */
  async function end({ management, role = '' }: Left, target: CancelTarget): Promise<boolean> {
    const { node } = target
    if (management === undefined || node.dialect !== 'postgresql') return false
    const backend = { node, role, key: Buffer.from(target.key, 'latin1') }
    const about = { node: node.name, user: role }
    try {
      const told = await turns(node.name, AbortSignal.timeout(UNTIL_CLOSED.ms), () =>
        terminate(backend, management, AbortSignal.timeout(TERMINATE_MS)),
      )
      if (told) log.warn(about, 'a session that went on after its cancels was terminated')
      return false
    } catch (thrown) {
      const why = asFailure(thrown).log ?? String(thrown)
      log.warn(about, `a session that goes on after its cancels was not terminated: ${why}`)
      return !(thrown instanceof NodeRefused)
    }
  }

  return {
    async leave(session, busy) {
      const { leg, leave, target } = session
      if (leave !== undefined) leave()
      else leg.close(undefined, busy ? UNTIL_CLOSED : undefined)
      // Its socket is about to close, and nothing is behind it.
      if (leg.ended) return
      let mayEnd = true
      const again = async (times: number) => {
        if (target === undefined) return
        await cutAgain(target)
        if (mayEnd && times >= CANCELS) mayEnd = await end(session, target)
      }
      const gone = busy && target !== undefined ? untilClosed(leg, again) : closed(leg)
      waits.set(leg, gone)
      await gone
      waits.delete(leg)
    },
    async over() {
      await Promise.all(waits.values())
    },
    close() {
      for (const leg of waits.keys()) leg.destroy()
    },
  }
}
