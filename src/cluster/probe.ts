/**
 * One look at a node: whether a session could be had there. As its health page says, where it has one;
 * by signing in, where there is a management role; else by a connection that goes as far as one can
 * without a role.
 * Rule: a node that answers, be it with a refusal, is not down.
 */
import { once } from 'node:events'
import { request as requestHttp } from 'node:http'
import { type RequestOptions as HttpsOptions, request as requestHttps } from 'node:https'
import { Failure, HEALTH_SAYS, NODE_SAYS } from '../failure.ts'
import { LegEnded } from '../leg.ts'
import { sslRequest } from '../wire/node_messages.ts'
import { dial, verified } from './dial.ts'
import type { Seen } from './health.ts'
import { MANAGEMENT_DATABASES } from './management.ts'
import type { Node } from './node.ts'
import { NodeRefused } from './sign_in.ts'
import { visit } from './visit.ts'

export interface Look {
  seen: Seen
  /** For the log; empty where it is good. */
  why: string
  /** Whether the node takes no writes, being a copy of another; undefined where nobody could tell. */
  standby: boolean | undefined
}

export interface Probed {
  node: Node
  /** Like http://node:8080/health?ready=1 on CockroachDB; only its path and port count. */
  healthUrl: URL | undefined
}

/** @param role - the management role, where there is one. Never throws. */
export async function probe(
  { node, healthUrl }: Probed,
  role: string | undefined,
  signal: AbortSignal,
): Promise<Look> {
  try {
    const page = healthUrl && (await pageOf(healthUrl, node, signal))
    if (page === HEALTH_SAYS.notReady) {
      await answers(node, signal)
      return { seen: 'draining', why: `its health page says ${page}`, standby: undefined }
    }
    if (page !== undefined && page !== HEALTH_SAYS.ready) return bad(`its health page says ${page}`)
    if (role !== undefined) return { seen: 'good', why: '', standby: await ask(node, role, signal) }
    if (page === undefined) await answers(node, signal)
    return { seen: 'good', why: '', standby: undefined }
  } catch (thrown) {
    if (signal.aborted) return bad('no answer within health.timeout')
    const why = thrown instanceof Failure ? (thrown.log ?? thrown.message) : String(thrown)
    return { seen: seenIn(thrown), why, standby: undefined }
  }
}

function bad(why: string): Look {
  return { seen: 'bad', why, standby: undefined }
}

/** What a way to a node that ended in this says about the node. */
export function seenIn(thrown: unknown): Seen {
  if (!(thrown instanceof Failure)) return 'bad'
  const { cause } = thrown
  if (cause instanceof NodeRefused) {
    const { sqlstate } = cause.refusal
    if (sqlstate === NODE_SAYS.shuttingDown || sqlstate === NODE_SAYS.notNow) return 'draining'
    return sqlstate === NODE_SAYS.crashed ? 'bad' : 'good'
  }
  // It asks for what we don't have: a mistake, but the node is there.
  return thrown.code === 'node_signin_failed' && !(cause instanceof LegEnded) ? 'good' : 'bad'
}

/** The HTTP status. No redirect is followed, and nothing is read. */
async function pageOf(url: URL, { address, tls }: Node, signal: AbortSignal): Promise<number> {
  const where = {
    host: 'path' in address ? url.hostname : address.host,
    port: url.port,
    path: `${url.pathname}${url.search}`,
    headers: { host: url.host },
    agent: false,
    signal,
  }
  const secure: HttpsOptions | undefined =
    url.protocol === 'https:' && tls ? { ...where, ...verified(tls, 'http/1.1') } : undefined
  const asked = secure === undefined ? requestHttp(where) : requestHttps(secure)
  // What comes after the deadline is nobody's error.
  asked.on('error', () => undefined)
  asked.end()
  try {
    const [response] = await once(asked, 'response', { signal })
    return response.statusCode
  } finally {
    asked.destroy()
  }
}

/** Whether it is a standby; on CockroachDB no node is. */
async function ask(node: Node, role: string, signal: AbortSignal): Promise<boolean | undefined> {
  return await visit(node, role, MANAGEMENT_DATABASES[node.dialect], signal, async (question) => {
    if (node.dialect === 'cockroachdb') {
      await question('SELECT 1')
      return false
    }
    const [row] = await question('SELECT pg_is_in_recovery() AS standby')
    return row?.['standby'] === 't'
  })
}

/** TLS up to its end: a node whose certificate is no more good is of no use to a session either. */
async function answers(node: Node, signal: AbortSignal): Promise<void> {
  const leg = await dial(node, signal)
  try {
    if (node.tls !== undefined) return
    leg.send(sslRequest)
    const answer = String.fromCharCode(await leg.byte())
    if (answer === 'S' || answer === 'N') return
    throw new Failure('node_protocol', { log: `node ${node.name}: ${answer} as an answer` })
  } finally {
    leg.destroy()
  }
}
