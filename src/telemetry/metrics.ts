/** Every metric of the gate, name and help, on a registry of its own. No label holds a user's text. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Metric } from '../peers/messages.ts'

export interface Metrics {
  count(metric: Metric): void
  /** The Prometheus text format, and its content type. */
  render(): Promise<{ type: string; text: string }>
}

/** One row a metric that workers tell of. */
type Instruments = { [N in Metric['name']]: (metric: Extract<Metric, { name: N }>) => void }

/** @param version - Postern's, for `postern_build_info`. */
export function openMetrics(version: string): Metrics {
  const registry = new Registry()
  const instruments = { ...ofConnections(registry), ...ofSessions(registry) }
  new Gauge({
    name: 'postern_build_info',
    help: 'Always 1; the version is in the label.',
    labelNames: ['version'],
    registers: [registry],
  }).set({ version }, 1)
  return {
    count: <M extends Metric>(metric: M) => (instruments[metric.name] as (of: M) => void)(metric),
    render: async () => ({ type: registry.contentType, text: await registry.metrics() }),
  }
}

function ofConnections(registry: Registry) {
  const registers = [registry]
  const accepted = new Counter({
    name: 'postern_connections_total',
    help: 'Connections accepted, whatever became of them.',
    registers,
  })
  const open = new Gauge({
    name: 'postern_connections',
    help: 'Connections that are open now, signed in or not.',
    registers,
  })
  const refused = new Counter({
    name: 'postern_connections_refused_total',
    help: 'Connections turned away because limits.connections were open.',
    registers,
  })
  const cancels = new Counter({
    name: 'postern_cancels_total',
    help: 'CancelRequests, by what became of them.',
    labelNames: ['result'],
    registers,
  })
  return {
    connection_opened() {
      accepted.inc()
      open.inc()
    },
    connection_closed: () => open.dec(),
    connection_refused: () => refused.inc(),
    cancel: ({ result }) => cancels.inc({ result }),
  } satisfies Partial<Instruments>
}

function ofSessions(registry: Registry) {
  const registers = [registry]
  const logins = new Counter({
    name: 'postern_logins_total',
    help: "Logins judged, by result: 'ok' or the failure's code.",
    labelNames: ['result'],
    registers,
  })
  const duration = new Histogram({
    name: 'postern_login_duration_seconds',
    help: 'From the connection to the first ReadyForQuery, successful logins only.',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  })
  const sessions = new Gauge({
    name: 'postern_sessions',
    help: 'Sessions that are signed in now.',
    registers,
  })
  const ended = new Counter({
    name: 'postern_sessions_ended_total',
    help: "Sessions that ended, by whom, and the failure's code where nobody simply left.",
    labelNames: ['by', 'failure'],
    registers,
  })
  const relayed = new Counter({
    name: 'postern_relayed_bytes_total',
    help: 'Bytes passed on in sessions that have ended.',
    labelNames: ['direction'],
    registers,
  })
  return {
    login({ result, seconds }) {
      logins.inc({ result })
      if (result === 'ok') duration.observe(seconds)
    },
    session_opened: () => sessions.inc(),
    session_closed({ by, failure }) {
      sessions.dec()
      ended.inc({ by, failure })
    },
    relayed: ({ direction, bytes }) => relayed.inc({ direction }, bytes),
  } satisfies Partial<Instruments>
}
