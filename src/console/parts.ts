/**
 * What the console sees of its gate, and what it can do to it. The primary hands it in.
 */
import type { Config } from '../config/config.ts'
import type { Settings } from '../config/document.ts'
import type { SettingNow } from '../config/runtime_settings.ts'
import type { DrainedNode, Metric } from '../peers/messages.ts'
import type { Waiting } from '../policy/throttle.ts'
import type { State } from '../state/state.ts'
import type { AuditEvent } from '../telemetry/events.ts'
import type { Known } from '../telemetry/known.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Sample } from '../telemetry/metrics.ts'
import type { Status } from '../telemetry/status.ts'

export interface ConsoleParts {
  /** Postern's. */
  version: string
  /** Milliseconds since the epoch. */
  now(): number
  config(): Config
  known: Pick<Known, 'whoIsIn' | 'refusals' | 'nodesSeen'>
  status(): Status
  samples(): Promise<Sample[]>
  /** Those who have to wait before they try again. */
  waiting(): Waiting[]
  /** What gates share, where they do. */
  state: State | undefined
  settings: LiveSettings
  drained: DrainedNodes
  /** Ends a session of a worker's, whose number this is. */
  endSession(worker: number, id: string, why: string): void
  /** Reads the configuration again. @returns why it is kept as it was, where it is */
  reload(): string | undefined
  /** A line of the audit stream; nothing that it tells of may happen before this resolves. */
  audit(event: AuditEvent): Promise<void>
  count(metric: Metric): void
  log: Pick<Logger, 'info' | 'warn'>
}

/** What was set while the gate runs. */
export interface LiveSettings {
  /** By its name. @throws Failure `console_not_found` */
  find(name: string): SettingNow
  /** Why settings of the shared state don't count at the moment; undefined where they do. */
  problem(): string | undefined
  /**
   * How the configuration would be with another one.
   * @param value - undefined: without it, which is taken as well where it makes nothing worse
   * @param settings - those that there are, unless they are what was last heard of
   * @throws Failure `console_value`
   */
  try(name: string, value: string | undefined, settings?: Settings): void
}

/** Nodes that get no new sessions, by what the console was told; until this gate is started again. */
export interface DrainedNodes {
  has(node: DrainedNode): boolean
  list(): readonly DrainedNode[]
  put(node: DrainedNode, drained: boolean): void
}
