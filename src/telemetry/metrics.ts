/** Every metric of the gate, name and help, on a registry of its own. No label holds a user's text. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { CertificateEnd } from '../config/certificates.ts'
import type { IssuerStatus } from '../issuers/issuer.ts'
import type { Metric } from '../peers/messages.ts'
import type { StateView } from '../state/snapshot.ts'
import { WHOM } from './login_time.ts'
import { ofCertificates, ofIssuers, ofState, ofThrottle } from './metrics_watched.ts'

export interface Metrics {
  count(metric: Metric): void
  /** What is asked for each time that somebody looks. */
  watch(issuers: () => readonly IssuerStatus[]): void
  watchCertificates(ends: () => readonly CertificateEnd[]): void
  watchState(state: StateView): void
  /** @param remembered - how many failures the throttle of logins remembers */
  watchThrottle(remembered: () => number): void
  /** The Prometheus text format, and its content type. */
  render(): Promise<{ type: string; text: string }>
  /** The same values, without the buckets of histograms. */
  samples(): Promise<Sample[]>
}

export interface Sample {
  name: string
  /** Like `cluster=main, node=db:5432`. */
  labels: string
  value: number
}

/** One row a metric that workers tell of. */
type Instruments = { [N in Metric['name']]: (metric: Extract<Metric, { name: N }>) => void }

/** @param version - Postern's, for `postern_build_info`. */
export function openMetrics(version: string): Metrics {
  const registry = new Registry()
  const instruments = {
    ...ofConnections(registry),
    ...ofSessions(registry),
    ...ofRefusals(registry),
    ...ofTokens(registry),
    ...ofNodes(registry),
    ...ofPools(registry),
    ...ofWritten(registry),
  }
  new Gauge({
    name: 'postern_build_info',
    help: 'Always 1; the version is in the label.',
    labelNames: ['version'],
    registers: [registry],
  }).set({ version }, 1)
  return {
    watch: (issuers) => ofIssuers(registry, issuers),
    watchCertificates: (ends) => ofCertificates(registry, ends),
    watchState: (state) => ofState(registry, state),
    watchThrottle: (remembered) => ofThrottle(registry, remembered),
    count: <M extends Metric>(metric: M) => (instruments[metric.name] as (of: M) => void)(metric),
    render: async () => ({ type: registry.contentType, text: await registry.metrics() }),
    samples: async () => samplesOf(await registry.getMetricsAsJSON()),
  }
}

type Json = Awaited<ReturnType<Registry['getMetricsAsJSON']>>

function samplesOf(metrics: Json): Sample[] {
  return metrics.flatMap(({ name, values }) =>
    values.flatMap(({ labels, value, ...more }) => {
      const of =
        'metricName' in more && typeof more.metricName === 'string' ? more.metricName : name
      if (of.endsWith('_bucket')) return []
      const shown = Object.entries(labels).map(([label, text]) => `${label}=${text}`)
      return [{ name: of, labels: shown.join(', '), value }]
    }),
  )
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
    help: 'CancelRequests, of clients and of peers, by what became of them; own: the gate sent it by itself.',
    labelNames: ['result'],
    registers,
  })
  const told = new Counter({
    name: 'postern_peers_told_total',
    help: 'Cancels told to another gate, by whether it heard them.',
    labelNames: ['result'],
    registers,
  })
  const statements = new Counter({
    name: 'postern_console_statements_total',
    help: 'Statements said to the console, by kind, and whether they were answered.',
    labelNames: ['kind', 'result'],
    registers,
  })
  const workers = new Gauge({
    name: 'postern_workers',
    help: 'Worker processes that are open; 0 without any.',
    registers,
  })
  const ended = new Counter({
    name: 'postern_workers_ended_total',
    help: "Worker processes that ended: 'retired' after they were replaced, or 'lost'.",
    labelNames: ['how'],
    registers,
  })
  told.inc({ result: 'failed' }, 0)
  ended.inc({ how: 'lost' }, 0)
  return {
    connection_opened() {
      accepted.inc()
      open.inc()
    },
    connection_closed: () => open.dec(),
    worker_opened: () => workers.inc(),
    worker_ended({ how }) {
      workers.dec()
      ended.inc({ how })
    },
    connection_refused: () => refused.inc(),
    cancel: ({ result }) => cancels.inc({ result }),
    peer_told: ({ result }) => told.inc({ result }),
    console_statement: ({ kind, result }) => statements.inc({ kind, result }),
  } satisfies Partial<Instruments>
}

/** Results that somebody is woken for. */
const ALERTED = ['ok', 'internal_error', 'state_stale', 'too_many_failures'] as const
const LOGIN_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

function ofSessions(registry: Registry) {
  const registers = [registry]
  const logins = new Counter({
    name: 'postern_logins_total',
    help: "Logins judged, by result: 'ok' or the failure's code.",
    labelNames: ['result'],
    registers,
  })
  // From the start, or the first one would be no increase.
  for (const result of ALERTED) logins.inc({ result }, 0)
  const duration = new Histogram({
    name: 'postern_login_duration_seconds',
    help: 'From the connection to the first ReadyForQuery, successful logins only.',
    buckets: LOGIN_SECONDS,
    registers,
  })
  const phases = new Histogram({
    name: 'postern_login_phase_seconds',
    help: 'Of it, whom the gate waited for: client, issuer, node; gate is the rest.',
    labelNames: ['phase'],
    buckets: LOGIN_SECONDS,
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
    login({ result, seconds, parts }) {
      logins.inc({ result })
      if (result === 'ok') duration.observe(seconds)
      if (parts !== undefined)
        for (const phase of WHOM) phases.observe({ phase }, parts[phase] / 1000)
    },
    session_opened: () => sessions.inc(),
    session_closed({ by, failure }) {
      sessions.dec()
      ended.inc({ by, failure })
    },
    relayed: ({ direction, bytes }) => relayed.inc({ direction }, bytes),
  } satisfies Partial<Instruments>
}

function ofRefusals(registry: Registry) {
  const registers = [registry]
  const throttled = new Counter({
    name: 'postern_throttled_total',
    help: "Attempts told to come back later: 'wait' after a failed login, 'handshakes' of a range of addresses.",
    labelNames: ['reason'],
    registers,
  })
  const kept = new Counter({
    name: 'postern_access_refused_total',
    help: "Logins refused by who may come in, by what said so: 'rule', 'list', 'revoked', or 'state' that is too old.",
    labelNames: ['by'],
    registers,
  })
  return {
    throttled: ({ reason }) => throttled.inc({ reason }),
    access_refused: ({ by }) => kept.inc({ by }),
  } satisfies Partial<Instruments>
}

function ofTokens(registry: Registry) {
  const registers = [registry]
  const tokens = new Counter({
    name: 'postern_tokens_total',
    help: "Tokens whose signature was found good: 'verified' now, or 'remembered' from before.",
    labelNames: ['result'],
    registers,
  })
  const roles = new Counter({
    name: 'postern_roles_created_total',
    help: 'Users made at their first sign-in.',
    registers,
  })
  const memberships = new Counter({
    name: 'postern_memberships_changed_total',
    help: 'Memberships made and taken back because of groups.',
    labelNames: ['change'],
    registers,
  })
  return {
    token: ({ result }) => tokens.inc({ result }),
    role_created: () => roles.inc(),
    memberships({ granted, revoked }) {
      memberships.inc({ change: 'granted' }, granted)
      memberships.inc({ change: 'revoked' }, revoked)
    },
  } satisfies Partial<Instruments>
}

/** The labels are of the configuration, or of the name server that it names. */
function ofNodes(registry: Registry) {
  const registers = [registry]
  const states = new Gauge({
    name: 'postern_nodes',
    help: 'How many workers see the node in the state (up, draining, down).',
    labelNames: ['cluster', 'node', 'state'],
    registers,
  })
  const failed = new Counter({
    name: 'postern_node_failures_total',
    help: 'Times that a session could not be had on a node, and another one was tried.',
    labelNames: ['cluster', 'node'],
    registers,
  })
  /** Who looks after a node: each worker, and for a moment what a reload opened and what it closes. */
  const watchers = new Map<string, number>()
  const change = (cluster: string, node: string, by: number): number => {
    const key = JSON.stringify([cluster, node])
    const count = (watchers.get(key) ?? 0) + by
    if (count > 0) watchers.set(key, count)
    else watchers.delete(key)
    return count
  }
  return {
    node_state({ cluster, node, before, state }) {
      const left = change(cluster, node, Number(before === 'gone') - Number(state === 'gone'))
      for (const each of ['up', 'draining', 'down']) {
        const labels = { cluster, node, state: each }
        if (left > 0) states.inc(labels, Number(each === state) - Number(each === before))
        else states.remove(labels)
      }
      if (left <= 0) failed.remove({ cluster, node })
    },
    // One that is gone would never be forgotten.
    node_failed({ cluster, node }) {
      if (change(cluster, node, 0) > 0) failed.inc({ cluster, node })
    },
  } satisfies Partial<Instruments>
}

/** Clusters with `pool.mode: session` alone have these. */
function ofPools(registry: Registry) {
  const registers = [registry]
  const taken = new Counter({
    name: 'postern_pool_sessions_total',
    help: "Node sessions that clients got: 'new', or 'warm' from another client.",
    labelNames: ['cluster', 'how'],
    registers,
  })
  const closed = new Counter({
    name: 'postern_pool_closed_total',
    help: 'Node sessions that were closed where they might have been kept, by why.',
    labelNames: ['cluster', 'why'],
    registers,
  })
  const sizes = {
    idle: new Gauge({
      name: 'postern_pool_idle',
      help: 'Node sessions that wait for a client now.',
      labelNames: ['cluster'],
      registers,
    }),
    waiting: new Gauge({
      name: 'postern_pool_waiting',
      help: 'Clients that wait for room on a node now.',
      labelNames: ['cluster'],
      registers,
    }),
  }
  return {
    pool_taken: ({ cluster, how }) => taken.inc({ cluster, how }),
    pool_closed: ({ cluster, why }) => closed.inc({ cluster, why }),
    pool_size: ({ cluster, of, change }) => sizes[of].inc({ cluster }, change),
  } satisfies Partial<Instruments>
}

/** What is written down, or sent, for others to read. */
function ofWritten(registry: Registry) {
  const registers = [registry]
  const unwritten = new Counter({
    name: 'postern_audit_failures_total',
    help: 'Lines of the audit stream that could not be written: what they tell of did not happen, or the gate ended before a server had taken them.',
    registers,
  })
  const heads = new Counter({
    name: 'postern_audit_heads_total',
    help: "Heads of the sealed audit stream, by where they go: 'kept', or 'failed'.",
    labelNames: ['place', 'result'],
    registers,
  })
  const traces = new Counter({
    name: 'postern_traces_total',
    help: "Logins as spans, where tracing is on: 'sent' to the collector, or 'dropped'.",
    labelNames: ['result'],
    registers,
  })
  traces.inc({ result: 'dropped' }, 0)
  return {
    audit_failed: ({ lines = 1 }) => unwritten.inc(lines),
    audit_head: ({ place, result, heads: by = 1 }) => heads.inc({ place, result }, by),
    // It is on its way.
    login_trace: () => undefined,
    traces: ({ result, logins }) => traces.inc({ result }, logins),
  } satisfies Partial<Instruments>
}
