/**
 * A running gate: configuration becomes parts, parts become doors. Doors open in order and close in
 * reverse. The primary is here (audit writer, metrics, operators' door, issuers); its workers, which have
 * the sessions, are in processes of their own, or there is one and it is here as well.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { openNames } from './cluster/node_names.ts'
import { certificateEnds } from './config/certificates.ts'
import type { Config } from './config/config.ts'
import { type Desk, openDesk } from './desk.ts'
import { asFailure, Failure } from './failure.ts'
import { type Gates, openGates } from './gates/gates.ts'
import { watchIssuers } from './issuers/watch.ts'
import { type OpsDoor, openOps } from './ops/ops.ts'
import type { Metric, ToPrimary, ToWorker } from './peers/messages.ts'
import type { Link } from './peers/processes.ts'
import { openStateAnswers } from './peers/state_answers.ts'
import { openAttempts } from './policy/attempts.ts'
import { openReloading, type ReadConfig, type Reloading } from './reloading.ts'
import { holdBack, openShared } from './shared_state.ts'
import { bindSockets } from './sql/bound_sockets.ts'
import { boundByAddress } from './sql/cancelling.ts'
import type { Bind } from './sql/listener.ts'
import { type StateView, staleness } from './state/snapshot.ts'
import type { State } from './state/state.ts'
import { countingFailures } from './telemetry/audit_failures.ts'
import type { AuditSink } from './telemetry/audit_file.ts'
import { openKnown } from './telemetry/known.ts'
import { type DestinationStream, openLog } from './telemetry/log.ts'
import { openMetrics } from './telemetry/metrics.ts'
import { openSpans } from './telemetry/spans.ts'
import { type Status, statusOf } from './telemetry/status.ts'
import { openTrail } from './telemetry/trail.ts'
import { openWorker } from './worker.ts'
import { openWorkers, type Workers, type WorkersParts } from './workers.ts'

export interface Surroundings {
  version: string
  /** What it runs on, with its version. */
  runtime?: string | undefined
  /** Of this machine. */
  hostName?: string | undefined
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds on a clock that is never set; this process's own, unless told. */
  elapsed?: (() => number) | undefined
  /** Calls back when one of the files has changed, until it is told to stop. */
  watch(files: readonly string[], changed: () => void): () => void
  logTo: DestinationStream
  auditTo: AuditSink
  /** Reads the configuration again, as `Gate.reload` is given it; without it nobody but its caller can. */
  read?: ReadConfig | undefined
  /** How workers get processes of their own; without it there is one process, whatever is configured. */
  processes?: Processes | undefined
}

export interface Processes {
  processors: number
  /** Starts one that inherits these sockets. */
  start(sockets: readonly number[]): Link<ToWorker, ToPrimary>
}

export interface Gate {
  /** In the order of `listeners`. */
  addresses: Bind[]
  opsPort: number | undefined
  /** Resolves where the gate can't go on by itself; close it then. */
  broken: Promise<Failure>
  /**
   * For whom comes from now on; live sessions go on. Where `read` throws, or the gate is closing,
   * everything stays as it is, and the log says why.
   */
  reload(read: ReadConfig): void
  /** Fresh worker processes in the place of those that there are; no session is lost. */
  replaceWorkers(): Promise<void>
  /** Lets nobody new in, and ends each session when it has nothing under way, as far as the grace goes. */
  drain(why: Failure): Promise<void>
  /** Ends every session with the reason; from `hurried` on, without waiting for those that linger. */
  close(why: Failure, hurried?: Promise<void>): Promise<void>
}

/** @throws Failure `cannot_listen`, `workers_failed` */
export async function openGate(config: Config, surroundings: Surroundings): Promise<Gate> {
  const primary = openPrimary(config, surroundings)
  const { log, metrics, broken } = primary
  const live: Live = {
    notReady: () => 'starting',
    state: undefined,
    renew: () => undefined,
    isClosing: false,
  }
  const status = openStatus(config, primary, surroundings, live)
  const ops = await openOperators(config, primary, status, live)
  const reloading = openReloading({ ...primary, opened: config, read: surroundings.read, live })
  const own = { ...primary, status, reloading, live }
  const opening = openWithPeers(config, own, surroundings)
  const { workers, gates, state, peers, desk } = await opening.catch(async (thrown: unknown) => {
    await ops?.close()
    await primary.trail.close()
    throw thrown
  })
  const watched = watchIssuers(() => primary.config().clusters, metrics, log)
  live.notReady = () => (live.isClosing ? 'closing' : whyNotReady(workers, state))
  const about = { version: surroundings.version, ops: ops?.port, peers, clusters: names(config) }
  log.info({ ...about, listening: workers.addresses }, 'the gate is open')
  return {
    addresses: workers.addresses,
    opsPort: ops?.port,
    broken: broken.promise,
    reload(read) {
      if (!live.isClosing) primary.trail.reopen()
      if (reloading.reload(read) === undefined) desk.reloaded(BY_FILE)
    },
    async replaceWorkers() {
      try {
        const kept = live.isClosing ? 'the gate is closing' : await workers.replace()
        if (kept === undefined) log.info('the workers are fresh ones')
        else log.warn(`the workers are kept: ${kept}`)
      } catch (thrown) {
        if (!live.isClosing) log.error(`the workers are kept: ${asFailure(thrown).message}`)
      }
    },
    async drain(why) {
      live.isClosing = true
      const { graceMs } = primary.config().shutdown
      if (graceMs === 0) return
      log.info({ grace: graceMs }, 'the gate is closing: sessions may finish what they do')
      const inTime = new AbortController()
      const late = sleep(graceMs, undefined, { signal: inTime.signal, ref: false })
      await Promise.race([workers.drain(why), late])
      inTime.abort()
    },
    async close(why, hurried) {
      live.isClosing = true
      watched.stop()
      await workers.close(why, hurried)
      await primary.spans?.close()
      await gates.close()
      await primary.trail.close()
      await state?.close()
      for (const { issuers } of primary.config().clusters)
        for (const issuer of issuers.values()) issuer.close()
      await ops?.close()
      log.info('the gate is closed')
    },
  }
}

/** Who changed something, as the list of changes has it. */
const BY_FILE = 'the configuration file, or a signal'

/** What is not there from the beginning. */
interface Live {
  notReady(): string | undefined
  state: State | undefined
  /** Another configuration counts. */
  renew(next: Config): void
  isClosing: boolean
}

/** How the gate is, for whoever asks. */
function openStatus(
  config: Config,
  { known, config: current }: PrimaryParts,
  { version, runtime = '', now, processes }: Surroundings,
  live: Live,
): () => Status {
  const workersWanted = processes === undefined ? 1 : processesOf(config, processes.processors)
  const about = { version, runtime, sinceMs: now(), workersWanted, ...known, config: current }
  const notReady = () => live.notReady()
  return () => statusOf({ ...about, notReady, state: live.state }, now())
}

/** Where operators look at the gate, while it opens, runs and closes. */
async function openOperators(
  config: Config,
  { metrics, config: current }: PrimaryParts,
  status: () => Status,
  live: Live,
): Promise<OpsDoor | undefined> {
  if (config.ops === undefined) return undefined
  return await openOps(config.ops.listen, {
    metrics,
    notReady: () => live.notReady(),
    hosts: () => current().ops?.hosts ?? [],
    status,
  })
}

/** Nobody is let in. */
function whyNotReady(workers: Workers, state: State | undefined): string | undefined {
  if (!workers.isOpen()) return 'no worker is open'
  return state && staleness(state)
}

/** What there is one of, however many workers there are. */
function openPrimary(
  config: Config,
  { logTo, auditTo, now, elapsed, version, hostName = '' }: Surroundings,
) {
  const metrics = openMetrics(version)
  const clock = elapsed ?? (() => performance.now())
  const known = openKnown(now)
  const log = openLog(logTo, config.log.level, now)
  const spans = config.tracing && openSpans({ ...config.tracing, ...metrics, version, log })
  const count = (metric: Metric): void => {
    metrics.count(metric)
    if (metric.name === 'login_trace') spans?.note(metric)
    known.count(metric)
  }
  const trail = openTrail(config.audit, auditTo, { count, hostName, log, now })
  let current = config
  for (const { what } of config.access.strays) log.warn(what)
  metrics.watchCertificates(() => certificateEnds(current.certificates))
  return {
    log,
    metrics,
    known,
    spans,
    trail,
    count,
    elapsed: clock,
    attempts: openAttempts(config.limits.failedLoginDelayMs, { now, elapsed: clock, ...metrics }),
    /** @param worker - the number of whose line it is */
    audit: known.audited(countingFailures(trail.write, { count })),
    broken: Promise.withResolvers<Failure>(),
    config: () => current,
    renew(next: Config): Config {
      current = next
      for (const { what } of next.access.strays) log.warn(what)
      return next
    },
  }
}

type PrimaryParts = ReturnType<typeof openPrimary>
type WithStatus = PrimaryParts & { status: () => Status; reloading: Reloading; live: Live }
type WithGates = PrimaryParts & {
  gates: Pick<Gates, 'cancel'>
  state: StateView | undefined
  desk: Desk
}

/** The workers and the other gates, which ask each other, and what gates share. @returns `peers` - the port that is listened on. */
async function openWithPeers(config: Config, primary: WithStatus, surroundings: Surroundings) {
  const { log, count, live, reloading } = primary
  const { now, version, read } = surroundings
  const gates = await openGates(config.peers, { log, count, now, names: openNames() })
  let workers: Workers | undefined
  let state: State | undefined
  try {
    state = await openShared(config, primary, now)
    live.state = state
    await primary.trail.keepHeads(state)
    if (state !== undefined) reloading.follow(state)
    const desk = openDesk({
      ...primary,
      version,
      now,
      state,
      workers: () => workers,
      reload() {
        primary.trail.reopen()
        return read === undefined ? 'nobody can read it again' : reloading.reload(read)
      },
    })
    // However many workers have a client's cancels.
    const cancel = boundByAddress(gates.cancel, { now, count })
    const first = primary.config()
    const held = state && holdBack(state)
    const parts = { ...primary, state: held?.view, gates: { cancel }, desk }
    workers = await openAll(first, parts, surroundings)
    const opened = workers
    live.renew = (next) => {
      opened.renew(next)
      gates.renew(next.peers)
    }
    if (primary.config() !== first) opened.renew(primary.config())
    const why = await Promise.race([primary.broken.promise, undefined])
    if (why !== undefined) throw why
    held?.release()
    const door = await gates.listen(workers.cancel)
    return { workers, gates, state, peers: door?.port, desk }
  } catch (thrown) {
    await workers?.close(new Failure('shutting_down'))
    await gates.close()
    await state?.close()
    throw thrown
  }
}

async function openAll(
  config: Config,
  primary: WithGates,
  surroundings: Surroundings,
): Promise<Workers> {
  const { processes } = surroundings
  const count = processes === undefined ? 1 : processesOf(config, processes.processors)
  if (processes === undefined || count === 1) return await openHere(config, primary, surroundings)
  const sockets = await bindSockets(config.listeners.map(({ bind }) => bind))
  const workers = await openElsewhere(config, primary, surroundings, {
    count,
    start: () => processes.start(sockets.descriptors),
  }).catch((thrown: unknown) => {
    sockets.close()
    throw thrown
  })
  const close: Workers['close'] = (...how) => {
    // With the workers' own, which they close, they are gone.
    sockets.close()
    return workers.close(...how)
  }
  try {
    await sockets.publish()
  } catch (thrown) {
    await close(new Failure('shutting_down'))
    throw thrown
  }
  return { ...workers, close }
}

/** In how many processes the sessions are. */
export function processesOf({ workers }: Config, processors: number): number {
  return workers === 'auto' ? processors : workers
}

/** Workers in processes of their own. */
async function openElsewhere(
  config: Config,
  { log, audit, count, broken, gates, state, attempts, desk, elapsed, config: current }: WithGates,
  { logTo }: Surroundings,
  processes: Pick<WorkersParts, 'count' | 'start'>,
): Promise<Workers> {
  return await openWorkers({
    ...processes,
    listening: config.source,
    source: () => current().source,
    issuer: (cluster, name) =>
      current()
        .clusters.find((each) => each.name === cluster)
        ?.issuers.get(name),
    audit,
    metric: count,
    cancel: gates.cancel,
    ...desk,
    attempts,
    state: state && openStateAnswers(state),
    logLine: (line) => void logTo.write(line),
    log,
    elapsed,
    failed: broken.resolve,
  })
}

/** One worker, in this process. */
async function openHere(
  config: Config,
  { audit, count, log, gates, state, attempts, desk }: WithGates,
  { now, watch }: Surroundings,
): Promise<Workers> {
  const number = 0
  const worker = await openWorker(config, {
    number,
    workers: 1,
    primary: {
      audit: async (event) => audit(number, event),
      count,
      cancel: gates.cancel,
      console: (question) => desk.console(number, question),
      ...attempts,
    },
    log,
    now,
    watch,
    elsewhere: () => 0,
    state,
  })
  return {
    ...worker,
    endSession: (_worker, id, why) => worker.endSession(id, why),
    isOpen: () => true,
    replace: async () => 'there are no worker processes: workers is 1',
  }
}

function names({ clusters }: Config): string[] {
  return clusters.map(({ name }) => name)
}
