/**
 * The primary's side of workers in processes of their own: it starts them, answers what they ask, and puts a
 * new one in the place of one that crashed. A crash costs the sessions of that worker and no others.
 * Rule: a worker that is replaced stops listening only when the new one listens.
 */
import type { Config } from './config/config.ts'
import type { Source } from './config/source.ts'
import { asFailure, Failure } from './failure.ts'
import { packKeys } from './identity/portable_keys.ts'
import type { Issuer } from './issuers/issuer.ts'
import type { Address, Answer, Metric, Question, ToPrimary, ToWorker } from './peers/messages.ts'
import type { Link } from './peers/processes.ts'
import { workerOf } from './sql/cancel_keys.ts'
import type { AuditEvent } from './telemetry/events.ts'
import type { Logger } from './telemetry/log.ts'
import { openPoolSizes, type PoolSizes } from './telemetry/pool_sizes.ts'

export interface WorkersParts {
  start(): Link<ToWorker, ToPrimary>
  count: number
  /** Of the configuration of the moment. */
  source(): Source
  issuer(cluster: string, name: string): Issuer | undefined
  /** Writes a worker's line; throws where it can't. */
  audit(worker: number, event: AuditEvent): void
  metric(metric: Metric): void
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
  /** The configuration is another one now. */
  renew(next: Config): void
  /** New ones in the place of all of them; sessions stay where they are until they end. */
  replace(): Promise<void>
  drain(why: Failure): Promise<void>
  close(why: Failure): Promise<void>
}

interface Member {
  number: number
  link: Link<ToWorker, ToPrimary>
  startedMs: number
  state: 'starting' | 'open' | 'leaving'
  opened: PromiseWithResolvers<Address[]>
  drained: PromiseWithResolvers<void>
  gone: PromiseWithResolvers<void>
  /** What of its metrics has no end yet. */
  connections: number
  sessions: number
  pools: PoolSizes
}

const NUMBERS = 4_096
const TELL_MS = 100
/** For a new one to listen; one that doesn't is ended. */
const OPEN_MS = 30_000
const BACKOFF_MS = 100
const BACKOFF_MAX_MS = 5_000
/** Crashes one after the other, none of them of a worker that had lived for so long. */
const CRASHES_MAX = 8
const SETTLED_MS = 10_000
/** Somewhat longer than a worker takes to close at most. */
const CLOSE_MS = 8_000

/** @throws Failure `workers_failed` */
export async function openWorkers(parts: WorkersParts): Promise<Workers> {
  const { members, start, startUnlessClosing, close: stopStarting } = openMembers(parts)
  const tell = tellElsewhere(members)
  /** One after the other. */
  let replaced = Promise.resolve()
  const all = (message: ToWorker) => {
    for (const { link } of members) link.send(message)
  }
  const close = async () => {
    stopStarting()
    clearInterval(tell)
    all({ kind: 'close' })
    await Promise.all([...members].map(end))
  }
  try {
    const first = Array.from({ length: parts.count }, start)
    const [addresses = []] = await Promise.all(first.map(({ opened }) => opened.promise))
    return {
      addresses,
      renew: ({ source }) => all({ kind: 'renew', source }),
      replace() {
        const before = replaced
        replaced = before.catch(() => undefined).then(() => replaceAll(members, startUnlessClosing))
        return replaced
      },
      async drain() {
        stopStarting()
        for (const member of members) if (member.state === 'starting') member.link.kill()
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
    member.link.send({ kind: 'begin', number: member.number, source: parts.source() })
    return member
  }
  const lose = (member: Member, how: string) => {
    members.delete(member)
    settle(member, parts)
    member.drained.resolve()
    member.gone.resolve()
    member.opened.reject(failed(how))
    if (closing || member.state !== 'open') return
    const livedMs = parts.elapsed() - member.startedMs
    crashes = livedMs > SETTLED_MS ? 1 : crashes + 1
    parts.log.error({ worker: member.number }, `a worker was lost, with its sessions: ${how}`)
    again()
  }
  const again = () => {
    if (closing) return
    // As long as one of them works, the others are tried again and again.
    const works = [...members].some(({ state }) => state === 'open')
    if (crashes >= CRASHES_MAX && !works) {
      parts.failed(failed('the log says why'))
      return
    }
    setTimeout(
      () => {
        if (closing) return
        start().opened.promise.catch((thrown: unknown) => {
          crashes++
          parts.log.error(asFailure(thrown).message)
          again()
        })
      },
      Math.min(BACKOFF_MS * 2 ** (crashes - 1), BACKOFF_MAX_MS),
    )
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
  const member: Member = {
    number,
    link: start(),
    startedMs: elapsed(),
    state: 'starting',
    opened: Promise.withResolvers(),
    drained: Promise.withResolvers(),
    gone: Promise.withResolvers(),
    connections: 0,
    sessions: 0,
    pools: openPoolSizes(),
  }
  const late = setTimeout(() => member.link.kill(), OPEN_MS)
  // Who waits for it hears why it failed; nobody has to.
  member.opened.promise.catch(() => undefined).finally(() => clearTimeout(late))
  return member
}

/** A fresh one for each that there is now, but for those that are lost meanwhile: they have theirs. */
async function replaceAll(
  members: ReadonlySet<Member>,
  start: () => Member | undefined,
): Promise<void> {
  for (const old of [...members].filter(({ state }) => state === 'open')) {
    if (!members.has(old)) continue
    const fresh = start()
    if (fresh === undefined) return
    await fresh.opened.promise
    const leaving = members.has(old) ? old : fresh
    leaving.state = 'leaving'
    leaving.link.send({ kind: 'retire' })
  }
}

/** Its end, or ours of it. */
async function end({ link, gone }: Member): Promise<void> {
  const timer = setTimeout(() => link.kill(), CLOSE_MS)
  await gone.promise
  clearTimeout(timer)
}

function hear(
  member: Member,
  message: ToPrimary,
  members: ReadonlySet<Member>,
  parts: WorkersParts,
): void {
  switch (message.kind) {
    case 'open':
      member.state = 'open'
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
      for (const metric of message.metrics) count(member, metric, parts)
      return
    case 'drained':
      member.drained.resolve()
      return
    case 'cancel':
      passCancel(message.key, members, parts)
      return
    case 'ask':
      void answer(member, message.ask, parts).then((answer) =>
        member.link.send({ kind: 'answer', id: message.id, answer }),
      )
  }
}

function passCancel(key: Uint8Array, members: ReadonlySet<Member>, parts: WorkersParts): void {
  const number = workerOf(Buffer.from(key))
  const owner = [...members].find((member) => member.number === number)
  if (owner === undefined) parts.metric({ name: 'cancel', result: 'unknown' })
  else owner.link.send({ kind: 'cancel', key })
}

async function answer(
  { number }: Member,
  asked: Question,
  { audit, issuer }: WorkersParts,
): Promise<Answer> {
  try {
    if (asked.kind === 'audit') {
      audit(number, asked.event)
      return { kind: 'written' }
    }
    const found = issuer(asked.cluster, asked.issuer)
    if (found === undefined)
      throw new Failure('jwks_unavailable', { log: 'the configuration names the issuer no more' })
    if (asked.kind === 'keys') return { kind: 'keys', found: packKeys(await found.find(asked.kid)) }
    return { kind: 'userinfo', endpoint: await found.userinfoEndpoint() }
  } catch (thrown) {
    const { code, log, message } = asFailure(thrown)
    return { kind: 'failed', code, log: log ?? message }
  }
}

function count(member: Member, metric: Metric, parts: WorkersParts): void {
  if (metric.name === 'connection_opened') member.connections++
  if (metric.name === 'connection_closed') member.connections--
  if (metric.name === 'session_opened') member.sessions++
  if (metric.name === 'session_closed') member.sessions--
  if (metric.name === 'pool_size') member.pools.note(metric)
  parts.metric(metric)
}

/** What a worker can't count any more, because it has gone. */
function settle(member: Member, { metric }: WorkersParts): void {
  if (member.state === 'starting') return
  metric({ name: 'worker_ended', how: member.state === 'open' ? 'lost' : 'retired' })
  for (const size of member.pools.endAll()) metric(size)
  const lost = { name: 'session_closed', by: 'gate', failure: 'worker_lost' } as const
  for (; member.sessions > 0; member.sessions--) metric(lost)
  for (; member.connections > 0; member.connections--) metric({ name: 'connection_closed' })
}

/** Each worker learns, a little later, how many connections the others have: the limit is for all of them. */
function tellElsewhere(members: ReadonlySet<Member>): NodeJS.Timeout {
  const told = new WeakMap<Member, number>()
  const tell = () => {
    const sum = [...members].reduce((so, { connections }) => so + connections, 0)
    for (const member of members) {
      const connections = sum - member.connections
      if (told.get(member) === connections) continue
      told.set(member, connections)
      member.link.send({ kind: 'elsewhere', connections })
    }
  }
  return setInterval(tell, TELL_MS).unref()
}
