/**
 * A session of the gate's own with the database of the shared state: as its owner, on a node that takes
 * writes. https://www.postgresql.org/docs/18/sql-notify.html
 * Rule: it is used only once the database was found to be ours alone; every answer has a deadline.
 */
import { type Names, openNames } from '../cluster/node_names.ts'
import { type Entry, type Member, membersOf } from '../cluster/nodes.ts'
import { query, type Row } from '../cluster/query.ts'
import { NodeRefused } from '../cluster/sign_in.ts'
import { type Ask, enter } from '../cluster/visit.ts'
import { asFailure, Failure } from '../failure.ts'
import { type Leg, LegEnded } from '../leg.ts'
import { terminate } from '../wire/node_messages.ts'
import type { Dialect } from '../wire/options.ts'
import { demandOwn, type StatePlace } from './check.ts'
import { CHANNEL, changesSeen, migrate } from './tables.ts'

export interface StateNodes {
  entries: readonly Entry[]
  connectTimeoutMs: number
}

export interface StateSession {
  dialect: Dialect
  node: string
  /** One statement, or more; @throws NodeRefused, LegEnded, Failure `node_protocol` */
  ask: Ask
  /** Resolves when the node tells of a change, and after so many milliseconds in any case. */
  news(ms: number): Promise<void>
  close(): void
}

/** For one answer. */
const ANSWER_MS = 5_000
/** For one node, whatever clients may wait: behind it there may be one that answers. */
const CONNECT_MS_MAX = 5_000
/** What a node says on its own. */
const MESSAGE_BYTES_MAX = 64 * 1024

/** The node gives up before we do. No setting of the role's own changes what a quote means. */
const SETTINGS = [
  'SET standard_conforming_strings = on',
  'SET statement_timeout = 4000',
  'SET idle_in_transaction_session_timeout = 10000',
].join('; ')

/**
 * Tries the nodes one after the other.
 * @param names - how the nodes' names are looked up
 * @throws Failure `state_unusable` where the database is not as it has to be; `node_unreachable` and the other
 *   failures of `connect`, of the last node that was tried
 */
export async function openStateSession(
  nodes: StateNodes,
  place: StatePlace,
  stop: AbortSignal,
  names: Names = openNames(),
): Promise<StateSession> {
  let last = new Failure('node_unreachable', { log: 'no node is known' })
  const connectMs = Math.min(nodes.connectTimeoutMs, CONNECT_MS_MAX)
  for (const { node } of await members(nodes.entries, names)) {
    stop.throwIfAborted()
    let session: StateSession | undefined
    try {
      const leg = await enter(node, place.role, place.database, stop, connectMs)
      session = begin(leg, node.name, node.dialect, stop)
      await prepare(session, place)
      return session
    } catch (thrown) {
      session?.close()
      stop.throwIfAborted()
      last = toFailure(thrown)
      // Elsewhere it would be the same.
      if (isForGood(last)) throw last
    }
  }
  throw last
}

async function members(entries: readonly Entry[], names: Names): Promise<Member[]> {
  try {
    const found = await membersOf(entries, names)
    return found.toSorted((one, other) => one.priority - other.priority)
  } catch (thrown) {
    const log = `the nodes' names can't be looked up: ${(thrown as Error).message}`
    throw new Failure('node_unreachable', { log, cause: thrown })
  }
}

async function prepare({ ask, dialect, node }: StateSession, place: StatePlace): Promise<void> {
  await ask(SETTINGS)
  if (dialect === 'postgresql' && (await isStandby(ask)))
    throw new Failure('node_unreachable', { log: `node ${node}: a standby, which takes no writes` })
  await demandOwn(ask, place, dialect)
  await migrate(ask, dialect)
  // What is made by now is looked at as well: somebody may have been there before us.
  await demandOwn(ask, place, dialect)
  if (dialect === 'postgresql') await ask(`LISTEN ${CHANNEL}`)
  await changesSeen(ask, dialect)
}

async function isStandby(ask: Ask): Promise<boolean> {
  const [row] = await ask('SELECT pg_is_in_recovery() AS standby')
  return row?.['standby'] === 't'
}

function begin(leg: Leg, node: string, dialect: Dialect, stop: AbortSignal): StateSession {
  let told = false
  const hear = (type: number) => {
    if (type === NOTIFICATION) told = true
    return type === NOTIFICATION
  }
  let deadline = new AbortController()
  const end = () => deadline.abort(stop.reason)
  stop.addEventListener('abort', end)
  leg.socket.once('close', () => stop.removeEventListener('abort', end))
  /** @returns nothing where it is not done in time. */
  const within = async <T>(ms: number, work: () => Promise<T>): Promise<{ done?: T }> => {
    stop.throwIfAborted()
    deadline = new AbortController()
    const timer = setTimeout((late) => late.abort(LATE), ms, deadline)
    leg.speak(deadline.signal)
    try {
      return { done: await work() }
    } catch (thrown) {
      if (thrown === LATE) return {}
      throw thrown
    } finally {
      clearTimeout(timer)
    }
  }
  return {
    dialect,
    node,
    async ask(sql): Promise<Row[]> {
      const { done } = await within(ANSWER_MS, () => query(leg, sql, hear))
      if (done !== undefined) return done
      throw new LegEnded('node', `gave no answer within ${ANSWER_MS / 1000} s`)
    },
    async news(ms) {
      await within(ms, async () => {
        while (!told) await hearAny(leg, hear)
      })
      told = false
    },
    close: () => (stop.aborted ? leg.destroy() : leg.close(terminate)),
  }
}

const LATE = new Error('late')
const NOTIFICATION = 'A'.charCodeAt(0)
/** ParameterStatus, NoticeResponse. */
const IGNORED = ['S', 'N']

/** A node that says anything else of its own accord is about to end the session. */
async function hearAny(leg: Leg, hear: (type: number) => boolean): Promise<void> {
  const { type } = await leg.message(MESSAGE_BYTES_MAX)
  const name = String.fromCharCode(type)
  if (hear(type) || IGNORED.includes(name)) return
  throw new LegEnded('node', name === 'E' ? 'ended the session' : `sent a message of type ${type}`)
}

/** What can be told of it, whatever it is. */
export function toFailure(thrown: unknown): Failure {
  if (thrown instanceof LegEnded)
    return new Failure('node_lost', { log: thrown.message, cause: thrown })
  if (!(thrown instanceof NodeRefused)) return asFailure(thrown)
  const { message } = thrown.refusal
  return new Failure('node_refused', { values: { message }, log: thrown.message, cause: thrown })
}

/** No such role, no such database, no right to it: it stays so until somebody mends it. */
export function isForGood({ code, cause }: Failure): boolean {
  if (code === 'state_unusable' || code === 'role_refused') return true
  return cause instanceof NodeRefused && FOR_GOOD.includes(cause.refusal.sqlstate.slice(0, 2))
}

/** Classes of SQLSTATEs. */
const FOR_GOOD = ['28', '3D', '42']
