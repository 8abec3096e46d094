/**
 * One cancel to one other gate: a request over TLS 1.3, in which both show a gate's certificate.
 * Rule: it has a deadline; a gate that doesn't keep it is left out for a while, so that nobody waits for
 * it again, and is in the log no more often than once a minute.
 */
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { Agent, request as requestHttps } from 'node:https'
import { LRUCache } from 'lru-cache'
import { openNamedTurns } from '../cluster/turns.ts'
import type { HostPort } from '../config/values.ts'
import { PEERS_SAY } from '../failure.ts'
import { type Credentials, isGate } from './credentials.ts'
import type { GatesParts } from './gates.ts'

export interface Telling {
  /** Never throws. */
  tell(gate: HostPort, cancel: { key: Buffer; from: string }): Promise<void>
  renew(credentials: Credentials): void
  close(): void
}

const DEADLINE_MS = 2_000
/** To one gate; others wait for their turn, no longer than for an answer. */
const AT_ONCE = 32
/** Below what the other gate keeps a silent connection for. */
const KEPT_MS = 30_000
const LEFT_OUT_MS = 5_000
const TOLD_EVERY_MS = 60_000
const GATES_MAX = 128

export function openTelling(
  first: Credentials,
  { log, now, count }: Pick<GatesParts, 'log' | 'now' | 'count'>,
): Telling {
  let agents = openAgents(first)
  const turns = openNamedTurns(AT_ONCE)
  const toldMs = new LRUCache<string, number>({ max: GATES_MAX })
  const lateMs = new LRUCache<string, number>({ max: GATES_MAX })
  const isRecent = (atMs: number | undefined, ms: number) =>
    atMs !== undefined && Math.abs(now() - atMs) < ms
  const complain = (gate: string, why: string) => {
    if (isRecent(toldMs.get(gate), TOLD_EVERY_MS)) return
    toldMs.set(gate, now())
    log.warn({ gate }, `another gate was not told of a cancel: ${why}`)
  }
  const ask = async (gate: HostPort, name: string, body: string) => {
    if (isRecent(lateMs.get(name), LEFT_OUT_MS)) throw new Error('it was silent a moment ago')
    const status = await postTwice(gate, body, agents).catch((thrown: unknown) => {
      if (isTimeout(thrown)) lateMs.set(name, now())
      throw thrown
    })
    if (status !== PEERS_SAY.heard)
      throw new Error(`it answered ${status}: is it a gate's peers.listen?`)
  }
  return {
    async tell(gate, { key, from }) {
      const name = `${gate.host}:${gate.port}`
      const body = JSON.stringify({ key: key.toString('base64url'), from })
      try {
        await turns(name, AbortSignal.timeout(DEADLINE_MS), () => ask(gate, name, body))
        count({ name: 'peer_told', result: 'ok' })
      } catch (thrown) {
        count({ name: 'peer_told', result: 'failed' })
        complain(name, says(thrown))
      }
    },
    renew(next) {
      // What it is asking for goes on; what it keeps open, the other gates close after a while.
      agents = openAgents(next)
    },
    close() {
      agents.kept.destroy()
      agents.fresh.destroy()
    },
  }
}

/** Connections that are kept for the next cancel, and those that are made for one. */
interface Agents {
  kept: Agent
  fresh: Agent
}

function openAgents(credentials: Credentials): Agents {
  return { kept: openAgent(credentials, true), fresh: openAgent(credentials, false) }
}

function openAgent({ tls }: Credentials, keepAlive: boolean): Agent {
  return new Agent({
    ...tls,
    keepAlive,
    timeout: KEPT_MS,
    maxFreeSockets: 1,
    // Said aloud: an environment variable must not turn it off.
    rejectUnauthorized: true,
    // Neither may a session from before, which is not verified again.
    maxCachedSessions: 0,
    // Whatever host it is: what makes it a gate is its certificate.
    checkServerIdentity: (_host, { subjectaltname }) =>
      isGate(subjectaltname) ? undefined : new Error("its certificate is not a gate's"),
  })
}

/**
 * A connection that was kept may have gone without a word: what fails on it is tried on a fresh one.
 * @returns the status.
 */
async function postTwice(gate: HostPort, body: string, { kept, fresh }: Agents): Promise<number> {
  const first = { wasReused: false }
  try {
    return await post(gate, body, kept, first)
  } catch (thrown) {
    if (!first.wasReused) throw thrown
    return await post(gate, body, fresh)
  }
}

async function post(
  { host, port }: HostPort,
  body: string,
  agent: Agent,
  how = { wasReused: false },
): Promise<number> {
  const signal = AbortSignal.timeout(DEADLINE_MS)
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  const request = requestHttps({
    host,
    port,
    method: 'POST',
    path: '/cancel',
    headers,
    agent,
    signal,
  })
  // Whoever waits hears of the first error; what comes after it is nobody's.
  request.on('error', () => undefined)
  request.end(body)
  const answered = once(request, 'response', { signal })
  const [response]: IncomingMessage[] = await answered.finally(() => {
    how.wasReused = request.reusedSocket
  })
  response?.on('error', () => undefined).resume()
  return response?.statusCode ?? 0
}

function says(thrown: unknown): string {
  // Several addresses were tried: the error of each.
  if (thrown instanceof AggregateError) return thrown.errors.map(says).join('; ')
  if (isTimeout(thrown)) return 'no answer in time'
  return thrown instanceof Error ? thrown.message : String(thrown)
}

function isTimeout(thrown: unknown): boolean {
  return thrown instanceof Error && ['AbortError', 'TimeoutError'].includes(thrown.name)
}
