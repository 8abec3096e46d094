/**
 * Table 6: memory of sessions that are signed in and do nothing, against a node that does nothing either.
 * PSS of the peer's process tree, once it stands still. https://docs.kernel.org/filesystems/proc.html
 */
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { treeOf } from './cpu.ts'
import { type ClientLeg, nameOf } from './legs.ts'
import type { Peer, PeerName, PeerSpec } from './peers.ts'
import { makeProbe, type Probe } from './probed.ts'
import { openQuiet, TRUSTING } from './quiet_nodes.ts'
import { alternate, type Figures, ratio, type Samples, summarise } from './rounds.ts'
import type { Section } from './section.ts'
import type { Stage } from './stage.ts'
import { keyOf } from './steady.ts'
import { cell, ratioCell, type Table } from './table.ts'
import { openVisitors, PARALLEL, type Visitors } from './visitors.ts'

export const WHAT = 'idle sessions'
const SIZES = [1_000, 2_000, 5_000] as const
/** In a quick run. */
const FEW = [100, 200, 500] as const
/** What the first sign-ins load is the process's own. */
const FIRST_VISITS = 2_000
const OPEN_S = 120
/** What one more session costs, and what of it is left when garbage was collected. */
const ONE_MORE = 'kib'
export const COLLECTED = 'kibCollected'

/** A peer, and how its garbage is collected, if it makes any. */
interface Row {
  spec: PeerSpec
  probe: Probe | undefined
}

const GROUPS: [ClientLeg, PeerName[]][] = [
  ['plaintext', ['Postern', 'PgBouncer', 'HAProxy']],
  ['TLS', ['Postern', 'PgBouncer']],
]

function rowOf(stage: Stage, name: PeerName, client: ClientLeg): Row {
  const probe = name === 'Postern' ? makeProbe(stage, `memory-${client}`) : undefined
  const pgbouncer = { auth_type: 'trust', default_pool_size: 10_000 }
  const postern = { cluster: TRUSTING, node: probe?.options ?? [] }
  const variant = { label: WHAT, ...postern, pgbouncer }
  return { spec: { name, client, node: 'plaintext', variant }, probe }
}

export const memory: Section = {
  name: 'idle-sessions',
  group: 'memory',
  async run(bench) {
    const quiet = await openQuiet(bench.stage)
    const visitors = openVisitors()
    const sizes = bench.quick ? FEW : SIZES
    const cells: string[][] = []
    const measured: Record<string, number> = {}
    try {
      for (const [client, names] of GROUPS) {
        const rows = names.map((name) => rowOf(bench.stage, name, client))
        const samples = await alternate(rows, bench.rounds, async (row, round) => {
          bench.say(`${WHAT}: ${row.spec.name} (${nameOf(row.spec)}), round ${round + 1}`)
          const peer = await quiet.peers.get(row.spec)
          try {
            return await memoryOf(visitors, peer, row.probe, sizes)
          } finally {
            await visitors.carryOut({ kind: 'leave' })
            await quiet.peers.end(peer)
          }
        })
        cells.push(...rows.map((row) => cellsOf(row, samples, sizes)))
        Object.assign(measured, measuredOf(samples))
      }
    } finally {
      await visitors.close()
      await quiet.close()
    }
    return { tables: [tableOf(sizes, cells)], measured }
  },
}

type Sizes = readonly [number, number, number]

async function memoryOf(
  visitors: Visitors,
  { client, pid = 0 }: Peer,
  probe: Probe | undefined,
  sizes: Sizes,
): Promise<Figures> {
  const passwords = [client['PGPASSWORD'] ?? '']
  const order = { client, passwords, parallel: PARALLEL, seconds: OPEN_S }
  await visitors.carryOut({ ...order, kind: 'visit', visits: FIRST_VISITS })
  await probe?.collect()
  const base = await quietPss(pid)
  const figures: Figures = { base: base / 1024 }
  const collected: number[] = []
  const standing: number[] = []
  let open = 0
  for (const size of sizes) {
    open += (await visitors.carryOut({ ...order, kind: 'stay', visits: size - open })).visits
    const stands = await quietPss(pid)
    await probe?.collect()
    const left = probe === undefined ? stands : await quietPss(pid)
    standing.push(stands)
    collected.push(left)
    figures[`kib ${size}`] = (left - base) / size
  }
  const [first, , last] = sizes
  figures[ONE_MORE] = ((standing.at(-1) ?? 0) - (collected[0] ?? 0)) / (last - first)
  figures[COLLECTED] = ((collected.at(-1) ?? 0) - (collected[0] ?? 0)) / (last - first)
  figures['sessions'] = (await visitors.carryOut({ kind: 'count' })).visits
  return figures
}

const SAMPLE_MS = 1_000
const STILL_SAMPLES = 4
const STILL = 0.005
const QUIET_S = 30

/** KiB, once it doesn't change any more; at the latest after half a minute. */
export async function quietPss(pid: number): Promise<number> {
  const seen = [await pssOf(pid)]
  for (let second = 0; second < QUIET_S; second++) {
    await delay(SAMPLE_MS)
    seen.push(await pssOf(pid))
    const last = seen.slice(-STILL_SAMPLES)
    const isStill = Math.max(...last) - Math.min(...last) < STILL * Math.max(...last)
    if (last.length === STILL_SAMPLES && isStill) break
  }
  return seen.at(-1) ?? 0
}

/** KiB of the whole tree. */
export async function pssOf(pid: number): Promise<number> {
  const each = (await treeOf(pid)).map(async (one) => {
    const text = await readFile(`/proc/${one}/smaps_rollup`, 'utf8')
    return Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1])
  })
  return (await Promise.all(each)).reduce((a, b) => a + b, 0)
}

type ByRow = Map<Row, Samples>

function cellsOf(row: Row, samples: ByRow, sizes: Sizes): string[] {
  const { spec } = row
  const its = samples.get(row) ?? []
  const base = samplesOf(samples, 'PgBouncer')
  const figures = ['base', ...sizes.map((size) => `kib ${size}`), ONE_MORE, COLLECTED]
  const cells = figures.map((figure) => cell(summarise(its, figure)))
  const compared = its === base ? '1' : ratioCell(ratio(its, base, COLLECTED))
  return [spec.name, spec.client, spec.node ?? '', ...cells, compared]
}

function samplesOf(samples: ByRow, name: PeerName): Samples {
  for (const [{ spec }, its] of samples) if (spec.name === name) return its
  return []
}

/** For targets.ts. */
export function figureOf(client: ClientLeg, figure: typeof COLLECTED | 'sessions'): string {
  return `${WHAT} | ${client} > plaintext | ${figure}`
}

function measuredOf(samples: ByRow): Record<string, number> {
  const client = [...samples.keys()][0]?.spec.client ?? 'plaintext'
  const [postern, base] = [samplesOf(samples, 'Postern'), samplesOf(samples, 'PgBouncer')]
  const to = keyOf(WHAT, `${client} > plaintext`, COLLECTED, 'PgBouncer')
  return {
    [figureOf(client, COLLECTED)]: summarise(postern, COLLECTED).median,
    [figureOf(client, 'sessions')]: Math.min(...postern.map((each) => each['sessions'] ?? 0)),
    [to]: ratio(postern, base, COLLECTED).median,
  }
}

function tableOf([first, second, last]: Sizes, rows: string[][]): Table {
  const each = [first, second, last].map((size) => `KiB each, ${size.toLocaleString('en')}`)
  return {
    title: 'Memory of idle sessions',
    commands: [],
    notes: [
      'PSS of all processes of a peer, over its PSS before, a session; and what one more costs, from',
      `${first.toLocaleString('en')} to ${last.toLocaleString('en')} of them: as it stands, and when garbage was collected, which signing in`,
      'leaves and others have none of. One worker; the node is a program of ours.',
    ],
    head: [
      ...['peer', 'client leg', 'node leg', 'process, MiB', ...each],
      ...['one more, KiB', 'collected, KiB', 'to PgBouncer'],
    ],
    rows,
  }
}
