/**
 * Table 6: memory of sessions that are signed in and do nothing, against a node that does nothing either.
 * PSS of the peer's process tree, once it stands still. https://docs.kernel.org/filesystems/proc.html
 */
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { treeOf } from './cpu.ts'
import { type ClientLeg, nameOf } from './legs.ts'
import { mostSessions } from './machine.ts'
import type { Peer, PeerName, PeerSpec } from './peers.ts'
import { makeProbe, type Probe } from './probed.ts'
import { openQuiet, TRUSTING } from './quiet_nodes.ts'
import { alternate, type Figures, type Measured, ratio, type Samples, summarise } from './rounds.ts'
import type { Section } from './section.ts'
import type { Stage } from './stage.ts'
import { keyOf } from './steady.ts'
import { cell, ratioCell, type Table } from './table.ts'
import { moveIn, openVisitors, PARALLEL, type Visitors } from './visitors.ts'

export const WHAT = 'idle sessions'
const SIZES = [1_000, 5_000] as const
/** In a quick run. */
const FEW = [100, 500] as const
/** What the first sign-ins load, and the first sessions that work, is the process's own. */
const FIRST_VISITS = 2_000
const FIRST_WORK = 50
const OPEN_S = 120
/** They differ little, and take long. */
const ROUNDS_MOST = 2

export const IDLE = 'idle'
export const WORKED = 'worked once'
/** What one more session costs, garbage collected. */
export type Kind = typeof IDLE | typeof WORKED

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
    const sizes = bench.quick ? FEW : SIZES
    if (mostSessions() < sizes[1]) {
      bench.say(`${WHAT}: not measured, the limit of open files is too low`)
      return { tables: [], measured: {} }
    }
    const quiet = await openQuiet(bench.stage)
    const visitors = openVisitors()
    const cells: string[][] = []
    const measured: Record<string, Measured> = {}
    try {
      for (const [client, names] of GROUPS) {
        const rows = names.map((name) => rowOf(bench.stage, name, client))
        const samples = await alternate(
          rows,
          Math.min(bench.rounds, ROUNDS_MOST),
          async (row, round) => {
            bench.say(`${WHAT}: ${row.spec.name} (${nameOf(row.spec)}), round ${round + 1}`)
            const peer = await quiet.peers.get(row.spec)
            try {
              return await memoryOf(visitors, peer, row.probe, sizes)
            } finally {
              await visitors.carryOut({ kind: 'leave' })
              await quiet.peers.end(peer)
            }
          },
        )
        cells.push(...rows.flatMap((row) => cellsOf(row, samples, sizes)))
        // A few say nothing.
        if (!bench.quick) Object.assign(measured, measuredOf(client, samples))
      }
    } finally {
      await visitors.close()
      await quiet.close()
    }
    return { tables: [tableOf(sizes, cells)], measured }
  },
}

type Sizes = readonly [number, number]

async function memoryOf(
  visitors: Visitors,
  { client, pid = 0 }: Peer,
  probe: Probe | undefined,
  [first, last]: Sizes,
): Promise<Figures> {
  const passwords = [client['PGPASSWORD'] ?? '']
  const order = { client, passwords, parallel: PARALLEL, seconds: OPEN_S }
  const work = { kind: 'work', parallel: PARALLEL } as const
  const collected = async () => {
    await probe?.collect()
    return await quietPss(pid)
  }
  await visitors.carryOut({ ...order, kind: 'visit', visits: FIRST_VISITS })
  await moveIn(visitors, { ...order, visits: FIRST_WORK }, FIRST_WORK)
  await visitors.carryOut(work)
  await visitors.carryOut({ kind: 'leave' })
  const base = await collected()
  await moveIn(visitors, { ...order, visits: first }, first)
  const few = await collected()
  await moveIn(visitors, { ...order, visits: last - first }, last)
  const standing = await pssOf(pid)
  const many = await collected()
  const worked = await visitors.carryOut(work)
  if (worked.visits !== last) throw new Error(`${worked.visits} of ${last} sessions worked`)
  const after = await collected()
  const { visits } = await visitors.carryOut({ kind: 'count' })
  if (visits !== last) throw new Error(`${visits} of ${last} sessions were left`)
  const oneMore = (many - few) / (last - first)
  return {
    base: base / 1024,
    few: (few - base) / first,
    many: (many - base) / last,
    standing: (standing - base) / last,
    [IDLE]: oneMore,
    [WORKED]: oneMore + (after - many) / last,
    sessions: visits,
  }
}

const SAMPLE_MS = 250
const STILL_SAMPLES = 3
const STILL = 0.002
const SAMPLES_MOST = 20

/** KiB, once it doesn't change any more; at the latest after five seconds. */
export async function quietPss(pid: number): Promise<number> {
  const seen = [await pssOf(pid)]
  while (seen.length < SAMPLES_MOST) {
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

/** Two rows: of sessions that never did anything, and of those that worked once. */
function cellsOf(row: Row, samples: ByRow, [first, last]: Sizes): string[][] {
  const { spec } = row
  const its = samples.get(row) ?? []
  const base = samplesOf(samples, 'PgBouncer')
  const names = [spec.name, spec.client, spec.node ?? '']
  const compared = (kind: Kind) => (its === base ? '1' : ratioCell(ratio(its, base, kind)))
  const own = ['base', 'few', 'many', 'standing'].map((figure) => cell(summarise(its, figure)))
  return [
    [...names, `idle, ${first} to ${last}`, ...own, cell(summarise(its, IDLE)), compared(IDLE)],
    [
      ...[...names, 'worked once, then idle', ...own.map(() => '')],
      ...[cell(summarise(its, WORKED)), compared(WORKED)],
    ],
  ]
}

function samplesOf(samples: ByRow, name: PeerName): Samples {
  for (const [{ spec }, its] of samples) if (spec.name === name) return its
  return []
}

/** For targets.ts. */
export function figureOf(client: ClientLeg, figure: Kind | 'sessions'): string {
  return `${WHAT} | ${client} > plaintext | ${figure}`
}

function measuredOf(client: ClientLeg, samples: ByRow): Record<string, Measured> {
  const [postern, base] = [samplesOf(samples, 'Postern'), samplesOf(samples, 'PgBouncer')]
  return {
    [figureOf(client, IDLE)]: summarise(postern, IDLE),
    [figureOf(client, 'sessions')]: summarise(postern, 'sessions'),
    [keyOf(WHAT, `${client} > plaintext`, IDLE, 'PgBouncer')]: ratio(postern, base, IDLE),
  }
}

function tableOf([first, last]: Sizes, rows: string[][]): Table {
  const counts = [first, last].map((size) => size.toLocaleString('en'))
  return {
    title: 'Memory of idle sessions',
    commands: [],
    notes: [
      'PSS of all processes of a peer, in KiB a session over its PSS before; and what one session more costs,',
      `from ${counts.join(' to ')} of them. Garbage is collected first, which signing in leaves and others have`,
      'none of, but for "as they stand". Who worked once asked for one row of 300 KB, and then for a small one.',
      `One worker; the node is a program of ours. At most ${ROUNDS_MOST} rounds.`,
    ],
    head: [
      ...['peer', 'client leg', 'node leg', 'sessions', 'process, MiB'],
      ...[...counts.map((count) => `each of ${count}`), `each of ${counts[1]}, as they stand`],
      ...['one more', 'to PgBouncer'],
    ],
    rows,
  }
}
