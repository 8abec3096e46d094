/**
 * The clusters of the moment, each with what is kept open for it. When the configuration is read again,
 * one whose section is the same goes on as it is; any other one is opened anew.
 * Rule: what a login uses stays open until the login has ended.
 */
import { openManagement } from './cluster/management.ts'
import { openWatchedNodes, type Watchers } from './cluster/watched_nodes.ts'
import { openWatchedPool } from './cluster/watched_pool.ts'
import type { ClusterConfig, Config } from './config/config.ts'
import type { Issuers } from './issuers/issuers.ts'
import type { DrainedNode } from './peers/messages.ts'
import { openEnrolment } from './sql/enrol.ts'
import { openPassages, type Passages } from './sql/passages.ts'
import type { Cluster } from './sql/session.ts'

export interface Clusters {
  open(): ReadonlyMap<string, OpenCluster>
  renew(next: Config): void
  /** Nodes that get no new sessions from now on. */
  drainNodes(nodes: readonly DrainedNode[]): void
  /** No session is kept for another client from now on. */
  stopKeeping(): void
  close(): void
}

export interface ClustersParts extends Watchers {
  now(): number
  /** How many there are in all, this one with them. */
  workers: number
}

export function openClusters(config: Config, given: ClustersParts): Clusters {
  let drained: readonly DrainedNode[] = []
  const drainedOf = (name: string) =>
    new Set(drained.filter(({ cluster }) => cluster === name).map(({ node }) => node))
  const openAll = (settings: readonly ClusterConfig[], known: ReadonlyMap<string, OpenCluster>) =>
    new Map(
      settings.map((each) => {
        const kept = known.get(each.name)
        const same = kept?.fingerprint === each.fingerprint
        return [
          each.name,
          same
            ? kept
            : openCluster(each, { ...given, drained: () => drainedOf(each.name) }, kept?.passages),
        ]
      }),
    )
  let open = openAll(config.clusters, new Map())
  return {
    open: (): ReadonlyMap<string, OpenCluster> => open,
    renew(next: Config): void {
      const before = open
      open = openAll(next.clusters, before)
      for (const [name, cluster] of before)
        if (open.get(name) !== cluster) cluster.retire(open.get(name)?.issuers)
    },
    drainNodes(nodes): void {
      drained = nodes
      for (const { cluster, node } of nodes) open.get(cluster)?.pool?.forget(node)
    },
    stopKeeping(): void {
      for (const { pool } of open.values()) pool?.close()
    },
    close(): void {
      for (const cluster of open.values()) cluster.retire()
    },
  }
}

interface OpenCluster extends Cluster {
  fingerprint: string
  issuers: Issuers
  /** Closes it once no login is under way, but for those issuers that another one goes on with. */
  retire(kept?: Issuers): void
}

/**
 * The cluster with what is kept open for it: its nodes, the management role's sessions.
 * @param passages - of the one that had its name before: who holds one there still holds it.
 */
function openCluster(
  config: ClusterConfig,
  parts: ClustersParts,
  passages: Passages = openPassages(parts.workers),
): OpenCluster {
  const { issuers } = config
  const nodes = openWatchedNodes(config, { ...parts, left: (node) => pool?.forget(node) })
  const pool = openWatchedPool(config, nodes, parts)
  const management = config.management && openManagement(nodes, config.management)
  return {
    ...config,
    passages,
    nodes,
    pool,
    ...openEnrolment(config, management, parts.now),
    ...openUse(
      () => pool?.retire(),
      (kept) => {
        for (const [name, issuer] of issuers) if (kept?.get(name) !== issuer) issuer.close()
        management?.close()
        nodes.close()
      },
    ),
  }
}

/**
 * Who is using it, and its end after the last of them.
 * @param leave - what isn't needed any more as soon as another cluster has taken its place.
 */
function openUse(
  leave: () => void,
  close: (kept: Issuers | undefined) => void,
): Pick<OpenCluster, 'during' | 'retire'> {
  let logins = 0
  let retired: (() => void) | undefined
  const settle = () => {
    if (logins > 0) return
    retired?.()
    retired = undefined
  }
  return {
    async during(login) {
      logins++
      try {
        return await login
      } finally {
        logins--
        settle()
      }
    },
    retire(kept) {
      leave()
      retired = () => close(kept)
      settle()
    },
  }
}
