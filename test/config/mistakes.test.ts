/**
 * What is told of every mistake in a configuration file: `line:column`, the mistake, what to write
 * instead. A row is what is written and what is told.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import { GOOD, good, ISSUER, makeFiles, told } from '../support/config_text.ts'

beforeAll(makeFiles)

describe('text that is no configuration', () => {
  const bomb = (levels: number) =>
    `a0: &a0 [x, x, x, x, x, x, x, x, x]\n${Array.from({ length: levels }, (_, level) => `a${level + 1}: &a${level + 1} [${Array(9).fill(`*a${level}`).join(', ')}]\n`).join('')}`
  const nothing = ['1:1: "listeners" is required', '1:1: "clusters" is required']

  test.each<[string, string, string[]]>([
    ['nothing', '', nothing],
    ['a comment', '# nothing\n', nothing],
    ['null', 'null', nothing],
    [
      'a list',
      '- listeners\n- clusters\n',
      ['1:1: write keys with their values, not ["listeners","clusters"]'],
    ],
    ['text', 'hello', ['1:1: write keys with their values, not "hello"']],
    ['a number', '5', ['1:1: write keys with their values, not 5']],
    ['a tab', 'listeners:\n\t- address: x', ['2:1: a tab is no indentation in YAML; write spaces']],
    [
      'a key that is there twice',
      good('limits: {}\nlimits: {}'),
      ['10:1: this key is there already; keep one of them'],
    ],
    [
      'a key of the cluster that is there twice',
      good('    sign_in: trust'),
      ['9:5: this key is there already; keep one of them'],
    ],
    [
      'a second document',
      good('---\nlimits: {}'),
      ['9:1: a second document begins here; keep one'],
    ],
    [
      'an open bracket',
      'listeners: [',
      ['1:13: Flow sequence in block collection must be sufficiently indented and end with a ]'],
    ],
    ['a management role without a name', good('    management: {}'), ['9:17: "role" is required']],
    [
      'a management role with a NUL',
      good('    management: {role: "a\\0b"}'),
      ['9:24: write the name of a role'],
    ],
    [
      'a tag, which may be a secret',
      good('    allow_roles: !secret [x]'),
      ['9:18: a tag that means nothing here; put text that begins with ! in quotes'],
    ],
    [
      'an alias of nothing',
      good('    allow_roles: *nowhere'),
      ['9:18: no anchor of this name comes before it; put text that begins with * in quotes'],
    ],
    [
      'aliases of aliases',
      bomb(7),
      [
        '1:1: its anchors and aliases: Excessive alias count indicates a resource exhaustion attack',
      ],
    ],
    ['merge keys', good('    <<: {allow_roles: [x]}'), ['9:5: unknown key "<<"']],
    ['__proto__', good('__proto__: {limits: {}}'), ['9:1: unknown key "__proto__"']],
  ])('%s', (_name, text, mistakes) => {
    expect(told(text)).toEqual(mistakes)
  })

  test('a few aliases are no attack', () => {
    expect(told(good('    allow_roles: &r [a]\n    replication_roles: *r'))).toEqual([])
  })
})

describe('unknown keys', () => {
  test.each<[string, string, string]>([
    ['of the file', good('limit: {}'), '9:1: unknown key "limit"'],
    ['of limits', good('limits: {conections: 5}'), '9:10: unknown key "conections"'],
    ['of ops', good('ops: {port: 5}'), '9:7: unknown key "port"'],
    ['of log', good('log: {levels: info}'), '9:7: unknown key "levels"'],
    ['of audit', good('audit: {file: 5}'), '9:9: unknown key "file"'],
    ['of the cluster', good('    sign_on: peer'), '9:5: unknown key "sign_on"'],
    [
      'of the settings',
      good('    server.jwt_authentication.jwks_auto_fetch: true'),
      '9:5: unknown key "server.jwt_authentication.jwks_auto_fetch"',
    ],
    [
      'of an issuer',
      good(`${ISSUER}\n    issuer_options: {"https://iss.test": {keys: []}}`),
      '10:43: unknown key "keys"',
    ],
    ['of a node', GOOD.replace('5432}', '5432, height: 5}'), '7:46: unknown key "height"'],
    [
      "of a node's tls",
      GOOD.replace('/run/pg/.s.PGSQL.5432', 'h:5, tls: {ca_file: ca.crt, verify: no}').replace(
        'peer',
        'trust',
      ),
      '7:51: unknown key "verify"',
    ],
    [
      'of a listener',
      GOOD.replace('  - address', '  - adress: x\n    address'),
      '2:5: unknown key "adress"',
    ],
    [
      "of a listener's tls",
      GOOD.replace('gate.key}', 'gate.key, ca: x}'),
      '3:52: unknown key "ca"',
    ],
    [
      'of a unix listener',
      `listeners: [{directory: /run, tls: {}}]\n${GOOD.slice(GOOD.indexOf('clusters'))}`,
      '1:31: unknown key "tls"',
    ],
    [
      'of a listener of both kinds',
      GOOD.replace('  - address', '  - directory: /run\n    address').replace(/ {4}tls.*\n/, ''),
      '3:5: unknown key "address"',
    ],
  ])('%s', (_name, text, mistake) => {
    expect(told(text)).toEqual([mistake])
  })
})

describe('values of the wrong kind', () => {
  const NO_TIME =
    'is not a time to wait; write one like 15s, 1m30s or 500ms, at least 1ms and at most 24 days (576h)'
  const NO_URL = 'write a URL like http://127.0.0.1:4318/v1/traces, without a password'
  const NO_DURATION =
    'is not a duration; write one like 15s, 1m30s or 500ms, at most 24 days (576h)'
  const NO_FILE = 'write the path of the file; the gate reads the file itself'

  test.each<[string, string]>([
    ['limits: 5', '9:9: write keys with their values, not 5'],
    ['limits: {connections: many}', '9:23: write a whole number, not "many"'],
    ['limits: {connections: 1.5}', '9:23: write a whole number, not 1.5'],
    ['limits: {connections: 0}', '9:23: write a number of at least 1'],
    ['limits: {authentication_timeout: 15}', `9:34: 15 ${NO_TIME}`],
    ['limits: {authentication_timeout: soon}', `9:34: "soon" ${NO_TIME}`],
    ['limits: {authentication_timeout: 0s}', `9:34: "0s" ${NO_TIME}`],
    ['limits: {authentication_timeout: 600h}', `9:34: "600h" ${NO_TIME}`],
    ['ops: {listen: 8080}', '9:15: 8080 is not an address; write host:port, like 127.0.0.1:26257'],
    [
      'ops: {hosts: ["gate:80"]}',
      `9:15: "gate:80" is not a host's name; write one without a port, like gate.example.com`,
    ],
    ['tracing: {otlp_endpoint: 127.0.0.1:4318}', `9:26: ${NO_URL}`],
    ['tracing: {otlp_endpoint: "ftp://collector/"}', `9:26: ${NO_URL}`],
    ['tracing: {otlp_endpoint: "https://me:secret@collector/"}', `9:26: ${NO_URL}`],
    ['log: {level: loud}', '9:14: write debug or info or warn or error, not "loud"'],
    ['log: {level: }', '9:14: "level" has no value; write debug or info or warn or error'],
    ['audit: {to: 5}', '9:13: write text, not 5'],
    ['audit: {to: ""}', `9:13: ${NO_FILE}`],
    ['    connect_timeout: 5', `9:22: 5 ${NO_TIME}`],
    ['    allow_roles: postgres', '9:18: write a list, not "postgres"'],
    ['    replication_roles: [5]', '9:25: write text, not 5'],
    ['    server.jwt_authentication.enabled: yes', '9:40: write true or false, not "yes"'],
    ['    server.jwt_authentication.require_expiry: 0', '9:47: write true or false, not 0'],
    ['    server.jwt_authentication.clock_tolerance: 30', `9:48: 30 ${NO_DURATION}`],
    ['    server.jwt_authentication.claim: [sub]', '9:38: write text, not ["sub"]'],
    [
      '    server.jwt_authentication.claim: /a//b',
      '9:38: JWT authentication: JSON Pointer "/a//b" contains an empty segment',
    ],
    [
      '    server.jwt_authentication.audience: 7',
      '9:41: JWT authentication audiences JSON not valid: 7; write one audience, or a list like ["one", "two"]',
    ],
    [
      '    server.jwt_authentication.issuers: {a: b}',
      '9:40: JWT authentication: issuers JSON not valid: {"a":"b"}; write one issuer, a list like ["one", "two"], or {"issuer_jwks_map": {"<issuer>": "<JWKS URI>"}}',
    ],
    [
      '    server.jwt_authentication.jwks: https://iss.test/jwks',
      '9:37: JWT authentication JWKS not a valid JWKS: it is not JSON; write the set as the issuer publishes it',
    ],
    ['    server.identity_map.configuration: [a]', '9:40: write text, not ["a"]'],
    ['    server.identity_map.configuration: a b', '9:40: unable to parse line 1: "a b"'],
    [
      "    server.identity_map.configuration: ''",
      '9:40: the map holds no rule, and without one every issuer is taken at its word; write one, or leave the key out',
    ],
    [
      '    server.identity_map.configuration: "# nothing here"',
      '9:40: the map holds no rule, and without one every issuer is taken at its word; write one, or leave the key out',
    ],
    ['    server.identity_map.allow_unanchored: "true"', '9:43: write true or false, not "true"'],
    ['    issuer_options: [a]', '9:21: write names with their values, not ["a"]'],
  ])('%s', (more, mistake) => {
    expect(told(good(more))).toEqual([mistake])
  })

  test.each<[string, string, string]>([
    ['listeners: []', 'listeners: []', '1:12: name at least one listener'],
    ['listeners: {}', 'listeners: {}', '1:12: write a list, not {}'],
    [
      'a listener that is text',
      'listeners: [here]',
      '1:13: write keys with their values, not "here"',
    ],
    ['no address', 'listeners: [{allow_plaintext: true}]', '1:13: "address" is required'],
    [
      'an address without a port',
      'listeners: [{address: localhost, allow_plaintext: true}]',
      '1:23: "localhost" is not an address; write host:port, like 127.0.0.1:26257',
    ],
    [
      'allow_plaintext',
      'listeners: [{address: "127.0.0.1:1", allow_plaintext: on}]',
      '1:55: write true or false, not "on"',
    ],
    ['a relative directory', 'listeners: [{directory: run}]', '1:25: write an absolute path'],
    ['no directory', 'listeners: [{directory: }]', '1:25: "directory" has no value; write text'],
    ['a port', 'listeners: [{directory: /run, port: 65536}]', '1:37: write a port from 1 to 65535'],
    [
      'a port in quotes',
      'listeners: [{directory: /run, port: "1"}]',
      '1:37: write a whole number, not "1"',
    ],
    [
      'a mode without quotes',
      'listeners: [{directory: /run, mode: 0770}]',
      "1:37: 770 is not a file mode; write four octal digits in quotes, like '0770'",
    ],
    [
      'half a pair',
      'listeners: [{address: "h:1", tls: {cert_file: gate.crt}}]',
      '1:35: "key_file" is required',
    ],
    [
      'a certificate in place of its file',
      'listeners: [{address: "h:1", tls: {cert_file: {file: gate.crt}, key_file: gate.key}}]',
      `1:47: ${NO_FILE}`,
    ],
    [
      'a key in place of its file',
      'listeners: [{address: "h:1", tls: {cert_file: gate.crt, key_file: {file: gate.key}}}]',
      `1:67: ${NO_FILE}`,
    ],
  ])('listener: %s', (_name, listeners, mistake) => {
    expect(told(`${listeners}\n${GOOD.slice(GOOD.indexOf('clusters'))}`)).toEqual([mistake])
  })

  test.each<[string, string, string]>([
    ['no cluster', 'clusters: {}', '4:11: name at least one cluster'],
    ['a list of clusters', 'clusters: []', '4:11: write names with their values, not []'],
    [
      'no kind',
      'clusters: {a: {nodes: [{address: /x}], sign_in: peer}}',
      '4:15: "kind" is required',
    ],
    [
      'a strange kind',
      'clusters: {a: {kind: mysql, nodes: [{address: /x}], sign_in: peer}}',
      '4:22: write postgresql or cockroachdb, not "mysql"',
    ],
    ['no nodes', 'clusters: {a: {kind: postgresql, sign_in: peer}}', '4:15: "nodes" is required'],
    [
      'nodes: []',
      'clusters: {a: {kind: postgresql, nodes: [], sign_in: peer}}',
      '4:41: name at least one node',
    ],
    [
      'a node that is text',
      'clusters: {a: {kind: postgresql, nodes: [/x], sign_in: peer}}',
      '4:42: write keys with their values, not "/x"',
    ],
    [
      'a node without an address',
      'clusters: {a: {kind: postgresql, nodes: [{}], sign_in: peer}}',
      '4:42: "address" is required',
    ],
    [
      'a relative socket',
      'clusters: {a: {kind: postgresql, nodes: [{address: run/x}], sign_in: peer}}',
      `4:52: "run/x" is not a node's address; write host:port or the path of its unix socket`,
    ],
    [
      'no sign_in',
      'clusters: {a: {kind: postgresql, nodes: [{address: /x}]}}',
      '4:15: "sign_in" is required',
    ],
    [
      'a strange sign_in',
      'clusters: {a: {kind: postgresql, nodes: [{address: /x}], sign_in: ldap}}',
      '4:67: write peer or certificate or scram or trust or forward, not "ldap"',
    ],
    [
      'tls without a CA',
      'clusters: {a: {kind: postgresql, nodes: [{address: "h:1", tls: {}}], sign_in: trust}}',
      '4:64: "ca_file" is required',
    ],
  ])('cluster: %s', (_name, clusters, mistake) => {
    expect(told(`${GOOD.slice(0, GOOD.indexOf('clusters'))}${clusters}\n`)).toEqual([mistake])
  })
})

describe('keys that must agree', () => {
  const node = (written: string, signIn: string) =>
    GOOD.replace('{address: /run/pg/.s.PGSQL.5432}', written).replace('peer', signIn)
  const one = GOOD.slice(GOOD.indexOf('    kind'))

  test.each<[string, string, string[]]>([
    ['two clusters', `${GOOD}  other:\n${one}`, []],
    [
      'a cluster that no host could name',
      `${GOOD}  Other.one:\n${one}`,
      ['10:5: clients say its name in a host: write letters a-z, digits and -'],
    ],
    [
      'OAUTHBEARER without an issuer',
      good('    server.oauthbearer_authentication.enabled: true'),
      [
        '9:48: clients are told whose tokens are wanted; name an issuer in server.oauthbearer_authentication.issuers.configuration or server.jwt_authentication.issuers.configuration',
      ],
    ],
    [
      'OAUTHBEARER with issuers of its own, and none of them',
      good(
        '    server.jwt_authentication.issuers: https://a.test\n    server.oauthbearer_authentication.enabled: true\n    server.oauthbearer_authentication.issuers.configuration: []',
      ),
      [
        '10:48: clients are told whose tokens are wanted; name an issuer in server.oauthbearer_authentication.issuers.configuration or server.jwt_authentication.issuers.configuration',
      ],
    ],
    [
      'the place of keys where OAUTHBEARER names its issuers',
      good(
        '    server.oauthbearer_authentication.issuers.configuration: {issuer_jwks_map: {https://a.test: https://b.test}}',
      ),
      [
        '9:62: issuers JSON not valid: {"issuer_jwks_map":{"https://a.test":"https://b.test"}}; write one issuer, or a list like ["one", "two"]',
      ],
    ],
    [
      'a scope that is no word',
      good('    server.oauthbearer_authentication.scope: \'openid "x"\''),
      ['9:46: write scopes with a space between them, like: openid email'],
    ],
    [
      'groups and users without a management role',
      good(
        '    server.jwt_authentication.authorization.enabled: true\n    security.provisioning.jwt.enabled: true',
      ),
      [
        '9:54: this is done by a role of the gate; name it in management: {role}',
        '9:54: no group may become a role; name the roles that may in server.jwt_authentication.authorization.roles',
        '10:40: this is done by a role of the gate; name it in management: {role}',
      ],
    ],
    [
      'two clusters, one of them with a mistake',
      `${GOOD}  other:\n${one.replace('peer', 'ldap')}`,
      ['12:14: write peer or certificate or scram or trust or forward, not "ldap"'],
    ],
    [
      'plaintext off loopback',
      GOOD.replace('127.0.0.1:26257', '0.0.0.0:26257\n    allow_plaintext: true'),
      ['3:22: a token must not cross a network in clear: 0.0.0.0 is not loopback; set tls instead'],
    ],
    [
      'plaintext without tls off loopback',
      GOOD.replace('127.0.0.1:26257', 'gate.test:26257\n    allow_plaintext: true').replace(
        / {4}tls.*\n/,
        '',
      ),
      [
        '3:22: a token must not cross a network in clear: gate.test is not loopback; set tls instead',
      ],
    ],
    [
      'plaintext on loopback',
      GOOD.replace('127.0.0.1:26257', 'localhost:26257\n    allow_plaintext: true').replace(
        / {4}tls.*\n/,
        '',
      ),
      [],
    ],
    [
      'TCP without tls',
      GOOD.replace(/ {4}tls.*\n/, ''),
      [
        '2:5: a TCP listener needs tls: {cert_file, key_file}; on loopback allow_plaintext: true does',
      ],
    ],
    [
      'peer over TCP',
      node('{address: "127.0.0.1:5432"}', 'peer'),
      ['8:14: peer works over a unix socket only; give the node the path of one'],
    ],
    [
      'forward without tls',
      node('{address: "127.0.0.1:5432"}', 'forward'),
      ["8:14: forward sends the user's token to the node; give the node tls: {ca_file}"],
    ],
    [
      'forward over a unix socket',
      node('{address: /run/x}', 'forward'),
      [
        "8:14: forward sends the user's token, over TLS only; give the node host:port and tls: {ca_file}",
      ],
    ],
    ['forward over tls', node('{address: "db.test:1", tls: {ca_file: ca.crt}}', 'forward'), []],
    [
      'trust over a network',
      node('{address: "10.0.0.1:5432"}', 'trust'),
      ['8:14: trust needs a node on this machine, or tls: {ca_file}'],
    ],
    ['trust over tls', node('{address: "10.0.0.1:5432", tls: {ca_file: ca.crt}}', 'trust'), []],
    ['trust on this machine', node('{address: "localhost:5432"}', 'trust'), []],
    [
      'tls on a unix socket',
      node('{address: /run/x, tls: {ca_file: ca.crt}}', 'peer'),
      ['7:36: a unix socket takes no TLS; leave it out'],
    ],
    [
      'both names of the issuers',
      good(`${ISSUER}\n    server.jwt_authentication.issuers: https://iss.test`),
      [
        '10:40: server.jwt_authentication.issuers is an older name of server.jwt_authentication.issuers.configuration; keep one of them',
      ],
    ],
    [
      'options of an issuer that is not accepted',
      good(`${ISSUER}\n    issuer_options: {"https://iss.test/": {}}`),
      [
        '10:43: "https://iss.test/" is not among the accepted issuers; name it in server.jwt_authentication.issuers.configuration',
      ],
    ],
    [
      'options of no issuer',
      good('    issuer_options:\n      a: {}\n      b: {}'),
      [
        '10:10: "a" is not among the accepted issuers; name it in server.jwt_authentication.issuers.configuration',
        '11:10: "b" is not among the accepted issuers; name it in server.jwt_authentication.issuers.configuration',
      ],
    ],
    [
      'options of an issuer under the older name',
      good('    server.jwt_authentication.issuers: [a]\n    issuer_options: {a: {}}'),
      [],
    ],
    [
      'a map of another issuer',
      good(`${ISSUER}\n    server.identity_map.configuration: "https://iss.test/ a b"`),
      [
        '10:40: line 1: "https://iss.test/" is not an accepted issuer; write it exactly as the token\'s `iss`',
      ],
    ],
    [
      'a map with an unanchored pattern',
      good('    server.identity_map.configuration: |\n      iss /ops deploy\n      iss a'),
      [
        '9:40: pattern on line 1 is not anchored: "/ops" would also match "evil-ops-evil"; write "/^ops$"',
        '9:40: unable to parse line 2: "iss a"',
      ],
    ],
  ])('%s', (_name, text, mistakes) => {
    expect(told(text)).toEqual(mistakes)
  })
})
