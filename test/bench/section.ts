/**
 * A section of the comparison: one question, with its peers, its rounds, its tables, and the figures that
 * targets.ts asks for. To add one: a file that exports a Section, a line in bench.ts, rows in targets.ts.
 */
import type { Peer, Peers } from './peers.ts'
import type { Measured } from './rounds.ts'
import type { Stage } from './stage.ts'
import type { Table } from './table.ts'

export interface Bench {
  stage: Stage
  /** Peers that run already, or are started; they end with the bench. */
  peers: Peers
  /** Those that were warmed up: their JavaScript, if they have any, is compiled. */
  warm: WeakSet<Peer>
  rounds: number
  /** Of one timed run. */
  seconds: number
  /** Only to see that it works: whoever moves an amount, instead of taking a time, moves little. */
  quick: boolean
  /** Progress, a line on stderr. */
  say(line: string): void
}

export interface Result {
  tables: Table[]
  /** By the names that targets.ts knows. */
  measured: Record<string, Measured>
}

export interface Section {
  name: string
  /** `--only` takes a section's name or its group's. */
  group: 'steady' | 'sign-in' | 'memory' | 'scaling'
  run(bench: Bench): Promise<Result>
}
