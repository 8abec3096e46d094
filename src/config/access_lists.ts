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
        reason: z.string().default('no reason given'),
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
  if (!read.ok) return problems(read.mistakes)
  const { SequenceNumber, allowlist: clusters } = read.value
  const list = Object.entries(clusters).map(([name, { ips }]) => [name, openNetworks(ips)] as const)
  return { ok: true, value: { sequence: SequenceNumber, list: new Map(list) } }
}

/** @param value - the file's, as YAML has it */
export function readDenylist(value: unknown): ReadList<Denylist> {
  const read = check(denylist, value)
  if (!read.ok) return problems(read.mistakes)
  const clusters = new Map<string, Denied>()
  const addresses = new Map<string, Denied>()
  const networks: (Denied & { addresses: ReturnType<typeof openNetworks> })[] = []
  const wrong: string[] = []
  for (const [at, { entity, expiration: untilMs, reason }] of read.value.denylist.entries()) {
    const denied = { reason, untilMs }
    if (entity.type === 'cluster') longest(clusters, entity.item, denied)
    else {
      const ip = check(network, entity.item)
      if (!ip.ok) wrong.push(`denylist.${at}.entity.item: ${ip.mistakes[0]?.message}`)
      else if (isWhole(ip.value)) longest(addresses, canonical(ip.value), denied)
      else networks.push({ ...denied, addresses: openNetworks([ip.value]) })
    }
  }
  if (wrong.length > 0) return { ok: false, problems: wrong }
  return {
    ok: true,
    value: { sequence: read.value.SequenceNumber, list: { clusters, addresses, networks } },
  }
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

function problems(mistakes: readonly { path: PropertyKey[]; message: string }[]) {
  const said = mistakes.map(({ path, message }) => `${path.map(String).join('.')}: ${message}`)
  return { ok: false as const, problems: said }
}
