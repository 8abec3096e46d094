/**
 * What this gate shares with others, opened for the gate, and held back from workers that may not have its
 * settings yet. Rule: who comes in by the state comes in by the settings that are in it.
 */
import type { Config } from './config/config.ts'
import type { StateView } from './state/snapshot.ts'
import { openState, type State } from './state/state.ts'
import { tellStrays } from './state/strays.ts'
import type { Logger } from './telemetry/log.ts'
import type { Metrics } from './telemetry/metrics.ts'

interface SharedParts {
  log: Logger
  metrics: Pick<Metrics, 'watchState'>
  /** The one in use. */
  config(): Config
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
}

/**
 * @param now - milliseconds since the epoch
 * @returns undefined where nothing is shared
 * @throws Failure `state_unusable`
 */
export async function openShared(
  { state, clusters }: Config,
  { log, metrics, config, elapsed }: SharedParts,
  now: () => number,
): Promise<State | undefined> {
  if (state === undefined) return undefined
  const keeping = (all: Config['clusters']) => all.find(({ name }) => name === state.cluster)
  // The file may name another one by now; this one stays until the gate is started again.
  const nodes = () => (keeping(config().clusters) ?? keeping(clusters))?.nodes ?? clusters[0].nodes
  const opened = await openState(state, { nodes, log, now, elapsed })
  metrics.watchState(opened)
  tellStrays(opened, () => config().clusters.map(({ name }) => name), log)
  return opened
}

export interface HeldBack {
  /** Too old for anybody to come in by it, where it was heard of, or has changed, since workers began. */
  view: StateView
  /** They have what it says. */
  release(): void
}

/** For workers that begin by a configuration of this moment. */
export function holdBack(state: StateView): HeldBack {
  let areOpening = true
  let isHeld = state.snapshot().number === ''
  state.changed(() => {
    isHeld = areOpening
  })
  return {
    view: { ...state, ageMs: () => (isHeld ? Number.POSITIVE_INFINITY : state.ageMs()) },
    release() {
      areOpening = false
      isHeld = false
    },
  }
}
