/**
 * Every metric of the gate is in docs/metrics.md, and nothing else; the alerts and the dashboard ask for
 * what there is, by labels that it has; each alert has its place in the runbook.
 */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { parse } from 'yaml'
import type { IssuerStatus } from '../../src/issuers/issuer.ts'
import type { Metric } from '../../src/peers/messages.ts'
import { EMPTY } from '../../src/state/snapshot.ts'
import { openMetrics } from '../../src/telemetry/metrics.ts'
import { readQuery } from '../support/promql.ts'

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
/** What Prometheus itself adds. */
const ADDED = ['job', 'instance']

/** One of each that is counted: a new one is missing here until somebody thinks of it. */
const COUNTED: { [N in Metric['name']]: Extract<Metric, { name: N }> } = {
  connection_opened: { name: 'connection_opened' },
  connection_closed: { name: 'connection_closed' },
  connection_refused: { name: 'connection_refused' },
  login: {
    name: 'login',
    result: 'ok',
    seconds: 1,
    parts: { client: 1, issuer: 2, node: 3, gate: 4 },
  },
  login_trace: {
    name: 'login_trace',
    request: '1869a5c2d3f4e5b6',
    cluster: 'main',
    node: '',
    result: 'ok',
    startMs: 0,
    laps: [],
  },
  token: { name: 'token', result: 'verified' },
  role_created: { name: 'role_created' },
  memberships: { name: 'memberships', granted: 1, revoked: 1 },
  console_statement: { name: 'console_statement', kind: 'show', result: 'ok' },
  session_opened: { name: 'session_opened' },
  session_closed: { name: 'session_closed', by: 'client', failure: '' },
  node_state: { name: 'node_state', cluster: 'main', node: 'n1', before: 'gone', state: 'up' },
  node_failed: { name: 'node_failed', cluster: 'main', node: 'n1' },
  pool_taken: { name: 'pool_taken', cluster: 'main', how: 'new' },
  pool_closed: { name: 'pool_closed', cluster: 'main', why: 'reset' },
  pool_size: { name: 'pool_size', cluster: 'main', of: 'idle', change: 1 },
  relayed: { name: 'relayed', direction: 'to_client', bytes: 1 },
  worker_opened: { name: 'worker_opened' },
  worker_ended: { name: 'worker_ended', how: 'retired' },
  cancel: { name: 'cancel', result: 'sent' },
  peer_told: { name: 'peer_told', result: 'ok' },
  access_refused: { name: 'access_refused', by: 'rule' },
  throttled: { name: 'throttled', reason: 'wait' },
  audit_failed: { name: 'audit_failed' },
  audit_head: { name: 'audit_head', place: 'state', result: 'kept' },
  traces: { name: 'traces', result: 'sent', logins: 1 },
}

interface Documented {
  name: string
  type: string
  labels: string[]
  help: string
}

/** As the gate shows it once everything has happened. */
async function registered(): Promise<Documented[]> {
  const metrics = openMetrics('1.2.3')
  for (const metric of Object.values<Metric>(COUNTED)) metrics.count(metric)
  metrics.count({ ...COUNTED.pool_size, of: 'waiting' })
  const status = { issuer: 'https://issuer.example.com', keys: 1, fetches: { ok: 1, failed: 1 } }
  const times = { fetchedMs: 1, freshUntilMs: 1, lastFetchMs: 1, lastError: 'no' }
  metrics.watch(() => [{ ...status, ...times } as IssuerStatus])
  metrics.watchThrottle(() => 1)
  metrics.watchState({
    snapshot: () => EMPTY,
    ageMs: () => 1_000,
    maxAgeMs: 60_000,
    changed: () => undefined,
  })
  metrics.watchCertificates(() => [{ key: 'k', file: 'f', subject: 's', endsMs: 1 }])
  const { text } = await metrics.render()
  return [...text.matchAll(/^# HELP (\S+) (.*)\n# TYPE \S+ (\w+)\n((?!#).*)/gm)].map(
    ([, name = '', help = '', type = '', sample = '']) => {
      const [, inside = ''] = /^\w+\{(.*)\} /.exec(sample) ?? []
      const labels = [...inside.matchAll(/(\w+)="/g)].map(([, label]) => label ?? '')
      return { name, type, labels: labels.filter((label) => label !== 'le'), help }
    },
  )
}

function documented(): Documented[] {
  const row = /^\| `(postern_\w+)` \| (\w+) \| ([^|]*) ?\| (.*) \|$/gm
  return [...read('docs/metrics.md').matchAll(row)].map(
    ([, name = '', type = '', labels = '', help = '']) => ({
      name,
      type,
      labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label ?? ''),
      help,
    }),
  )
}

const byName = (one: Documented, other: Documented) => (one.name < other.name ? -1 : 1)

it('docs/metrics.md has every metric as it is', async () => {
  const inRegistry = (await registered()).sort(byName)
  expect(inRegistry.length).toBeGreaterThan(30)
  expect(documented().sort(byName)).toEqual(inRegistry)
})

/** By the name that a query has: a histogram is asked for by its parts. */
async function series(): Promise<Map<string, string[]>> {
  const all = new Map([['up', ADDED]])
  for (const { name, type, labels } of await registered()) {
    const known = [...labels, ...ADDED]
    if (type !== 'histogram') all.set(name, known)
    else {
      all.set(`${name}_bucket`, [...known, 'le'])
      for (const part of ['sum', 'count']) all.set(`${name}_${part}`, known)
    }
  }
  return all
}

/** @returns what an expression asks for that isn't there. */
function missing(text: string, known: ReadonlyMap<string, string[]>): string[] {
  const { selectors, groupedBy } = readQuery(text)
  const named = selectors.flatMap(({ metric }) => known.get(metric) ?? [])
  return [
    ...selectors.flatMap(({ metric, labels }) => {
      const has = known.get(metric)
      if (has === undefined) return [metric]
      return labels.filter((label) => !has.includes(label)).map((label) => `${metric} ${label}`)
    }),
    ...groupedBy.filter((label) => !named.includes(label)),
  ]
}

interface Alert {
  alert: string
  expr: string
  labels: { severity: string }
  annotations: { summary: string; runbook: string }
}

const rules: Alert[] = parse(read('deploy/prometheus/alerts.yaml')).groups.flatMap(
  (group: { rules: Alert[] }) => group.rules,
)

it.each(rules)('the alert $alert asks for what there is', async ({ expr, labels, annotations }) => {
  const known = await series()
  expect(missing(expr, known)).toEqual([])
  expect(['critical', 'warning', 'info']).toContain(labels.severity)
  const { selectors, groupedBy } = readQuery(expr)
  const left = /\b(?:sum|min|max) by\b/.test(expr)
    ? groupedBy
    : selectors.flatMap(({ metric }) => known.get(metric) ?? [])
  const shown = [...annotations.summary.matchAll(/\$labels\.(\w+)/g)].map(([, label]) => label)
  for (const label of shown) expect(left).toContain(label)
})

it('each alert has its section in the runbook, in order, and no other has one', () => {
  const sections = [...read('docs/runbook.md').matchAll(/^## (\w+)\n\n\S/gm)].map(
    ([, title]) => title,
  )
  expect(sections).toEqual(rules.map(({ alert }) => alert))
  for (const { alert, annotations } of rules)
    expect(annotations.runbook).toBe(`docs/runbook.md#${alert.toLowerCase()}`)
})

interface Panel {
  id: number
  title: string
  datasource: { uid: string }
  gridPos: { x: number; y: number; w: number; h: number }
  targets: { expr: string; legendFormat: string }[]
}

const dashboard: { panels: Panel[]; templating: { list: { name: string; query: string }[] } } =
  JSON.parse(read('deploy/grafana/postern.json'))

/** As Grafana fills it in. */
const filled = (expr: string) =>
  expr.replaceAll('$__rate_interval', '5m').replace(/\$(?:job|instance)\b/g, 'x')

it.each(dashboard.panels)('the panel "$title" asks for what there is', async (panel) => {
  const known = await series()
  expect(panel.datasource.uid).toMatch(/^\$\{datasource\}$/)
  expect(panel.targets.length).toBeGreaterThan(0)
  for (const { expr, legendFormat } of panel.targets) {
    expect(missing(filled(expr), known)).toEqual([])
    const { selectors } = readQuery(filled(expr))
    const labels = selectors.flatMap(({ metric }) => known.get(metric) ?? [])
    for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) expect(labels).toContain(label)
    // One gate among several can be chosen.
    expect(expr.match(/instance=~"\$instance"/g)?.length).toBe(selectors.length)
  }
})

it('the dashboard has each panel in a place of its own', () => {
  const { panels, templating } = dashboard
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
  const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, at) => `${x + (at % w)} ${y + Math.floor(at / w)}`),
  )
  expect(new Set(cells).size).toBe(cells.length)
  expect(Math.max(...panels.map(({ gridPos: { x, w } }) => x + w))).toBe(24)
  expect(templating.list.map(({ name }) => name)).toEqual(['datasource', 'job', 'instance'])
})

it('the queries of docs/metrics.md are ones', async () => {
  const known = await series()
  const queries = [...read('docs/metrics.md').matchAll(/^```promql\n(.*?)^```/gms)]
  expect(queries.length).toBeGreaterThan(0)
  for (const [, query = ''] of queries) expect(missing(query, known)).toEqual([])
})

it.each([
  ['a range without rate', 'postern_sessions[5m]'],
  ['a rate of no range', 'rate(postern_logins_total)'],
  ['an unknown function', 'speed(postern_logins_total[5m])'],
  ['a bracket that stays open', 'sum(rate(postern_logins_total[5m])'],
  ['two of them', 'postern_sessions postern_sessions'],
  ['a number alone', '5'],
])('a query is refused: %s', (_what, query) => {
  expect(() => readQuery(query)).toThrow()
})
