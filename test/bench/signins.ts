/**
 * Table 5: sign-ins. A client connects, signs in, asks for one row and leaves; four do so in a closed loop,
 * from one process of our own (visit.ts), which costs the same whoever it talks to. PgBouncer keeps its
 * sessions to the node as it always does; Postern does with `pool.mode: session`, and doesn't without.
 */
import { goodClaims, makeKey, mint, type SigningKey } from '../support/tokens.ts'
import type { ClientLeg } from './legs.ts'
import type { Peer, PeerSpec } from './peers.ts'
import type { Figures } from './rounds.ts'
import type { Bench, Result, Section } from './section.ts'
import { APP, type Stage } from './stage.ts'
import { type Column, compare, type Group, headOf } from './steady.ts'
import { openVisitors, PARALLEL, type Visitors } from './visitors.ts'
import { costOf } from './work.ts'

export const WHAT = 'sign-ins'

const COLUMNS: Column[] = [
  { figure: 'rate', head: 'sign-ins/s', withRatio: true },
  { figure: 'cpuUs', head: 'CPU, µs a sign-in', withRatio: true },
]

interface Plan {
  groups: Group[]
  /** Where each token is a new one: what signs it. */
  keys: Map<PeerSpec, SigningKey>
}

export const signIns: Section = {
  name: 'sign-ins',
  group: 'sign-in',
  async run(bench) {
    const plan = await makePlan(bench.stage)
    const visitors = openVisitors()
    const rates = new Map<PeerSpec, number>()
    try {
      const run = async (peer: Peer) => {
        const rate = rates.get(peer.spec)
        const key = plan.keys.get(peer.spec)
        const figures =
          rate === undefined
            ? await warmUp(bench, visitors, peer, key)
            : await timed(bench, visitors, peer, key, rate)
        rates.set(peer.spec, figures['rate'] ?? 0)
        return figures
      }
      const { rows, measured } = await compare(bench, WHAT, COLUMNS, run, plan.groups)
      const table = {
        title: 'Sign-ins: connect, sign in, one SELECT, leave',
        commands: [],
        notes: [
          `${PARALLEL} clients in a closed loop, in one Node process that keeps what SCRAM keys it has`,
          'derived: real clients derive them each time, and are slower by that. The node asks for SCRAM.',
          '"Remembered" is one token that comes again and again; else each is new, by ES256 unless told.',
        ],
        head: headOf(COLUMNS),
        rows,
      }
      return { tables: [table], measured } satisfies Result
    } finally {
      await visitors.close()
    }
  },
}

/** Labels of Postern's rows, as targets.ts asks for them. */
export const WARM = 'warm, remembered'
export const WARM_NEW = 'warm, new tokens'

async function makePlan(stage: Stage): Promise<Plan> {
  const rsa = await makeKey('rsa', 'RS256')
  const keys = new Map<PeerSpec, SigningKey>()
  const jwks = { keys: [stage.key.jwk, rsa.jwk] }
  const postern = (client: ClientLeg, label: string, mode: string, key?: SigningKey): PeerSpec => {
    const cluster = { pool: { mode }, 'server.jwt_authentication.jwks': jwks }
    const spec: PeerSpec = {
      name: 'Postern',
      client,
      node: 'plaintext',
      variant: { label, cluster },
    }
    if (key !== undefined) keys.set(spec, key)
    return spec
  }
  const group = (client: ClientLeg): Group => [
    { name: 'direct', client, node: undefined },
    postern(client, WARM, 'session'),
    postern(client, WARM_NEW, 'session', stage.key),
    postern(client, 'warm, new tokens by RS256', 'session', rsa),
    postern(client, 'no pool, remembered', 'none'),
    postern(client, 'no pool, new tokens', 'none', stage.key),
    { name: 'PgBouncer', client, node: 'plaintext' },
  ]
  return { groups: [group('plaintext'), group('TLS')], keys }
}

const MARGIN = 1.6
/** What a compiler of JavaScript wants to see before it does its best. */
const FIRST_VISITS = 10_000
const FIRST_SECONDS = 40

/** Before the first run. @param key - of new tokens */
export async function warmUp(
  { quick, seconds }: Bench,
  visitors: Visitors,
  peer: Peer,
  key?: SigningKey,
): Promise<Figures> {
  if (quick || peer.spec.name !== 'Postern') return await signInsOf(visitors, peer, { seconds })
  const passwords = key && (await newTokens(key, FIRST_VISITS))
  const load = { passwords, visits: FIRST_VISITS, seconds: FIRST_SECONDS }
  return await signInsOf(visitors, peer, load)
}

/** @param rate - of the run before: there are as many new tokens as it could want by that. */
async function timed(
  { seconds }: Bench,
  visitors: Visitors,
  peer: Peer,
  key: SigningKey | undefined,
  rate: number,
): Promise<Figures> {
  const passwords = key && (await newTokens(key, Math.ceil(rate * seconds * MARGIN)))
  return await signInsOf(visitors, peer, { passwords, seconds })
}

/** Of `app`, each with an id of its own. */
export async function newTokens(key: SigningKey, count: number): Promise<string[]> {
  const one = () => mint(key, { claims: { ...goodClaims(APP), jti: crypto.randomUUID() } })
  return await Promise.all(Array.from({ length: count }, one))
}

export interface Load {
  /** Given one after the other; where there are none, the peer's own one each time. */
  passwords?: string[] | undefined
  /** Whichever is reached first. */
  visits?: number
  seconds: number
  parallel?: number
}

export async function signInsOf(visitors: Visitors, peer: Peer, load: Load): Promise<Figures> {
  const { client } = peer
  const { seconds, parallel = PARALLEL } = load
  const passwords = load.passwords ?? [client['PGPASSWORD'] ?? '']
  const visits = load.passwords?.length ?? load.visits ?? Number.POSITIVE_INFINITY
  let done = { visits: 0, seconds: 0 }
  const { cpuSeconds } = await costOf(peer, async () => {
    done = await visitors.carryOut({ kind: 'visit', client, passwords, parallel, visits, seconds })
  })
  return {
    rate: done.visits / done.seconds,
    ...(cpuSeconds !== undefined && { cpuUs: (cpuSeconds / done.visits) * 1e6 }),
  }
}
