/**
 * Table 7: what one sign-in costs where there are many of something. The node is the quiet one, nothing is
 * pooled: all that a sign-in does is in it, and no PostgreSQL beside it.
 */
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { ISSUER } from '../support/tokens.ts'
import type { Peer, PeerSpec } from './peers.ts'
import { openQuiet, type Quiet, TRUSTING } from './quiet_nodes.ts'
import { alternate, type Figures, ratio, type Samples, summarise } from './rounds.ts'
import type { Bench, Result, Section } from './section.ts'
import { newTokens, signInsOf, warmUp } from './signins.ts'
import { APP, type Stage } from './stage.ts'
import { cell, ratioCell } from './table.ts'
import { openVisitors, PARALLEL, type Visitors } from './visitors.ts'

export const WHAT = 'scaling'
const SIZES = [10, 1_000, 10_000]
/** In a quick run. */
const FEW = [10, 100, 1_000]

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
        const { samples, counts } = await samplesOf(bench, quiet, visitors, dimension)
        rows.push(...counts.map((count) => rowOf(dimension, count, counts, samples)))
        for (const { figure } of GIVEN)
          result.measured[nameOf(dimension, figure)] = growth(counts, samples, figure).median
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

async function samplesOf(
  bench: Bench,
  quiet: Quiet,
  visitors: Visitors,
  dimension: Dimension,
): Promise<{ samples: ByCount; counts: number[] }> {
  const wanted = bench.quick ? FEW : SIZES
  const counts = wanted.map((count) =>
    dimension.sessions ? Math.min(count, mostSessions()) : count,
  )
  const peers = new Map<number, Peer>()
  const staying: Visitors[] = []
  try {
    for (const count of counts) {
      bench.say(`${WHAT}: ${count} ${dimension.name}, warm-up`)
      const peer = await quiet.peers.get(specOf(bench.stage, dimension, count))
      peers.set(count, peer)
      if (dimension.sessions) staying.push(await stay(peer, count))
      await warmUp(bench, visitors, peer)
      await warmUp(bench, visitors, peer, bench.stage.key)
    }
    const samples = await alternate(counts, bench.rounds, async (count, round) => {
      bench.say(`${WHAT}: ${count} ${dimension.name}, round ${round + 1}`)
      return await both(bench, visitors, peers.get(count) as Peer)
    })
    return { samples, counts }
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

async function both({ stage, seconds }: Bench, visitors: Visitors, peer: Peer): Promise<Figures> {
  const remembered = await signInsOf(visitors, peer, { seconds })
  const passwords = await newTokens(stage.key, Math.ceil((remembered['rate'] ?? 0) * seconds))
  const fresh = await signInsOf(visitors, peer, { passwords, seconds })
  return { remembered: remembered['cpuUs'] ?? 0, new: fresh['cpuUs'] ?? 0 }
}

const STAY_S = 120

async function stay({ client }: Peer, visits: number): Promise<Visitors> {
  const visitors = openVisitors()
  const passwords = [client['PGPASSWORD'] ?? '']
  const order = { kind: 'stay' as const, client, passwords, parallel: PARALLEL }
  await visitors.carryOut({ ...order, visits, seconds: STAY_S })
  return visitors
}

/** A session takes two descriptors of the peer's; some it needs itself. */
function mostSessions(): number {
  const [, limit] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
  return Math.floor((Number(limit) - 200) / 2)
}

const growth = (counts: number[], samples: ByCount, figure: string) =>
  ratio(samples.get(counts.at(-1) ?? 0) ?? [], samples.get(counts[0] ?? 0) ?? [], figure)

function rowOf({ name }: Dimension, count: number, counts: number[], samples: ByCount): string[] {
  const its = samples.get(count) ?? []
  const fewest = samples.get(counts[0] ?? 0) ?? []
  const cells = GIVEN.flatMap(({ figure }) => [
    cell(summarise(its, figure)),
    its === fewest ? '1' : ratioCell(ratio(its, fewest, figure)),
  ])
  return [name, count.toLocaleString('en'), 'plaintext', ...cells]
}
