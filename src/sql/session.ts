/**
 * DOOR, read first: one client's life at the gate, top to bottom. Each step is called once, returns a
 * value and calls nothing back; the program counter is the connection's state.
 * Rule: whatever is thrown on the way is answered, audited, counted and logged once, in `refuse`.
 */
import type { Socket } from 'node:net'
import { connect, type NodeSession } from '../cluster/connect.ts'
import type { Node } from '../cluster/node.ts'
import { asFailure, Failure } from '../failure.ts'
import { Leg, LegEnded } from '../leg.ts'
import type { ToPrimary } from '../peers/messages.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Challenge } from '../wire/oauthbearer.ts'
import { AUTHENTICATION_OK, backendKeyData, errorResponse } from '../wire/server_messages.ts'
import type { Startup } from '../wire/startup.ts'
import { readAsk } from './ask.ts'
import type { CancelKeys } from './cancel_keys.ts'
import type { Enrolment } from './enrol.ts'
import { type Entrance, handshake } from './handshake.ts'
import { identify, type Way } from './identify.ts'
import { type Ended, Relay } from './relay.ts'
import { Report } from './report.ts'

/** A cluster as the door sees it: whom it believes, whom it lets in, where it is. */
export interface Cluster extends Way, Enrolment {
  name: string
  /** PostgreSQL 18's own way to give a token, where it is offered. */
  oauthbearer: (Way & { challenge: Challenge }) | undefined
  node: Node
}

/** What a session is handed by its door. */
export interface SessionParts {
  /** Names the session in every event, and in the HINT of every refusal. */
  id: string
  cluster: Cluster
  entrance: Entrance
  cancelKeys: CancelKeys
  /** Takes a CancelRequest's key; resolves when the node has it, or never will. */
  cancel(key: Buffer): Promise<void>
  tell(message: ToPrimary): void
  log: Logger
  /** Milliseconds since the epoch. */
  now(): number
  authenticationTimeoutMs: number
  /** How the door ends this session; called again with each stage's own way to stop. */
  onStop(stop: (why: Failure) => void): void
}

export async function serve(socket: Socket, parts: SessionParts): Promise<void> {
  const login = new AbortController()
  const timer = setTimeout(
    () => login.abort(new Failure('login_timeout')),
    parts.authenticationTimeoutMs,
  )
  parts.onStop((why) => login.abort(why))
  const client = new Leg(socket, 'client', login.signal)
  const report = new Report(socket, parts)
  try {
    const hello = await handshake(client, parts.entrance)
    // Closed only then: a client takes the end for "done", and sends its next statement.
    if (hello.kind === 'cancel') return await parts.cancel(hello.key)
    const session = await admit(client, hello.startup, report, parts, login.signal)
    clearTimeout(timer)
    await attend(client, session, hello.startup.minor, report, parts)
  } catch (thrown) {
    refuse(client, thrown, report)
  } finally {
    clearTimeout(timer)
    client.close()
    report.closed()
  }
}

/**
 * From a startup packet to a session on a node. Token and grant are this function's, and gone with it:
 * a session that goes on for days keeps neither.
 */
async function admit(
  client: Leg,
  startup: Startup,
  report: Report,
  parts: SessionParts,
  signal: AbortSignal,
): Promise<NodeSession> {
  const { cluster } = parts
  report.hello(startup, client.socket)
  const asked = readAsk(startup, cluster.node)
  report.asked(asked.ask)
  const { grant, token } = await identify(client, asked, report, { ...parts, signal })
  await cluster.enrol(grant, token, report, signal)
  report.granted(grant)
  const parameters = { ...asked, remoteAddress: report.remoteAddress }
  // The token dies here, unless the node is to judge it again.
  const leave = cluster.node.signIn === 'forward' ? { ...grant, token } : grant
  return await connect(leave, cluster.node, parameters, signal)
}

/** The session itself, from the node's greeting to the end of either side. */
async function attend(
  client: Leg,
  { leg: node, opening }: NodeSession,
  minor: number,
  report: Report,
  { cluster, cancelKeys, onStop }: SessionParts,
): Promise<void> {
  const target = opening.cancelKey && { node: cluster.node, key: opening.cancelKey }
  const cancel = target && cancelKeys.issue(target, minor)
  try {
    client.send(AUTHENTICATION_OK)
    client.send(opening.messages)
    if (cancel !== undefined) client.send(backendKeyData(cancel.key))
    report.opened()
    client.send(opening.readyForQuery)
    const relay = new Relay(client, node)
    onStop((why) => relay.stop(why))
    const ended = await relay.ended
    // Before the report: what that may throw is not to be said in the middle of a message.
    client.close(lastWords(ended, report))
    report.ended(ended, relay.bytes)
  } finally {
    cancel?.revoke()
    node.close()
  }
}

/** Said only between messages, and only when the node didn't give the reason itself. */
function lastWords({ why, atBoundary, explained }: Ended, report: Report) {
  if (!atBoundary || explained || why === undefined) return undefined
  return errorResponse(report.refusal(why))
}

function refuse(client: Leg, thrown: unknown, report: Report): void {
  const gone = thrown instanceof LegEnded && thrown.side === 'client'
  const failure = gone ? new Failure('client_gone', { log: thrown.message }) : asFailure(thrown)
  // The client first: where not even the refusal can be written down, it is refused all the same.
  if (!failure.row.silent) client.close(failure.response ?? errorResponse(report.refusal(failure)))
  report.refused(failure)
}
