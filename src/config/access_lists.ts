/**
 * The files of access lists, in the form of CockroachDB's proxy (pkg/sqlproxy/acl): an allowlist names
 * networks by cluster, a denylist addresses, networks and clusters, each with a reason and perhaps an end.
 * Rule: a file with a mistake is no list at all: nobody guesses which half of it was meant.
 */
import { isIP, SocketAddress } from 'node:net'
import { z } from 'zod'
import { type AccessLists, bare, type Denied, type Denylist } from '../policy/lists.ts'
import { check } from './mistakes.ts'
import { type Network, network, openNetworks } from './networks.ts'

const sequence = z.int().min(0)

const allowlist = z.strictObject({
  SequenceNumber: sequence,
  allowlist: z.record(z.string(), z.strictObject({ ips: z.array(network) })).default({}),
})

const NO_REASON = 'no reason given'
const TYPES = 'write ip or cluster'
const entity = z.strictObject({
  item: z.union([z.string().min(1), z.int().transform(String)]),
  type: z
    .string()
    .transform((text) => text.toLowerCase())
    .pipe(z.enum(['ip', 'cluster'], TYPES)),
})
const expiration = z.iso.datetime({
  offset: true,
  error: 'write a time like 2030-01-31T23:59:59Z, or leave it out',
})
const denylist = z.strictObject({
  SequenceNumber: sequence,
  denylist: z
    .array(
      z.strictObject({
        entity,
        expiration: expiration.transform((at) => new Date(at).getTime()).optional(),
        reason: z.string().default(NO_REASON),
      }),
    )
    .default([]),
})

/** A list, and the number by which a later one of it is known. */
export interface Numbered<T> {
  sequence: number
  list: T
}

export type ReadList<T> = { ok: true; value: Numbered<T> } | { ok: false; problems: string[] }

/** @param value - the file's, as YAML has it */
export function readAllowlist(value: unknown): ReadList<AccessLists['allowed']> {
  const read = check(allowlist, value)
  if (!read.ok) return { ok: false, problems: told(read.mistakes) }
  const { SequenceNumber, allowlist: clusters } = read.value
  const list = Object.entries(clusters).map(([name, { ips }]) => [name, openNetworks(ips)] as const)
  return { ok: true, value: { sequence: SequenceNumber, list: new Map(list) } }
}

/** An entry as the state database has it. */
export interface Entry {
  list: 'allow' | 'deny'
  /** Of an allowlist's entry: the cluster that it is for. */
  cluster: string
  item: string
  kind: 'ip' | 'cluster'
  /** Seconds since the epoch; undefined for good. */
  until: number | undefined
  why: string
}

/**
 * The lists of the files and those that gates share, together: who is denied by one of them is denied, and
 * where both have an allowlist of a cluster each of them allows. One whose entries have all ended is empty.
 */
export function openAccessLists(
  files: {
    allowlist: Numbered<AccessLists['allowed']> | undefined
    denylist: Numbered<Denylist> | undefined
  },
  entries: readonly Entry[],
  nowMs: number,
): AccessLists {
  const allowed = new Map(files.allowlist?.list)
  for (const [cluster, of] of Map.groupBy(
    entries.filter(({ list, kind }) => list === 'allow' && kind === 'ip'),
    ({ cluster }) => cluster,
  )) {
    const counting = of.filter(({ until }) => until === undefined || nowMs < until * 1000)
    const shared = openNetworks(counting.flatMap(({ item }) => networkOf(item)))
    const before = allowed.get(cluster)
    const include = (address: string) =>
      shared.include(address) || (before?.include(address) ?? false)
    allowed.set(cluster, { include })
  }
  const denied = entries
    .filter(({ list }) => list === 'deny')
    .map(({ item, kind, until, why }) => {
      const untilMs = until === undefined ? undefined : until * 1000
      return { item, kind, untilMs, reason: why === '' ? NO_REASON : why }
    })
  return { allowed, denied: joined(files.denylist?.list, denied) }
}

function networkOf(item: string): Network[] {
  const read = check(network, item)
  return read.ok ? [read.value] : []
}

/** @param value - the file's, as YAML has it */
export function readDenylist(value: unknown): ReadList<Denylist> {
  const read = check(denylist, value)
  if (!read.ok) return { ok: false, problems: told(read.mistakes) }
  const problems = read.value.denylist.flatMap(({ entity: { item, type } }, at) => {
    const ip = type === 'ip' ? check(network, item) : { ok: true as const }
    return ip.ok ? [] : [`denylist.${at}.entity.item: ${ip.mistakes[0]?.message}`]
  })
  if (problems.length > 0) return { ok: false, problems }
  const denied = read.value.denylist.map(({ entity: { item, type }, expiration, reason }) => {
    return { item, kind: type, untilMs: expiration, reason }
  })
  return {
    ok: true,
    value: { sequence: read.value.SequenceNumber, list: joined(undefined, denied) },
  }
}

type DeniedItem = Denied & { item: string; kind: 'ip' | 'cluster' }

function joined(before: Denylist | undefined, denied: readonly DeniedItem[]): Denylist {
  const clusters = new Map(before?.clusters)
  const addresses = new Map(before?.addresses)
  const networks = [...(before?.networks ?? [])]
  for (const { item, kind, reason, untilMs } of denied) {
    if (kind === 'cluster') longest(clusters, item, { reason, untilMs })
    else
      for (const each of networkOf(item)) {
        if (isWhole(each)) longest(addresses, canonical(each), { reason, untilMs })
        else networks.push({ reason, untilMs, addresses: openNetworks([each]) })
      }
  }
  return { clusters, addresses, networks }
}

/** Of two entries for the same the one that ends last counts. */
function longest(list: Map<string, Denied>, key: string, denied: Denied): void {
  const endOf = (each: Denied | undefined) => (each === undefined ? 0 : (each.untilMs ?? Infinity))
  if (endOf(list.get(key)) <= endOf(denied)) list.set(key, denied)
}

function isWhole({ bits, family }: Network): boolean {
  return bits === (family === 'ipv4' ? 32 : 128)
}

/** As a socket spells it. */
function canonical({ address }: Network): string {
  const family = isIP(address) === 4 ? 'ipv4' : 'ipv6'
  return bare(new SocketAddress({ address, family }).address)
}

function told(mistakes: readonly { path: PropertyKey[]; message: string }[]): string[] {
  return mistakes.map(({ path, message }) => `${path.map(String).join('.')}: ${message}`)
}
