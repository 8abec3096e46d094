/**
 * The console's parts, put together: what the primary knows, and what it can have done.
 */
import type { Config } from './config/config.ts'
import { type Console, openConsole } from './console/console.ts'
import type { ConsoleParts } from './console/parts.ts'
import type { DrainedNode } from './peers/messages.ts'
import type { Attempts } from './policy/attempts.ts'
import type { Reloading } from './reloading.ts'
import type { AuditWriter } from './telemetry/audit.ts'
import type { Metrics } from './telemetry/metrics.ts'
import type { Workers } from './workers.ts'

export interface DeskParts
  extends Pick<ConsoleParts, 'version' | 'now' | 'known' | 'status' | 'state' | 'log' | 'count'> {
  config(): Config
  metrics: Pick<Metrics, 'samples'>
  attempts: Pick<Attempts, 'waiting'>
  audit: AuditWriter
  /** Undefined until they are open. */
  workers(): Pick<Workers, 'endSession' | 'drainNodes'> | undefined
  reloading: Pick<Reloading, 'problem' | 'find' | 'try'>
  /** Reads the file again. @returns why it is kept as it was, where it is */
  reload(): string | undefined
}

export interface Desk {
  console: Console['ask']
  reloaded: Console['reloaded']
  /** Nodes that get no new sessions. */
  drained(): readonly DrainedNode[]
}

/** The primary's own lines: no worker has this number where there are several. */
const PRIMARY = 0

export function openDesk(parts: DeskParts): Desk {
  const { metrics, attempts, audit, workers, reloading } = parts
  let drained: readonly DrainedNode[] = []
  const isOther = (one: DrainedNode) => (each: DrainedNode) =>
    each.node !== one.node || each.cluster !== one.cluster
  const { ask, reloaded } = openConsole({
    ...parts,
    samples: metrics.samples,
    waiting: attempts.waiting,
    settings: reloading,
    drained: {
      has: (node) => !drained.every(isOther(node)),
      list: () => drained,
      put({ cluster, node }, on) {
        const own = { cluster, node }
        drained = [...drained.filter(isOther(own)), ...(on ? [own] : [])]
        workers()?.drainNodes(drained)
      },
    },
    endSession: (worker, id, why) => workers()?.endSession(worker, id, why),
    audit: async (event) => await audit(PRIMARY, event),
  })
  return { console: ask, reloaded, drained: () => drained }
}
