/**
 * The end of a node's session that nobody has any more: the node closes it as soon as it has ended what it
 * is doing, is told again and again to end that, and is waited for.
 * Rule: whoever counts such a session counts it until the node has closed it, for a minute or so.
 */
import type { Leg, Linger } from '../leg.ts'

/** How long the node may go on with what a client has left, or can't say that it has ended. */
export const UNTIL_CLOSED: Linger = { ms: 60_000, bytes: Number.POSITIVE_INFINITY }

/** Between one time and the next: twice as long each time. */
const WAIT_MS = { min: 1_000, max: 8_000 }

/** Resolves when the socket is closed, by the node or by whoever waits no longer. */
export async function closed({ socket }: Leg): Promise<void> {
  if (socket.closed) return
  await new Promise<void>((resolve) => void socket.once('close', () => resolve()))
}

/**
 * A statement may catch a cancel, or not be there yet when it comes: it is sent again until the leg, which
 * somebody has closed with `UNTIL_CLOSED`, is closed by the node as well.
 * @param again - is given how often it was called before, the first time after a second; never throws.
 */
export async function untilClosed(
  leg: Leg,
  again: (times: number) => Promise<void>,
): Promise<void> {
  let times = 0
  const wait = () => {
    const ms = Math.min(WAIT_MS.min * 2 ** times, WAIT_MS.max)
    return setTimeout(act, ms).unref()
  }
  const act = async () => {
    await again(times++)
    if (!leg.socket.closed) timer = wait()
  }
  let timer = wait()
  await closed(leg)
  clearTimeout(timer)
}
