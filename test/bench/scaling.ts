/**
 * Table 7: what one sign-in costs where there are many of something. The node is the quiet one, nothing is
 * pooled: all that a sign-in does is in it, and no PostgreSQL beside it.
 */
import { generateKeyPairSync } from 'node:crypto'
import { ISSUER } from '../support/tokens.ts'
import { mostSessions } from './machine.ts'
import type { Peer, PeerSpec } from './peers.ts'
import { openQuiet, type Quiet, TRUSTING } from './quiet_nodes.ts'
import { alternate, type Figures, ratio, type Samples, summarise } from './rounds.ts'
import type { Bench, Result, Section } from './section.ts'
import { newTokens, signInsOf } from './signins.ts'
import { APP, type Stage } from './stage.ts'
import { warmUp } from './steady.ts'
import { cell, ratioCell } from './table.ts'
import { moveIn, openVisitors, PARALLEL, type Visitors } from './visitors.ts'

export const WHAT = 'scaling'
const SIZES = [10, 1_000, 10_000]
/** In a quick run. */
const FEW = [10, 100, 1_000]
/** Live sessions where a limit of 20 000 open files allows no 10 000. */
const FEWER_SESSIONS = 9_000
/** Of a run's time: what is measured is CPU alone. */
const EFFORT = 0.7

/** What there may be many of. */
interface Dimension {
  name: string
  /** Of Postern's cluster. */
  settings(stage: Stage, count: number): Record<string, unknown>
  /** Of sessions, which come from a process of their own. */
  sessions?: true
}

const JWT = 'server.jwt_authentication'

export const DIMENSIONS: Dimension[] = [
  { name: 'live sessions', settings: () => ({}), sessions: true },
  {
    name: 'issuers',
    settings: (_stage, count) => ({ [`${JWT}.issuers.configuration`]: issuers(count) }),
  },
  {
    name: 'keys in a JWKS',
    settings: ({ key }, count) => ({ [`${JWT}.jwks`]: { keys: [...keys(count - 1), key.jwk] } }),
  },
  {
    name: 'identity-map lines',
    settings: (_stage, count) => ({ 'server.identity_map.configuration': identityMap(count) }),
  },
]

/** Each with the figure's name and the column's. */
export const GIVEN = [
  { figure: 'remembered', head: 'CPU, µs: remembered' },
  { figure: 'new', head: 'CPU, µs: new token' },
]

function issuers(count: number): string[] {
  const others = Array.from({ length: count - 1 }, (_, at) => `https://issuer-${at}.test`)
  return [...others, ISSUER]
}

function keys(count: number): unknown[] {
  return Array.from({ length: count }, (_, at) => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    return { ...publicKey.export({ format: 'jwk' }), kid: `other-${at}`, alg: 'ES256', use: 'sig' }
  })
}

/** One half are names, the other patterns; `app` comes last. */
function identityMap(count: number): string {
  const lines = Array.from({ length: count - 1 }, (_, at) =>
    at % 2 === 0
      ? `${ISSUER} user-${at}@example.com user_${at}`
      : `${ISSUER} /^(.*)@team-${at}\\.example\\.com$ \\1`,
  )
  return [...lines, `${ISSUER} /^(${APP})$ \\1`].join('\n')
}

export const scaling: Section = {
  name: 'scaling',
  group: 'scaling',
  async run(bench) {
    const quiet = await openQuiet(bench.stage)
    const visitors = openVisitors()
    const result: Result = { tables: [], measured: {} }
    const rows: string[][] = []
    try {
      for (const dimension of DIMENSIONS) {
        const counts = countsOf(dimension, bench.quick ? FEW : SIZES)
        if (counts === undefined) {
          bench.say(`${WHAT}: ${dimension.name}: not measured, the limit of open files is too low`)
          continue
        }
        const samples = await samplesOf(bench, quiet, visitors, dimension, counts)
        rows.push(...counts.map((count) => rowOf(dimension, count, counts, samples)))
        // Fewer say nothing of the target.
        for (const { figure } of bench.quick ? [] : GIVEN)
          Object.assign(result.measured, measuredOf(dimension, figure, counts, samples))
      }
    } finally {
      await visitors.close()
      await quiet.close()
    }
    result.tables.push({
      title: 'What a sign-in costs where there is much',
      commands: [],
      notes: [
        `${PARALLEL} clients in a closed loop, plaintext on both legs, no pool; the node is a program of`,
        'ours. The ratio is to the row with the fewest.',
      ],
      head: [
        ...['much of', 'how many', 'client leg'],
        ...GIVEN.flatMap(({ head }) => [head, 'to the fewest']),
      ],
      rows,
    })
    return result
  },
}

/** For targets.ts. */
export function nameOf({ name }: Pick<Dimension, 'name'>, figure: string): string {
  return `${WHAT} | ${name} | ${figure}`
}

type ByCount = Map<number, Samples>

/** How many there are, which may be fewer than they should; undefined where that says nothing. */
function countsOf({ sessions }: Dimension, wanted: number[]): number[] | undefined {
  const most = sessions ? mostSessions() : Number.POSITIVE_INFINITY
  const counts = wanted.map((count) => (count > most ? FEWER_SESSIONS : count))
  return counts.every((count) => count <= most) ? counts : undefined
}

function measuredOf(
  dimension: Dimension,
  figure: string,
  counts: number[],
  samples: ByCount,
): Result['measured'] {
  const most = counts.at(-1) ?? 0
  const isAll = SIZES.includes(most)
  const note = `${most.toLocaleString('en')}, which is what the limit of open files allows`
  const grown = ratio(samples.get(most) ?? [], samples.get(counts[0] ?? 0) ?? [], figure)
  return { [nameOf(dimension, figure)]: { ...grown, ...(!isAll && { note }) } }
}

async function samplesOf(
  bench: Bench,
  quiet: Quiet,
  visitors: Visitors,
  dimension: Dimension,
  counts: number[],
): Promise<ByCount> {
  const peers = new Map<number, Peer>()
  const staying: Visitors[] = []
  try {
    for (const count of counts) {
      bench.say(`${WHAT}: ${count} ${dimension.name}, warm-up`)
      const peer = await quiet.peers.get(specOf(bench.stage, dimension, count))
      peers.set(count, peer)
      if (dimension.sessions) staying.push(await stay(peer, count))
      await warmUp(bench, peer, (_, effort) => both(bench, visitors, peer, effort))
    }
    return await alternate(counts, bench.rounds, async (count, round) => {
      bench.say(`${WHAT}: ${count} ${dimension.name}, round ${round + 1}`)
      const peer = peers.get(count)
      if (peer === undefined) throw new Error('every peer was started')
      return await both(bench, visitors, peer, 1)
    })
  } finally {
    for (const each of staying) await each.close()
    for (const peer of peers.values()) await quiet.peers.end(peer)
  }
}

function specOf(stage: Stage, dimension: Dimension, count: number): PeerSpec {
  const cluster = { ...TRUSTING, ...dimension.settings(stage, count) }
  const postern = { limits: { connections: 50_000 } }
  const variant = { label: `${count} ${dimension.name}`, cluster, postern }
  return { name: 'Postern', client: 'plaintext', node: 'plaintext', variant }
}

async function both(
  bench: Bench,
  visitors: Visitors,
  peer: Peer,
  effort: number,
): Promise<Figures> {
  const { stage } = bench
  const seconds = bench.seconds * effort * EFFORT
  const remembered = await signInsOf(visitors, peer, { seconds })
  const passwords = await newTokens(stage.key, Math.ceil((remembered['rate'] ?? 0) * seconds))
  const fresh = await signInsOf(visitors, peer, { passwords, seconds })
  return { remembered: remembered['cpuUs'] ?? 0, new: fresh['cpuUs'] ?? 0 }
}

const STAY_S = 120

async function stay({ client }: Peer, visits: number): Promise<Visitors> {
  const visitors = openVisitors()
  const passwords = [client['PGPASSWORD'] ?? '']
  const order = { client, passwords, parallel: PARALLEL, seconds: STAY_S }
  try {
    await moveIn(visitors, { ...order, visits }, visits)
    return visitors
  } catch (thrown) {
    await visitors.close()
    throw thrown
  }
}

function rowOf({ name }: Dimension, count: number, counts: number[], samples: ByCount): string[] {
  const its = samples.get(count) ?? []
  const fewest = samples.get(counts[0] ?? 0) ?? []
  const cells = GIVEN.flatMap(({ figure }) => [
    cell(summarise(its, figure)),
    its === fewest ? '1' : ratioCell(ratio(its, fewest, figure)),
  ])
  const what = count === FEWER_SESSIONS ? `${name}, which is what open files allow` : name
  return [what, count.toLocaleString('en'), 'plaintext', ...cells]
}
