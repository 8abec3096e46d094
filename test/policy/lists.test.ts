/** The files of access lists, and whom they keep out. */
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { openAccessLists, readAllowlist, readDenylist } from '../../src/config/access_lists.ts'
import { type AccessLists, keptOut } from '../../src/policy/lists.ts'

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
  return { allowed: allowed.value.list, denied: denied.value.list }
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
    expect(keptOut(lists(), { address, cluster }, nowMs)).toBe(why)
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
      const only = { allowed: new Map(), denied: read.value.list }
      expect(keptOut(only, { address: '10.6.6.6', cluster: 'main' }, IN_2026)).toContain('denied')
    }
  })
})

describe('lists that gates share', () => {
  const entry = (more: object) => ({
    list: 'allow' as const,
    cluster: 'main',
    item: '10.0.0.0/8',
    kind: 'ip' as const,
    until: undefined,
    why: '',
    ...more,
  })
  const FILES = { allowlist: undefined, denylist: undefined }
  const out = (entries: ReturnType<typeof entry>[], address: string, cluster = 'main') =>
    keptOut(openAccessLists(FILES, entries, IN_2026), { address, cluster }, IN_2026) !== undefined

  it('let in whom they name, and where all that they name has ended, nobody', () => {
    expect(out([entry({})], '10.1.1.1')).toBe(false)
    expect(out([entry({})], '192.0.2.1')).toBe(true)
    expect(out([entry({})], '192.0.2.1', 'other')).toBe(false)
    expect(out([entry({ until: 1 })], '10.1.1.1')).toBe(true)
    expect(out([], '10.1.1.1')).toBe(false)
  })

  it('add to those of the files', () => {
    const read = readAllowlist(parse(ALLOW))
    const allowlist = read.ok ? read.value : undefined
    const lists = openAccessLists({ ...FILES, allowlist }, [entry({ item: '192.0.2.9' })], IN_2026)
    const why = (address: string) => keptOut(lists, { address, cluster: 'main' }, IN_2026)
    expect(['10.1.1.1', '192.0.2.9'].map(why)).toEqual([undefined, undefined])
    expect(why('192.0.2.8')).toContain('not allowed')
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
