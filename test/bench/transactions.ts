/**
 * Table 1: short transactions, pgbench's `-S`: one SELECT by primary key, from sessions that stay.
 * https://www.postgresql.org/docs/15/pgbench.html
 */
import type { Peer } from './peers.ts'
import { runClient } from './program.ts'
import type { Figures } from './rounds.ts'
import type { Result, Section } from './section.ts'
import { SCALE } from './stage.ts'
import { type Column, compare, GROUPS, type Group, headOf, type Run, without } from './steady.ts'
import { costWithout } from './work.ts'

interface Workload {
  mode: 'prepared' | 'simple'
  clients: number
  threads: number
  groups: Group[]
}

/** All in the first; then Postern and PgBouncer alone. How large PgBouncer's buffers are says nothing here. */
const ALL = without(GROUPS, 'PgBouncer 64K')
const TWO = without(ALL, 'direct', 'HAProxy')

const WORKLOADS: Workload[] = [
  { mode: 'prepared', clients: 8, threads: 1, groups: ALL },
  { mode: 'prepared', clients: 32, threads: 2, groups: TWO.slice(0, 4) },
  { mode: 'simple', clients: 8, threads: 1, groups: TWO.slice(0, 1) },
]

const COLUMNS: Column[] = [
  { figure: 'tps', head: 'tps', withRatio: true },
  { figure: 'latencyMs', head: 'mean latency, ms' },
  { figure: 'cpuUs', head: 'CPU, µs a transaction', withRatio: true },
]

export const transactions: Section = {
  name: 'transactions',
  group: 'steady',
  async run(bench) {
    const result: Result = { tables: [], measured: {} }
    for (const workload of WORKLOADS) {
      const what = `${workload.mode} c=${workload.clients}`
      const run: Run = (peer, effort) => pgbench(peer, workload, Math.ceil(bench.seconds * effort))
      const { rows, measured } = await compare(bench, what, COLUMNS, run, workload.groups)
      const commands = [
        `pgbench -i -s ${SCALE}`,
        `pgbench ${argumentsOf(workload, bench.seconds).join(' ')}`,
      ]
      const title = `Transactions: ${workload.mode}, ${workload.clients} clients`
      result.tables.push({ title, commands, head: headOf(COLUMNS), rows })
      Object.assign(result.measured, measured)
    }
    return result
  },
}

const argumentsOf = ({ mode, clients, threads }: Workload, seconds: number) => [
  ...['-n', '-S', '-M', mode],
  ...['-c', String(clients), '-j', String(threads)],
  ...['-T', String(seconds)],
]

async function pgbench(peer: Peer, workload: Workload, seconds: number): Promise<Figures> {
  const args = argumentsOf(workload, seconds)
  let said = ''
  const cost = await costWithout(
    peer,
    () => runClient('pgbench', [...args.slice(0, -2), '-t', '1'], peer.client),
    async () => {
      said = await runClient('pgbench', args, peer.client)
    },
  )
  const done = numberIn(said, /transactions actually processed: (\d+)/)
  if (numberIn(said, /failed transactions: (\d+)/) > 0) throw new Error(said)
  return {
    tps: numberIn(said, /^tps = ([\d.]+)/m),
    latencyMs: numberIn(said, /^latency average = ([\d.]+) ms/m),
    ...(cost.cpuSeconds !== undefined && {
      cpuUs: (cost.cpuSeconds / (done - workload.clients)) * 1e6,
    }),
  }
}

function numberIn(text: string, pattern: RegExp): number {
  const found = pattern.exec(text)?.[1]
  if (found === undefined) throw new Error(`pgbench said something else:\n${text}`)
  return Number(found)
}
