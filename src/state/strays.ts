/**
 * Entries of the shared lists that are about clusters which this gate doesn't have: another gate may have
 * them, or somebody has mistyped a name. Rule: each name is told once.
 */
import { clusterOf } from '../policy/lists.ts'
import type { Logger } from '../telemetry/log.ts'
import type { StateView } from './snapshot.ts'

const TOLD_MAX = 100

/** @param clusters - names of those that there are, at this moment. */
export function tellStrays(
  state: Pick<StateView, 'snapshot' | 'changed'>,
  clusters: () => readonly string[],
  log: Pick<Logger, 'warn'>,
): void {
  const told = new Set<string>()
  const look = () => {
    const there = new Set(clusters())
    for (const entry of state.snapshot().entries) {
      const name = clusterOf(entry)
      if (name === undefined || there.has(name) || told.has(name)) continue
      if (told.size === TOLD_MAX) return
      told.add(name)
      log.warn(`the shared lists have an entry about a cluster that is not here: ${name}`)
    }
  }
  state.changed(look)
  look()
}
