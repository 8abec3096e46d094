/**
 * What has the sessions: the clusters and the doors to them. It knows its primary only by what it may ask
 * of it, so it is the same in the primary's process and in one of its own.
 */
import { openClusters } from './clusters.ts'
import type { Config } from './config/config.ts'
import type { Failure } from './failure.ts'
import type { DrainedNode } from './peers/messages.ts'
import type { Primary } from './peers/primary.ts'
import { openDoor } from './sql/door.ts'
import { openGuard } from './sql/guard.ts'
import type { Bind } from './sql/listener.ts'
import type { StateView } from './state/snapshot.ts'
import type { Logger } from './telemetry/log.ts'

export interface WorkerParts {
  /** Its number; cancel keys carry it. */
  number: number
  /** How many there are, this one with them: what is bounded for all of them is shared out. */
  workers: number
  primary: Primary
  log: Logger
  /** Milliseconds since the epoch. */
  now(): number
  /** Calls back when one of the files has changed, until it is told to stop. */
  watch(files: readonly string[], changed: () => void): () => void
  /** Connections that other workers have. */
  elsewhere(): number
  /** What gates share, where they do. */
  state?: StateView | undefined
  /** Of the listeners' sockets, where they were bound before. */
  descriptors?: readonly number[] | undefined
}

export interface Worker {
  /** In the order of `listeners`. */
  addresses: Bind[]
  /** For whom comes from now on. */
  renew(next: Config): void
  /** If it still is. @param why - for the log */
  endSession(id: string, why: string): void
  /** These get no new sessions from now on, and no other ones. */
  drainNodes(nodes: readonly DrainedNode[]): void
  /** A cancel that came in elsewhere; resolves when the node has it, to whether the key is known here. */
  cancel(key: Buffer, from: string): Promise<boolean>
  /** Takes nobody new; resolves when the last session has ended by itself. */
  retire(): Promise<void>
  /** Lets nobody new in, and ends each session when it has nothing under way. */
  drain(why: Failure): Promise<void>
  /** Ends every session with the reason. */
  close(why: Failure): Promise<void>
}

/** @throws Failure `cannot_listen` */
export async function openWorker(config: Config, parts: WorkerParts): Promise<Worker> {
  const { number: worker, workers, now, log, primary } = parts
  const clusters = openClusters(config, {
    workers,
    now,
    log,
    count: primary.count,
    elapsed: () => performance.now(),
  })
  const guard = openGuard({
    access: config.access,
    state: parts.state,
    revokedIds: (cluster) => clusters.open().get(cluster)?.revokedIds,
    now,
    elapsed: () => performance.now(),
    count: primary.count,
  })
  let { console: own } = config
  const { listeners, limits } = config
  const door = await openDoor({
    ...parts,
    listeners,
    limits,
    traced: config.tracing !== undefined,
    elapsed: () => performance.now(),
    worker,
    guard,
    clusters: clusters.open,
    console: () => own,
  }).catch((thrown: unknown) => {
    clusters.close()
    throw thrown
  })
  return {
    ...door,
    endSession: guard.end,
    drainNodes: clusters.drainNodes,
    async retire() {
      clusters.stopKeeping()
      await door.retire()
    },
    async drain(why) {
      clusters.stopKeeping()
      await door.drain(why)
    },
    renew(next) {
      own = next.console
      clusters.renew(next)
      guard.renew(next.access)
      door.renew(next)
    },
    async close(why) {
      await door.close(why)
      clusters.close()
    },
  }
}
