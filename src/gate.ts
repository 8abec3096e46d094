/**
 * A running gate: configuration becomes parts, parts become doors. Doors open in order and close in
 * reverse. The primary (audit writer, metrics) and the worker (sessions) meet at a port; with one
 * process they are both here.
 */
import { openManagement } from './cluster/management.ts'
import { openNodes } from './cluster/nodes.ts'
import { openPowers } from './cluster/powers.ts'
import type { ClusterConfig, Config } from './config/config.ts'
import type { Failure } from './failure.ts'
import type { KeySource } from './identity/key_source.ts'
import type { Issuer } from './issuers/issuer.ts'
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

  const opened = config.clusters.map((cluster) => openCluster(cluster, now))
  const clusters = new Map(opened.map((cluster) => [cluster.name, cluster]))

  let notReady: string | undefined = 'starting'
  const ops: OpsDoor | undefined =
    config.ops && (await openOps(config.ops, { metrics, notReady: () => notReady }))
  let door: Door
  try {
    door = await openDoor({
      listeners: config.listeners,
      watch: surroundings.watch,
      clusters,
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
  const watched = watchIssuers(config.clusters.flatMap(keyIssuers), metrics, log)
  notReady = undefined
  const names = [...clusters.keys()]
  log.info(
    { version, listening: door.addresses, ops: ops?.port, clusters: names },
    'the gate is open',
  )
  return {
    addresses: door.addresses,
    opsPort: ops?.port,
    async close(why) {
      notReady = 'closing'
      watched.stop()
      await door.close(why)
      for (const cluster of opened) cluster.close()
      await ops?.close()
      log.info('the gate is closed')
    },
  }
}

/** The cluster with what is kept open for it: its nodes, the management role's session, what that tells of roles. */
function openCluster(config: ClusterConfig, now: () => number): Cluster & { close(): void } {
  const { dialect, signIn, issuers } = config
  const management = config.management && openManagement(config.nodes[0], config.management)
  // CockroachDB has none of PostgreSQL's attributes to ask for; by `forward` only tokens sign in.
  const asks = dialect === 'postgresql' && signIn !== 'forward'
  return {
    ...config,
    nodes: openNodes(config.nodes),
    powers: management && asks ? openPowers(management, now) : undefined,
    ...openEnrolment(config, management, now),
    close() {
      for (const issuer of issuers.values()) issuer.close()
      management?.close()
    },
  }
}

/** One that is open for its userinfo alone has no keys to fetch. */
function keyIssuers({ issuers, trust }: ClusterConfig): Issuer[] {
  const sources = new Set<KeySource>(trust.keySources.values())
  return [...issuers.values()].filter((issuer) => sources.has(issuer))
}

/** Keys are fetched before they are needed, from the start on; a new trouble is told once. */
function watchIssuers(issuers: readonly Issuer[], metrics: Metrics, log: Logger) {
  metrics.watch(() => issuers.map((issuer) => issuer.status()))
  const told = new Map<string, string | undefined>()
  const look = () => {
    for (const each of issuers) {
      each.refreshAhead()
      const { issuer, lastError } = each.status()
      if (lastError !== undefined && lastError !== told.get(issuer)) log.warn({ issuer }, lastError)
      told.set(issuer, lastError)
    }
  }
  look()
  const timer = setInterval(look, REFRESH_MS)
  return { stop: () => clearInterval(timer) }
}
