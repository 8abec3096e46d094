/**
 * A section of the comparison: one question, with its peers, its rounds, its tables, and the figures that
 * targets.ts asks for. To add one: a file that exports a Section, a line in bench.ts, rows in targets.ts.
 */
import type { Peers } from './peers.ts'
import type { Stage } from './stage.ts'
import type { Table } from './table.ts'

export interface Bench {
  stage: Stage
  /** Peers that run already, or are started; they end with the bench. */
  peers: Peers
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
  measured: Record<string, number>
}

export interface Section {
  name: string
  /** `--only` takes a section's name or its group's. */
  group: 'steady' | 'sign-in' | 'memory' | 'scaling'
  run(bench: Bench): Promise<Result>
}
