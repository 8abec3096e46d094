/**
 * Allowlists and denylists, beside the rules: whoever runs many gates writes them, in files or in the state
 * database. What they mean is CockroachDB's (pkg/sqlproxy/acl): a cluster that has an allowlist lets in
 * nobody else, and an empty one nobody; whoever is on a denylist stays out until its entry expires.
 */

export interface AccessLists {
  /** By cluster. */
  allowed: ReadonlyMap<string, AddressSet>
  denied: Denylist
}

/** Addresses, each as itself or in a network. */
export interface AddressSet {
  include(address: string): boolean
}

export interface Denylist {
  clusters: ReadonlyMap<string, Denied>
  /** Each address as sockets spell it. */
  addresses: ReadonlyMap<string, Denied>
  networks: readonly (Denied & { addresses: AddressSet })[]
}

export interface Denied {
  /** For the log: whoever wrote it knows why. */
  reason: string
  /** Milliseconds since the epoch; undefined for good. */
  untilMs: number | undefined
}

export interface From {
  /** Undefined on a unix socket: no list is about those who are on this machine. */
  address: string | undefined
  cluster: string
}

/** @returns why this client stays out, for the log; undefined where no list says so. */
export function keptOut(lists: AccessLists, from: From, nowMs: number): string | undefined {
  const counts = (denied: Denied | undefined) =>
    denied !== undefined && (denied.untilMs === undefined || nowMs < denied.untilMs)
  const cluster = lists.denied.clusters.get(from.cluster)
  if (cluster !== undefined && counts(cluster))
    return `cluster '${from.cluster}' denied: ${cluster.reason}`
  if (from.address === undefined) return undefined
  const address = bare(from.address)
  const { addresses, networks } = lists.denied
  const denied = [
    addresses.get(address),
    networks.find((each) => counts(each) && each.addresses.include(address)),
  ].find(counts)
  if (denied !== undefined) return `ip '${address}' denied: ${denied.reason}`
  const allowed = lists.allowed.get(from.cluster)
  if (allowed === undefined || allowed.include(address)) return undefined
  return `ip '${address}' denied: ip address not allowed`
}

/** As IPv4 where a socket for both families shows it as IPv6, and without a zone. */
export function bare(address: string): string {
  const [itself = ''] = address.split('%')
  return /^::ffff:([\d.]+)$/i.exec(itself)?.[1] ?? itself
}
