/**
 * The management role's own sessions on the nodes: what the gate asks and changes there for the sake of
 * a login goes over them. A few are opened as they are needed, and stay for a while between two jobs.
 * Rule: nobody waits for ever, and who only looks doesn't wait behind who changes. A job's deadline
 * begins when it is asked for, those who wait are bounded, a login that is over asks for nothing more,
 * and what may have had an effect is waited for and not sent twice.
 */
import { Failure } from '../failure.ts'
import { type Leg, LegEnded } from '../leg.ts'
import { terminate } from '../wire/node_messages.ts'
import type { Node } from './node.ts'
import type { Nodes } from './nodes.ts'
import { query } from './query.ts'
import { MANAGEMENT_DATABASE } from './setup.ts'
import { openTurns } from './turns.ts'
import { type Ask, enter } from './visit.ts'

export interface Management {
  /**
   * Runs a job that only reads.
   * @param signal - the login's: it cuts the job short.
   * @throws the signal's reason; Failure `node_signin_failed` (too late, or too many wait), `node_lost`,
   *   or of `connect`; NodeRefused; what the job throws
   */
  look<T>(signal: AbortSignal, job: (ask: Ask) => Promise<T>): Promise<T>
  /**
   * Runs a job that may change something. A text of several statements is one transaction.
   * @param signal - the login's: once it is over nothing more is sent, and what was sent is waited for.
   * @throws as `look`
   */
  change<T>(signal: AbortSignal, job: (ask: Ask) => Promise<T>): Promise<T>
  /** For good. Jobs that are under way are cut short. */
  close(): void
}

/** What a job may take, from when it is asked for; what a session may idle; how many may wait. */
const LIMITS = { jobMs: 10_000, idleMs: 30_000, jobsMax: 1_000 }
/** Of either kind at once, each on a session of its own. */
const AT_ONCE = 2
/** Where it works. */
export const MANAGEMENT_DATABASES = { postgresql: MANAGEMENT_DATABASE, cockroachdb: 'defaultdb' }
/**
 * The node gives up before we do, and soon where it waits for a lock: anybody who may grant a role can
 * hold one. No setting of the role's own changes what a quote means.
 */
const SETTINGS = [
  'SET standard_conforming_strings = on',
  "SET lock_timeout = '500ms'",
  'SET statement_timeout = 5000',
  'SET idle_in_transaction_session_timeout = 5000',
].join('; ')

/** A session, and what cuts short whatever waits for it. */
interface Session {
  node: Node
  leg: Leg
  stop: AbortController
}

/** @param nodes - one that takes writes and is up, where there is such a one. */
export function openManagement(
  nodes: Pick<Nodes, 'reach' | 'isUp'>,
  { role }: { role: string },
  { jobMs, idleMs, jobsMax } = LIMITS,
): Management {
  const resting = openRest(idleMs, nodes)
  const looks = openTurns(AT_ONCE)
  const changes = openTurns(AT_ONCE)
  let jobs = 0
  const closing = new AbortController()

  /** The session ends with a job that throws, and the next job has another one. */
  async function perform<T>(job: (ask: Ask) => Promise<T>, over: AbortSignal, login: AbortSignal) {
    const session = resting.take()
    const stop = session?.stop ?? new AbortController()
    const cut = () => stop.abort(over.reason)
    over.addEventListener('abort', cut)
    let leg = session?.leg
    try {
      const { leg: open, node } = session ?? (await begin(nodes, role, stop.signal))
      leg = open
      const result = await job(async (sql) => {
        login.throwIfAborted()
        return await query(open, sql)
      })
      if (closing.signal.aborted) leg.close(terminate)
      else resting.keep({ node, leg, stop })
      return result
    } catch (thrown) {
      if (stop.signal.aborted) leg?.destroy()
      else leg?.close(terminate)
      if (!(thrown instanceof LegEnded)) throw thrown
      throw new Failure('node_lost', { log: thrown.message, cause: thrown })
    } finally {
      over.removeEventListener('abort', cut)
    }
  }

  async function run<T>(
    turns: typeof looks,
    login: AbortSignal,
    job: (ask: Ask) => Promise<T>,
  ): Promise<T> {
    login.throwIfAborted()
    closing.signal.throwIfAborted()
    if (jobs >= jobsMax) throw failed(`${jobsMax} logins are waiting for its sessions`)
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(failed(`no answer within ${jobMs / 1000} s`)), jobMs)
    const waited = AbortSignal.any([closing.signal, login, late.signal])
    const sent = AbortSignal.any([closing.signal, late.signal])
    jobs++
    try {
      return await turns.take(waited, () => perform(job, turns === looks ? waited : sent, login))
    } finally {
      jobs--
      clearTimeout(timer)
    }
  }

  return {
    look: (signal, job) => run(looks, signal, job),
    change: (signal, job) => run(changes, signal, job),
    close() {
      closing.abort(failed('the gate is closing'))
      for (let rest = resting.take(); rest !== undefined; rest = resting.take())
        rest.leg.close(terminate)
    },
  }
}

async function begin(
  nodes: Pick<Nodes, 'reach'>,
  role: string,
  signal: AbortSignal,
): Promise<{ node: Node; leg: Leg }> {
  const attempt = (node: Node, ms: number) =>
    enter(node, role, MANAGEMENT_DATABASES[node.dialect], signal, ms)
  const { value: leg, node, release } = await nodes.reach(attempt, signal, { primary: true })
  leg.socket.once('close', release)
  try {
    await query(leg, SETTINGS)
    return { node, leg }
  } catch (thrown) {
    leg.destroy()
    throw thrown
  }
}

/** Where sessions are between two jobs; the one that came last goes first, so that the others may end. */
function openRest(idleMs: number, nodes: Pick<Nodes, 'isUp'>) {
  const kept: { session: Session; wake: () => void }[] = []

  function drop(session: Session): void {
    const at = kept.findIndex((each) => each.session === session)
    kept.splice(at, 1)[0]?.wake()
    session.leg.close(terminate)
  }

  return {
    take(): Session | undefined {
      for (let last = kept.pop(); last !== undefined; last = kept.pop()) {
        last.wake()
        const { socket } = last.session.leg
        // One that the node has ended meanwhile is no use, or whose node is down: nothing was sent on it yet.
        const open = !socket.destroyed && !socket.readableEnded
        if (open && nodes.isUp(last.session.node)) return last.session
        last.session.leg.destroy()
      }
      return undefined
    },
    /** A process that has nothing else to do doesn't wait for it. */
    keep(session: Session): void {
      const { socket } = session.leg
      const end = () => drop(session)
      const idle = setTimeout(end, idleMs).unref()
      socket.once('end', end).unref()
      const wake = () => {
        clearTimeout(idle)
        socket.off('end', end).ref()
      }
      kept.push({ session, wake })
    },
  }
}

function failed(log: string): Failure {
  return new Failure('node_signin_failed', { log: `the management role: ${log}` })
}
