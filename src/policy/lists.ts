/**
 * Allowlists and denylists, beside the rules: whoever runs many gates writes them, in files or in the state
 * database. What they mean is CockroachDB's (pkg/sqlproxy/acl): a cluster that has an allowlist lets in
 * nobody else, and an empty one nobody; whoever is on a denylist stays out until its entry expires.
 * Rule: a question costs a few look-ups however long the lists are, and a change what has changed.
 */
import { difference } from './difference.ts'
import { putUnder, takeFrom } from './multimap.ts'
import { type NetworkTable, openNetworkTable, readNetwork } from './networks.ts'
import { counts } from './revocation.ts'

/** One line of a list, as a file, the state database and the gate's processes have it: plain data. */
export interface AccessEntry {
  list: 'allow' | 'deny'
  /** Of an allowlist's entry: the cluster that it is for. Else empty. */
  cluster: string
  /** By `kind`: an address or a network; the cluster that is denied, or nothing: that there is an allowlist. */
  item: string
  kind: 'ip' | 'cluster'
  /** Seconds since the epoch: when it ends. Undefined: never. */
  until: number | undefined
  /** For the log: whoever wrote it knows why. May be empty. */
  why: string
}

/** Lists of one origin. */
export interface AccessLists {
  /** By cluster. One whose entries have all ended is empty. */
  allowed: ReadonlyMap<string, { networks: Pick<NetworkTable<AccessEntry>, 'find'> }>
  denied: {
    clusters: ReadonlyMap<string, readonly AccessEntry[]>
    networks: Pick<NetworkTable<AccessEntry>, 'find'>
  }
}

/** Lists that follow what they are made of. */
export interface OpenLists extends AccessLists {
  /** These are all of their entries from now on. */
  replace(entries: readonly AccessEntry[]): void
}

export interface From {
  /** Undefined on a unix socket: no list is about those who are on this machine. */
  address: string | undefined
  cluster: string
}

/**
 * @param all - who is denied by one of them is denied; where several have an allowlist of a cluster, each of
 *   them allows.
 * @returns why this client stays out, for the log; undefined where no list says so
 */
export function keptOut(
  all: readonly AccessLists[],
  { address, cluster }: From,
  nowMs: number,
): string | undefined {
  const holds = (entry: AccessEntry) => counts(entry, nowMs)
  const reason = ({ why }: AccessEntry) => (why === '' ? 'no reason given' : why)
  for (const { denied } of all) {
    const found = denied.clusters.get(cluster)?.find(holds)
    if (found !== undefined) return `cluster '${cluster}' denied: ${reason(found)}`
  }
  if (address === undefined) return undefined
  for (const { denied } of all) {
    const found = denied.networks.find(address, holds)
    if (found !== undefined) return `ip '${bare(address)}' denied: ${reason(found)}`
  }
  const lists = all.flatMap(({ allowed }) => allowed.get(cluster) ?? [])
  const isNamed = lists.some(({ networks }) => networks.find(address, holds) !== undefined)
  if (lists.length === 0 || isNamed) return undefined
  return `ip '${bare(address)}' denied: ip address not allowed`
}

/** The cluster that an entry is about, where it is about one. */
export function clusterOf({
  list,
  kind,
  cluster,
  item,
}: Pick<AccessEntry, 'list' | 'kind' | 'cluster' | 'item'>): string | undefined {
  if (list === 'allow') return cluster
  return kind === 'cluster' ? item : undefined
}

interface Allowlist {
  /** How many entries say that there is one. */
  size: number
  networks: NetworkTable<AccessEntry>
}

export function openAccessLists(first: readonly AccessEntry[] = []): OpenLists {
  const allowed = new Map<string, Allowlist>()
  const denied = {
    clusters: new Map<string, AccessEntry[]>(),
    networks: openNetworkTable<AccessEntry>(),
  }
  const enter = (entry: AccessEntry) => {
    if (entry.list === 'allow') {
      const list = allowed.get(entry.cluster) ?? { size: 0, networks: openNetworkTable() }
      allowed.set(entry.cluster, list)
      list.size++
      if (entry.kind === 'ip') putInto(list.networks, entry)
    } else if (entry.kind === 'ip') putInto(denied.networks, entry)
    else putUnder(denied.clusters, entry.item, entry)
  }
  const leave = (entry: AccessEntry) => {
    const isIt = (other: AccessEntry) => isSame(other, entry)
    if (entry.list === 'allow') {
      const list = allowed.get(entry.cluster)
      if (list === undefined) return
      list.size--
      if (list.size === 0) allowed.delete(entry.cluster)
      else if (entry.kind === 'ip') takeOut(list.networks, entry, isIt)
    } else if (entry.kind === 'ip') takeOut(denied.networks, entry, isIt)
    else takeFrom(denied.clusters, entry.item, isIt)
  }
  let entries: readonly AccessEntry[] = []
  const replace = (next: readonly AccessEntry[]) => {
    const { gone, come } = difference(
      entries,
      next,
      isSame,
      ({ cluster, item }) => `${cluster}\0${item}`,
    )
    entries = next
    gone.forEach(leave)
    come.forEach(enter)
  }
  replace(first)
  return { allowed, denied, replace }
}

function putInto(networks: NetworkTable<AccessEntry>, entry: AccessEntry): void {
  const network = readNetwork(entry.item)
  if (network !== undefined) networks.put(network, entry)
}

function takeOut(
  networks: NetworkTable<AccessEntry>,
  { item }: AccessEntry,
  isIt: (other: AccessEntry) => boolean,
): void {
  const network = readNetwork(item)
  if (network !== undefined) networks.remove(network, isIt)
}

function isSame(one: AccessEntry, other: AccessEntry): boolean {
  return (
    one.item === other.item &&
    one.list === other.list &&
    one.kind === other.kind &&
    one.cluster === other.cluster &&
    one.until === other.until &&
    one.why === other.why
  )
}

/** As IPv4 where a socket for both families shows it as IPv6, and without a zone. */
function bare(address: string): string {
  const [itself = ''] = address.split('%')
  return /^::ffff:([\d.]+)$/i.exec(itself)?.[1] ?? itself
}
