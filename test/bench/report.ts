/** docs/benchmarks.md: what was measured, where and how, and what became of each target. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { OTHERS_MOST } from './machine.ts'
import type { Measured } from './rounds.ts'
import { FIRST_WARM_UP_S } from './steady.ts'
import type { Table } from './table.ts'
import { render } from './table.ts'
import { TARGETS, type Target, verdict } from './targets.ts'

const NOTES = join(import.meta.dirname, 'notes.md')

/** All sections, once. */
export interface Ran {
  tables: Table[]
  measured: Record<string, Measured>
  minutes: number
  /** By section: the share of the machine's CPU, 0 to 1, that others than the bench took. */
  others: Record<string, number>
}

export interface Circumstances {
  /** A sentence. */
  machine: string
  versions: string[]
  rounds: number
  seconds: number
  quick: boolean
  /** As it was typed. */
  command: string
  /** The day, as YYYY-MM-DD. */
  day: string
  /** The share of the machine's CPU that others took before it all began. */
  othersBefore: number
}

/** @param runs - at least one; the tables are the last one's */
export function report(runs: Ran[], circumstances: Circumstances): string {
  return `${[
    ...introduction(runs, circumstances),
    ...targets(runs.map(({ measured }) => measured)),
    readFileSync(NOTES, 'utf8')
      .replace(/<!--.*?-->\n*/s, '')
      .trim(),
    '',
    runs.length > 1 ? '## Tables of the last run' : '## Tables',
    '',
    ...(runs.at(-1)?.tables ?? []).map((table) => `${render(table)}\n`),
  ].join('\n')}`
}

function introduction(runs: Ran[], circumstances: Circumstances): string[] {
  const { machine, versions, rounds, seconds, quick, command, day, othersBefore } = circumstances
  const minutes = runs.map((run) => Math.round(run.minutes)).join(', ')
  const times = runs.length === 1 ? 'one run' : `${runs.length} runs, one after the other,`
  const busiest = Math.max(othersBefore, ...runs.flatMap(({ others }) => Object.values(others)))
  const warnings = [
    ...(quick ? ['A quick run: it shows that the comparison works, and nothing else.'] : []),
    ...(busiest > OTHERS_MOST ? ['The machine was not idle: these numbers are rough.'] : []),
  ]
  return [
    '# The comparison',
    '',
    `Made by \`${command}\` on ${day}: ${times} of ${minutes} minutes. A run has ${rounds} rounds in each section, and a`,
    `round runs every peer once in shuffled order, ${seconds} s where a time is set. A cell is`,
    'the median of the rounds, and behind ± the spread, (max - min) / median. A ratio is reckoned within each round; its',
    `median counts. Before it is measured, each process works for ${FIRST_WARM_UP_S} seconds and more: its JavaScript is compiled then.`,
    '',
    ...warnings.flatMap((warning) => [`**${warning}**`, '']),
    `Machine: ${machine}. Client, peer and PostgreSQL share it: the rate of one says something about all three. **CPU is`,
    "the figure to trust**: user and system time of all of the peer's processes, without what signing in cost. Compare",
    `within a table only. ${others(runs, othersBefore)}`,
    '',
    `Versions: ${versions.join('; ')}.`,
    '',
    'Peers: `direct` is no peer; Postern is `postern serve` with one worker; PgBouncer is in session mode with stored',
    'SCRAM secrets, as it comes and with `pkt_buf=65536` (64K); HAProxy passes TCP and ends no TLS. The node leg signs in',
    'by SCRAM over plaintext, by nothing over a unix socket, by certificate over TLS. TLS is 1.3 with ECDSA P-256.',
    'PostgreSQL has fsync=off, synchronize_seqscans=off, autovacuum=off and 512 MB of shared buffers.',
    '',
  ]
}

function others(runs: Ran[], before: number): string {
  const perCent = (share: number) => `${Math.round(share * 100)} %`
  const sections = Object.keys(runs[0]?.others ?? {}).map((section) => {
    const each = runs.map((run) => perCent(run.others[section] ?? 0))
    return `${section} ${each.join(', ')}`
  })
  return `Others took ${perCent(before)} of the machine's CPU before it, and meanwhile: ${sections.join('; ')}.`
}

function targets(runs: Record<string, Measured>[]): string[] {
  const columns = runs.length === 1 ? ['measured'] : runs.map((_, at) => `run ${at + 1}`)
  const head = [
    `| target | where | bound | ${columns.join(' | ')} | |`,
    `| --- | --- | --- | ${columns.map(() => '---:').join(' | ')} | --- |`,
  ]
  const judged =
    runs.length === 1
      ? [
          '"Within the spread" are bounds that lie between the least and the most of the rounds.',
          '',
        ]
      : [
          'A column is a run, each the median of its rounds; the last one judges the run in the middle. "Within the',
          'spread" are bounds that lie between the least and the most of its rounds, or in the noise of its slope.',
          '',
        ]
  return [
    '## Targets',
    '',
    ...judged,
    ...head,
    ...TARGETS.flatMap((each) => rowsOf(each, runs)),
    '',
  ]
}

/** One row a figure. Nobody measures what --only left out. */
export function rowsOf(target: Target, runs: Record<string, Measured>[]): string[] {
  const { what, bound, aim, unit, figures } = target
  const behind = unit === undefined ? '' : ` ${unit}`
  const limit = 'atMost' in bound ? `at most ${bound.atMost}` : `at least ${bound.atLeast}`
  const wanted = `${limit}${behind}${aim === undefined ? '' : `; aim ${aim}`}`
  return figures.map(({ where, name }) => {
    const values = runs.map((run) => run[name])
    const said = values.map((each) =>
      each === undefined ? 'not measured' : `${each.median.toFixed(2)}${behind}`,
    )
    const middle = middleOf(values.filter((each) => each !== undefined))
    const place = middle?.note === undefined ? where : `${where} (${middle.note})`
    const judged = middle === undefined ? '' : verdict(bound, middle)
    return `| ${[what, place, wanted, ...said, judged].join(' | ')} |`
  })
}

/** By its median; of two in the middle, the smaller. */
function middleOf(runs: Measured[]): Measured | undefined {
  return runs.toSorted((a, b) => a.median - b.median)[Math.floor((runs.length - 1) / 2)]
}
