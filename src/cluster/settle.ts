/**
 * What a login brings about on its node, before its session: where the role stands is looked at, and
 * what is missing is changed until nothing is.
 * Rule: what nobody wants any more is taken back first; then what remains is judged; only then is
 * anything granted. Each change is told before it is made. No lock is taken, since any user could hold
 * it: what another gate does meanwhile shows as a refusal, or in the next look.
 */
import { LRUCache } from 'lru-cache'
import { Failure, NODE_SAYS } from '../failure.ts'
import type { Step } from '../telemetry/events.ts'
import type { Management } from './management.ts'
import {
  type MembershipChange,
  type MembershipPlan,
  type MembershipRules,
  nextStep,
  planMemberships,
  statementOf,
} from './memberships.ts'
import { makeRole, type ProvisioningRules, whyNotMade } from './provisioning.ts'
import { wordsOf } from './refusals.ts'
import { NodeRefused } from './sign_in.ts'
import { readStanding } from './standing.ts'
import { openNamedTurns } from './turns.ts'
import type { Ask } from './visit.ts'

export interface SettleRules extends MembershipRules, ProvisioningRules {}

export interface Wish {
  role: string
  /** What its groups stand for; undefined where nobody asks for groups: memberships stay as they are. */
  wanted: readonly string[] | undefined
  /** Where it comes from, if the role is made where it is not there. */
  source: string | undefined
}

/** What it throws leaves everything as it is. */
export interface Witness {
  /** Told what comes next. */
  at(step: Step): void
  creating(role: string, source: string): Promise<void>
  changing(change: MembershipChange): Promise<void>
}

export type Settled = Pick<MembershipPlan, 'roles' | 'left' | 'powers'>

/**
 * One after the other for each role. What was settled is good for half a minute, for the same wish.
 * @param signal - the login's: once it is over, nothing is asked or changed any more.
 * @returns with `powers`, nothing was granted, and the role is not to be had
 * @throws the signal's reason; Failure `node_signin_failed`, `provisioning_failed`, `role_sync_failed`
 */
export type Settle = (wish: Wish, witness: Witness, signal: AbortSignal) => Promise<Settled>

const ROLES_MAX = 1_000
const GOOD_FOR_MS = 30_000
/** Other gates may change the same role's memberships at the same time. */
const TRIES_MAX = 5

export function openSettling(
  management: Management,
  rules: SettleRules,
  now: () => number,
): Settle {
  const known = new LRUCache<string, Known>({
    max: ROLES_MAX,
  })
  const inTurn = openNamedTurns()

  async function settle(wish: Wish, witness: Witness, signal: AbortSignal): Promise<Settled> {
    const { role, wanted } = wish
    // No groups is another wish than none that is known: the one takes memberships back.
    const names = wanted?.toSorted().join('\0')
    const remembered = known.get(role)
    if (remembered !== undefined && remembered.wish === names && now() < remembered.untilMs)
      return remembered.settled
    known.delete(role)
    witness.at('powers')
    const first = await management
      .look(signal, (ask) => plan(ask, wish, rules))
      .catch((thrown: unknown) => {
        throw unseen(thrown)
      })
    const last = isSettled(first, wish)
      ? first
      : await carryOut(management, { wish, rules, first, witness, signal })
    if (last.there && last.powers.length === 0)
      known.set(role, { untilMs: now() + GOOD_FOR_MS, wish: names, settled: last })
    return last
  }

  return (wish, witness, signal) =>
    inTurn(wish.role, signal, () => settle(wish, witness, signal)).catch((thrown: unknown) => {
      throw signal.aborted ? signal.reason : thrown
    })
}

interface Known {
  untilMs: number
  /** The groups that were wanted, in one text; undefined where memberships stay as they are. */
  wish: string | undefined
  settled: Settled
}

interface Plan extends MembershipPlan {
  there: boolean
}

async function plan(ask: Ask, { role, wanted }: Wish, rules: SettleRules): Promise<Plan> {
  const standing = await readStanding(ask, { ...rules, role, others: wanted ?? [] })
  const { there } = standing
  if (!there)
    return { there, change: { granted: [], revoked: [] }, roles: [], left: [], powers: [] }
  return { there, ...planMemberships(standing, { role, wanted }, rules) }
}

function isSettled({ there, change }: Plan, { source }: Wish): boolean {
  return nextStep(change) === undefined && (there || source === undefined)
}

interface ToDo {
  wish: Wish
  rules: SettleRules
  first: Plan
  witness: Witness
  signal: AbortSignal
}

async function carryOut(management: Management, todo: ToDo): Promise<Plan> {
  const { wish, rules, first, witness, signal } = todo
  let doing: Step = 'groups'
  const at = (step: Step) => {
    doing = step
    witness.at(step)
  }
  at(first.there ? 'groups' : 'provisioning')
  const never = first.there ? undefined : whyNotMade(wish.role, rules)
  if (never !== undefined) throw notMade(never, wish.role)
  try {
    return await management.change(signal, async (ask) => {
      const begun = first.there ? first : await make(ask, wish, rules, witness)
      at('groups')
      return await follow(ask, { wish, rules, first: begun, witness, signal })
    })
  } catch (thrown) {
    throw FAILED_AT[doing](thrown, wish.role)
  }
}

/** A role that is not there is made; another gate may be quicker. */
async function make(ask: Ask, wish: Wish, rules: SettleRules, witness: Witness): Promise<Plan> {
  const { role, source = '' } = wish
  await witness.creating(role, source)
  const refused = await makeRole(ask, { role, source }, rules.dialect).catch((thrown: unknown) => {
    if (thrown instanceof NodeRefused) return thrown
    throw thrown
  })
  const made = await plan(ask, wish, rules)
  if (refused !== undefined && !made.there) throw refused
  return made
}

/** Step by step, until there is nothing left to do. */
async function follow(ask: Ask, { wish, rules, first, witness }: ToDo): Promise<Plan> {
  let current = first
  let told = ''
  let refused: NodeRefused | undefined
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const step = nextStep(current.change)
    if (step === undefined) return current
    if (told !== JSON.stringify(step)) await witness.changing(step)
    told = JSON.stringify(step)
    try {
      await ask(statementOf(step, wish.role, rules.dialect))
    } catch (thrown) {
      if (!(thrown instanceof NodeRefused) || isFinal(thrown)) throw thrown
      refused = thrown
    }
    current = await plan(ask, wish, rules)
  }
  if (nextStep(current.change) === undefined) return current
  throw refused ?? new Failure('role_sync_failed', { log: 'others change them all the time' })
}

/** Somebody holds what we wait for, and will hold it the next time. */
function isFinal({ refusal: { sqlstate } }: NodeRefused): boolean {
  return sqlstate === NODE_SAYS.locked || sqlstate === NODE_SAYS.canceled
}

const RIGHTS = 'postern cluster setup prints the rights that the management role needs'
const FAILED_AT: Record<Step, (thrown: unknown, role: string) => unknown> = {
  powers: unseen,
  provisioning: (thrown, role) =>
    isOurs(thrown) ? notMade(wordsOf(thrown), role, thrown) : thrown,
  groups(thrown, role) {
    const log = `memberships of ${JSON.stringify(role)}: ${wordsOf(thrown)}; ${RIGHTS}`
    return isOurs(thrown) ? new Failure('role_sync_failed', { log, cause: thrown }) : thrown
  },
}

function unseen(thrown: unknown): unknown {
  if (!isOurs(thrown)) return thrown
  const log = `the management role: ${wordsOf(thrown).replace(/^the management role: /, '')}`
  return new Failure('node_signin_failed', { log, cause: thrown })
}

function notMade(why: string, role: string, cause?: unknown): Failure {
  return new Failure('provisioning_failed', { log: `role ${JSON.stringify(role)}: ${why}`, cause })
}

/** The node said no, or could not be asked. */
function isOurs(thrown: unknown): thrown is NodeRefused | Failure {
  return thrown instanceof NodeRefused || thrown instanceof Failure
}
