/**
 * A running gate: configuration becomes parts, parts become doors. Doors open in order and close in
 * reverse. The primary is here (audit writer, metrics, operators' door, issuers); its workers, which have
 * the sessions, are in processes of their own, or there is one and it is here as well.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { openNames } from './cluster/node_names.ts'
import type { ClusterConfig, Config } from './config/config.ts'
import { asFailure, Failure } from './failure.ts'
import { type Gates, openGates } from './gates/gates.ts'
import type { KeySource } from './identity/key_source.ts'
import type { Issuer, IssuerStatus } from './issuers/issuer.ts'
import { openOps } from './ops/ops.ts'
import type { ToPrimary, ToWorker } from './peers/messages.ts'
import type { Primary } from './peers/primary.ts'
import type { Link } from './peers/processes.ts'
import { openStateAnswers } from './peers/state_answers.ts'
import { openThrottles } from './policy/throttle.ts'
import { bindSockets } from './sql/bound_sockets.ts'
import { boundByAddress } from './sql/cancelling.ts'
import { sockets } from './sql/door.ts'
import type { Bind } from './sql/listener.ts'
import { staleness } from './state/snapshot.ts'
import { openState, type State } from './state/state.ts'
import { tellStrays } from './state/strays.ts'
import { type DestinationStream, type Logger, openAudit, openLog } from './telemetry/log.ts'
import { type Metrics, openMetrics } from './telemetry/metrics.ts'
import { openWorker } from './worker.ts'
import { openWorkers, type Workers, type WorkersParts } from './workers.ts'

export interface Surroundings {
  version: string
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds on a clock that is never set; this process's own, unless told. */
  elapsed?: (() => number) | undefined
  /** Calls back when one of the files has changed, until it is told to stop. */
  watch(files: readonly string[], changed: () => void): () => void
  logTo: DestinationStream
  auditTo: DestinationStream
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
  reload(read: (previous: Config) => Config): void
  /** Fresh worker processes in the place of those that there are; no session is lost. */
  replaceWorkers(): Promise<void>
  /** Lets nobody new in, and ends each session when it has nothing under way, as far as the grace goes. */
  drain(why: Failure): Promise<void>
  /** Ends every session with the reason; from `hurried` on, without waiting for those that linger. */
  close(why: Failure, hurried?: Promise<void>): Promise<void>
}

const REFRESH_MS = 5_000

/** @throws Failure `cannot_listen`, `workers_failed` */
export async function openGate(config: Config, surroundings: Surroundings): Promise<Gate> {
  const primary = openPrimary(config, surroundings)
  const { log, metrics, broken } = primary
  let notReady = (): string | undefined => 'starting'
  const ops = config.ops && (await openOps(config.ops, { metrics, notReady: () => notReady() }))
  const opening = openWithPeers(config, primary, surroundings)
  const { workers, gates, state, peers } = await opening.catch(async (thrown: unknown) => {
    await ops?.close()
    throw thrown
  })
  const watched = watchIssuers(() => primary.config().clusters.flatMap(keyIssuers), metrics, log)
  let closing = false
  notReady = () => (closing ? 'closing' : whyNotReady(workers, state))
  const { addresses } = workers
  const { version } = surroundings
  const about = { version, listening: addresses, ops: ops?.port, peers, clusters: names(config) }
  log.info(about, 'the gate is open')
  return {
    addresses,
    opsPort: ops?.port,
    broken: broken.promise,
    reload(read) {
      if (closing) return log.warn('the configuration is not read again: the gate is closing')
      try {
        const before = primary.config()
        const next = primary.renew(read(before))
        for (const what of fixed(config, next))
          log.warn(`${what} stays as it is until the gate is started again`)
        workers.renew(next)
        gates.renew(next.peers)
        log.info({ clusters: names(next) }, 'the configuration was read again')
        log.level = next.log.level
      } catch (thrown) {
        for (const problem of asFailure(thrown).message.split('\n'))
          log.error(`the configuration in use is kept: ${problem}`)
      }
    },
    async replaceWorkers() {
      try {
        const kept = closing ? 'the gate is closing' : await workers.replace()
        if (kept === undefined) log.info('the workers are fresh ones')
        else log.warn(`the workers are kept: ${kept}`)
      } catch (thrown) {
        if (!closing) log.error(`the workers are kept: ${asFailure(thrown).message}`)
      }
    },
    async drain(why) {
      closing = true
      const { graceMs } = primary.config().shutdown
      if (graceMs === 0) return
      log.info({ grace: graceMs }, 'the gate is closing: sessions may finish what they do')
      const inTime = new AbortController()
      const late = sleep(graceMs, undefined, { signal: inTime.signal, ref: false })
      await Promise.race([workers.drain(why), late])
      inTime.abort()
    },
    async close(why, hurried) {
      closing = true
      watched.stop()
      await workers.close(why, hurried)
      await gates.close()
      await state?.close()
      for (const { issuers } of primary.config().clusters)
        for (const issuer of issuers.values()) issuer.close()
      await ops?.close()
      log.info('the gate is closed')
    },
  }
}

/** Nobody is let in. */
function whyNotReady(workers: Workers, state: State | undefined): string | undefined {
  if (!workers.isOpen()) return 'no worker is open'
  return state && staleness(state)
}

/** What there is one of, however many workers there are. */
function openPrimary(config: Config, { logTo, auditTo, now, elapsed, version }: Surroundings) {
  const metrics = openMetrics(version)
  const clock = elapsed ?? (() => performance.now())
  const log = openLog(logTo, config.log.level, now)
  let current = config
  warnOfLists(config, log)
  return {
    log,
    metrics,
    count: (metric: Parameters<Metrics['count']>[0]) => metrics.count(metric),
    elapsed: clock,
    attempts: openAttempts(config.limits.failedLoginDelayMs, clock, metrics),
    /** @param worker - the number of whose line it is */
    audit: openAudit(auditTo, now),
    broken: Promise.withResolvers<Failure>(),
    config: () => current,
    renew(next: Config): Config {
      current = next
      warnOfLists(next, log)
      return next
    },
  }
}

type PrimaryParts = ReturnType<typeof openPrimary>
type WithGates = PrimaryParts & { gates: Pick<Gates, 'cancel'>; state: State | undefined }

/** The workers and the other gates, which ask each other, and what gates share. @returns `peers` - the port that is listened on. */
async function openWithPeers(config: Config, primary: PrimaryParts, surroundings: Surroundings) {
  const { log, count } = primary
  const { now } = surroundings
  const gates = await openGates(config.peers, { log, count, now, names: openNames() })
  let workers: Workers | undefined
  let state: State | undefined
  try {
    state = await openShared(config, primary, now)
    // However many workers have a client's cancels.
    const cancel = boundByAddress(gates.cancel, { now, count })
    workers = await openAll(config, { ...primary, state, gates: { cancel } }, surroundings)
    const door = await gates.listen(workers.cancel)
    return { workers, gates, state, peers: door?.port }
  } catch (thrown) {
    await workers?.close(new Failure('shutting_down'))
    await gates.close()
    await state?.close()
    throw thrown
  }
}

/** @throws Failure `state_unusable` */
async function openShared(
  { state, clusters }: Config,
  { log, metrics, config: current, elapsed }: PrimaryParts,
  now: () => number,
): Promise<State | undefined> {
  if (state === undefined) return undefined
  const keeping = (all: Config['clusters']) => all.find(({ name }) => name === state.cluster)
  // The file may name another one by now; this one stays until the gate is started again.
  const nodes = () => (keeping(current().clusters) ?? keeping(clusters))?.nodes ?? clusters[0].nodes
  const opened = await openState(state, { nodes, log, now, elapsed })
  metrics.watchState(opened)
  tellStrays(opened, () => names(current()), log)
  return opened
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

/** The throttle of failed logins, one for all workers. */
function openAttempts(
  firstMs: number,
  elapsed: () => number,
  metrics: Metrics,
): Pick<Primary, 'mayTry' | 'settle'> {
  if (firstMs === 0)
    return { mayTry: async () => ({ waitMs: 0, beganMs: 0 }), settle: async () => true }
  const throttle = openThrottles({ firstMs, maxMs: Math.max(firstMs, FAILED_LOGIN_DELAY_MS_MAX) })
  metrics.watchThrottle(throttle.remembered)
  return {
    async mayTry(who) {
      const beganMs = elapsed()
      return { waitMs: throttle.waitMs(who, beganMs), beganMs }
    },
    settle: async (who, beganMs, outcome) => throttle.settle(who, beganMs, outcome, elapsed()),
  }
}

const FAILED_LOGIN_DELAY_MS_MAX = 3_600_000

/** In how many processes the sessions are. */
export function processesOf({ workers }: Config, processors: number): number {
  return workers === 'auto' ? processors : workers
}

/** Workers in processes of their own. */
async function openElsewhere(
  config: Config,
  { log, audit, count, broken, gates, state, attempts, elapsed, config: current }: WithGates,
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
  { audit, count, log, gates, state, attempts }: WithGates,
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
    isOpen: () => true,
    replace: async () => 'there are no worker processes: workers is 1',
  }
}

function warnOfLists({ access }: Config, log: Logger): void {
  for (const { what } of access.strays) log.warn(what)
}

function names({ clusters }: Config): string[] {
  return clusters.map(({ name }) => name)
}

/** What can't be another one in a gate that runs, where the file says so. */
function fixed(opened: Config, next: Config): string[] {
  const compared: [string, unknown, unknown][] = [
    ['listeners', sockets(opened.listeners), sockets(next.listeners)],
    ['ops.listen', opened.ops, next.ops],
    ['audit.to', opened.auditTo, next.auditTo],
    ['workers', opened.workers, next.workers],
    ['peers.listen', opened.peers?.listen, next.peers?.listen],
    ['state', opened.state, next.state],
    ['limits.failed_login_delay', opened.limits.failedLoginDelayMs, next.limits.failedLoginDelayMs],
  ]
  return compared.filter(([, one, other]) => !isDeepStrictEqual(one, other)).map(([what]) => what)
}

/** One that is open for its userinfo alone has no keys to fetch. */
function keyIssuers({ issuers, trust }: ClusterConfig): Issuer[] {
  const sources = new Set<KeySource>(trust.keySources.values())
  return [...issuers.values()].filter((issuer) => sources.has(issuer))
}

/** Whether its answers may be used for more than the login that asked for them. */
function mayKeep({ fetches, fetchedMs = 0, freshUntilMs = 0 }: IssuerStatus): boolean {
  return fetches.ok < 2 || freshUntilMs > fetchedMs
}

const MAY_NOT_KEEP =
  'this issuer forbids keeping its keys, or says nothing of it: each token that names it fetches them; jwks_min_fresh: 5m in its issuer_options ends that'

/** Keys are fetched before they are needed, from the start on; a new trouble is told once. */
function watchIssuers(issuers: () => readonly Issuer[], metrics: Metrics, log: Logger) {
  metrics.watch(() => issuers().map((issuer) => issuer.status()))
  const told = new Map<string, string | undefined>()
  const costly = new Set<string>()
  const look = () => {
    for (const each of issuers()) {
      each.refreshAhead()
      const { issuer, lastError } = each.status()
      if (lastError !== undefined && lastError !== told.get(issuer)) log.warn({ issuer }, lastError)
      told.set(issuer, lastError)
      if (!mayKeep(each.status()) && !costly.has(issuer)) {
        costly.add(issuer)
        log.warn({ issuer }, MAY_NOT_KEEP)
      }
    }
  }
  look()
  const timer = setInterval(look, REFRESH_MS)
  return { stop: () => clearInterval(timer) }
}
