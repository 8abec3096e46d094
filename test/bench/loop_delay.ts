/**
 * Table 8: how late Postern's event loop is while people sign in: whatever runs long on it makes every
 * session wait. Beside it stands a loop that does nothing at that time, the bench's own: what that one is
 * late by is the machine's doing.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { ClientLeg } from './legs.ts'
import type { Peer, PeerSpec } from './peers.ts'
import { type Delay, delayOf, RESOLUTION_MS } from './probe.ts'
import { makeProbe, type Probe } from './probed.ts'
import { alternate, type Figures, type Samples, summarise } from './rounds.ts'
import type { Bench, Section } from './section.ts'
import { newTokens, signInsOf } from './signins.ts'
import { warmUp } from './steady.ts'
import { cell } from './table.ts'
import { openVisitors, type Visitors } from './visitors.ts'

export const WHAT = 'event loop'
const PARALLEL_MANY = 32
const TOKENS_A_SECOND = 3_000

const FIGURES: { figure: keyof Delay; head: string }[] = [
  { figure: 'p50', head: 'p50, ms' },
  { figure: 'p99', head: 'p99, ms' },
  { figure: 'max', head: 'max, ms' },
]

interface Row {
  spec: PeerSpec
  probe: Probe
}

export const loopDelay: Section = {
  name: 'event-loop',
  group: 'sign-in',
  async run(bench) {
    const rows = (['plaintext', 'TLS'] as const).map((client) => rowOf(bench, client))
    const visitors = openVisitors()
    try {
      for (const row of rows)
        await warmUp(bench, await bench.peers.get(row.spec), () => measure(bench, visitors, row))
      const samples = await alternate(rows, bench.rounds, async (row, round) => {
        bench.say(`${WHAT}: ${row.spec.client}, round ${round + 1}`)
        return await measure(bench, visitors, row)
      })
      const table = {
        title: "Postern's event loop while people sign in",
        commands: [],
        notes: [
          `${PARALLEL_MANY} clients in a closed loop, warm sessions, each token a new one. By how much a timer`,
          `of ${RESOLUTION_MS} ms is late, in Postern and, at the same time, in a process that only waits.`,
        ],
        head: [
          ...['loop', 'client leg', 'node leg'],
          ...FIGURES.flatMap(({ head }) => [head, `waiting: ${head}`]),
        ],
        rows: rows.map((row) => cellsOf(row, samples.get(row) ?? [])),
      }
      return { tables: [table], measured: {} }
    } finally {
      await visitors.close()
    }
  },
}

function rowOf({ stage }: Bench, client: ClientLeg): Row {
  const probe = makeProbe(stage, `loop-${client}`)
  const variant = { label: WHAT, cluster: { pool: { mode: 'session' } }, node: probe.options }
  return { spec: { name: 'Postern', client, node: 'plaintext', variant }, probe }
}

async function measure(
  { stage, peers, seconds }: Bench,
  visitors: Visitors,
  { spec, probe }: Row,
): Promise<Figures> {
  const peer: Peer = await peers.get(spec)
  const passwords = await newTokens(stage.key, TOKENS_A_SECOND * seconds)
  const own = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  await probe.delay()
  own.enable()
  await signInsOf(visitors, peer, { passwords, seconds, parallel: PARALLEL_MANY })
  const waiting = delayOf(own)
  own.disable()
  const delay = await probe.delay()
  return Object.fromEntries(
    FIGURES.flatMap(({ figure }) => [
      [figure, delay[figure]],
      [`waiting ${figure}`, waiting[figure]],
    ]),
  )
}

function cellsOf({ spec }: Row, samples: Samples): string[] {
  const cells = FIGURES.flatMap(({ figure }) => [
    cell(summarise(samples, figure)),
    cell(summarise(samples, `waiting ${figure}`)),
  ])
  return [spec.name, spec.client, spec.node ?? '', ...cells]
}
