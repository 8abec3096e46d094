/**
 * What a configuration file becomes, and what it takes from elsewhere: the environment, other files,
 * certificates and keys. What is told of mistakes in the file itself is in mistakes.test.ts.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import { nodeOf } from '../../src/cluster/nodes.ts'
import { ENV, FILES, GOOD, good, KEY, makeFiles, parse, told } from '../support/config_text.ts'

beforeAll(makeFiles)

describe('a good file', () => {
  test('is read as it stands, with defaults for the rest', () => {
    const config = parse(GOOD)
    expect(config).toMatchObject({
      listeners: [
        {
          bind: { host: '127.0.0.1', port: 26257 },
          tls: { files: ['/etc/postern/gate.crt', '/etc/postern/gate.key'] },
          allowPlaintext: false,
        },
      ],
      clusters: [
        {
          name: 'main',
          trust: { enabled: false, claim: '', requireExpiry: true, clockToleranceMs: 0 },
          nodes: {
            entries: [
              {
                kind: 'node',
                member: {
                  node: {
                    name: '/run/pg/.s.PGSQL.5432',
                    address: { path: '/run/pg/.s.PGSQL.5432' },
                    tls: undefined,
                    signIn: 'peer',
                    dialect: 'postgresql',
                    connectTimeoutMs: 5_000,
                  },
                  healthUrl: undefined,
                  weight: 1,
                  priority: 0,
                  locality: '',
                },
              },
            ],
            locality: undefined,
            target: 'any',
            health: { intervalMs: 5_000, timeoutMs: 2_000, downAfter: 3, upAfter: 2 },
            connectTimeoutMs: 5_000,
          },
        },
      ],
      limits: { connections: 10_000, authenticationTimeoutMs: 15_000 },
      ops: undefined,
      tracing: undefined,
      log: { level: 'info' },
      audit: { to: { kind: 'stdout' }, required: false, seal: undefined, anchor: undefined },
    })
    const { trust, rules } = config.clusters[0]
    const sizes = [trust.issuers.size, trust.keySources.size, rules.audiences.size]
    expect(sizes).toEqual([0, 0, 0])
    expect([rules.allowRoles.size, rules.replicationRoles.size]).toEqual([0, 0])
    expect(trust.identityMap.lineCount).toBe(0)
  })

  test('may say everything', () => {
    const { listeners, clusters, limits, ops, log, audit, tracing } = parse(`
listeners:
  - {address: '[::1]:5432', allow_plaintext: true}
  - {directory: /run/postern, port: 5433, mode: '0700'}
clusters:
  main:
    kind: cockroachdb
    nodes: [{address: 'db.test:26257', tls: {ca_file: ca.crt, server_name: node}}]
    sign_in: forward
    connect_timeout: 1m
    allow_roles: [postgres]
    replication_roles: [replica]
    server.jwt_authentication.enabled: true
    server.jwt_authentication.audience: [a, b]
    server.jwt_authentication.issuers: [one, two]
    server.jwt_authentication.jwks: ${JSON.stringify({ keys: [KEY] })}
    server.jwt_authentication.claim: email
    server.jwt_authentication.require_expiry: false
    server.jwt_authentication.clock_tolerance: 30s
    server.identity_map.configuration: |
      one /ops Deploy
      two a@b.test Carl
    server.identity_map.allow_unanchored: true
    issuer_options: {one: {jwks: ${JSON.stringify(KEY)}}}
limits: {connections: 5, authentication_timeout: 2s}
ops: {listen: 127.0.0.1:8080, hosts: [Gate.Example.com]}
log: {level: debug}
audit: {to: logs/audit.log}
tracing: {otlp_endpoint: 'http://127.0.0.1:4318/v1/traces'}
`)
    expect(listeners).toEqual([
      {
        bind: { host: '::1', port: 5432 },
        proxies: undefined,
        keepAliveMs: 60_000,
        tls: undefined,
        allowPlaintext: true,
      },
      {
        bind: { path: '/run/postern/.s.PGSQL.5433', mode: 0o700 },
        proxies: undefined,
        keepAliveMs: 0,
        tls: undefined,
        allowPlaintext: true,
      },
    ])
    const [cluster] = clusters
    const { trust, rules } = cluster
    const node = nodeOf(cluster.nodes.entries[0])
    expect(node).toMatchObject({ name: 'db.test:26257', tls: { serverName: 'node' } })
    expect(node).toMatchObject({ connectTimeoutMs: 60_000, dialect: 'cockroachdb' })
    expect(rules).toEqual({
      audiences: new Set(['a', 'b']),
      scopes: [],
      allowRoles: new Set(['postgres']),
      ownRoles: new Set(),
      replicationRoles: new Set(['replica']),
    })
    expect(trust).toMatchObject({ enabled: true, claim: 'email', requireExpiry: false })
    expect(trust).toMatchObject({ clockToleranceMs: 30_000, foldCase: true })
    expect(trust.issuers).toEqual(new Set(['one', 'two']))
    expect([...trust.keySources.keys()]).toEqual(['one', 'two'])
    expect(trust.identityMap.lookup('one', 'devops').users).toEqual(['deploy'])
    expect(tracing).toEqual({ endpoint: 'http://127.0.0.1:4318/v1/traces' })
    expect({ limits, ops, log, audit }).toMatchObject({
      limits: { connections: 5, authenticationTimeoutMs: 2_000 },
      ops: { listen: { host: '127.0.0.1', port: 8080 }, hosts: ['gate.example.com'] },
      log: { level: 'debug' },
      audit: { to: { kind: 'file', path: '/etc/postern/logs/audit.log' } },
    })
  })

  test('may have sections with nothing in them', () => {
    const empty = parse(good('limits:\nops:\nlog:\naudit:'))
    const { limits, ops, log, audit } = parse(GOOD)
    expect(empty).toMatchObject({ limits, ops, log, audit })
  })

  test('is JSON, too', () => {
    const listeners = [{ directory: '/run' }]
    const nodes = [{ address: '127.0.0.1:5432' }]
    const clusters = { main: { kind: 'postgresql', nodes, sign_in: 'trust' } }
    expect(told(JSON.stringify({ listeners, clusters }))).toEqual([])
  })

  test('takes a node by its host where no name of the certificate is given', () => {
    const tls = GOOD.replace('/run/pg/.s.PGSQL.5432', 'db.test:5432, tls: {ca_file: chain.crt}')
    expect(
      nodeOf(parse(tls.replace('sign_in: peer', 'sign_in: trust')).clusters[0].nodes.entries[0]),
    ).toMatchObject({
      tls: { serverName: 'db.test' },
    })
  })
})

describe('values from elsewhere', () => {
  const audienceOf = (value: string) => [
    ...parse(good(`    server.jwt_authentication.audience: ${value}`)).clusters[0].rules.audiences,
  ]

  test.each<[string, string[]]>([
    [`\${env:NAME}`, ['from-the-environment']],
    [`"a \${env:NAME} b \${env:NAME}"`, ['a from-the-environment b from-the-environment']],
    [`["\${env:NAME}", x]`, ['from-the-environment', 'x']],
    [`"[\\"\${env:NAME}\\"]"`, ['from-the-environment']],
    [`\${env:EMPTY}`, []],
    [`["\${env:EMPTY}"]`, []],
    [`\${NAME} # \${env:MISSING}`, [`\${NAME}`]],
    ['{file: audience}', ['from-a-file']],
    ['{file: ./sub/../audience}', ['from-a-file']],
    ['{file: /etc/postern/audience}', ['from-a-file']],
    ['[{file: audience}, x]', ['from-a-file', 'x']],
    [`{file: "\${env:FILE}"}`, ['from-a-file']],
    // A file's text is a value and nothing more.
    ['{file: literal}', [`\${env:SECRET} {file: audience}`]],
    ['{file: empty}', []],
  ])('%s', (written, audiences) => {
    ENV.FILE = 'audience'
    expect(audienceOf(written)).toEqual(audiences)
  })

  test('an anchor of a file can be used again', () => {
    const text = good(
      '    server.jwt_authentication.audience: &a {file: audience}\n    allow_roles: [*a]',
    )
    expect(parse(text).clusters[0].rules.allowRoles).toEqual(new Set(['from-a-file']))
  })

  test('a map from a file', () => {
    const text = good('    server.identity_map.configuration: {file: sub/map}')
    expect(parse(text).clusters[0].trust.identityMap.lookup('iss', 'a').users).toEqual(['b'])
  })

  test.each<[string, string[]]>([
    [
      `    server.jwt_authentication.claim: \${env:MISSING}`,
      ['9:38: the environment variable MISSING is not set'],
    ],
    [
      `    server.jwt_authentication.claim: "x\${env:}"`,
      ['9:38: the environment variable  is not set'],
    ],
    [
      '    server.jwt_authentication.jwks: {file: nowhere.json}',
      [
        "9:37: cannot read nowhere.json: ENOENT: no such file or directory, open '/etc/postern/nowhere.json'",
      ],
    ],
    [
      `    allow_roles: [{file: nowhere}]\n    connect_timeout: \${env:MISSING}`,
      [
        "9:19: cannot read nowhere: ENOENT: no such file or directory, open '/etc/postern/nowhere'",
        '10:22: the environment variable MISSING is not set',
      ],
    ],
    // A map of the key `file` alone is a file; with another beside it, it is only a map.
    ['    server.jwt_authentication.claim: {file: 7}', ['9:38: write text, not {"file":7}']],
    [
      '    server.jwt_authentication.claim: {file: audience, x: 1}',
      ['9:38: write text, not {"file":"audience","x":1}'],
    ],
  ])('missing: %s', (more, mistakes) => {
    expect(told(good(more))).toEqual(mistakes)
  })
})

describe('certificates and keys', () => {
  const NO_CERTIFICATE = 'is not a certificate in PEM (-----BEGIN CERTIFICATE-----)'
  const NO_KEY = 'is not a private key in PEM (-----BEGIN PRIVATE KEY-----)'
  const missing = (name: string) =>
    `cannot read ${name}: ENOENT: no such file or directory, open '/etc/postern/${name}'`

  test.each<[cert: string, key: string, mistakes: string[]]>([
    ['gate.crt', 'gate.key', []],
    ['chain.crt', 'gate.key', []],
    ['gate.crt', 'gate.crt', [`3:42: gate.crt ${NO_KEY}`]],
    ['gate.key', 'gate.key', [`3:22: gate.key ${NO_CERTIFICATE}`]],
    ['text.pem', 'text.pem', [`3:22: text.pem ${NO_CERTIFICATE}`, `3:42: text.pem ${NO_KEY}`]],
    ['half.pem', 'gate.key', [`3:22: half.pem ${NO_CERTIFICATE}`]],
    ['broken-chain.crt', 'gate.key', [`3:22: broken-chain.crt ${NO_CERTIFICATE}`]],
    ['empty', 'empty', [`3:22: empty ${NO_CERTIFICATE}`, `3:39: empty ${NO_KEY}`]],
    [
      'gate.crt',
      'locked.key',
      ['3:42: locked.key is a key with a passphrase; write the key without one'],
    ],
    [
      'nowhere.crt',
      'nowhere.key',
      [`3:22: ${missing('nowhere.crt')}`, `3:45: ${missing('nowhere.key')}`],
    ],
    [
      'gate.crt',
      'other.key',
      ["3:10: the certificate and its key can't be used: key values mismatch"],
    ],
  ])('%s with %s', (cert, key, mistakes) => {
    const text = GOOD.replace('gate.crt', cert).replace('gate.key', key)
    expect(told(text)).toEqual(mistakes)
  })

  test.each<[string, string[]]>([
    ['ca.crt', []],
    ['chain.crt', []],
    ['empty', [`7:54: empty ${NO_CERTIFICATE}`]],
    ['text.pem', [`7:54: text.pem ${NO_CERTIFICATE}`]],
    ['gate.key', [`7:54: gate.key ${NO_CERTIFICATE}`]],
    ['nowhere', [`7:54: ${missing('nowhere')}`]],
  ])('a CA in %s', (ca, mistakes) => {
    const node = `{address: "db.test:5432", tls: {ca_file: ${ca}}}`
    const text = GOOD.replace('{address: /run/pg/.s.PGSQL.5432}', node).replace('peer', 'trust')
    expect(told(text)).toEqual(mistakes)
  })

  test('are never shown', () => {
    const key = FILES['/etc/postern/gate.key'] ?? ''
    const body = key.split('\n')[1] ?? ''
    expect(body.length).toBeGreaterThan(40)
    for (const written of ['{file: gate.key}', 'gate.key', `"\${env:KEY}"`]) {
      ENV.KEY = key
      const text = GOOD.replace('cert_file: gate.crt', `cert_file: ${written}`)
      const said = told(text).join('\n')
      expect(said).not.toBe('')
      expect(said).not.toContain(body)
    }
  })
})

test('all mistakes are told at once, in the order of the file', () => {
  const text = `
listeners:
  - address: 0.0.0.0:26257
    allow_plaintext: true
    colour: red
  - {directory: run, port: 0}
  - {address: here}
clusters:
  main:
    kind: oracle
    nodes: [{address: 127.0.0.1:5432}]
    sign_in: peer
    server.jwt_authentication.audience: \${env:MISSING}
    server.jwt_authentication.claim: /a//b
    server.jwt_authentication.jwks: {file: nowhere.json}
    server.jwt_authentication.issuers: a
    server.jwt_authentication.issuers.configuration: a
    issuer_options: {b: {jwks: {keys: [{kty: oct}]}}}
    extra: 1
limits: {connections: -1, authentication_timeout: 1x}
log: {level: shout}
more: {}
`
  expect(told(text)).toEqual([
    '4:22: a token must not cross a network in clear: 0.0.0.0 is not loopback; set tls instead',
    '5:5: unknown key "colour"',
    '6:17: write an absolute path',
    '6:28: write a port from 1 to 65535',
    '7:15: "here" is not an address; write host:port, like 127.0.0.1:26257',
    '10:11: write postgresql or cockroachdb, not "oracle"',
    '13:41: the environment variable MISSING is not set',
    '14:38: JWT authentication: JSON Pointer "/a//b" contains an empty segment',
    "15:37: cannot read nowhere.json: ENOENT: no such file or directory, open '/etc/postern/nowhere.json'",
    '18:32: JWT authentication JWKS not a valid JWKS: key 1: a symmetric key (oct) cannot be published, so nobody may sign with it',
    '19:5: unknown key "extra"',
    '20:23: write a number of at least 1',
    '20:51: "1x" is not a time to wait; write one like 15s, 1m30s or 500ms, at least 1ms and at most 24 days (576h)',
    '21:14: write debug or info or warn or error, not "shout"',
    '22:1: unknown key "more"',
  ])
})
