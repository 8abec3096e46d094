/**
 * Table 9: what is left of people who came and went. An hour's worth of sign-ins, compressed into minutes;
 * ten times the gate is left alone, has its garbage collected, and is weighed. The slope of the line through
 * the ten is what a thousand more leave behind.
 */

import { quietPss } from './memory.ts'
import type { Peer, PeerSpec } from './peers.ts'
import { makeProbe, type Probe } from './probed.ts'
import { openQuiet, TRUSTING } from './quiet_nodes.ts'
import type { Summary } from './rounds.ts'
import type { Bench, Section } from './section.ts'
import { newTokens } from './signins.ts'
import { digits } from './table.ts'
import { openVisitors, PARALLEL, type Visitors } from './visitors.ts'

export const WHAT = 'flat'
/** Twelve a second, for an hour. */
const LOGINS = 44_000
/** In a quick run. */
const FEW = 1_200
/** First they fill what remembers tokens, 10 000 of them, and code is still being compiled up to 20 000. */
const FILLING = 0.46
const SAMPLES = 10
const BATCH_S = 300

export type PoolMode = 'none' | 'session'

/** For targets.ts: KiB that a thousand sign-ins leave. */
export function nameOf(mode: PoolMode, of: 'heap' | 'pss'): string {
  return `${WHAT} | ${mode} | ${of}`
}

export interface Weight {
  logins: number
  /** What JavaScript has in use: its heap, and its buffers outside of it. */
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
          'TLS at the front, each sign-in with a new token. KiB that JavaScript has in use (its heap, and buffers',
          'outside of it) and of PSS, after garbage was collected. The slope is by least squares, KiB a thousand',
          'sign-ins, with twice its standard error: the noise of the ten that it goes through.',
        ],
        head: [
          ...['pool.mode', 'client leg', 'of'],
          ...(all[0]?.[1] ?? []).map(({ logins }) => logins.toLocaleString('en')),
          'slope',
        ],
        rows: all.flatMap(([mode, weights]) => [
          rowOf(mode, 'heap and buffers', weights, 'heapKib'),
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
  const logIn = async (share: number) => {
    const visits = Math.round(all * share)
    const passwords = await newTokens(stage.key, visits)
    const order = { kind: 'visit' as const, client: peer.client, parallel: PARALLEL }
    const done = await visitors.carryOut({ ...order, passwords, visits, seconds: BATCH_S })
    if (done.visits !== visits) throw new Error(`${done.visits} of ${visits} signed in`)
    logins += visits
  }
  await logIn(FILLING)
  const weights: Weight[] = []
  while (weights.length < SAMPLES) {
    await logIn((1 - FILLING) / SAMPLES)
    const heapKib = (await probe.collect()) / 1024
    weights.push({ logins, heapKib, pssKib: await quietPss(peer.pid ?? 0) })
    say(`${WHAT}: pool.mode ${mode}, ${logins} sign-ins, ${Math.round(heapKib)} KiB of heap`)
  }
  return weights
}

/**
 * Of the line through them by least squares: KiB a thousand sign-ins, give or take two standard errors.
 * https://www.itl.nist.gov/div898/handbook/pmd/section4/pmd431.htm
 */
export function slope(weights: Weight[], of: 'heapKib' | 'pssKib'): Summary {
  const mean = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0) / numbers.length
  const thousands = weights.map(({ logins }) => logins / 1000)
  const [x, y] = [mean(thousands), mean(weights.map((weight) => weight[of]))]
  const points = weights.map((weight, at) => ({ x: (thousands[at] ?? 0) - x, y: weight[of] - y }))
  const width = points.reduce((sum, point) => sum + point.x ** 2, 0)
  const median = points.reduce((sum, point) => sum + point.x * point.y, 0) / width
  const left = points.reduce((sum, point) => sum + (point.y - median * point.x) ** 2, 0)
  const noise = 2 * Math.sqrt(left / (points.length - 2) / width)
  const [least, most] = [median - noise, median + noise]
  return { median, spread: (most - least) / Math.abs(median), least, most }
}

function rowOf(
  mode: PoolMode,
  of: string,
  weights: Weight[],
  which: 'heapKib' | 'pssKib',
): string[] {
  const cells = weights.map((weight) => digits(weight[which]))
  const { median, most } = slope(weights, which)
  return [mode, 'TLS', of, ...cells, `${median.toFixed(1)} ± ${(most - median).toFixed(1)}`]
}
