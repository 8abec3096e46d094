/**
 * How the gate is at one moment, as plain data: what the status page shows. Rule: counts and states, of what
 * the configuration names; no user, no address of a client and nothing of a token but its issuer is in it.
 */
import { type CertificateEnd, certificateEnds } from '../config/certificates.ts'
import type { ClusterConfig, Config } from '../config/config.ts'
import type { KeySource } from '../identity/key_source.ts'
import type { StateView } from '../state/snapshot.ts'
import type { Evidence } from './evidence.ts'
import type { NodesSeen, SeenNode } from './nodes_seen.ts'
import type { RefusalCount, RefusalsKept } from './refusals_kept.ts'
import type { SignIns, Tally } from './tally.ts'
import type { LiveSession, WhoIsIn } from './who_is_in.ts'

/** Times are in milliseconds since the epoch. */
export interface Status {
  atMs: number
  version: string
  /** What it runs on, with its version. */
  runtime: string
  sinceMs: number
  /** Undefined when sign-ins are taken, else why not. */
  notReady: string | undefined
  /** Processes that have sessions, or shall have them. */
  workers: { open: number; wanted: number }
  connections: number
  /** Each cluster at least once. */
  sessions: readonly SessionCount[]
  nodes: readonly NodeStatus[]
  issuers: readonly IssuerKeys[]
  /** The next one to end first. */
  certificates: readonly CertificateEnd[]
  signIns: SignIns
  /** Of the last hour, the most frequent first. */
  refusals: readonly RefusalCount[]
  /** Of the audit stream. */
  evidence: Evidence
  /** What gates share, where they do. */
  shared: SharedState | undefined
}

export interface SessionCount {
  cluster: string
  /** Empty for sessions without a token, which the node itself has judged. */
  issuer: string
  count: number
}

export interface NodeStatus extends SeenNode {
  sessions: number
}

/** An issuer that a cluster believes, and its keys. */
export interface IssuerKeys {
  cluster: string
  issuer: string
  from: 'its own address' | 'the configuration' | 'nowhere'
  ids: readonly string[]
  /** Where they are fetched: when that was, how long they are good, how the last fetch went. */
  fetchedMs?: number | undefined
  freshUntilMs?: number | undefined
  lastFetchMs?: number | undefined
  lastTookMs?: number | undefined
  lastError?: string | undefined
}

export interface SharedState {
  /** Empty before it was read. */
  number: string
  ageMs: number
  maxAgeMs: number
  revocations: number
  entries: number
  settings: number
}

export interface StatusParts {
  version: string
  runtime: string
  sinceMs: number
  workersWanted: number
  notReady(): string | undefined
  config(): Pick<Config, 'clusters' | 'certificates'>
  whoIsIn: Pick<WhoIsIn, 'sessions'>
  nodesSeen: Pick<NodesSeen, 'nodes'>
  refusals: Pick<RefusalsKept, 'counts'>
  tally: Omit<Tally, 'count'>
  evidence(): Evidence
  state: Pick<StateView, 'snapshot' | 'ageMs' | 'maxAgeMs'> | undefined
}

export function statusOf(parts: StatusParts, nowMs: number): Status {
  const { version, runtime, sinceMs, workersWanted, tally } = parts
  const { clusters, certificates } = parts.config()
  const sessions = parts.whoIsIn.sessions()
  const notReady = parts.notReady()
  return {
    atMs: nowMs,
    version,
    runtime,
    sinceMs,
    notReady,
    // One process alone tells nobody that it is open.
    workers: {
      open: workersWanted === 1 ? Number(notReady === undefined) : tally.workers,
      wanted: workersWanted,
    },
    connections: tally.connections,
    sessions: countSessions(sessions, clusters),
    nodes: withSessions(parts.nodesSeen.nodes(), sessions),
    issuers: clusters.flatMap(issuersOf),
    certificates: certificateEnds(certificates),
    signIns: tally.signIns(),
    refusals: parts.refusals.counts(nowMs),
    evidence: parts.evidence(),
    shared: parts.state && sharedOf(parts.state),
  }
}

function countSessions(
  sessions: readonly LiveSession[],
  clusters: readonly Pick<ClusterConfig, 'name'>[],
): SessionCount[] {
  const counts = new Map<string, SessionCount>()
  for (const { cluster, issuer } of sessions) {
    const key = JSON.stringify([cluster, issuer])
    const known = counts.get(key) ?? { cluster, issuer, count: 0 }
    counts.set(key, { ...known, count: known.count + 1 })
  }
  const found = [...counts.values()]
  const empty = clusters
    .filter(({ name }) => !found.some(({ cluster }) => cluster === name))
    .map(({ name }) => ({ cluster: name, issuer: '', count: 0 }))
  return [...found, ...empty].sort(
    (one, other) => compare(one.cluster, other.cluster) || other.count - one.count,
  )
}

function withSessions(nodes: readonly SeenNode[], sessions: readonly LiveSession[]): NodeStatus[] {
  const counts = new Map<string, number>()
  for (const { cluster, node } of sessions) {
    const key = JSON.stringify([cluster, node])
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return nodes.map((each) => ({
    ...each,
    sessions: counts.get(JSON.stringify([each.cluster, each.node])) ?? 0,
  }))
}

function issuersOf({ name, trust, oauthbearer, issuers }: ClusterConfig): IssuerKeys[] {
  const believed = [trust, oauthbearer?.trust].filter((each) => each?.enabled)
  const names = new Set(believed.flatMap((each) => [...(each?.issuers ?? [])]))
  return [...names].map((issuer) => {
    const source: KeySource | undefined = trust.keySources.get(issuer)
    const ids = [...new Set(source?.known?.().map(({ kid }) => kid))]
    const about = { cluster: name, issuer, ids }
    const fetched = issuers.get(issuer)
    if (source === undefined) return { ...about, from: 'nowhere' }
    if (source !== fetched) return { ...about, from: 'the configuration' }
    const { fetchedMs, freshUntilMs, lastFetchMs, lastTookMs, lastError } = fetched.status()
    const how = { fetchedMs, freshUntilMs, lastFetchMs, lastTookMs, lastError }
    return { ...about, from: 'its own address', ...how }
  })
}

function sharedOf({ snapshot, ageMs, maxAgeMs }: NonNullable<StatusParts['state']>): SharedState {
  const { number, revocations, entries, settings } = snapshot()
  return {
    number,
    ageMs: ageMs(),
    maxAgeMs,
    revocations: revocations.length,
    entries: entries.length,
    settings: settings.length,
  }
}

function compare(one: string, other: string): number {
  return one < other ? -1 : Number(one > other)
}
