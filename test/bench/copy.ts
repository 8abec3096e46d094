/**
 * Table 2: COPY both ways by psql, to /dev/null and from a file. psql needs a quarter to a half of one
 * processor for it, so PostgreSQL and the peer are what is measured.
 * https://www.postgresql.org/docs/18/sql-copy.html
 */
import { closeSync, fstatSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { Peer } from './peers.ts'
import { runClient } from './program.ts'
import type { Figures } from './rounds.ts'
import type { Bench, Result, Section } from './section.ts'
import { NARROW } from './stage.ts'
import { type Column, compare, GROUPS, type Group, headOf, type Run } from './steady.ts'
import { costWithout } from './work.ts'

export interface Copy {
  what: string
  direction: 'out' | 'in'
  /** @param share how much of it to do: 1 is all. */
  sql(share: number): string
  /** At a share of 1. */
  bytes: number
  groups: Group[]
}

const narrowBytes = NARROW.rows * NARROW.rowBytes
/** Less TLS: what it costs, the first and the third say. */
const FEWER = GROUPS.slice(0, 3)

export const COPIES: Copy[] = [
  {
    what: 'COPY out, rows of 84 bytes',
    direction: 'out',
    sql: (share) => `COPY (SELECT line FROM narrow LIMIT ${NARROW.rows * share}) TO STDOUT`,
    bytes: narrowBytes,
    groups: GROUPS,
  },
  {
    what: 'COPY out, rows of 8 KB',
    direction: 'out',
    ...wide(8_192, 24_000),
    groups: FEWER,
  },
  {
    what: 'COPY out, rows of 100 KB',
    direction: 'out',
    ...wide(100_000, 2_500),
    groups: GROUPS,
  },
  {
    what: 'COPY in, rows of 84 bytes',
    direction: 'in',
    sql: () => 'COPY taken FROM STDIN WHERE false',
    bytes: narrowBytes,
    groups: FEWER,
  },
]

/** Rows without end or with one, made by PostgreSQL as they go: no disk is in it. */
export function wideRows(rowBytes: number, rows: number): string {
  const text = `repeat('postern ', ${Math.floor(rowBytes / 8) - 1}) || n`
  return `COPY (SELECT ${text} FROM (SELECT generate_series(1000000, ${1_000_000 + rows - 1}) AS n) AS series) TO STDOUT`
}

/** Seven digits and the line's end make up the rest of a row. */
function wide(rowBytes: number, rows: number): Pick<Copy, 'sql' | 'bytes'> {
  return { sql: (share) => wideRows(rowBytes, rows * share), bytes: rowBytes * rows }
}

const COLUMNS: Column[] = [
  { figure: 'rate', head: 'MB/s', withRatio: true },
  { figure: 'cpuPerGb', head: 'CPU, s/GB', withRatio: true },
]

/** In a quick run. */
export const QUICK_SHARE = 0.1

export const copy: Section = {
  name: 'copy',
  group: 'steady',
  async run(bench) {
    const result: Result = { tables: [], measured: {} }
    const share = bench.quick ? QUICK_SHARE : 1
    const file = await narrowFile(bench, share)
    for (const each of COPIES) {
      const run: Run = (peer, effort) => copyBy(peer, each, share * effort, file)
      const { rows, measured } = await compare(bench, each.what, COLUMNS, run, each.groups)
      const way = each.direction === 'out' ? '>/dev/null' : '<file'
      const commands = [`psql -Xqc "${each.sql(share)}" ${way}`]
      const notes = [`${Math.round((each.bytes * share) / 1e6)} MB a run.`]
      result.tables.push({ title: each.what, commands, notes, head: headOf(COLUMNS), rows })
      Object.assign(result.measured, measured)
    }
    return result
  },
}

/** The rows of the table `narrow`, to be sent. @returns its path. */
export async function narrowFile({ stage }: Bench, share: number): Promise<string> {
  const file = join(stage.dir, 'narrow')
  const out = openSync(file, 'w')
  const sql = COPIES[0]?.sql(share) ?? ''
  await runClient('psql', ['-Xqc', sql], stage.admin, { stdout: out })
  closeSync(out)
  return file
}

async function copyBy(peer: Peer, copy: Copy, share: number, file: string): Promise<Figures> {
  const nothing = openSync('/dev/null', 'w')
  const stdin = openSync(copy.direction === 'in' ? file : '/dev/null', 'r')
  const psql = (sql: string) =>
    runClient('psql', ['-Xqc', sql], peer.client, { stdin, stdout: nothing })
  try {
    const cost = await costWithout(
      peer,
      () => psql('SELECT 1'),
      () => psql(copy.sql(share)),
    )
    const bytes = copy.direction === 'in' ? fstatSync(stdin).size : copy.bytes * share
    return {
      rate: bytes / cost.seconds / 1e6,
      ...(cost.cpuSeconds !== undefined && { cpuPerGb: cost.cpuSeconds / (bytes / 1e9) }),
    }
  } finally {
    closeSync(nothing)
    closeSync(stdin)
  }
}
