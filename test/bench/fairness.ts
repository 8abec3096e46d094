/**
 * Table 3: fairness. Two clients ask for one row at a time, while a third takes an unlimited COPY of wide
 * rows as fast as it can, through the same peer. No session may starve the others.
 */
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { wideRows } from './copy.ts'
import type { Peer } from './peers.ts'
import { type Environment, endOf, runClient, startClient } from './program.ts'
import type { Figures } from './rounds.ts'
import type { Section } from './section.ts'
import type { Stage } from './stage.ts'
import { type Column, compare, GROUPS, headOf, type Run, without } from './steady.ts'

const COLUMNS: Column[] = [
  { figure: 'p50Us', head: 'p50, µs' },
  { figure: 'p99Us', head: 'p99, µs', withRatio: true },
  { figure: 'tps', head: 'tps' },
  { figure: 'rate', head: 'COPY, MB/s', withRatio: true },
]

const WHAT = 'beside a COPY'
const ROW_BYTES = 100_000
/** More than anybody takes. */
const COPY_ROWS = 1e12
const FLOWS_MS = 10_000
/** All once, and the other legs of who is judged. Who has TLS on the node leg as well has the same turns. */
const SHOWN = [...GROUPS.slice(0, 1), ...without(GROUPS.slice(1, 3), 'direct', 'PgBouncer 64K')]

export const fairness: Section = {
  name: 'fairness',
  group: 'steady',
  async run(bench) {
    const run: Run = (peer, effort) =>
      besideCopy(bench.stage, peer, Math.ceil(bench.seconds * effort))
    const { rows, measured } = await compare(bench, WHAT, COLUMNS, run, SHOWN)
    const table = {
      title: 'Fairness: point queries beside one unlimited COPY',
      commands: [
        `psql -Xqc "${wideRows(ROW_BYTES, COPY_ROWS)}" >/dev/null &`,
        `pgbench ${argumentsOf(bench.seconds).join(' ')} -l`,
      ],
      head: headOf(COLUMNS),
      rows,
    }
    return { tables: [table], measured }
  },
}

const argumentsOf = (seconds: number) => [
  ...['-n', '-S', '-M', 'prepared', '-c', '2', '-j', '1', '-T'],
  String(seconds),
]

async function besideCopy(stage: Stage, peer: Peer, seconds: number): Promise<Figures> {
  const nothing = openSync('/dev/null', 'w')
  const sql = wideRows(ROW_BYTES, COPY_ROWS)
  const copy = startClient('psql', ['-Xqc', sql], peer.client, { stdout: nothing })
  closeSync(nothing)
  const prefix = join(stage.dir, 'latencies')
  try {
    await until(stage.admin, (bytes) => bytes > 0, copy)
    const before = { bytes: await copied(stage.admin), at: performance.now() }
    const logged = ['-l', '--log-prefix', prefix]
    await runClient('pgbench', [...argumentsOf(seconds), ...logged], peer.client)
    const bytes = (await copied(stage.admin)) - before.bytes
    const rate = bytes / (performance.now() - before.at) / 1e3
    const latencies = await readLog(stage.dir)
    return { ...percentiles(latencies), tps: latencies.length / seconds, rate }
  } finally {
    copy.kill('SIGKILL')
    if (copy.exitCode === null && copy.signalCode === null) await once(copy, 'close')
    await until(stage.admin, (bytes) => bytes === 0)
  }
}

/** Bytes that COPYs which run now have made. */
async function copied(admin: Environment): Promise<number> {
  const sql = 'SELECT coalesce(sum(bytes_processed), 0) FROM pg_stat_progress_copy'
  return Number(await runClient('psql', ['-XAtc', sql], admin))
}

async function until(
  admin: Environment,
  so: (bytes: number) => boolean,
  copy?: ReturnType<typeof startClient>,
): Promise<void> {
  for (const deadline = Date.now() + FLOWS_MS; !so(await copied(admin)); await delay(20)) {
    if (copy !== undefined && copy.exitCode !== null) await endOf(copy)
    if (Date.now() > deadline) throw new Error('the COPY neither flowed nor ended in time')
  }
}

/** Microseconds, from the third field of each line: `client transaction latency …`. */
async function readLog(dir: string): Promise<number[]> {
  const latencies: number[] = []
  for (const name of (await readdir(dir)).filter((each) => each.startsWith('latencies.'))) {
    for (const line of (await readFile(join(dir, name), 'utf8')).trimEnd().split('\n'))
      latencies.push(Number(line.split(' ')[2]))
    await rm(join(dir, name))
  }
  return latencies
}

function percentiles(latencies: number[]): Figures {
  const sorted = latencies.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN
  return { p50Us: at(0.5), p99Us: at(0.99) }
}
