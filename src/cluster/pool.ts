/**
 * Warm node sessions (`pool.mode: session`): what a client leaves quiet is undone, and kept for whoever
 * comes next with the same key; a new session is opened where none is to be had. One a cluster and worker.
 * Rule: what goes wrong with a kept session costs a client time, and the node's health nothing.
 */
import { Failure } from '../failure.ts'
import type { Leg } from '../leg.ts'
import type { Grant } from '../policy/decide.ts'
import { connectTo, type LeftInside, type SessionParameters, startupParameters } from './connect.ts'
import type { Node } from './node.ts'
import { openPlaces, poolKey, principalKey } from './pool_key.ts'
import { openMakingRoom } from './pool_room.ts'
import { type NotKept, type Pooled, PoolSession } from './pool_session.ts'
import { openSlots, type Taken } from './pool_slots.ts'

/** What the configuration says; sizes are one worker's. */
export interface PoolPlan {
  shareBetweenPrincipals: boolean
  /** From its sign-in on; a session that is older isn't kept. */
  maxAgeMs: number
  /** How long one waits for the next client. */
  idleTimeoutMs: number
  /** Sessions of one role in one database of a node, and of all of them on a node. */
  size: number
  maxNodeConnections: number
  /** How long a client waits where there are as many. */
  waitTimeoutMs: number
}

export type PoolEvent =
  | { kind: 'taken'; how: 'warm' | 'new' }
  | { kind: 'closed'; why: NotKept; detail: string }
  | { kind: 'idle' | 'waiting'; change: 1 | -1 }

export interface PoolParts {
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
  isUp(node: Node): boolean
  tell(event: PoolEvent): void
}

export interface Pool {
  /**
   * A session on this very node.
   * @param ms - how long it may take, a wait for room apart.
   * @param waited - told how long that wait was, in milliseconds, whatever comes of it.
   * @param left - as for `connect`; the place counts until it resolves.
   * @throws Failure `pool_timeout`, `not_ready`, or as `connectTo`
   */
  take(
    grant: Grant,
    node: Node,
    parameters: SessionParameters,
    signal: AbortSignal,
    ms: number,
    waited?: (ms: number) => void,
    left?: LeftInside,
  ): Promise<Pooled>
  /** Sessions go to this node no more, or none is looked at: nothing is kept there, nothing waited for. */
  forget(node: string): void
  /** Keeps nothing from now on; sessions can still be had. */
  close(): void
  /** And nobody waits: another pool is the cluster's now. */
  retire(): void
}

export function openPool(plan: PoolPlan, parts: PoolParts): Pool {
  const { elapsed, tell } = parts
  const bounds = { group: plan.size, node: plan.maxNodeConnections, waitMs: plan.waitTimeoutMs }
  const slots = openSlots<PoolSession>(bounds, (change) => tell({ kind: 'waiting', change }))
  const placeOf = openPlaces()
  const makingRoom = openMakingRoom({ idle: slots.offered, elapsed })
  const lingering = new Set<PoolSession>()
  let closing = false
  const sessionParts = { ...parts, plan, isClosing: () => closing, lingering }

  function close(): void {
    closing = true
    for (const each of slots.offered()) each.withdraw('closing')
  }

  return {
    async take(grant, node, parameters, signal, ms, waited = () => undefined, left = destroy) {
      const { role, database } = grant
      const wanted = poolKey(grant, startupParameters(grant, node, parameters), plan)
      const key = wanted && placeOf(node) + wanted
      const group = JSON.stringify([role, database])
      const who = principalKey(grant)
      const cameMs = elapsed()
      const { slot, found } = await slots
        .take(node.name, { group, key, who }, signal)
        .finally(() => waited(elapsed() - cameMs))
      const startMs = elapsed()
      const leftMs = () => Math.max(ms - (elapsed() - startMs), 1)
      found?.item.takeOver()
      let gone: Promise<void> | undefined
      const leave = (leg: Leg) => {
        gone = left(leg)
        return gone
      }
      try {
        signal.throwIfAborted()
        if (found !== undefined && (await isGood(found, ms, signal))) {
          tell({ kind: 'taken', how: 'warm' })
          return found.item.hand(slot)
        }
        const signedIn = await makingRoom({ role, database, node, signal, leftMs }, () =>
          connectTo(grant, node, parameters, signal, leftMs(), leave),
        )
        tell({ kind: 'taken', how: 'new' })
        return new PoolSession(signedIn, { node, role, database, key }, sessionParts).hand(slot)
      } catch (thrown) {
        found?.item.destroy()
        if (gone === undefined) slot.free()
        else void gone.then(() => slot.free())
        throw thrown
      }
    },
    forget(node) {
      const isThere = (each: PoolSession) => each.node.name === node
      for (const each of lingering) if (isThere(each)) each.destroy()
      for (const each of slots.offered().filter(isThere)) {
        each.withdraw('node')
        each.destroy()
      }
      slots.sendAway(node, new Failure('node_unreachable', { log: `node ${node}: ${DOWN}` }))
    },
    close,
    retire() {
      close()
      slots.close(new Failure('not_ready', { values: { problem: RETIRED } }))
    },
  }
}

async function destroy(leg: Leg): Promise<void> {
  leg.destroy()
}

const DOWN = 'it went down while a session of it was waited for'
const RETIRED = 'the cluster was configured anew: try again'

/** Whether what was found may be handed out; if not, it is gone, and there is room. */
async function isGood(
  { item, sameKey }: NonNullable<Taken<PoolSession>['found']>,
  ms: number,
  signal: AbortSignal,
): Promise<boolean> {
  return sameKey ? await item.isGood(ms, signal) : await item.gone('room')
}
