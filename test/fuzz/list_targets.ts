/**
 * The lists beside the rules: their files, and what gates share of them, each held against looking at every
 * entry in turn; and whose address counts as one.
 */
import { isIP } from 'node:net'
import fc from 'fast-check'
import { parse } from 'yaml'
import { readAccess } from '../../src/config/access.ts'
import { type ReadList, readAllowlist, readDenylist } from '../../src/config/access_lists.ts'
import {
  type AccessEntry,
  type AccessLists,
  type From,
  keptOut,
  openAccessLists,
} from '../../src/policy/lists.ts'
import { rangeOf } from '../../src/sql/handshake_rate.ts'
import { holder } from '../../src/sql/limits.ts'
import { numberOf } from './issuer_targets.ts'
import { nearlyText, oddText } from './made_up.ts'
import { blockOf, clientAddress, isIn, networkText, wrongSomewhere } from './near_networks.ts'
import { must, mustEqual, type Target, target } from './target.ts'

const CLUSTERS = ['main', 'spare', '61', 'constructor', '']
const NOW_MS = Date.UTC(2026, 10, 23)

const from: fc.Arbitrary<From> = fc.record({
  address: clientAddress,
  cluster: fc.constantFrom(...CLUSTERS),
})
const clients = fc.array(from, { minLength: 1, maxLength: 4 })
const moment = fc.constantFrom(NOW_MS - 1, NOW_MS, NOW_MS + 1, Date.UTC(2031, 0, 1), 0)

const goodTime = fc.constantFrom(
  ...['2030-01-01T00:00:00Z', '2020-01-01T00:00:00Z', '2026-11-23T00:00:00Z'],
  ...['2026-11-23T02:00:00+02:00', '2026-11-22T23:59:59.999-00:00', '2026-11-23T00:00:00.0001Z'],
  ...['0000-01-01T00:00:00Z', '9999-12-31T23:59:59+23:59', '2024-02-29T24:00:00Z'],
)
const expiration = fc.oneof(
  { weight: 20, arbitrary: goodTime },
  { weight: 2, arbitrary: nearlyText(goodTime, ['Z', '+', '-', ':', 'T', '24', '60', '.999']) },
  { weight: 1, arbitrary: fc.constantFrom('soon', '', null, '2026-11-23', '2026-02-29T00:00:00Z') },
)
const reason = fc.oneof(fc.constantFrom('scanner', 'over quota', ''), oddText)

const allowValue = fc.record(
  {
    SequenceNumber: fc.nat(5),
    allowlist: fc.dictionary(
      fc.constantFrom(...CLUSTERS),
      fc.record({ ips: fc.array(networkText, { maxLength: 3 }) }),
      { maxKeys: 3 },
    ),
  },
  { requiredKeys: ['SequenceNumber'] },
)
const clusterItem = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom<string | number>(...CLUSTERS.slice(0, 4), 61) },
  { weight: 1, arbitrary: oddText },
)
const entity = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ item: networkText, type: fc.constantFrom('ip', 'IP', 'Ip') }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ item: clusterItem, type: fc.constantFrom('cluster', 'Cluster') }),
  },
)
const denied = fc.record({ entity, expiration, reason }, { requiredKeys: ['entity'] })
const denyValue = fc.record(
  { SequenceNumber: fc.nat(5), denylist: fc.array(denied, { maxLength: 4 }) },
  { requiredKeys: ['SequenceNumber'] },
)

/** The files as they are written, once they were read, and entries. */
interface Written {
  allow?: unknown
  deny?: unknown
  entries?: readonly AccessEntry[]
}
type AllowValue = { allowlist?: Record<string, { ips: string[] }> }
type Denied = { entity: { item: unknown; type: string }; expiration?: string; reason?: string }
type DenyValue = { denylist?: Denied[] }

/** Who is denied by one of these; each with the moment from which he isn't. */
function deniedBy({ deny, entries = [] }: Written) {
  const list = (deny as DenyValue | undefined)?.denylist ?? []
  return [
    ...list.map(({ entity, expiration, reason = '' }) => ({
      kind: entity.type.toLowerCase(),
      item: String(entity.item),
      untilMs: expiration === undefined ? Infinity : Date.parse(expiration),
      why: reason,
    })),
    ...entries
      .filter(({ list }) => list === 'deny')
      .map(({ until = Infinity, ...each }) => ({ ...each, untilMs: until * 1000 })),
  ]
}

/** All that may be said of why this client stays out; nothing where it doesn't. */
function reasonsOf(written: Written, { address, cluster }: From, nowMs: number): Set<string> {
  const items = deniedBy(written).filter(({ untilMs }) => !(nowMs >= untilMs))
  const reasons = new Set<string>()
  const add = (whom: string, why: string) =>
    reasons.add(`${whom} denied: ${why === '' ? 'no reason given' : why}`)
  for (const { kind, item, why } of items)
    if (kind === 'cluster' && item === cluster) add(`cluster '${cluster}'`, why)
  if (address === undefined) return reasons
  const bare = address.replace(/%.*$/, '').replace(/^::ffff:(?=[\d.]+$)/, '')
  for (const { kind, item, why } of items)
    if (kind === 'ip' && isIn(item, address)) add(`ip '${bare}'`, why)
  const files = new Map(Object.entries((written.allow as AllowValue | undefined)?.allowlist ?? {}))
  const own = files.get(cluster)?.ips
  const shared = (written.entries ?? []).filter(
    (each) => each.list === 'allow' && each.cluster === cluster,
  )
  const counting = shared.filter(({ until = Infinity }) => nowMs < until * 1000)
  const allowed = [...(own ?? []), ...counting.map(({ item }) => item)]
  const isListed = own !== undefined || shared.length > 0
  if (isListed && !allowed.some((text) => isIn(text, address)))
    add(`ip '${bare}'`, 'ip address not allowed')
  return reasons
}

function judgeLists(
  lists: readonly AccessLists[],
  written: Written,
  clients: readonly From[],
  nowMs: number,
): void {
  for (const client of clients) {
    const [found, expected] = [keptOut(lists, client, nowMs), reasonsOf(written, client, nowMs)]
    const right = found === undefined ? expected.size === 0 : expected.has(found)
    must(right, 'another answer than by each entry', client, found, [...expected])
  }
}

/** Undefined for what has mistakes, each of which is said. */
function entriesOf(read: ReadList): AccessEntry[] | undefined {
  if (read.ok) return read.value.entries
  must(read.problems.length > 0, 'refused without a word')
  for (const problem of read.problems) must(problem.length < 1_000, 'a long sentence', problem)
  return undefined
}

const sometimesWrong = (right: fc.Arbitrary<object>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 6, arbitrary: right }, { weight: 1, arbitrary: wrongSomewhere(right) })

const lists = target(
  'access/lists',
  fc.tuple(sometimesWrong(allowValue), sometimesWrong(denyValue), clients, moment),
  ([allow, deny, asking, nowMs]) => {
    const allowed = entriesOf(readAllowlist(allow))
    const denied = entriesOf(readDenylist(deny))
    const written = { ...(allowed && { allow }), ...(denied && { deny }) }
    const one = openAccessLists([...(allowed ?? []), ...(denied ?? [])])
    judgeLists([one], written, asking, nowMs)
    const two = [openAccessLists(allowed), openAccessLists(denied)]
    judgeLists(two, written, asking, nowMs)
  },
)

const YAML_PIECES = [
  ...['- ', ': ', '\n', '\n  ', '\t', '{', '}', '[', ']', ',', '"', "'", '|', '#', '---\n', '? '],
  ...['&a ', '*a', '&a [*a]', '{a: *a}', '<<: *a', '!!binary ', '!!set ', '!x ', '~', '.nan'],
  ...['SequenceNumber', 'allowlist', 'denylist', 'ips', 'entity', 'item', '[[]]', '2030-01-01'],
]
const listText = fc
  .oneof(allowValue, denyValue)
  .map((value) => JSON.stringify(value))
  .map((text) => [text, text.replaceAll(':', ': '), text.replace(/:\d/, ': &a [*a]')])
  .chain((texts) => nearlyText(fc.constantFrom(...texts), YAML_PIECES))

type Reading = Parameters<typeof readAccess>[1]

/** As a file: one that can't be used is said to be so, and the gate goes on. */
const listTexts = target(
  'access/list_text',
  fc.tuple(listText, fc.boolean(), clients, moment),
  ([text, isDeny, asking, nowMs]) => {
    const key = isDeny ? 'denylist_file' : 'allowlist_file'
    const read = (previous?: ReturnType<typeof readAccess>) => {
      const said: string[] = []
      const reading: Pick<Reading, 'text' | 'complain' | 'resolve'> = {
        text: () => text,
        complain: (_path, what) => void said.push(what),
        resolve: (path) => path,
      }
      const sections = { access_lists: { [key]: 'list.yaml' }, clusters: { main: {} } }
      const access = readAccess(sections, reading as Reading, () => '', previous)
      return { access, said }
    }
    const { access, said } = read()
    for (const each of [...said, ...access.strays.map(({ what }) => what)])
      must(each.length < 1_000, 'a long sentence', each)
    mustEqual(read(access).said, said, 'the same file, read again')
    mustEqual(access.files[key] === undefined, said.length > 0, 'neither a list nor a word')
    if (said.length > 0) return judgeLists([access.lists], {}, asking, nowMs)
    const value = parse(text, { logLevel: 'silent' }) as unknown
    judgeLists([access.lists], { [isDeny ? 'deny' : 'allow']: value }, asking, nowMs)
  },
)

const until = fc.constantFrom(undefined, undefined, NOW_MS / 1000 - 1, NOW_MS / 1000, 4e9)
const forCluster = fc.constantFrom(...CLUSTERS)
const entry: fc.Arbitrary<AccessEntry> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      list: fc.constantFrom('allow' as const, 'deny' as const),
      cluster: forCluster,
      item: networkText.filter((text) => blockOf(text) !== undefined),
      kind: fc.constant('ip' as const),
      until,
      why: reason,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      list: fc.constant('deny' as const),
      cluster: fc.constant(''),
      item: forCluster,
      kind: fc.constant('cluster' as const),
      until,
      why: reason,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      list: fc.constant('allow' as const),
      cluster: forCluster,
      item: fc.constant(''),
      kind: fc.constant('cluster' as const),
      until,
      why: fc.constant(''),
    }),
  },
)
const entries = fc.array(entry, { maxLength: 6 })

/** Whatever they were before, and in whatever order they come. */
const sharedEntries = target(
  'access/shared',
  fc.tuple(allowValue, denyValue, entries, entries, fc.nat(6), clients, moment),
  ([allow, deny, before, more, kept, asking, nowMs]) => {
    const [allowed, denied] = [entriesOf(readAllowlist(allow)), entriesOf(readDenylist(deny))]
    const file = openAccessLists([...(allowed ?? []), ...(denied ?? [])])
    const shared = openAccessLists()
    const after = [...before.slice(0, kept), ...more, ...before.slice(kept + 1)]
    for (const now of [before, after, [...after, ...after].reverse(), after.slice(1), after]) {
      shared.replace(now)
      const written = { ...(allowed && { allow }), ...(denied && { deny }), entries: now }
      judgeLists([file, shared], written, asking, nowMs)
    }
    shared.replace([])
    mustEqual([shared.allowed.size, shared.denied.clusters.size], [0, 0], 'what is left of nothing')
  },
)

const holders = target(
  'access/holder',
  fc.tuple(clientAddress, clientAddress, oddText),
  ([one, other, odd]) => {
    mustEqual([typeof holder(odd), typeof rangeOf(odd)], ['string', 'string'], 'an answer')
    if (one === undefined || other === undefined) return
    const isWithin = (ipv4: number, ipv6: number) => {
      const bits = isIn('0.0.0.0/0', one) ? ipv4 : ipv6
      return isIn(`${one.split('%')[0]}/${isIP(one) === 4 ? bits : mappedBits(one, bits)}`, other)
    }
    mustEqual(holder(one) === holder(other), isWithin(32, 64), 'one holder')
    mustEqual(rangeOf(one) === rangeOf(other), isWithin(24, 48), 'one range')
  },
)

/** Of IPv4 that is written as IPv6. */
function mappedBits(address: string, bits: number): number {
  return (numberOf(address) ?? 0n) >> 32n === 0xffffn ? bits + 96 : bits
}

export const listTargets: Target[] = [lists, listTexts, sharedEntries, holders]
