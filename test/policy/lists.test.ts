/** The files of access lists, and whom they keep out. */
import { BlockList } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { readAllowlist, readDenylist } from '../../src/config/access_lists.ts'
import {
  type AccessEntry,
  type AccessLists,
  type From,
  keptOut,
  openAccessLists,
} from '../../src/policy/lists.ts'

const ALLOW = `
SequenceNumber: 3
allowlist:
  main:
    ips: [10.0.0.0/8, 'fd00::/8', 192.0.2.7]
  closed:
    ips: []
`
const DENY = `
SequenceNumber: 4
denylist:
- entity: {item: 10.6.6.6, type: IP}
  reason: over quota
- entity: {item: 'FD00:0::66', type: ip}
- entity: {item: 10.7.0.0/16, type: ip}
  expiration: 2030-01-01T00:00:00Z
  reason: a scanner
- entity: {item: 10.8.8.8, type: ip}
  expiration: 2020-01-01T00:00:00Z
- entity: {item: spare, type: Cluster}
  expiration: '2030-01-01T00:00:00+02:00'
  reason: splunk pipeline
- entity: {item: 61, type: cluster}
  reason: moved
`

function lists(): AccessLists {
  const [allowed, denied] = [readAllowlist(parse(ALLOW)), readDenylist(parse(DENY))]
  if (!allowed.ok || !denied.ok) throw new Error(JSON.stringify([allowed, denied]))
  expect([allowed.value.sequence, denied.value.sequence]).toEqual([3, 4])
  return openAccessLists([...allowed.value.entries, ...denied.value.entries])
}

const IN_2026 = Date.UTC(2026, 10, 23)
const IN_2031 = Date.UTC(2031, 0, 1)

describe('whom the lists keep out', () => {
  it.each<[string, string | undefined, string, number, string | undefined]>([
    ['an address of the allowlist', '10.1.1.1', 'main', IN_2026, undefined],
    ['an IPv6 address of it', 'fd00::1', 'main', IN_2026, undefined],
    ['an address by itself', '192.0.2.7', 'main', IN_2026, undefined],
    ['another one', '192.0.2.8', 'main', IN_2026, "ip '192.0.2.8' denied: ip address not allowed"],
    [
      'anybody, of a cluster whose list is empty',
      '10.1.1.1',
      'closed',
      IN_2026,
      "ip '10.1.1.1' denied: ip address not allowed",
    ],
    ['anybody, of a cluster without a list', '192.0.2.8', 'other', IN_2026, undefined],
    ['a denied address', '10.6.6.6', 'other', IN_2026, "ip '10.6.6.6' denied: over quota"],
    [
      'one that a socket shows as IPv6',
      '::ffff:10.6.6.6',
      'other',
      IN_2026,
      "ip '10.6.6.6' denied: over quota",
    ],
    [
      'a denied one that is allowed as well',
      '10.6.6.6',
      'main',
      IN_2026,
      "ip '10.6.6.6' denied: over quota",
    ],
    [
      'an IPv6 address in another spelling',
      'fd00::66',
      'other',
      IN_2026,
      "ip 'fd00::66' denied: no reason given",
    ],
    ['a denied network', '10.7.1.1', 'other', IN_2026, "ip '10.7.1.1' denied: a scanner"],
    ['a denied network whose time is over', '10.7.1.1', 'other', IN_2031, undefined],
    ['an address whose time was over', '10.8.8.8', 'other', IN_2026, undefined],
    ['a denied cluster', '10.1.1.1', 'spare', IN_2026, "cluster 'spare' denied: splunk pipeline"],
    [
      'a cluster that YAML reads as a number',
      '10.1.1.1',
      '61',
      IN_2026,
      "cluster '61' denied: moved",
    ],
    [
      'a denied cluster, on a unix socket',
      undefined,
      'spare',
      IN_2026,
      "cluster 'spare' denied: splunk pipeline",
    ],
    ['a unix socket', undefined, 'main', IN_2026, undefined],
  ])('%s', (_, address, cluster, nowMs, why) => {
    expect(keptOut([lists()], { address, cluster }, nowMs)).toBe(why)
  })

  it('of two entries for one address as long as the longer', () => {
    const entry = (expiration?: string) => ({
      entity: { item: '10.6.6.6', type: 'ip' },
      ...(expiration && { expiration }),
    })
    for (const both of [
      [entry(), entry('2020-01-01T00:00:00Z')],
      [entry('2020-01-01T00:00:00Z'), entry()],
    ]) {
      const read = readDenylist({ SequenceNumber: 1, denylist: both })
      if (!read.ok) throw new Error(read.problems.join())
      const only = openAccessLists(read.value.entries)
      expect(keptOut([only], { address: '10.6.6.6', cluster: 'main' }, IN_2026)).toContain('denied')
    }
  })
})

const entry = (more: Partial<AccessEntry>): AccessEntry => ({
  list: 'allow',
  cluster: 'main',
  item: '10.0.0.0/8',
  kind: 'ip',
  until: undefined,
  why: '',
  ...more,
})

describe('lists that gates share', () => {
  const out = (entries: AccessEntry[], address: string, cluster = 'main') =>
    keptOut([openAccessLists(entries)], { address, cluster }, IN_2026) !== undefined

  it('let in whom they name, and where all that they name has ended, nobody', () => {
    expect(out([entry({})], '10.1.1.1')).toBe(false)
    expect(out([entry({})], '192.0.2.1')).toBe(true)
    expect(out([entry({})], '192.0.2.1', 'other')).toBe(false)
    expect(out([entry({ until: 1 })], '10.1.1.1')).toBe(true)
    expect(out([], '10.1.1.1')).toBe(false)
  })

  it('let in nobody where they only say that there is one', () => {
    const closed = entry({ kind: 'cluster', item: '' })
    expect(out([closed], '10.1.1.1')).toBe(true)
    expect(out([closed], '10.1.1.1', 'other')).toBe(false)
    expect(out([closed, entry({})], '10.1.1.1')).toBe(false)
  })

  it('add to those of the files', () => {
    const read = readAllowlist(parse(ALLOW))
    const files = openAccessLists(read.ok ? read.value.entries : [])
    const both = [files, openAccessLists([entry({ item: '192.0.2.9' })])]
    const why = (address: string) => keptOut(both, { address, cluster: 'main' }, IN_2026)
    expect(['10.1.1.1', '192.0.2.9'].map(why)).toEqual([undefined, undefined])
    expect(why('192.0.2.8')).toContain('not allowed')
  })
})

describe('however the entries come and go', () => {
  const CLUSTERS = ['main', 'spare']
  const networks = [
    '10.0.0.0/8',
    '10.1.0.0/16',
    '10.1.2.3',
    '10.9.9.9/8',
    '0.0.0.0/0',
    'fd00::/8',
    '::/0',
    'fd00::1',
  ]
  const some = fc.array(
    fc.record({
      list: fc.constantFrom('allow' as const, 'deny' as const),
      kind: fc.constantFrom('ip' as const, 'cluster' as const),
      cluster: fc.constantFrom(...CLUSTERS),
      network: fc.constantFrom(...networks),
      until: fc.constantFrom(undefined, IN_2026 / 1000, IN_2031 / 1000),
      why: fc.constantFrom('', 'a scanner'),
    }),
    { maxLength: 8 },
  )
  const from: fc.Arbitrary<From> = fc.record({
    cluster: fc.constantFrom(...CLUSTERS),
    address: fc.constantFrom(
      '10.1.2.3',
      '::ffff:10.2.0.1',
      '192.0.2.1',
      'fd00::1',
      '2001:db8::1',
      undefined,
    ),
  })

  /** Looks at one entry after the other. */
  function isOut(entries: readonly AccessEntry[], { address, cluster }: From): boolean {
    const [, bare = address] = /^::ffff:(.*)$/.exec(address ?? '') ?? []
    const family = bare?.includes(':') ? 'ipv6' : 'ipv4'
    const holds = entries.filter(({ until }) => until === undefined || until * 1000 > IN_2026)
    const has = ({ kind, item }: AccessEntry) => {
      const [network = '', bits] = item.split('/')
      const its = network.includes(':') ? 'ipv6' : 'ipv4'
      if (kind !== 'ip' || bare === undefined || its !== family) return false
      const list = new BlockList()
      list.addSubnet(network, Number(bits ?? (its === 'ipv4' ? 32 : 128)), its)
      return list.check(bare, family)
    }
    const isDenied = holds.some(
      (each) =>
        each.list === 'deny' && (each.kind === 'cluster' ? each.item === cluster : has(each)),
    )
    if (isDenied || address === undefined) return isDenied
    const its = (each: AccessEntry) => each.list === 'allow' && each.cluster === cluster
    return entries.some(its) && !holds.some((each) => its(each) && has(each))
  }

  it('the answer is that of looking at each of them', () => {
    fc.assert(
      fc.property(
        fc.array(some, { minLength: 1, maxLength: 4 }),
        fc.array(from),
        (changes, clients) => {
          const lists = openAccessLists()
          for (const rows of changes) {
            const entries = rows.map(
              ({ list, kind, cluster, network, until, why }): AccessEntry => {
                const ofCluster = list === 'allow' ? '' : cluster
                const item = kind === 'ip' ? network : ofCluster
                return { list, kind, cluster: list === 'allow' ? cluster : '', item, until, why }
              },
            )
            lists.replace(entries)
            for (const each of clients)
              expect(keptOut([lists], each, IN_2026) !== undefined).toBe(isOut(entries, each))
          }
        },
      ),
      { numRuns: 500 },
    )
  })

  it('what another row changes is not looked at again', () => {
    let reads = 0
    const rows = Array.from({ length: 1000 }, (_, at): AccessEntry => {
      const row = entry({ list: 'deny', cluster: '', item: `10.0.${at >> 8}.${at & 255}` })
      // As a row that was read anew has it: another object that says the same.
      const get = () => {
        reads++
        return row.item
      }
      return Object.defineProperty({ ...row }, 'item', { get })
    })
    const lists = openAccessLists(rows)
    reads = 0
    const more = entry({ list: 'deny', cluster: '', item: '192.0.2.7' })
    lists.replace([...rows.slice(0, 500), more, ...rows.slice(500)])
    // Each is compared with itself, and none is read as a network.
    expect(reads).toBeLessThanOrEqual(2 * rows.length + 2)
    expect(keptOut([lists], { address: '192.0.2.7', cluster: 'main' }, IN_2026)).toContain('denied')
  })
})

describe('a file that is wrong', () => {
  it.each<[string, typeof readAllowlist | typeof readDenylist, string]>([
    ['allowlist: {}', readAllowlist, 'SequenceNumber'],
    ['{SequenceNumber: -1}', readAllowlist, 'SequenceNumber'],
    [
      '{SequenceNumber: 1, allowlist: {main: {ips: [10.0.0.0/33]}}}',
      readAllowlist,
      'allowlist.main.ips.0: "10.0.0.0/33" is not a network',
    ],
    ['{SequenceNumber: 1, allow: {}}', readAllowlist, 'unknown key'],
    [
      '{SequenceNumber: 1, denylist: [{entity: {item: x, type: ip}}]}',
      readDenylist,
      'denylist.0.entity.item: "x" is not a network',
    ],
    [
      '{SequenceNumber: 1, denylist: [{entity: {item: x, type: host}}]}',
      readDenylist,
      'write ip or cluster',
    ],
    [
      '{SequenceNumber: 1, denylist: [{entity: {item: x, type: cluster}, expiration: soon}]}',
      readDenylist,
      'write a time',
    ],
    ['just text', readDenylist, ''],
  ])('%s', (text, read, problem) => {
    const result = read(parse(text))
    expect(result.ok).toBe(false)
    if (!result.ok) expect(result.problems.join('\n')).toContain(problem)
  })
})
