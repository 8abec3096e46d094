/**
 * A running gate: configuration becomes parts, parts become doors. Doors open in order and close in
 * reverse. The primary (audit writer, metrics) and the worker (sessions) meet at a port; with one
 * process they are both here.
 */
import type { Config } from './config/config.ts'
import type { Failure } from './failure.ts'
import { type OpsDoor, openOps } from './ops/ops.ts'
import { localPorts } from './peers/port.ts'
import { type Door, openDoor } from './sql/door.ts'
import type { Bind } from './sql/listener.ts'
import { type DestinationStream, openAudit, openLog } from './telemetry/log.ts'
import { openMetrics } from './telemetry/metrics.ts'

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

  let notReady: string | undefined = 'starting'
  const ops: OpsDoor | undefined =
    config.ops && (await openOps(config.ops, { metrics, notReady: () => notReady }))
  let door: Door
  try {
    door = await openDoor({
      listeners: config.listeners,
      watch: surroundings.watch,
      cluster: config.cluster,
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
  notReady = undefined
  const cluster = config.cluster.name
  log.info({ version, listening: door.addresses, ops: ops?.port, cluster }, 'the gate is open')
  return {
    addresses: door.addresses,
    opsPort: ops?.port,
    async close(why) {
      notReady = 'closing'
      await door.close(why)
      await ops?.close()
      log.info('the gate is closed')
    },
  }
}
