/**
 * A running gate: configuration becomes parts, parts become doors. Doors open in order and close in
 * reverse. The primary (audit writer, metrics) and the worker (sessions) meet at a port; with one
 * process they are both here.
 */
import { type Management, openManagement } from './cluster/management.ts'
import type { Config } from './config/config.ts'
import type { Failure } from './failure.ts'
import type { KeySource } from './identity/key_source.ts'
import type { Issuer, IssuerStatus } from './issuers/issuer.ts'
import { type OpsDoor, openOps } from './ops/ops.ts'
import { localPorts } from './peers/port.ts'
import { type Door, openDoor } from './sql/door.ts'
import { openEnrolment } from './sql/enrol.ts'
import type { Bind } from './sql/listener.ts'
import type { Cluster } from './sql/session.ts'
import { type DestinationStream, type Logger, openAudit, openLog } from './telemetry/log.ts'
import { type Metrics, openMetrics } from './telemetry/metrics.ts'

export interface Surroundings {
  version: string
  /** Milliseconds since the epoch. */
  now(): number
  /** Calls back when one of the files has changed, until it is told to stop. */
  watch(files: readonly string[], changed: () => void): () => void
  logTo: DestinationStream
  auditTo: DestinationStream
}

export interface Gate {
  /** In the order of `listeners`. */
  addresses: Bind[]
  opsPort: number | undefined
  /** Ends every session with the reason. */
  close(why: Failure): Promise<void>
}

const THE_ONLY_WORKER = 0
const REFRESH_MS = 5_000

/** @throws Failure `cannot_listen` */
export async function openGate(config: Config, surroundings: Surroundings): Promise<Gate> {
  const { now, version } = surroundings
  const log = openLog(surroundings.logTo, config.log.level, now)
  const audit = openAudit(surroundings.auditTo, THE_ONLY_WORKER, now)
  const metrics = openMetrics(version)
  const ports = localPorts()
  ports.primary.hear((message) => {
    if (message.kind === 'audit') audit.write(message.event)
    else if (message.kind === 'metric') metrics.count(message.metric)
    else metrics.count({ name: 'cancel', result: 'unknown' })
  })

  const { issuers } = config.cluster
  const cluster = openCluster(config.cluster, now)

  let notReady: string | undefined = 'starting'
  const ops: OpsDoor | undefined =
    config.ops && (await openOps(config.ops, { metrics, notReady: () => notReady }))
  let door: Door
  try {
    door = await openDoor({
      listeners: config.listeners,
      watch: surroundings.watch,
      cluster,
      worker: THE_ONLY_WORKER,
      port: ports.worker,
      log,
      now,
      limits: config.limits,
    })
  } catch (thrown) {
    await ops?.close()
    throw thrown
  }
  const watched = watchIssuers(keyIssuers(config.cluster), metrics, log)
  notReady = undefined
  const { name } = cluster
  log.info(
    { version, listening: door.addresses, ops: ops?.port, cluster: name },
    'the gate is open',
  )
  return {
    addresses: door.addresses,
    opsPort: ops?.port,
    async close(why) {
      notReady = 'closing'
      watched.stop()
      await door.close(why)
      for (const issuer of issuers.values()) issuer.close()
      cluster.management?.close()
      await ops?.close()
      log.info('the gate is closed')
    },
  }
}

/** The cluster with what is kept open for it: the management role's sessions. */
function openCluster(
  config: Config['cluster'],
  now: () => number,
): Cluster & { management: Management | undefined } {
  const { node } = config
  const management = config.management && openManagement(node, config.management)
  return { ...config, management, ...openEnrolment(config, management, now) }
}

/** One that is open for its userinfo alone has no keys to fetch. */
function keyIssuers({ issuers, trust }: Config['cluster']): Issuer[] {
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
function watchIssuers(issuers: readonly Issuer[], metrics: Metrics, log: Logger) {
  metrics.watch(() => issuers.map((issuer) => issuer.status()))
  const told = new Map<string, string | undefined>()
  const costly = new Set<string>()
  const look = () => {
    for (const each of issuers) {
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
