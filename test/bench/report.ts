/** docs/benchmarks.md: what was measured, where and how, and what became of each target. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Result } from './section.ts'
import { render } from './table.ts'
import { TARGETS, type Target, verdict } from './targets.ts'
import type { Machine } from './tools.ts'

const NOTES = join(import.meta.dirname, 'notes.md')

export interface Circumstances {
  machine: Machine
  versions: string[]
  rounds: number
  seconds: number
  quick: boolean
  /** As it was typed. */
  command: string
  /** The day, as YYYY-MM-DD. */
  day: string
  /** Of the whole run. */
  minutes: number
}

export function report(results: Result[], circumstances: Circumstances): string {
  const measured: Record<string, number> = Object.assign({}, ...results.map((one) => one.measured))
  const tables = results.flatMap((one) => one.tables)
  return `${[
    ...introduction(circumstances),
    ...targets(measured),
    readFileSync(NOTES, 'utf8')
      .replace(/<!--.*?-->\n*/s, '')
      .trim(),
    '',
    '## Tables',
    '',
    ...tables.map((table) => `${render(table)}\n`),
  ].join('\n')}`
}

function introduction(circumstances: Circumstances): string[] {
  const { machine, versions, rounds, seconds, quick, command, day, minutes } = circumstances
  const warnings = [
    ...(quick ? ['A quick run: it shows that the comparison works, and nothing else.'] : []),
    ...(machine.idle ? [] : ['The machine was not idle: these numbers are rough.']),
  ]
  return [
    '# The comparison',
    '',
    `Made by \`${command}\` on ${day}, in ${Math.round(minutes)} minutes: ${rounds} rounds, each of which runs every peer`,
    `once in shuffled order, ${seconds} s a run where a time is set. A cell is the median of the rounds, and behind ±`,
    'the spread, (max - min) / median. A ratio is reckoned within each round; its median counts.',
    '',
    ...warnings.flatMap((warning) => [`**${warning}**`, '']),
    `Machine: ${machine.description}; load before the run ${machine.load.toFixed(2)}. Client, peer and PostgreSQL share`,
    'it: the rate of one says something about all three. **CPU is the figure to trust**: user and system time of all',
    "of the peer's processes, without what signing in cost. Compare within a table only.",
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

function targets(measured: Record<string, number>): string[] {
  const head = ['| target | where | bound | measured | |', '| --- | --- | --- | ---: | --- |']
  return ['## Targets', '', ...head, ...TARGETS.flatMap((each) => rowsOf(each, measured)), '']
}

/** One row a figure. Nobody measures what --only left out. */
function rowsOf({ what, bound, aim, unit, figures }: Target, measured: Record<string, number>) {
  const behind = unit === undefined ? '' : ` ${unit}`
  const limit = 'atMost' in bound ? `at most ${bound.atMost}` : `at least ${bound.atLeast}`
  const wanted = `${limit}${behind}${aim === undefined ? '' : `; aim ${aim}`}`
  return figures.map(({ where, name }) => {
    const value = measured[name]
    const said = value === undefined ? 'not measured' : `${value.toFixed(2)}${behind}`
    const judged = value === undefined ? '' : verdict(bound, value)
    return `| ${[what, where, wanted, said, judged].join(' | ')} |`
  })
}
