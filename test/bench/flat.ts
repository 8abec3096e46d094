/**
 * Table 9: what is left of people who came and went. An hour's worth of sign-ins, compressed into minutes;
 * ten times the gate is left alone, has its garbage collected, and is weighed. The slope of the line through
 * the ten is what a thousand more leave behind.
 */

import { quietPss } from './memory.ts'
import type { Peer, PeerSpec } from './peers.ts'
import { makeProbe, type Probe } from './probed.ts'
import { openQuiet, TRUSTING } from './quiet_nodes.ts'
import type { Bench, Section } from './section.ts'
import { newTokens } from './signins.ts'
import { digits } from './table.ts'
import { openVisitors, PARALLEL, type Visitors } from './visitors.ts'

export const WHAT = 'flat'
/** Seventeen a second, for an hour. */
const LOGINS = 60_000
/** In a quick run. */
const FEW = 1_200
/** First they fill what remembers tokens: 10 000 of them. */
const FILLING = 0.3
const SAMPLES = 10
const BATCH_S = 300

export type PoolMode = 'none' | 'session'

/** For targets.ts: KiB that a thousand sign-ins leave. */
export function nameOf(mode: PoolMode, of: 'heap' | 'pss'): string {
  return `${WHAT} | ${mode} | ${of}`
}

export interface Weight {
  logins: number
  heapKib: number
  pssKib: number
}

export const flat: Section = {
  name: 'flat',
  group: 'memory',
  async run(bench) {
    const quiet = await openQuiet(bench.stage)
    const visitors = openVisitors()
    try {
      // Without a pool a real node would have to open as many sessions; with one it has to be real.
      const weighed = {
        none: await weigh(bench, quiet.peers.get, visitors, 'none'),
        session: await weigh(bench, bench.peers.get, visitors, 'session'),
      }
      const all = Object.entries(weighed) as [PoolMode, Weight[]][]
      const table = {
        title: 'Memory after many have come and gone',
        commands: [],
        notes: [
          'TLS at the front, each sign-in with a new token. KiB of the JavaScript heap in use and of PSS, after',
          'garbage was collected; the slope is by least squares, a thousand sign-ins.',
        ],
        head: [
          ...['pool.mode', 'client leg', 'of'],
          ...(all[0]?.[1] ?? []).map(({ logins }) => logins.toLocaleString('en')),
          'slope',
        ],
        rows: all.flatMap(([mode, weights]) => [
          rowOf(mode, 'heap', weights, 'heapKib'),
          rowOf(mode, 'PSS', weights, 'pssKib'),
        ]),
      }
      const measured = Object.fromEntries(
        all.flatMap(([mode, weights]) => [
          [nameOf(mode, 'heap'), slope(weights, 'heapKib')],
          [nameOf(mode, 'pss'), slope(weights, 'pssKib')],
        ]),
      )
      // A few only fill what remembers: their slope says nothing.
      return { tables: [table], measured: bench.quick ? {} : measured }
    } finally {
      await visitors.close()
      await quiet.close()
    }
  },
}

async function weigh(
  { stage, quick, say }: Bench,
  get: (spec: PeerSpec) => Promise<Peer>,
  visitors: Visitors,
  mode: PoolMode,
): Promise<Weight[]> {
  const probe: Probe = makeProbe(stage, `flat-${mode}`)
  const cluster = { ...(mode === 'none' ? TRUSTING : {}), pool: { mode } }
  const variant = { label: WHAT, cluster, node: probe.options }
  const peer = await get({ name: 'Postern', client: 'TLS', node: 'plaintext', variant })
  const all = quick ? FEW : LOGINS
  let logins = 0
  const logIn = async (visits: number) => {
    const passwords = await newTokens(stage.key, visits)
    const order = { kind: 'visit' as const, client: peer.client, parallel: PARALLEL }
    logins += (await visitors.carryOut({ ...order, passwords, visits, seconds: BATCH_S })).visits
  }
  await logIn(all * FILLING)
  const weights: Weight[] = []
  while (weights.length < SAMPLES) {
    await logIn((all * (1 - FILLING)) / SAMPLES)
    const heapKib = (await probe.collect()) / 1024
    weights.push({ logins, heapKib, pssKib: await quietPss(peer.pid ?? 0) })
    say(`${WHAT}: pool.mode ${mode}, ${logins} sign-ins, ${Math.round(heapKib)} KiB of heap`)
  }
  return weights
}

/** Of the line through them by least squares: KiB a thousand sign-ins. */
export function slope(weights: Weight[], of: 'heapKib' | 'pssKib'): number {
  const mean = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0) / numbers.length
  const x = mean(weights.map(({ logins }) => logins))
  const y = mean(weights.map((weight) => weight[of]))
  const above = weights.reduce((sum, each) => sum + (each.logins - x) * (each[of] - y), 0)
  return (above / weights.reduce((sum, { logins }) => sum + (logins - x) ** 2, 0)) * 1000
}

function rowOf(
  mode: PoolMode,
  of: string,
  weights: Weight[],
  which: 'heapKib' | 'pssKib',
): string[] {
  const cells = weights.map((weight) => digits(weight[which]))
  return [mode, 'TLS', of, ...cells, slope(weights, which).toFixed(1)]
}
