/**
 * From a Grant to a signed-in connection on a node. There is no other way to a node, and the user
 * of the startup packet is the grant's role, never the client's bytes.
 */
import { Failure } from '../failure.ts'
import { type Leg, LegEnded } from '../leg.ts'
import type { Grant, Passage } from '../policy/decide.ts'
import { startupMessage } from '../wire/node_messages.ts'
import { STARTUP_BYTES_MAX } from '../wire/startup.ts'
import { dial, LATE } from './dial.ts'
import { forwarding } from './forward.ts'
import type { Node } from './node.ts'
import type { Attempt, Nodes } from './nodes.ts'
import type { Pool } from './pool.ts'
import type { Pooled } from './pool_session.ts'
import { type Answers, NodeRefused, type Opening, StalledInside, signIn } from './sign_in.ts'

/** What the client's startup packet said beyond user and database; its own switches are cut. */
export interface SessionParameters {
  options: string | undefined
  replication: string | undefined
  others: ReadonlyMap<string, string>
  /** `host:port` of the client, empty on a unix socket. */
  remoteAddress: string
}

/** What the node asks goes to the client: the gate proves nothing for it. */
export interface PassedOn extends Passage {
  answers: ClientsAnswers
}

export interface ClientsAnswers extends Answers {
  /** The client was asked, once and for all: nobody else's question reaches it. */
  readonly asked: boolean
}

/**
 * What came of a question to the client: the client may have been late, or wrong, or gone, so it says
 * nothing about the node. Nor is there another node to try.
 */
class AfterAsking extends Error {}

export interface SignedIn {
  leg: Leg
  opening: Opening
}

/** Closes a leg behind which the node has taken the role; resolves when the node has closed it as well. */
export type LeftInside = (leg: Leg) => Promise<void>

export interface NodeSession extends SignedIn {
  node: Node
  /** It was another client's before, and nothing of that is left but what docs/pool.md says. */
  warm: boolean
  /** In the place of closing the leg, where a pool may take it back. */
  keep: Pooled['keep']
  /** In the place of closing the leg, where a pool counts it. */
  leave: Pooled['leave']
  /** The session is over: the node has one less. */
  release(): void
}

/**
 * The nodes are tried, best first, until one takes the session.
 * @param pool - where a granted session may be one that is there already.
 * @param left - is given what was begun and not waited for.
 * @throws Failure `node_unreachable`, `node_signin_failed`, `node_protocol`, `node_refused`, `role_refused`, `pool_timeout`, `not_ready`
 */
export async function connect(
  grant: Grant | PassedOn,
  nodes: Nodes,
  parameters: SessionParameters,
  signal: AbortSignal,
  pool?: Pool,
  left?: LeftInside,
): Promise<NodeSession> {
  const attempt: Attempt<Pooled> = async (node, ms, waited) => {
    if (pool !== undefined && !('answers' in grant))
      return await pool.take(grant, node, parameters, signal, ms, waited, left)
    try {
      const session = await connectTo(grant, node, parameters, signal, ms, left)
      return { ...session, warm: false, keep: undefined, leave: undefined }
    } catch (cause) {
      throw wasAsked(grant) ? new AfterAsking('the client was asked', { cause }) : cause
    }
  }
  try {
    const { value, node, release } = await nodes.reach(attempt, signal)
    return { ...value, node, release }
  } catch (thrown) {
    throw thrown instanceof AfterAsking ? thrown.cause : thrown
  }
}

function wasAsked(grant: Grant | PassedOn): boolean {
  return 'answers' in grant && grant.answers.asked
}

/**
 * This very node.
 * @param ms - how long it may take, besides what the signal allows.
 * @param left - in the place of destroying a leg that the node may be busy behind.
 * @throws Failure, as `connect`
 */
export async function connectTo(
  grant: Grant | PassedOn,
  node: Node,
  parameters: SessionParameters,
  signal: AbortSignal,
  ms?: number,
  left?: LeftInside,
): Promise<SignedIn> {
  const opening = startupParameters(grant, node, parameters)
  const late = new AbortController()
  // A client that takes its time is no fault of the node's.
  const stall = () => wasAsked(grant) || late.abort(STALLED)
  const timer = ms === undefined ? undefined : setTimeout(stall, ms)
  const stop = AbortSignal.any([signal, late.signal])
  try {
    const answers = 'answers' in grant ? grant.answers : answersOf(grant, node, stop)
    const leg = await reach(grant, node, stop)
    let inside = false
    const enter = () => {
      inside = true
    }
    try {
      return { leg, opening: await signIn(leg, opening, answers, enter) }
    } catch (thrown) {
      if (left === undefined || !inside || leg.ended) leg.destroy()
      else void left(leg)
      throw explained(inside && thrown === STALLED ? new StalledInside() : thrown, grant, node)
    }
  } finally {
    clearTimeout(timer)
  }
}

const STALLED = new LegEnded('node', 'gave no answer within connect_timeout')

async function reach(grant: Grant | PassedOn, node: Node, stop: AbortSignal): Promise<Leg> {
  try {
    // The gate's certificate for the role would sign in whoever asks for it.
    const certificates = 'answers' in grant ? undefined : node.certificates
    return await dial(node, stop, await certificates?.contextFor(grant.role))
  } catch (thrown) {
    if (thrown === STALLED)
      throw new Failure('node_unreachable', { log: `node ${node.name}: ${LATE}`, cause: STALLED })
    throw explained(thrown, grant, node)
  }
}

function answersOf({ role, token }: Grant, { secrets }: Node, stop: AbortSignal): Answers {
  if (secrets !== undefined) return secrets.answersFor(role, stop)
  return token === undefined ? {} : forwarding(token)
}

/** What the node is sent, in this order. @throws Failure `parameter_not_allowed`, `invalid_startup` */
export function startupParameters(
  grant: Passage,
  node: Node,
  parameters: SessionParameters,
): Map<string, string> {
  const all = new Map([
    ['user', grant.role],
    ['database', grant.database],
  ])
  for (const [name, value] of parameters.others) {
    if (all.has(name)) throw new Failure('parameter_not_allowed', { values: { name } })
    all.set(name, value)
  }
  if (parameters.options !== undefined) all.set('options', parameters.options)
  if (parameters.replication !== undefined) all.set('replication', parameters.replication)
  if (node.sendRemoteAddress && parameters.remoteAddress !== '')
    all.set('crdb:remote_addr', parameters.remoteAddress)
  // What the gate adds may make it too long: PostgreSQL closes then, and the node would be blamed.
  if (startupMessage(all).length > STARTUP_BYTES_MAX)
    throw new Failure('invalid_startup', {
      values: { problem: `more than ${STARTUP_BYTES_MAX} bytes for the database` },
    })
  return all
}

/**
 * A node's refusal of the role (class 28) becomes the one sentence for a missing role, a role that
 * may not log in and a wrong password; any other refusal reaches the client as the node said it.
 */
function explained(thrown: unknown, grant: Grant | PassedOn, node: Node): unknown {
  if (thrown instanceof LegEnded && thrown.side === 'node')
    return new Failure('node_signin_failed', {
      log: `node ${node.name}: ${thrown.message}`,
      cause: thrown,
    })
  // The leg's bound on messages; the client's own would be told to the client.
  if (thrown instanceof Failure && thrown.code === 'message_too_large')
    return new Failure('node_protocol', { log: `node ${node.name}: ${thrown.message}` })
  if (thrown instanceof Failure && thrown.code === 'login_timeout' && !wasAsked(grant))
    return new Failure('node_signin_failed', {
      log: `node ${node.name}: no answer before limits.authentication_timeout`,
    })
  if (!(thrown instanceof NodeRefused)) return thrown
  const { refusal, response } = thrown
  const log = `node ${node.name} refused ${JSON.stringify(grant.role)}: ${thrown.message}`
  if (refusal.sqlstate === '') return new Failure('node_protocol', { log })
  if (refusal.sqlstate.startsWith('28'))
    return new Failure('role_refused', { values: { user: grant.role }, log, cause: thrown })
  return new Failure('node_refused', {
    values: { message: refusal.message },
    log,
    response,
    cause: thrown,
  })
}
