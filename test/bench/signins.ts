/**
 * Table 5: sign-ins. A client connects, signs in, asks for one row and leaves; four do so in a closed loop,
 * from two processes of our own (visit.ts), which cost the same whoever they talk to. PgBouncer keeps its
 * sessions to the node as it always does; Postern does with `pool.mode: session`, and doesn't without.
 */
import { goodClaims, makeKey, mint, type SigningKey } from '../support/tokens.ts'
import type { ClientLeg } from './legs.ts'
import type { Peer, PeerSpec } from './peers.ts'
import type { Figures } from './rounds.ts'
import type { Result, Section } from './section.ts'
import { APP, type Stage } from './stage.ts'
import { type Column, compare, type Group, headOf, type Run } from './steady.ts'
import { openVisitors, PARALLEL, type Visitors } from './visitors.ts'
import { costOf } from './work.ts'

export const WHAT = 'sign-ins'

const COLUMNS: Column[] = [
  { figure: 'rate', head: 'sign-ins/s', withRatio: true, limitedBy: 'clientShare' },
  { figure: 'clientShare', head: 'client: of its CPU', isShare: true },
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
      const run: Run = async (peer, effort) => {
        const seconds = bench.seconds * effort
        const key = plan.keys.get(peer.spec)
        const wanted = (rates.get(peer.spec) ?? FIRST_RATE) * seconds * MARGIN
        const passwords = key && (await newTokens(key, Math.ceil(wanted)))
        const figures = await signInsOf(visitors, peer, { passwords, seconds })
        rates.set(peer.spec, figures['rate'] ?? 0)
        return figures
      }
      const { rows, measured } = await compare(bench, WHAT, COLUMNS, run, plan.groups)
      const table = {
        title: 'Sign-ins: connect, sign in, one SELECT, leave',
        commands: [],
        notes: [
          `${PARALLEL} clients in a closed loop, in two Node processes that keep what SCRAM keys they have`,
          'derived: real clients derive them each time, and are slower by that. The node asks for SCRAM.',
          '"Remembered" is one token that comes again and again; else each is new, by ES256 unless told.',
          'CPU a sign-in is what counts: clients, peer and PostgreSQL share two processors, and where the',
          'clients took nearly all of the CPU that was left to them, the rate says what they can do.',
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
  const group = (client: ClientLeg, ...more: PeerSpec[]): Group => [
    { name: 'direct', client, node: undefined },
    postern(client, WARM, 'session'),
    postern(client, WARM_NEW, 'session', stage.key),
    postern(client, 'no pool, remembered', 'none'),
    ...more,
    { name: 'PgBouncer', client, node: 'plaintext' },
  ]
  const more = [
    postern('TLS', 'no pool, new tokens', 'none', stage.key),
    postern('TLS', 'warm, new tokens by RS256', 'session', rsa),
  ]
  return { groups: [group('plaintext'), group('TLS', ...more)], keys }
}

/** New tokens are made before a run, and are not to run out: for so much more than the rate of the run before. */
const MARGIN = 1.6
const FIRST_RATE = 2_500

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
  let done = { visits: 0, seconds: 0, share: 0 }
  const { cpuSeconds } = await costOf(peer, async () => {
    done = await visitors.carryOut({ kind: 'visit', client, passwords, parallel, visits, seconds })
  })
  return {
    rate: done.visits / done.seconds,
    clientShare: done.share,
    ...(cpuSeconds !== undefined && { cpuUs: (cpuSeconds / done.visits) * 1e6 }),
  }
}
