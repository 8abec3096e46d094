/**
 * What the steady-state tables share: groups of rows that are compared with each other, run in alternating
 * rounds, and shown in one table. Ratios are to the group's PgBouncer as it comes.
 */
import { type ClientLeg, type NodeLeg, nameOf } from './legs.ts'
import { labelOf, type Peer, type PeerName, type PeerSpec } from './peers.ts'
import { alternate, type Figures, type Measured, ratio, type Samples, summarise } from './rounds.ts'
import type { Bench } from './section.ts'
import { cell, ratioCell } from './table.ts'

export type Group = PeerSpec[]

/** Those that every steady workload runs on. PgBouncer has no direct TLS: beside it is its TLS. */
export const GROUPS: Group[] = [
  rows('plaintext', 'plaintext', ['direct', 'Postern', 'PgBouncer', 'PgBouncer 64K', 'HAProxy']),
  [
    { name: 'direct', client: 'unix', node: undefined },
    ...rows('plaintext', 'unix', ['Postern', 'PgBouncer', 'PgBouncer 64K']),
  ],
  rows('TLS', 'plaintext', ['direct', 'Postern', 'PgBouncer', 'PgBouncer 64K']),
  rows('TLS', 'unix', ['Postern', 'PgBouncer']),
  [
    ...rows('TLS', 'TLS', ['Postern', 'PgBouncer']),
    { name: 'Postern', client: 'TLS', node: 'direct TLS' },
  ],
]

function rows(client: ClientLeg, node: NodeLeg, names: PeerName[]): Group {
  return names.map((name) => ({ name, client, node: name === 'direct' ? undefined : node }))
}

/** Those that have something to say in a section. */
export function without(groups: Group[], ...names: PeerName[]): Group[] {
  return groups.map((group) => group.filter(({ name }) => !names.includes(name)))
}

/** One figure of a table: its column, what it is of, and how it is written. */
export interface Column {
  figure: string
  head: string
  /** Behind it, the ratio to PgBouncer's. */
  withRatio?: boolean
  /** The figure that says, of 0 to 1, how much of its CPU the client took: it may be what limits this one. */
  limitedBy?: string
  /** Of 0 to 1, and written in per cent. */
  isShare?: boolean
}

export interface Compared {
  rows: string[][]
  /** `what | legs | figure` -> Postern's ratios to PgBouncer's. */
  measured: Record<string, Measured>
  samples: Map<PeerSpec, Samples>
}

export const headOf = (columns: Column[]) => [
  'peer',
  'client leg',
  'node leg',
  ...columns.flatMap(({ head, withRatio }) => [head, ...(withRatio ? ['to PgBouncer'] : [])]),
]

/** One run. @param effort of 0 to 1: how much of it to do. */
export type Run = (peer: Peer, effort: number) => Promise<Figures>

/** Before each workload: pools of sessions want it. */
const WARM_UP = 0.25
/**
 * The first time that a peer is used, for whatever its program is written in: a gate runs for days, and its
 * JavaScript is compiled bit by bit, as 30 000 transactions or so go by.
 */
export const FIRST_WARM_UP_S = 4
/** A share of the client's CPU beyond which it is the client that is measured. */
const CAPPED = 0.85

/** Runs each group's rounds and makes its rows. */
export async function compare(
  bench: Bench,
  what: string,
  columns: Column[],
  run: Run,
  groups: Group[] = GROUPS,
): Promise<Compared> {
  const compared: Compared = { rows: [], measured: {}, samples: new Map() }
  for (const group of groups) {
    const peers = new Map<PeerSpec, Peer>()
    for (const spec of group) {
      bench.say(`${what}: ${labelOf(spec)} (${nameOf(spec)}), warm-up`)
      const peer = await bench.peers.get(spec)
      peers.set(spec, peer)
      await warmUp(bench, peer, run)
    }
    const samples = await alternate(group, bench.rounds, async (spec, round) => {
      bench.say(`${what}: ${labelOf(spec)} (${nameOf(spec)}), round ${round + 1}`)
      const peer = peers.get(spec)
      if (peer === undefined) throw new Error('every peer was started')
      return await run(peer, 1)
    })
    for (const [spec, its] of samples) compared.samples.set(spec, its)
    compared.rows.push(...group.map((spec) => rowOf(spec, group, samples, columns)))
    Object.assign(compared.measured, ratiosOf(what, group, samples, columns))
  }
  return compared
}

/** Once a peer, of as long as a gate wants; then what each workload wants. */
export async function warmUp({ warm, quick }: Bench, peer: Peer, run: Run): Promise<void> {
  const seconds = quick || warm.has(peer) || peer.pid === undefined ? 0 : FIRST_WARM_UP_S
  const start = performance.now()
  do await run(peer, seconds === 0 ? WARM_UP : 1)
  while (performance.now() - start < seconds * 1000)
  warm.add(peer)
}

function rowOf(
  spec: PeerSpec,
  group: Group,
  samples: Map<PeerSpec, Samples>,
  columns: Column[],
): string[] {
  const its = samples.get(spec) ?? []
  const base = baseOf(group, samples)
  const cells = columns.flatMap(({ figure, withRatio, isShare }) => {
    if (its.some((sample) => sample[figure] === undefined)) return withRatio ? ['', ''] : ['']
    const summary = summarise(its, figure)
    const own = isShare ? `${Math.round(summary.median * 100)} %` : cell(summary)
    const compared = its === base ? '1' : comparedTo(its, base, figure)
    return withRatio ? [own, compared] : [own]
  })
  return [labelOf(spec), spec.client, spec.node ?? '', ...cells]
}

/** Empty where there is nothing to compare with. */
function comparedTo(its: Samples, base: Samples | undefined, figure: string): string {
  return base === undefined ? '' : ratioCell(ratio(its, base, figure))
}

function baseOf(group: Group, samples: Map<PeerSpec, Samples>): Samples | undefined {
  const base = group.find(({ name }) => name === 'PgBouncer')
  return base && samples.get(base)
}

/** For the targets: Postern to PgBouncer, to PgBouncer with 64 KiB, and to direct. */
function ratiosOf(
  what: string,
  group: Group,
  samples: Map<PeerSpec, Samples>,
  columns: Column[],
): Record<string, Measured> {
  const found: [string, Measured][] = []
  for (const spec of group.filter(({ name }) => name === 'Postern'))
    for (const other of group.filter(({ name }) => name !== 'Postern'))
      for (const { figure, limitedBy } of columns) {
        const [of, by] = [samples.get(spec) ?? [], samples.get(other) ?? []]
        if ([...of, ...by].some((sample) => sample[figure] === undefined)) continue
        const which = spec.variant === undefined ? what : `${what}, ${spec.variant.label}`
        const name = keyOf(which, nameOf(spec), figure, other.name)
        const capped = isCapped(of, limitedBy) || isCapped(by, limitedBy)
        found.push([name, { ...ratio(of, by, figure), capped }])
      }
  return Object.fromEntries(found)
}

function isCapped(samples: Samples, limitedBy: string | undefined): boolean {
  return limitedBy !== undefined && summarise(samples, limitedBy).median > CAPPED
}

/** The name of a ratio of Postern's, as targets.ts asks for it. */
export function keyOf(what: string, legs: string, figure: string, to: PeerName): string {
  return `${what} | ${legs} | ${figure} | to ${to}`
}
