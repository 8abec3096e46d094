/**
 * DOOR, read first: one client's life at the gate, top to bottom. Each step is called once, returns a
 * value and calls nothing back; the program counter is the connection's state.
 * Rule: whatever is thrown on the way is answered, audited, counted and logged once, in `refuse`.
 */
import type { Socket } from 'node:net'
import { connect, type NodeSession } from '../cluster/connect.ts'
import type { SignIn } from '../cluster/node.ts'
import type { Nodes } from '../cluster/nodes.ts'
import type { Pool } from '../cluster/pool.ts'
import type { AtExpiry, Limits } from '../config/config.ts'
import type { ConsoleConfig } from '../config/console_settings.ts'
import { asFailure, Failure } from '../failure.ts'
import { Leg, LegEnded } from '../leg.ts'
import type { Primary } from '../peers/primary.ts'
import type { Facts } from '../policy/access.ts'
import type { Grant } from '../policy/decide.ts'
import type { Revocations } from '../policy/revocation.ts'
import type { Challenge } from '../wire/oauthbearer.ts'
import type { Dialect } from '../wire/options.ts'
import { AUTHENTICATION_OK, backendKeyData, errorResponse } from '../wire/server_messages.ts'
import type { Startup } from '../wire/startup.ts'
import { type Asked, type NonJwtLogins, readAsk } from './ask.ts'
import { attempting, type Proof, whoTries } from './attempt.ts'
import { attend, type Left, type Session, type Stop } from './attend.ts'
import { type Attributing, sessionParameters } from './attribution.ts'
import { addressOf, type CancelKeys } from './cancel_keys.ts'
import type { Cancelling } from './cancelling.ts'
import { certificateName } from './client_tls.ts'
import { wayToConsole } from './console_way.ts'
import type { Enrolment, Withholding } from './enrol.ts'
import type { Guard, Guarded } from './guard.ts'
import {
  type Caller,
  type Entrance,
  handshake,
  isPrivate,
  type Origin,
  whose,
} from './handshake.ts'
import type { HandshakeRate } from './handshake_rate.ts'
import { identify, type Way } from './identify.ts'
import type { Leaving } from './leaving.ts'
import type { Places } from './limits.ts'
import type { Passages } from './passages.ts'
import { clientsAnswers, permitPassage } from './passthrough.ts'
import { type Observers, Report } from './report.ts'
import { type Clusters, route, serverName } from './route.ts'
import { whileHere } from './while_here.ts'

/** A cluster as the door sees it: whom it believes, whom it lets in, where it is. */
export interface Cluster extends Way, Enrolment, Withholding, Attributing {
  name: string
  dialect: Dialect
  signIn: SignIn
  /** PostgreSQL 18's own way to give a token, where it is offered. */
  oauthbearer: (Way & { challenge: Challenge }) | undefined
  /** What becomes of clients that don't say that a token will come. */
  nonJwtLogins: NonJwtLogins
  passages: Passages
  nodes: Nodes
  /** Who may end what doesn't end by a cancel, where there is such a one. */
  management: { role: string } | undefined
  /** Where sessions are kept for the next client. */
  pool: Pool | undefined
  /** What becomes of its sessions when their tokens expire. */
  atExpiry: AtExpiry
  /** Tokens that its section revokes. */
  revokedIds: Revocations
  /** What a login needs of it stays open until it has ended. */
  during<T>(login: Promise<T>): Promise<T>
}

/** What all sessions of a door have in common. */
export interface SessionParts extends Observers {
  /** One of them is the client's, as it says. */
  clusters(): Clusters<Cluster>
  cancelKeys: CancelKeys
  cancelling: Cancelling
  leaving: Leaving
  guard: Guard
  handshakeRate: HandshakeRate
  primary: Primary
  /** The gate's own console, where there is one. */
  console(): ConsoleConfig | undefined
}

/** What is one session's own. */
export interface Visit {
  /** Names the session in every event, and in the HINT of every refusal. */
  id: string
  origin: Origin
  entrance: Entrance
  limits: Limits
  /** What this session takes of what there is. */
  places: Places
  /** Why no client is let in, asked once: others may cancel all the same. Undefined where they are. */
  noEntry(): Failure | undefined
  /** How the door ends this session; called again with each stage's own way to stop. */
  onStop(stop: Stop, stage?: 'silent'): void
}

export async function serve(socket: Socket, visit: Visit, parts: SessionParts): Promise<void> {
  const { places } = visit
  const client = new Leg(socket, 'client')
  const report = new Report(visit, parts)
  try {
    const session = await letIn(client, report, visit, parts)
    if (session !== undefined) await attend(client, session, report, { ...parts, ...visit })
  } catch (thrown) {
    await refuse(client, thrown, report)
  } finally {
    places.end()
    client.close()
    // Until then it is somebody's connection here, whatever became of the session.
    if (socket.closed) places.leave()
    else socket.on('close', () => places.leave())
    report.closed()
  }
}

/**
 * The login, within its deadlines.
 * @returns undefined for who came to cancel
 */
async function letIn(
  client: Leg,
  report: Report,
  visit: Visit,
  parts: SessionParts,
): Promise<Session | undefined> {
  const { limits, places, origin, entrance, onStop } = visit
  const login = new AbortController()
  const expire = (log: string) => login.abort(new Failure('login_timeout', { log }))
  const late = setTimeout(expire, limits.authenticationTimeoutMs, 'limits.authentication_timeout')
  const silent = setTimeout(expire, limits.handshakeTimeoutMs, 'limits.handshake_timeout')
  // What it came for may be a cancel, for somebody who is waited for.
  onStop((why, when) => void (when === 'now' && login.abort(why)), 'silent')
  client.speak(login.signal)
  try {
    const caller = await whose(client, origin, entrance)
    const { peer } = caller
    report.from(peer)
    if (peer !== 'unix') parts.handshakeRate(peer.address, limits.handshakesPerSecond)
    if (peer !== 'unix') places.arrive(peer.address)
    const hello = await handshake(client, entrance, caller)
    clearTimeout(silent)
    if (hello.kind === 'cancel') {
      // Closed only then: a client takes the end for "done", and sends its next statement.
      await parts.cancelling.request(hello.key, addressOf(peer))
      return undefined
    }
    report.hello(hello.startup, client.socket)
    if (peer !== 'unix') places.stay(peer.address)
    const noEntry = visit.noEntry()
    if (noEntry !== undefined) throw noEntry
    onStop((why) => login.abort(why))
    const { cluster, startup } = route(hello.startup, serverName(client.socket), parts.clusters())
    report.routed(cluster)
    const { signal } = login
    const own = { ...parts, id: visit.id, client, report, cluster, caller, places, signal }
    const admitted = await cluster.during(admit(startup, own))
    clearTimeout(late)
    return await begin(admitted, startup.minor, own, parts.cancelKeys)
  } finally {
    clearTimeout(late)
    clearTimeout(silent)
  }
}

/** One login, from its startup packet on. */
interface Login
  extends Pick<Visit, 'id' | 'places'>,
    Pick<SessionParts, 'guard' | 'primary' | 'leaving' | 'now' | 'console'> {
  client: Leg
  report: Report
  cluster: Cluster
  caller: Caller
  signal: AbortSignal
}

/** A session on a node, and the end of the token that it was granted for. */
type Admitted = NodeSession & { untilMs: number | undefined; guarded: Guarded }

/**
 * From a startup packet to a session on a node. Token and grant are this function's, and gone with it:
 * a session that goes on for days keeps neither.
 */
async function admit(startup: Startup, login: Login): Promise<Admitted> {
  const { report, cluster, guard } = login
  const asked = readAsk(startup, cluster)
  report.asked(asked.ask)
  const facts = factsOf(asked, login)
  guard.arrive(facts)
  return await attempting(whoTries(facts), login.primary, async (proof) =>
    facts.method === 'passthrough'
      ? await admitUnjudged(asked, facts, login, proof)
      : await admitByToken(asked, facts, login, proof),
  )
}

/** With a token, which is judged here. */
async function admitByToken(
  asked: Asked,
  facts: Facts,
  login: Login,
  proof: Proof,
): Promise<Admitted> {
  const { client, report, cluster, guard, signal } = login
  // It asks as well as judges: what it refuses before it was given a token has reasons of its own.
  proof.given()
  const { grant, token } = await identify(client, asked, report, {
    cluster,
    isPrivate: isPrivate(client, login.caller),
    now: login.now,
    ended: proof.ended,
    signal,
  })
  const { principal } = grant
  const guarded = { id: login.id, facts: { ...facts, issuer: principal.issuer }, principal }
  report.letInBy(guard.judge(guarded))
  await proof.proved()
  login.places.ofRole(cluster.name, grant.role)
  const toConsole = wayToConsole(grant, asked.ask, login)
  if (toConsole === undefined) await cluster.enrol(grant, token, report, signal)
  await report.granted(grant)
  if (toConsole !== undefined) return { ...toConsole(), guarded, untilMs: endOf(grant, cluster) }
  const parameters = sessionParameters(asked, login, principal)
  // The token dies here, unless the node is to judge it again.
  const leave = cluster.signIn === 'forward' ? { ...grant, token } : grant
  const toNode = (signal: AbortSignal) =>
    report.waiting(
      'node',
      connect(leave, cluster.nodes, parameters, signal, cluster.pool, (leg) =>
        leftBehind(leg, login),
      ),
    )
  const session = await (cluster.pool ? whileHere(client, signal, toNode) : toNode(signal))
  return { ...session, guarded, untilMs: endOf(grant, cluster) }
}

/** Without a token: what the node asks, the client answers. */
async function admitUnjudged(
  asked: Asked,
  facts: Facts,
  login: Login,
  proof: Proof,
): Promise<Admitted> {
  const { client, report, cluster, caller, places, guard, signal } = login
  report.passing(asked.ask.user)
  wayToConsole(undefined, asked.ask, login)
  const guarded = { id: login.id, facts, principal: undefined }
  report.letInBy(guard.judge(guarded))
  const passage = permitPassage(asked.ask, cluster.rules)
  const parameters = sessionParameters(asked, login)
  // Before the client hears that its proof was right, by whatever the exchange shows of that.
  const permit = async () => {
    await cluster.withhold(passage.role, report, signal)
    await proof.proved()
  }
  const answers = clientsAnswers(client, isPrivate(client, caller), permit, report)
  const enter = async (here: AbortSignal) => {
    await report.granted(passage)
    const signedIn = connect({ ...passage, answers }, cluster.nodes, parameters, here)
    const session = await report.waiting('node', signedIn)
    try {
      await permit()
      // Only now is it this role's: whoever names a role could else take all of its places.
      places.ofRole(cluster.name, passage.role)
      return { ...session, guarded, untilMs: undefined }
    } catch (thrown) {
      session.leg.close()
      session.release()
      throw thrown
    }
  }
  const { address = '' } = facts
  const wait = (here: AbortSignal) => cluster.passages.take(address, here, () => enter(here))
  try {
    return await whileHere(client, signal, wait, () => !answers.asked)
  } catch (thrown) {
    // A node that refused the role before it asked for anything was given nothing.
    if (answers.asked) proof.given()
    throw thrown
  }
}

/** The node took the role, and nobody waits for the rest any more: it may be at it for as long as it likes. */
async function leftBehind(leg: Leg, { places, leaving }: Login): Promise<void> {
  const gone = leaving.leave({ leg, leave: undefined, target: undefined }, true)
  places.linger(gone)
  await gone
}

function factsOf({ ask, jwt }: Asked, { cluster, caller, client }: Login): Facts {
  const { name, dialect, nonJwtLogins, oauthbearer } = cluster
  const passes = !jwt && nonJwtLogins === 'passthrough'
  const bears = !jwt && nonJwtLogins === 'reject' && oauthbearer !== undefined
  return {
    address: caller.peer === 'unix' ? undefined : caller.peer.address,
    user: ask.user,
    foldCase: dialect === 'cockroachdb',
    database: ask.database,
    cluster: name,
    method: passes ? 'passthrough' : bears ? 'oauthbearer' : 'jwt',
    certificate: certificateName(client.socket),
    issuer: undefined,
  }
}

/** When the token is no longer taken; undefined for one that is good for ever. */
function endOf({ principal: { until } }: Grant, { trust }: Cluster): number | undefined {
  return until === undefined ? undefined : until * 1000 + trust.clockToleranceMs
}

const NO_CANCEL_KEY = { key: undefined, revoke: () => undefined }

/** The node's greeting, with a cancel key of the gate's in the place of the node's. */
async function begin(
  { node, leg, opening, warm, keep, leave, release, untilMs, guarded }: Admitted,
  minor: number,
  { client, report, cluster, caller, places, leaving }: Login,
  cancelKeys: CancelKeys,
): Promise<Session> {
  const { messages, readyForQuery, cancelKey } = opening
  const target = cancelKey && { node, key: cancelKey.toString('latin1'), wanted: false }
  const { key, revoke } = target
    ? cancelKeys.issue(target, addressOf(caller.peer), minor)
    : NO_CANCEL_KEY
  const management = cluster.management?.role
  const role = guarded.facts.user
  const end = ({ quiet, busy = false }: Left) => {
    revoke()
    if (keep !== undefined && quiet !== undefined) {
      keep(quiet)
      release()
    } else
      places.linger(leaving.leave({ leg, leave, target, management, role }, busy).then(release))
  }
  try {
    await report.opened(node, warm)
    const keyData = key === undefined ? [] : [backendKeyData(key)]
    // In one write: each costs more than all else here.
    client.send(Buffer.concat([AUTHENTICATION_OK, messages, ...keyData, readyForQuery]))
  } catch (thrown) {
    end({})
    throw thrown
  }
  return { leg, keep, target, guarded, expiry: { ...cluster.atExpiry, untilMs }, end }
}

async function refuse(client: Leg, thrown: unknown, report: Report): Promise<void> {
  const gone = thrown instanceof LegEnded && thrown.side === 'client'
  const failure = gone ? new Failure('client_gone', { log: thrown.message }) : asFailure(thrown)
  // The client first: where not even the refusal can be written down, it is refused all the same.
  if (!failure.row.silent) client.close(failure.response ?? errorResponse(report.refusal(failure)))
  // Its words are short, and a socket that lingers would take a place from somebody else.
  if (failure.code === 'too_many_from_address' || failure.code === 'too_many_connections')
    client.socket.destroySoon()
  await report.refused(failure)
}
