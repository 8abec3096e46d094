/**
 * The primary's side of workers in processes of their own: it starts them, answers what they ask, and puts a
 * new one in the place of one that crashed. A crash costs the sessions of that worker and no others.
 * Rule: a worker that is replaced stops listening only when the new one listens.
 */
import type { Config } from './config/config.ts'
import type { Source } from './config/source.ts'
import type { Console } from './console/console.ts'
import { asFailure, Failure } from './failure.ts'
import type { Issuer } from './issuers/issuer.ts'
import { type CancelQuestions, openCancelQuestions } from './peers/cancel_questions.ts'
import type { Address, DrainedNode, Metric, ToPrimary, ToWorker } from './peers/messages.ts'
import type { Primary } from './peers/primary.ts'
import type { Link } from './peers/processes.ts'
import { startRounds, type Visited } from './peers/rounds.ts'
import type { StateAnswers } from './peers/state_answers.ts'
import type { AuditEvent } from './telemetry/events.ts'
import type { Logger } from './telemetry/log.ts'
import { openUnended } from './telemetry/unended.ts'
import { answer, askOwner } from './worker_questions.ts'

export interface WorkersParts {
  start(): Link<ToWorker, ToPrimary>
  count: number
  /** Of the configuration that the sockets were bound by, and of that of the moment. */
  listening: Source
  source(): Source
  issuer(cluster: string, name: string): Issuer | undefined
  /** Writes a worker's line; throws where it can't. What it returns resolves when it is durable. */
  audit(worker: number, event: AuditEvent): Promise<void> | undefined
  metric(metric: Metric): void
  /** A cancel that no worker knows; resolves when nobody else has more to do for it. */
  cancel(key: Buffer, from: string): Promise<void>
  /** Of all workers. */
  attempts: Pick<Primary, 'mayTry' | 'settle'>
  /** A statement for the console. */
  console: Console['ask']
  /** Nodes that get no new sessions, at the moment. */
  drained(): readonly DrainedNode[]
  /** What gates share, where they do. */
  state?: StateAnswers | undefined
  /** Takes a line of a worker's log as it is. */
  logLine(line: string): void
  log: Logger
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
  /** The workers don't stay up: nothing is tried any more. */
  failed(why: Failure): void
}

export interface Workers {
  addresses: Address[]
  /** Whether one takes connections. */
  isOpen(): boolean
  /** The configuration is another one now. */
  renew(next: Config): void
  /**
   * New ones in the place of all of them; sessions stay where they are until they end.
   * @returns why not, where they are kept
   */
  replace(): Promise<string | undefined>
  /** A cancel of another gate's; resolves when the node has it, to whether a worker knows the key. */
  cancel(key: Buffer, from: string): Promise<boolean>
  /** Of a worker's, if it still is. */
  endSession(worker: number, id: string, why: string): void
  /** Nodes that get no new sessions, from now on. */
  drainNodes(nodes: readonly DrainedNode[]): void
  drain(why: Failure): Promise<void>
  /** @param hurried - resolves when there is no time to wait for those that linger */
  close(why: Failure, hurried?: Promise<void>): Promise<void>
}

interface Member extends Visited {
  startedMs: number
  hasOpened: boolean
  /** It is not to be replaced when it goes. */
  isLeaving: boolean
  opened: PromiseWithResolvers<Address[]>
  drained: PromiseWithResolvers<void>
  gone: PromiseWithResolvers<void>
  cancels: CancelQuestions
}

const NUMBERS = 4_096
/** How many times as many as there are to be may still have sessions when they are replaced. */
const GENERATIONS_MAX = 3
/** For a new one to listen; one that doesn't is ended. */
const OPEN_MS = 30_000
const BACKOFF_MS = 100
const BACKOFF_MAX_MS = 5_000
/** Rounds of crashes one after the other, none of them of a worker that had lived for so long. */
const CRASHES_MAX = 8
const SETTLED_MS = 10_000
/** Somewhat longer than a worker takes to close at most; and then to be gone when it is killed. */
const CLOSE_MS = 8_000
const HURRIED_MS = 1_000
const GONE_MS = CLOSE_MS + 2_000

/** @throws Failure `workers_failed` */
export async function openWorkers(parts: WorkersParts): Promise<Workers> {
  const { members, start, startUnlessClosing, close: stopStarting } = openMembers(parts)
  const stopRounds = startRounds(members, parts.log)
  parts.state?.tell(members)
  /** One after the other. */
  let replaced: Promise<unknown> = Promise.resolve()
  const all = (message: ToWorker) => {
    for (const { link } of members) link.send(message)
  }
  const close = async (_why?: Failure, hurried?: Promise<void>) => {
    stopStarting()
    stopRounds()
    for (const member of members) member.isLeaving = true
    all({ kind: 'close' })
    const killAll = () => {
      for (const { link } of members) link.kill()
    }
    // What they had is written down when they have gone.
    void hurried?.then(() => setTimeout(killAll, HURRIED_MS).unref())
    await Promise.all([...members].map(end))
  }
  try {
    const first = Array.from({ length: parts.count }, start)
    const [addresses = []] = await Promise.all(first.map(({ opened }) => opened.promise))
    return {
      addresses,
      isOpen: () => [...members].some(isOpen),
      renew: ({ source }) => all({ kind: 'renew', source }),
      endSession(worker, id, why) {
        const owner = [...members].find(({ number }) => number === worker)
        owner?.link.send({ kind: 'end_session', id, why })
      },
      drainNodes: (nodes) => all({ kind: 'drained_nodes', nodes }),
      cancel: (key, from) => askOwner(members, key, from),
      replace() {
        const next = replaced
          .catch(() => undefined)
          .then(() => replaceAll(members, startUnlessClosing, GENERATIONS_MAX * parts.count))
        replaced = next
        return next
      },
      async drain() {
        stopStarting()
        all({ kind: 'drain' })
        await Promise.all([...members].map(({ drained }) => drained.promise))
      },
      close,
    }
  } catch (thrown) {
    await close()
    throw thrown
  }
}

/** Those that there are; in the place of one that is lost a new one is started, a little later each time. */
function openMembers(parts: WorkersParts) {
  const members = new Set<Member>()
  let crashes = 0
  let againMs = 0
  let last = 0
  let closing = false

  const start = (): Member => {
    const taken = new Set([...members].map(({ number }) => number))
    do last = (last + 1) % NUMBERS
    while (taken.has(last))
    const member = newMember(last, parts)
    members.add(member)
    member.link.onGone((how) => lose(member, how))
    member.link.onMessage((message) => hear(member, message, members, parts))
    begin(member, parts)
    return member
  }
  const lose = (member: Member, how: string) => {
    members.delete(member)
    const wasLost = settle(member, parts)
    member.drained.resolve()
    member.gone.resolve()
    member.opened.reject(failed(how))
    if (wasLost)
      parts.log.error({ worker: member.number }, `a worker was lost, with its sessions: ${how}`)
    if (closing || !isOpen(member)) return
    crashed(parts.elapsed() - member.startedMs)
    again()
  }
  const backoffMs = () => Math.min(BACKOFF_MS * 2 ** (crashes - 1), BACKOFF_MAX_MS)
  /** Those that crash before the next ones are started are of the same round. */
  const crashed = (livedMs: number) => {
    const nowMs = parts.elapsed()
    if (livedMs > SETTLED_MS) crashes = 0
    else if (nowMs < againMs) return
    crashes++
    againMs = nowMs + backoffMs()
  }
  const again = () => {
    if (closing) return
    // As long as one of them works, the others are tried again and again.
    if (crashes >= CRASHES_MAX && ![...members].some(isOpen)) {
      closing = true
      parts.failed(failed('the log says why'))
      return
    }
    setTimeout(() => {
      if (closing) return
      const opened = async () => await start().opened.promise
      opened().catch((thrown: unknown) => {
        crashed(0)
        parts.log.error(asFailure(thrown).message)
        again()
      })
    }, backoffMs())
  }
  return {
    members,
    start,
    startUnlessClosing: () => (closing ? undefined : start()),
    close: () => {
      closing = true
    },
  }
}

function failed(problem: string): Failure {
  return new Failure('workers_failed', { values: { problem } })
}

function newMember(number: number, { start, elapsed }: WorkersParts): Member {
  const link = startLink(start)
  const gone = Promise.withResolvers<void>()
  const member: Member = {
    number,
    link,
    startedMs: elapsed(),
    hasOpened: false,
    isLeaving: false,
    pings: 0,
    opened: Promise.withResolvers(),
    drained: Promise.withResolvers(),
    gone,
    cancels: openCancelQuestions((message) => link.send(message), gone.promise),
    unended: openUnended(),
  }
  const late = setTimeout(() => member.link.kill(), OPEN_MS)
  // Who waits for it hears why it failed; nobody has to.
  member.opened.promise.catch(() => undefined).finally(() => clearTimeout(late))
  return member
}

/** What it is told first. */
function begin({ number, link }: Member, parts: WorkersParts): void {
  const { count: workers, listening } = parts
  const source = parts.source()
  const other = source === listening ? undefined : listening
  const state = parts.state && { maxAgeMs: parts.state.maxAgeMs }
  link.send({ kind: 'begin', number, workers, source, listening: other, state })
  const nodes = parts.drained()
  if (nodes.length > 0) link.send({ kind: 'drained_nodes', nodes })
}

/** @throws Failure `workers_failed` */
function startLink(start: WorkersParts['start']): ReturnType<WorkersParts['start']> {
  try {
    return start()
  } catch (thrown) {
    throw failed((thrown as Error).message)
  }
}

function isOpen({ hasOpened, isLeaving }: Member): boolean {
  return hasOpened && !isLeaving
}

/**
 * A fresh one for each that there is now, but for those that are lost meanwhile: they have theirs.
 * @returns why not
 */
async function replaceAll(
  members: ReadonlySet<Member>,
  start: () => Member | undefined,
  leavingMax: number,
): Promise<string | undefined> {
  const still = [...members].filter(({ isLeaving }) => isLeaving).length
  if (still >= leavingMax) return `${still} that were replaced before still have sessions`
  for (const old of [...members].filter(isOpen)) {
    if (!members.has(old)) continue
    const fresh = start()
    if (fresh === undefined) return 'the gate is closing'
    await fresh.opened.promise
    const leaving = members.has(old) ? old : fresh
    leaving.isLeaving = true
    leaving.link.send({ kind: 'retire' })
  }
  return undefined
}

/** Its end, or ours of it; one that not even the system ends is left behind. */
async function end({ link, gone }: Member): Promise<void> {
  const timers = [setTimeout(() => link.kill(), CLOSE_MS), setTimeout(gone.resolve, GONE_MS)]
  await gone.promise
  timers.forEach(clearTimeout)
}

function hear(
  member: Member,
  message: ToPrimary,
  members: ReadonlySet<Member>,
  parts: WorkersParts,
): void {
  member.pings = 0
  switch (message.kind) {
    case 'pong':
      return
    case 'open':
      member.hasOpened = true
      parts.log.info({ worker: member.number, pid: member.link.pid }, 'a worker is open')
      parts.metric({ name: 'worker_opened' })
      member.opened.resolve(message.addresses)
      return
    case 'failed':
      member.opened.reject(failed(message.problem))
      return
    case 'log':
      parts.logLine(message.line)
      return
    case 'count':
      for (const metric of message.metrics) {
        member.unended.count(metric)
        parts.metric(metric)
      }
      return
    case 'drained':
      member.drained.resolve()
      return
    case 'cancelled':
      member.cancels.answered(message.id, message.found)
      return
    case 'ask':
      void answer(member, message.ask, members, parts).then((answer) =>
        member.link.send({ kind: 'answer', id: message.id, answer }),
      )
  }
}

/**
 * What a worker can't say any more, because it has gone.
 * @returns whether it was lost: it was open, or had sessions.
 */
function settle(member: Member, parts: WorkersParts): boolean {
  const { number, hasOpened, isLeaving, unended } = member
  const { metrics, lines } = unended.endAll(parts.elapsed())
  for (const metric of metrics) parts.metric(metric)
  if (!hasOpened) return false
  const wasLost = !isLeaving || lines.length > 0
  parts.metric({ name: 'worker_ended', how: wasLost ? 'lost' : 'retired' })
  for (const line of lines)
    try {
      parts.audit(number, line)
    } catch (thrown) {
      parts.log.error(
        `the end of a session could not be written down: ${asFailure(thrown).message}`,
      )
    }
  return wasLost
}
