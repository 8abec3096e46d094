/**
 * The management role's own session on one of the nodes: what the gate asks and changes there for the
 * sake of a login goes over this one, job after job, and it stays open for a while between them.
 * Rule: nobody waits for ever. A job's deadline begins when it is asked for, those who wait are
 * bounded, and what may have had an effect is not sent twice.
 */
import { Failure } from '../failure.ts'
import { type Leg, LegEnded } from '../leg.ts'
import { terminate } from '../wire/node_messages.ts'
import type { Node } from './node.ts'
import type { Nodes } from './nodes.ts'
import { query } from './query.ts'
import { MANAGEMENT_DATABASE } from './setup.ts'
import { type Ask, enter } from './visit.ts'

export interface Management {
  /**
   * Runs a job when those before it are done. A text of several statements is one transaction. The
   * session ends with a job that throws, and the next job has a new one.
   * @throws Failure `node_signin_failed` (too late, or too many wait), `node_lost`, or of `connect`;
   *   NodeRefused; what the job throws
   */
  run<T>(job: (ask: Ask) => Promise<T>): Promise<T>
  /** For good. A job that is under way is cut short. */
  close(): void
}

/** What a job may take, from when it is asked for; what a session may idle; how many may wait. */
const LIMITS = { jobMs: 10_000, idleMs: 30_000, jobsMax: 1_000 }
/** Where it works. */
export const MANAGEMENT_DATABASES = { postgresql: MANAGEMENT_DATABASE, cockroachdb: 'defaultdb' }
/** The node gives up before we do, and no setting of the role's own changes what a quote means. */
const SETTINGS = [
  'SET standard_conforming_strings = on',
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
  let jobs = 0
  let last: Promise<unknown> = Promise.resolve()
  const closing = new AbortController()

  async function perform<T>(job: (ask: Ask) => Promise<T>, deadline: AbortSignal): Promise<T> {
    const stopped = AbortSignal.any([deadline, closing.signal])
    const late = failed(`no answer within ${jobMs / 1000} s`)
    const why = () => (closing.signal.aborted ? closing.signal.reason : late)
    if (stopped.aborted) throw why()
    const session = resting.take()
    const stop = session?.stop ?? new AbortController()
    const cut = () => stop.abort(why())
    stopped.addEventListener('abort', cut)
    let leg = session?.leg
    try {
      const { leg: open, node } = session ?? (await begin(nodes, role, stop.signal))
      leg = open
      const result = await job((sql) => query(open, sql))
      if (closing.signal.aborted) leg.close(terminate)
      else resting.keep({ node, leg, stop })
      return result
    } catch (thrown) {
      if (stop.signal.aborted) leg?.destroy()
      else leg?.close(terminate)
      if (!(thrown instanceof LegEnded)) throw thrown
      throw new Failure('node_lost', { log: thrown.message, cause: thrown })
    } finally {
      stopped.removeEventListener('abort', cut)
    }
  }

  return {
    async run(job) {
      if (jobs >= jobsMax) throw failed(`${jobsMax} logins are waiting for its session`)
      const deadline = AbortSignal.timeout(jobMs)
      jobs++
      const done = last.then(() => perform(job, deadline)).finally(() => jobs--)
      last = done.catch(() => undefined)
      return await done
    },
    close() {
      closing.abort(failed('the gate is closing'))
      resting.take()?.leg.close(terminate)
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

/** Where a session is between two jobs. */
function openRest(idleMs: number, nodes: Pick<Nodes, 'isUp'>) {
  let kept: Session | undefined
  let idle: NodeJS.Timeout | undefined

  /** One that the node has ended meanwhile is no use, or whose node is down: nothing was sent on it yet. */
  function take(): Session | undefined {
    clearTimeout(idle)
    const session = kept
    kept = undefined
    if (session === undefined) return undefined
    const { socket } = session.leg
    socket.off('end', take).ref()
    if (!socket.destroyed && !socket.readableEnded && nodes.isUp(session.node)) return session
    session.leg.destroy()
    return undefined
  }

  return {
    take,
    /** A process that has nothing else to do doesn't wait for it. */
    keep(session: Session): void {
      kept = session
      session.leg.socket.once('end', take).unref()
      idle = setTimeout(() => take()?.leg.close(terminate), idleMs).unref()
    },
  }
}

function failed(log: string): Failure {
  return new Failure('node_signin_failed', { log: `the management role: ${log}` })
}
