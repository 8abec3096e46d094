/**
 * The shared state as the primary has it: one session with its database, which is told of changes where the
 * node can tell (LISTEN), and asks for them where it can't. Lost, it is opened anew, on whichever node is there.
 * Rule: a snapshot is as old as the question that it is the answer to; what went wrong only lets it grow older.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Names } from '../cluster/node_names.ts'
import { wordsOf } from '../cluster/refusals.ts'
import type { Settings } from '../config/document.ts'
import { Failure } from '../failure.ts'
import { counts, type Revocation } from '../policy/revocation.ts'
import type { KnownHead } from '../telemetry/heads_to_find.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Head } from '../telemetry/seal.ts'
import type { Dialect } from '../wire/options.ts'
import { noteChange, revoke, type Said, setSetting } from './changes.ts'
import type { StatePlace } from './check.ts'
import { readHeads, writeHead } from './heads.ts'
import { type HistoryEntry, readHistory } from './history.ts'
import {
  isForGood,
  openStateSession,
  type StateNodes,
  type StateSession,
  toFailure,
} from './session.ts'
import { EMPTY, type StateSnapshot, type StateView } from './snapshot.ts'
import { changesSeen, readAll } from './tables.ts'

export interface StatePlan extends StatePlace {
  maxAgeMs: number
}

export interface StateParts {
  /** Of the cluster that keeps it, at this moment. */
  nodes(): StateNodes
  log: Pick<Logger, 'info' | 'warn' | 'error'>
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
  names?: Names
}

export interface State extends StateView {
  /**
   * For all gates, this one with them.
   * @throws Failure `usage`, `state_unusable`, `node_unreachable` or another of a node's
   */
  revoke(what: Revocation, who: string, said?: Said): Promise<void>
  /**
   * A setting of all gates; undefined: as it is by default.
   * @param mayBe - throws where it may not be, by what is set now
   * @throws as `revoke`
   */
  set(
    name: string,
    value: string | undefined,
    who: string,
    said: Said,
    mayBe?: (now: Settings) => void,
  ): Promise<void>
  /** For the list of changes alone. @throws as `revoke` */
  note(who: string, said: Said): Promise<void>
  /** The last changes, the newest first. @throws as `revoke` */
  history(limit: number): Promise<HistoryEntry[]>
  /** Of this gate's audit stream. @throws as `revoke` */
  keepHead(head: Head, gate: string): Promise<void>
  /** The last one of that gate's. @throws as `revoke` */
  lastHead(gate: string): Promise<KnownHead | undefined>
  close(): Promise<void>
}

/** How often is asked, whatever was told. */
export const POLL_MS: Record<Dialect, number> = { postgresql: 10_000, cockroachdb: 1_000 }
const BACKOFF_MS = { min: 100, max: 5_000 }
/** Somebody who is slow to answer keeps no gate from opening; nobody new comes in by then. */
const OPEN_MS = 10_000

/**
 * Resolves when it was read; or, where no node is to be had now, without it.
 * @throws Failure `state_unusable`: what is wrong doesn't mend itself.
 */
export async function openState(
  plan: StatePlan,
  parts: StateParts,
  pollMs: Partial<Record<Dialect, number>> = {},
): Promise<State> {
  const closing = new AbortController()
  const held = openHeld(parts)
  const opened = Promise.withResolvers<void>()
  const following = follow(plan, parts, held, {
    opened,
    stop: closing.signal,
    pollMs: { ...POLL_MS, ...pollMs },
  })
  const late = setTimeout(opened.resolve, OPEN_MS)
  try {
    await opened.promise
  } catch (thrown) {
    closing.abort(thrown)
    await following
    throw thrown
  } finally {
    clearTimeout(late)
  }
  const withSession = async <T>(work: (session: StateSession) => Promise<T>): Promise<T> => {
    const session = await openStateSession(parts.nodes(), plan, closing.signal, parts.names)
    try {
      return await work(session)
    } catch (thrown) {
      throw toFailure(thrown)
    } finally {
      session.close()
    }
  }
  return {
    snapshot: held.snapshot,
    ageMs: held.ageMs,
    maxAgeMs: plan.maxAgeMs,
    changed: held.changed,
    revoke: (what, who, said) =>
      withSession(async (session) => {
        await revoke(session, what, who, parts.now(), said)
      }),
    set: (name, value, who, said, mayBe) =>
      withSession((session) => setSetting(session, { name, value, who }, parts.now(), said, mayBe)),
    note: (who, said) => withSession((session) => noteChange(session, who, parts.now(), said)),
    history: (limit) => withSession(({ ask }) => readHistory(ask, limit)),
    keepHead: (head, gate) => withSession(({ ask }) => writeHead(ask, head, gate, parts.now())),
    lastHead: (gate) => withSession(async ({ ask }) => (await readHeads(ask, gate, 1))[0]),
    async close() {
      closing.abort(new Failure('shutting_down'))
      await following
    },
  }
}

interface Following {
  opened: PromiseWithResolvers<void>
  stop: AbortSignal
  pollMs: Record<Dialect, number>
}

/** One session after the other, to the end. */
async function follow(
  plan: StatePlan,
  { nodes, log, names }: StateParts,
  held: Held,
  { opened, stop, pollMs }: Following,
): Promise<void> {
  let waitMs = BACKOFF_MS.min
  let trouble: string | undefined
  const wasRead = () => {
    opened.resolve()
    if (trouble !== undefined) log.info('the shared state is read again')
    trouble = undefined
    waitMs = BACKOFF_MS.min
  }
  while (!stop.aborted) {
    let session: StateSession | undefined
    try {
      session = await openStateSession(nodes(), plan, stop, names)
      await read(session, held, wasRead, pollMs[session.dialect])
    } catch (thrown) {
      if (stop.aborted) break
      const failure = explained(toFailure(thrown), plan)
      // Only the first of both counts: whether there is a gate at all. Later on it may be mended beside us.
      if (failure.code === 'state_unusable') opened.reject(failure)
      else opened.resolve()
      const words = failure.code === 'state_unusable' ? failure.message : wordsOf(failure)
      if (words !== trouble) log.error(`the shared state can't be read: ${words}`)
      trouble = words
    } finally {
      session?.close()
    }
    await sleep(waitMs, undefined, { signal: stop }).catch(() => undefined)
    waitMs = Math.min(2 * waitMs, BACKOFF_MS.max)
  }
  opened.resolve()
}

/** As long as the session goes on. */
async function read(
  session: StateSession,
  held: Held,
  wasRead: () => void,
  pollMs: number,
): Promise<never> {
  const { ask, dialect } = session
  for (let known = ''; ; ) {
    const look = held.begin()
    const number = await changesSeen(ask, dialect)
    if (number === undefined)
      throw new Failure('node_unreachable', { log: `node ${session.node}: it is a standby now` })
    if (number === known) look.same()
    else known = look.other(await readAll(ask, look.nowMs))
    wasRead()
    await session.news(Math.min(pollMs, held.untilNextEndMs()))
  }
}

type Held = ReturnType<typeof openHeld>

/** The snapshot of the moment, how old it is, and who wants to hear of another one. */
function openHeld({ now, elapsed }: Pick<StateParts, 'now' | 'elapsed'>) {
  let snapshot = EMPTY
  let knownMs = Number.NEGATIVE_INFINITY
  let nextEndMs = Number.POSITIVE_INFINITY
  const listeners = new Set<(snapshot: StateSnapshot) => void>()

  const take = (next: StateSnapshot) => {
    if (isDeepStrictEqual(next, snapshot)) return
    snapshot = next
    nextEndMs = firstEndMs(next, now())
    for (const heard of listeners) heard(snapshot)
  }
  return {
    snapshot: () => snapshot,
    ageMs: () => elapsed() - knownMs,
    changed: (heard: (snapshot: StateSnapshot) => void) => void listeners.add(heard),
    untilNextEndMs: () => Math.max(nextEndMs - now(), 0),
    /** The question is about to be sent. */
    begin() {
      const sentMs = elapsed()
      const nowMs = now()
      return {
        nowMs,
        same() {
          knownMs = sentMs
          if (nowMs >= nextEndMs) take(withoutEnded(snapshot, nowMs))
        },
        other(next: StateSnapshot): string {
          take(next)
          knownMs = sentMs
          return next.number
        },
      }
    },
  }
}

function withoutEnded(snapshot: StateSnapshot, nowMs: number): StateSnapshot {
  return {
    ...snapshot,
    revocations: snapshot.revocations.filter((each) => counts(each, nowMs)),
    // One that has ended still says that its cluster has a list.
    entries: snapshot.entries
      .filter((each) => each.list === 'allow' || counts(each, nowMs))
      .map((each) => (counts(each, nowMs) ? each : { ...each, until: 0 })),
  }
}

function firstEndMs({ revocations, entries }: StateSnapshot, nowMs: number): number {
  let firstMs = Number.POSITIVE_INFINITY
  for (const { until = firstMs } of [...revocations, ...entries])
    if (until * 1000 > nowMs) firstMs = Math.min(firstMs, until * 1000)
  return firstMs
}

/** For who set it up: with the role, the database, and what to do. */
function explained(failure: Failure, { role, database }: StatePlace): Failure {
  if (failure.code === 'state_unusable' || !isForGood(failure)) return failure
  const problem = `the shared state can't be had as ${role} in the database ${database}: ${wordsOf(failure)}; postern cluster setup prints what it needs`
  return new Failure('state_unusable', { values: { problem }, cause: failure })
}
