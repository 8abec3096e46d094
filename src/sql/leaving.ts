/**
 * Node sessions that are over here, and that the node may still be at: they are closed, cancelled until the
 * node has closed them as well, and known until then. What catches its cancels is terminated, where that may be.
 * Rule: this is the one way in which a session that no pool takes back ends.
 */
import type { NodeSession } from '../cluster/connect.ts'
import { closed, UNTIL_CLOSED, untilClosed } from '../cluster/leave.ts'
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
   * @param busy - the node was at something: it has a minute for it.
   */
  leave(session: Left, busy?: Busy): Promise<void>
  /** Resolves when the node has closed all of them. */
  over(): Promise<void>
  /** Waits for none of them any more. */
  close(): void
}

/** `cancelled`: once, where it has a key, and again until it is closed; `finishing`: it may go on. */
export type Busy = 'cancelled' | 'finishing'

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

  async function end(left: Left, target: CancelTarget): Promise<void> {
    const { management, role = '' } = left
    const { node } = target
    await cutAgain(target)
    if (management === undefined || node.dialect !== 'postgresql') return
    const signal = AbortSignal.timeout(TERMINATE_MS)
    const backend = { node, role, key: Buffer.from(target.key, 'latin1') }
    const about = { node: node.name, user: role }
    try {
      const told = await turns(node.name, signal, () => terminate(backend, management, signal))
      if (told) log.warn(about, 'a session that went on after its cancels was terminated')
    } catch (thrown) {
      const why = asFailure(thrown).log ?? String(thrown)
      log.warn(about, `a session that goes on after its cancels was not terminated: ${why}`)
    }
  }

  return {
    async leave(session, busy) {
      const { leg, leave, target } = session
      if (leave !== undefined) leave()
      else leg.close(undefined, busy && UNTIL_CLOSED)
      // Its socket is about to close, and nothing is behind it.
      if (leg.ended) return
      const again = async (times: number) => {
        if (target === undefined) return
        // Once: who may not do it now may not do it a moment later.
        await (times === CANCELS ? end(session, target) : cutAgain(target))
      }
      const isCut = busy === 'cancelled' && target !== undefined
      const gone = isCut ? untilClosed(leg, again) : closed(leg)
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
