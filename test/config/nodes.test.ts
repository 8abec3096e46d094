/** Nodes in the configuration file: what is read of each form, and what is told of mistakes. */
import { beforeAll, describe, expect, test } from 'vitest'
import { membersOf, nodeOf } from '../../src/cluster/nodes.ts'
import { GOOD, makeFiles, parse, told } from '../support/config_text.ts'

beforeAll(makeFiles)

const NODES = GOOD.slice(0, GOOD.indexOf('clusters'))

/** A configuration with these nodes, and further keys of the cluster. */
function written(nodes: string, more = '', signIn = 'trust', kind = 'postgresql'): string {
  return `${NODES}clusters: {a: {kind: ${kind}, nodes: ${nodes}, sign_in: ${signIn}${more}}}\n`
}

const told1 = (...[nodes, more, signIn, kind]: Parameters<typeof written>) =>
  told(written(nodes, more, signIn, kind)).map((each) => each.replace(/^\d+:\d+: /, ''))

const LOCAL = '{address: "127.0.0.1:5432"}'
const NEVER = {
  addresses: async () => ({
    places: [{ host: '10.0.0.7', port: 26257, weight: 1, priority: 0 }],
    goodForMs: 1,
  }),
  services: async () => ({
    places: [{ host: 'n1.test', port: 5433, weight: 7, priority: 2 }],
    goodForMs: 1,
  }),
}

describe('what is read', () => {
  test('defaults', () => {
    const { nodes } = parse(written(`[${LOCAL}]`)).clusters[0]
    expect(nodes).toMatchObject({
      locality: undefined,
      target: 'any',
      health: { intervalMs: 5_000, timeoutMs: 2_000, downAfter: 3, upAfter: 2 },
      connectTimeoutMs: 5_000,
    })
  })

  test('everything', () => {
    const [first, second] = [
      '{address: "127.0.0.1:1", weight: 5, locality: here}',
      '{address: "127.0.0.1:2", health_url: "http://127.0.0.1:8008/readiness"}',
    ]
    const more =
      ', prefer: {locality: here}, target: read_only, management: {role: m}, connect_timeout: 9s' +
      ', health: {interval: 1s, timeout: 500ms, down_after: 1, up_after: 100}'
    const { nodes } = parse(written(`[${first}, ${second}]`, more)).clusters[0]
    expect(nodes).toMatchObject({
      entries: [
        { kind: 'node', member: { weight: 5, locality: 'here', healthUrl: undefined } },
        { kind: 'node', member: { weight: 1, locality: '', node: { name: '127.0.0.1:2' } } },
      ],
      locality: 'here',
      target: 'read_only',
      health: { intervalMs: 1_000, timeoutMs: 500, downAfter: 1, upAfter: 100 },
      connectTimeoutMs: 9_000,
    })
  })

  test('names, whose nodes are looked up, with TLS to the name that is told', async () => {
    const tls = 'tls: {ca_file: ca.crt}'
    const dns = `{dns: db.test, port: 26257, ${tls}, weight: 3, health_url: "http://db.test:8080/health?ready=1"}`
    const srv = `{srv: _postgres._tcp.test, ${tls}, locality: there}`
    const named = '{dns: other.test, port: 1, tls: {ca_file: ca.crt, server_name: cert.test}}'
    const { entries } = parse(written(`[${dns}, ${srv}, ${named}]`)).clusters[0].nodes
    expect(entries.map((entry) => nodeOf(entry).name)).toEqual([
      'db.test:26257',
      '_postgres._tcp.test:0',
      'other.test:1',
    ])
    expect(await membersOf(entries, NEVER)).toMatchObject([
      {
        node: { address: { host: '10.0.0.7', port: 26257 }, tls: { serverName: 'db.test' } },
        weight: 3,
        healthUrl: new URL('http://db.test:8080/health?ready=1'),
      },
      {
        node: { address: { host: 'n1.test', port: 5433 }, tls: { serverName: 'n1.test' } },
        weight: 7,
        priority: 2,
        locality: 'there',
      },
      { node: { tls: { serverName: 'cert.test' } } },
    ])
  })
})

describe('mistakes', () => {
  test.each<[string, string, string[]]>([
    ['a weight of nothing', '{address: /x, weight: 0}', ['write a weight from 1 to 100']],
    ['too much weight', '{address: /x, weight: 101}', ['write a weight from 1 to 100']],
    ['an empty locality', '{address: /x, locality: ""}', ['write a name, like eu-west-1']],
    ['a name without a port', '{dns: db.test}', ['"port" is required']],
    ['a name with port 0', '{dns: db.test, port: 0}', ['write a port from 1 to 65535']],
    [
      'a name that is none',
      '{dns: "db test", port: 1}',
      ['"db test" is not a DNS name; write one like db.internal'],
    ],
    ['a port beside srv', '{srv: _a._tcp.test, port: 1}', ['unknown key "port"']],
    ['a weight beside srv', '{srv: _a._tcp.test, weight: 1}', ['unknown key "weight"']],
    ['two kinds at once', '{dns: a, port: 1, address: "h:1"}', ['unknown key "address"']],
    [
      'a health page that is no URL',
      '{address: "127.0.0.1:1", health_url: "127.0.0.1:8080"}',
      ['write a URL like http://db.internal:8080/health?ready=1'],
    ],
    [
      'a health page with a password',
      '{address: "127.0.0.1:1", health_url: "http://me:secret@127.0.0.1/"}',
      ['write a URL like http://db.internal:8080/health?ready=1'],
    ],
    [
      "somebody else's health page",
      '{address: "127.0.0.1:1", health_url: "http://169.254.169.254/"}',
      ["write the node's own host in the place of 169.254.169.254"],
    ],
    [
      'a health page off this machine for a unix socket',
      '{address: /x, health_url: "http://db.test/"}',
      ["write the node's own host in the place of db.test"],
    ],
    [
      'https without tls',
      '{address: "127.0.0.1:1", health_url: "https://127.0.0.1:8080/"}',
      ['https needs tls: {ca_file}, to verify who answers'],
    ],
  ])('%s', (_name, node, mistakes) => {
    expect(told1(`[${node}]`)).toEqual(mistakes)
  })

  test.each<[string, string]>([
    ['over a unix socket', '{address: /x, health_url: "http://localhost:8080/h"}'],
    ['over IPv6', '{address: "[::1]:1", health_url: "http://[::1]:8080/h"}'],
    [
      'with a name in capitals',
      '{address: "DB.test:1", health_url: "https://db.test:8080/h", tls: {ca_file: ca.crt}}',
    ],
  ])('a health page %s is none', (_name, node) => {
    expect(told1(`[${node}]`)).toEqual([])
  })

  test.each<[string, Parameters<typeof written>, string[]]>([
    ['a node twice', [`[${LOCAL}, ${LOCAL}]`], ['this node is there already; keep one of them']],
    [
      'a locality that no node has',
      [`[${LOCAL}]`, ', prefer: {locality: moon}'],
      ['no node has locality: moon'],
    ],
    [
      'a target that nobody could ask for',
      [`[${LOCAL}]`, ', target: read_write'],
      ['read_write needs management: {role}, to ask each node whether it is a standby'],
    ],
    [
      'a target of CockroachDB',
      [`[${LOCAL}]`, ', target: read_only, management: {role: m}', 'trust', 'cockroachdb'],
      ['every node of CockroachDB takes writes: read_only is for PostgreSQL'],
    ],
    [
      'a strange target',
      [`[${LOCAL}]`, ', target: primary'],
      ['write any or read_write or read_only, not "primary"'],
    ],
    [
      'nobody is patient',
      [`[${LOCAL}]`, ', health: {down_after: 0}'],
      ['write a number from 1 to 100'],
    ],
    [
      'no time between looks',
      [`[${LOCAL}]`, ', health: {interval: 0s}'],
      [
        '"0s" is not a time to wait; write one like 15s, 1m30s or 500ms, at least 1ms and at most 24 days (576h)',
      ],
    ],
    [
      'peer by a name',
      ['[{dns: a.test, port: 1}]', '', 'peer'],
      ['peer works over a unix socket only; give the node the path of one'],
    ],
    [
      'trust by a name',
      ['[{dns: a.test, port: 1}]'],
      ['trust needs a node on this machine, or tls: {ca_file}'],
    ],
    [
      'forward by a name',
      ['[{srv: a.test}]', '', 'forward'],
      ["forward sends the user's token to the node; give the node tls: {ca_file}"],
    ],
  ])('%s', (_name, parts, mistakes) => {
    expect(told1(...parts)).toEqual(mistakes)
  })

  test('are told where they are', () => {
    const text = written(`[${LOCAL}, {address: "127.0.0.1:2", tls: {ca_file: nowhere}}]`)
    expect(told(text)).toEqual([expect.stringMatching(/^4:\d+: cannot read nowhere: /)])
  })
})
