/** What the status page is told: counts by what the configuration names, and nobody's name. */
import { afterEach, describe, expect, it } from 'vitest'
import type { Config } from '../../src/config/config.ts'
import { EMPTY } from '../../src/state/snapshot.ts'
import { type StatusParts, statusOf } from '../../src/telemetry/status.ts'
import { openTally } from '../../src/telemetry/tally.ts'
import type { LiveSession } from '../../src/telemetry/who_is_in.ts'
import { parse } from '../support/config_text.ts'
import { A, B, closeServers, fetchedKeys } from '../support/fetched_keys.ts'
import { ec, jwk } from '../support/forge.ts'

afterEach(closeServers)

const NOW_MS = 1_800_000_000_000
const KEY = jwk(ec('P-256'), { kid: 'configured' })
const JWT = 'server.jwt_authentication'

/** Of clusters `main` and `other`. */
function config(main: Record<string, unknown> = {}): Config {
  const cluster = { kind: 'postgresql', nodes: [{ address: '/run/pg' }], sign_in: 'peer' }
  return parse(
    JSON.stringify({
      listeners: [{ directory: '/run/postern' }],
      clusters: { main: { ...cluster, ...main }, other: cluster },
    }),
  )
}

function session(cluster: string, issuer: string, node = 'n1'): LiveSession {
  const secret = 'not to be seen'
  return {
    id: secret,
    cluster,
    user: secret,
    database: secret,
    node,
    principal: secret,
    issuer,
    tokenId: secret,
    tokenDigest: secret,
    tokenExpiry: 1,
    address: secret,
    transport: secret,
    method: secret,
    applicationName: secret,
    rule: secret,
    login: { ms: 1, parts: { client: 1, issuer: 0, node: 0, gate: 0 } },
    sinceMs: 1,
    worker: 1,
  }
}

function status(parts: Partial<StatusParts> = {}) {
  const whole: StatusParts = {
    version: '1',
    runtime: '',
    sinceMs: 5,
    workersWanted: 1,
    notReady: () => undefined,
    config: () => config(),
    whoIsIn: { sessions: () => [] },
    nodesSeen: { nodes: () => [] },
    refusals: { counts: () => [] },
    tally: openTally(() => NOW_MS),
    evidence: () => ({ unwrittenMs: undefined, unkept: [] }),
    state: undefined,
    ...parts,
  }
  return statusOf(whole, NOW_MS)
}

it('counts sessions by cluster and issuer, and on each node', () => {
  const sessions = [
    session('main', 'one'),
    session('main', 'two', 'n2'),
    session('main', 'two'),
    session('main', ''),
  ]
  const seen = { cluster: 'main', up: 1, draining: 0, down: 0 }
  const nodes = ['n1', 'n2', 'n3'].map((node) => ({ ...seen, node }))
  const made = status({
    whoIsIn: { sessions: () => sessions },
    nodesSeen: { nodes: () => [...nodes, { ...seen, cluster: 'other', node: 'n1' }] },
  })
  expect(made.sessions).toEqual([
    { cluster: 'main', issuer: 'two', count: 2 },
    { cluster: 'main', issuer: 'one', count: 1 },
    { cluster: 'main', issuer: '', count: 1 },
    { cluster: 'other', issuer: '', count: 0 },
  ])
  expect(made.nodes.map(({ cluster, node, sessions }) => [cluster, node, sessions])).toEqual([
    ['main', 'n1', 3],
    ['main', 'n2', 1],
    ['main', 'n3', 0],
    ['other', 'n1', 0],
  ])
  expect(JSON.stringify(made)).not.toContain('not to be seen')
})

describe('workers', () => {
  it.each<[number, string | undefined, number]>([
    [1, undefined, 1],
    [1, 'starting', 0],
    [4, undefined, 2],
  ])('%i wanted, not ready: %s', (workersWanted, notReady, open) => {
    const tally = openTally(() => NOW_MS)
    for (let at = 0; at < 2; at++) tally.count({ name: 'worker_opened' })
    const { workers } = status({ workersWanted, notReady: () => notReady, tally })
    expect(workers).toEqual({ open, wanted: workersWanted })
  })
})

describe('issuers', () => {
  const of = (main: Record<string, unknown>) => status({ config: () => config(main) }).issuers

  it('whose keys are in the configuration', () => {
    const main = {
      [`${JWT}.enabled`]: true,
      [`${JWT}.issuers.configuration`]: ['one', 'two'],
      issuer_options: { one: { jwks: { keys: [KEY] } } },
    }
    expect(of(main)).toEqual([
      { cluster: 'main', issuer: 'one', from: 'the configuration', ids: ['configured'] },
      { cluster: 'main', issuer: 'two', from: 'nowhere', ids: [] },
    ])
  })

  it('that nobody believes are not there', () => {
    expect(of({ [`${JWT}.issuers.configuration`]: ['one'] })).toEqual([])
  })

  it('whose keys are fetched, with how that went', async () => {
    const { issuer, server, login, later, now } = await fetchedKeys()
    const plain = config({
      [`${JWT}.enabled`]: true,
      [`${JWT}.issuers.configuration`]: [server.issuer],
    })
    const [main, ...others] = plain.clusters
    const planned = { ...issuer, plan: {} as never, close: () => undefined }
    const cluster = {
      ...main,
      trust: { ...main.trust, keySources: new Map([[server.issuer, planned]]) },
      issuers: new Map([[server.issuer, planned]]),
    }
    const clusters: Config['clusters'] = [cluster, ...others]
    const shown = () => status({ config: () => ({ clusters, certificates: [] }) }).issuers
    const about = { cluster: 'main', issuer: server.issuer, from: 'its own address' }
    expect(shown()).toEqual([{ ...about, ids: [] }])
    server.publish(A, B)
    const fetchedMs = now()
    await login(A)
    const good = {
      ...about,
      ids: [A.jwk.kid, B.jwk.kid],
      fetchedMs,
      freshUntilMs: fetchedMs + 300_000,
      lastFetchMs: fetchedMs,
      lastTookMs: 0,
    }
    expect(shown()).toEqual([good])
    server.jwks.status = 503
    later(301)
    await login(A)
    expect(shown()).toEqual([
      { ...good, lastFetchMs: now(), lastError: expect.stringContaining('returned 503') },
    ])
  })
})

it('says how old the shared state is, and how much it holds', () => {
  const state = {
    snapshot: () => ({ ...EMPTY, number: '7' }),
    ageMs: () => 1_500,
    maxAgeMs: 60_000,
  }
  expect(status({ state }).shared).toEqual({
    number: '7',
    ageMs: 1_500,
    maxAgeMs: 60_000,
    revocations: 0,
    entries: 0,
    settings: 0,
  })
})
