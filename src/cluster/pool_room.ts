/**
 * A node that says it has too many sessions: of the role, in the database, or in all (53300 says no more
 * than that). One session that nobody uses is closed for it, the nearest, and the node is asked once more.
 * Rule: who stays refused all the same leaves the sessions of others alone for a while.
 */
import { Failure, NODE_SAYS } from '../failure.ts'
import type { Grant } from '../policy/decide.ts'
import type { Node } from './node.ts'
import { NodeRefused } from './sign_in.ts'
import { openNamedTurns } from './turns.ts'

/** A session that waits for its next client. */
export interface Idle {
  readonly node: Pick<Node, 'name'>
  readonly role: string
  readonly database: string
  /** Closes it; resolves when it is gone. */
  leave(why: 'room'): Promise<void>
}

export interface RoomParts {
  /** Those on all nodes, the oldest of each first. */
  idle(): Idle[]
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
}

interface Wanted extends Pick<Grant, 'role' | 'database'> {
  node: Pick<Node, 'name'>
  signal: AbortSignal
  /** Of the time that opening it may take. */
  leftMs(): number
}

/** Opens a session. @throws what `open` throws, the signal's reason */
export type MakingRoom = <T>(wanted: Wanted, open: () => Promise<T>) => Promise<T>

const SPARED_MS = 10_000
const SPARED_MAX = 1_000
/** With less than this left the node isn't asked once more: it would be blamed for not answering. */
const ASKED_MS_MIN = 250

export function openMakingRoom({ idle, elapsed }: RoomParts): MakingRoom {
  const turns = openNamedTurns()
  /** Who was refused though there was room, and until when others are spared; the oldest first. */
  const sparing = new Map<string, number>()

  function spare(who: string): void {
    sparing.delete(who)
    sparing.set(who, elapsed() + SPARED_MS)
    const [oldest] = sparing.keys()
    if (sparing.size > SPARED_MAX && oldest !== undefined) sparing.delete(oldest)
  }

  return async ({ node, role, database, signal, leftMs }, open) => {
    const who = JSON.stringify([node.name, role])
    try {
      return await open()
    } catch (refused) {
      if (!isFull(refused)) throw refused
      // One after the other: what the first one learns spares the sessions of others.
      return await turns(who, signal, async () => {
        const spared = (sparing.get(who) ?? 0) > elapsed()
        const here = idle().filter((each) => each.node.name === node.name)
        const going = nearest(here, { role, database }, spared)
        if (going === undefined || leftMs() < ASKED_MS_MIN) throw refused
        await going.leave('room')
        if (leftMs() < ASKED_MS_MIN) throw refused
        try {
          return await open()
        } catch (thrown) {
          if (isFull(thrown)) spare(who)
          throw thrown
        }
      })
    }
  }
}

/** The role's own come first, whatever the bound is; then those in its database. */
function nearest(
  idle: Idle[],
  { role, database }: Pick<Grant, 'role' | 'database'>,
  spared: boolean,
): Idle | undefined {
  const own = idle.filter((each) => each.role === role)
  const isThere = (each: Idle) => each.database === database
  return own.find(isThere) ?? own[0] ?? (spared ? undefined : (idle.find(isThere) ?? idle[0]))
}

/** Too many sessions: of the role, in the database, or on the node. */
function isFull(thrown: unknown): boolean {
  if (!(thrown instanceof Failure) || !(thrown.cause instanceof NodeRefused)) return false
  return thrown.cause.refusal.sqlstate === NODE_SAYS.full
}
