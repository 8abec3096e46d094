/**
 * What is legal and unwise: each warning with its place, from a file in which nothing is. Certificates
 * are looked at by a day in 2030.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import { inspectConfig } from '../../src/config/config.ts'
import type { Outside } from '../../src/config/document.ts'
import { warningsOf } from '../../src/config/warnings.ts'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { certify } from '../support/certify.ts'
import { ec, jwk } from '../support/forge.ts'

const NOW = Date.parse('2030-01-01T00:00:00Z')
const DAY_MS = 86_400_000
const days = (many: number) => new Date(NOW + many * DAY_MS)

const FILES: Record<string, string> = {}
const MODES: Record<string, number> = {}
const A = JSON.stringify(jwk(ec('P-256'), { kid: 'a' }))
const B = JSON.stringify(jwk(ec('P-256'), { kid: 'b' }))

beforeAll(async () => {
  const ca = await makeCa()
  const server = { cn: 'gate', sans: ['gate.test'], notBefore: days(-1), notAfter: days(90) }
  const old = { notBefore: days(-100).getTime(), notAfter: days(10).getTime() }
  const fresh = { notBefore: days(-1).getTime(), notAfter: days(1_000).getTime() }
  const certificates = {
    gate: await issue(ca, server),
    soon: await issue(ca, { ...server, notAfter: days(29.5) }),
    tomorrow: await issue(ca, { ...server, notAfter: days(1.5) }),
    ended: await issue(ca, { ...server, notBefore: days(-90), notAfter: days(-2) }),
    later: await issue(ca, { ...server, notBefore: days(2) }),
    nameless: await issue(ca, { ...server, sans: [] }),
    year: await issue(ca, { ...server, notAfter: days(397) }),
    long: await issue(ca, { ...server, notAfter: days(398) }),
    open: await issue(ca, server),
    'ca/old': await certify(old),
    'ca/new': await certify(fresh),
    'ca/ended': await certify({ ...old, notAfter: days(-1).getTime() }),
  }
  for (const [name, { certPem, keyPem }] of Object.entries(certificates))
    Object.assign(FILES, { [`/etc/${name}.crt`]: certPem, [`/etc/${name}.key`]: keyPem })
  FILES['/etc/chain.crt'] = `${FILES['/etc/gate.crt']}${FILES['/etc/ca/old.crt']}`
  FILES['/etc/ca/both.crt'] = `${FILES['/etc/ca/old.crt']}${FILES['/etc/ca/new.crt']}`
  MODES['/etc/open.key'] = 0o640
})

const outside: Outside = {
  env: () => undefined,
  fileMode: (path) => MODES[path] ?? 0o600,
  now: () => NOW,
  readFile(path) {
    const found = FILES[path]
    if (found === undefined) throw new Error(`no such file: ${path}`)
    return found
  },
}

/** One line a warning, without the name of the file. */
function warned(text: string): string[] {
  const inspected = inspectConfig('/etc/p.yaml', text, outside)
  return warningsOf(inspected, outside).map(
    ({ offset, what }) =>
      `${inspected.document.place(offset).slice('/etc/p.yaml:'.length)}: ${what}`,
  )
}

const QUIET = `listeners:
  - address: 0.0.0.0:26257
    tls: {cert_file: gate.crt, key_file: gate.key}
  - {directory: /run/postern}
ops: {listen: 127.0.0.1:8080}
clusters:
  main:
    kind: postgresql
    nodes: [{address: /run/pg/.s.PGSQL.5432}]
    sign_in: peer
    server.jwt_authentication.enabled: true
    server.jwt_authentication.issuers: https://a.test
    server.jwt_authentication.audience: gate
    server.jwt_authentication.jwks: ${A}
    server.identity_map.configuration: |
      https://a.test /^(.*)@a\\.test$ \\1
`
const MAP = QUIET.slice(QUIET.indexOf('    server.identity_map'))
const FETCHED = '    server.jwt_authentication.jwks_auto_fetch.enabled: true\n'
const OAUTH = '    server.oauthbearer_authentication'
const OPTIONS = '    issuer_options:\n      https://a.test:\n'
const TRUST = QUIET.slice(QUIET.indexOf('    server.jwt'))

interface Row {
  name: string
  /** In the quiet file, `change[0]` becomes `change[1]`, and so on in pairs. */
  change?: [string, string][]
  /** More keys of the cluster, from line 17 on. */
  more?: string
  says: string[]
}

function check({ change = [], more = '', says }: Row) {
  let text = QUIET + more
  for (const [from, to] of change) {
    expect(text).toContain(from)
    text = text.replace(from, () => to)
  }
  expect(warned(text)).toEqual(says)
}

test('a quiet file has none', () => check({ name: '', says: [] }))

describe('a listener', () => {
  const LONG_DAYS =
    'a stolen key is as well, and some clients refuse more than 398; issue it for less'
  const certificate = (name: string): [string, string] => [
    'tls: {cert_file: gate.crt, key_file: gate.key}',
    `tls: {cert_file: ${name}.crt, key_file: ${name}.key}`,
  ]
  test.each<Row>([
    {
      name: 'whose certificate ends soon',
      change: [certificate('soon')],
      says: ['3:22: soon.crt ends on 2030-01-30, in 29 days, and clients refuse it then; renew it'],
    },
    {
      name: 'whose proxies may be anybody',
      change: [
        ['gate.key}', "gate.key}\n    proxy_protocol: {from: [0.0.0.0/0, 10.0.0.0/8, '::/0']}"],
      ],
      says: ['4:29', '4:52'].map(
        (at) => `${at}: anybody may say which address they come from; name your proxies alone`,
      ),
    },
    {
      name: 'whose certificate ends tomorrow',
      change: [certificate('tomorrow')],
      says: [
        '3:22: tomorrow.crt ends on 2030-01-02, in 1 day, and clients refuse it then; renew it',
      ],
    },
    {
      name: 'whose certificate has ended',
      change: [certificate('ended')],
      says: ['3:22: ended.crt ended on 2029-12-30, and clients refuse it then; renew it'],
    },
    {
      name: 'whose certificate is for later',
      change: [certificate('later')],
      says: ['3:22: later.crt is not valid before 2030-01-03; clients refuse it until then'],
    },
    {
      name: 'whose certificate comes with an intermediate one that ends soon',
      change: [['cert_file: gate.crt', 'cert_file: chain.crt']],
      says: [
        '3:22: chain.crt ends on 2030-01-11, in 10 days, and clients refuse it then; renew it',
      ],
    },
    {
      name: 'whose certificate has no name',
      change: [certificate('nameless')],
      says: [
        '3:22: nameless.crt has no subjectAltName, where clients look for the name they connect to; issue one that has it there',
      ],
    },
    { name: 'whose certificate is as long as they are', change: [certificate('year')], says: [] },
    {
      name: 'whose certificate is longer',
      change: [certificate('long')],
      says: [`3:22: long.crt is good for 399 days: ${LONG_DAYS}`],
    },
    {
      name: 'whose key others can read',
      change: [certificate('open')],
      says: [
        '3:42: open.key has mode 0640, so that others than its owner get at it; chmod 0600 open.key',
      ],
    },
    {
      name: 'with several certificates, and a CA for those of clients',
      change: [
        [
          'key_file: gate.key}',
          'key_file: gate.key, client_ca_file: ca/old.crt,\n      certificates: [{cert_file: soon.crt, key_file: soon.key}]}',
        ],
      ],
      says: [
        '3:68: ca/old.crt ends on 2030-01-11, in 10 days, and what it has signed is refused then; add its successor',
        '4:34: soon.crt ends on 2030-01-30, in 29 days, and clients refuse it then; renew it',
      ],
    },
    {
      name: 'that takes tokens in clear',
      change: [
        ['0.0.0.0:26257', '127.0.0.1:26257'],
        ['tls: {cert_file: gate.crt, key_file: gate.key}', 'allow_plaintext: true'],
      ],
      says: [
        '3:22: clients may send their tokens in clear, and whoever can capture on this machine reads them; remove it and give the listener tls',
      ],
    },
    {
      name: 'for operators that is not on loopback',
      change: [['127.0.0.1:8080', '0.0.0.0:8080']],
      says: [
        '5:15: 0.0.0.0 is not loopback, and nobody is asked for a password here; write 127.0.0.1:8080, or let only your monitoring reach it',
      ],
    },
  ])('$name', check)
})

describe('the way to the node', () => {
  const node = (ca: string): [string, string] => [
    '{address: /run/pg/.s.PGSQL.5432}',
    `{address: 'db.test:5432', tls: {ca_file: ${ca}.crt}}`,
  ]
  const PEER: [string, string] = ['sign_in: peer', 'sign_in: certificate']
  const signing = (name: string) =>
    `    certificate: {ca_cert: ${name}.crt, ca_key: ${name.replace('both', 'old')}.key}\n`
  test.each<Row>([
    {
      name: 'trust',
      change: [['sign_in: peer', 'sign_in: trust']],
      says: [
        '10:14: the node asks nothing: whoever else reaches it is any role; write peer or certificate, or let its pg_hba.conf trust the gate alone',
      ],
    },
    {
      name: 'secrets that are not used',
      more: '    scram: {secrets: {carl: hunter2}}\n',
      says: ['17:12: no secret is used with sign_in: peer; remove it, or write sign_in: scram'],
    },
    {
      name: 'a CA that is not used',
      more: signing('ca/new'),
      says: [
        '17:18: nothing is signed with sign_in: peer, and whoever gets this key is any role; remove it, or write sign_in: certificate',
      ],
    },
    {
      name: 'a CA that is used',
      change: [node('ca/new'), PEER],
      more: signing('ca/new'),
      says: [],
    },
    {
      name: 'a CA that ends soon',
      change: [node('ca/new'), PEER],
      more: signing('ca/old'),
      says: [
        '17:28: ca/old.crt ends on 2030-01-11, in 10 days, and nobody can sign in then; postern ca rotate replaces it',
      ],
    },
    {
      name: 'a chain of which one ends soon',
      change: [node('ca/new'), PEER],
      more: signing('ca/both'),
      says: [
        '17:28: ca/both.crt ends on 2030-01-11, in 10 days, and nobody can sign in then; postern ca rotate replaces it',
      ],
    },
    {
      name: 'the CA of the gates ends soon',
      more: "peers: {listen: '127.0.0.1:1', gates: ['a:1'], ca_cert: ca/old.crt, ca_key: ca/old.key}\n",
      says: [
        '17:57: ca/old.crt ends on 2030-01-11, in 10 days, and gates believe each other no more then; postern ca rotate replaces it',
      ],
    },
    {
      name: "the nodes' CA ends soon",
      change: [node('ca/old'), PEER],
      more: signing('ca/new'),
      says: [
        '9:54: ca/old.crt ends on 2030-01-11, in 10 days, and what it has signed is refused then; add its successor',
      ],
    },
    {
      name: "the nodes' CA has ended",
      change: [node('ca/ended'), PEER],
      more: signing('ca/new'),
      says: [
        '9:54: ca/ended.crt ended on 2029-12-31, and what it has signed is refused then; add its successor',
      ],
    },
    {
      name: "the nodes' CA beside its successor",
      change: [node('ca/both'), PEER],
      more: signing('ca/new'),
      says: [],
    },
  ])('$name', check)
})

describe('whom to believe', () => {
  const NOBODY = {
    enabled:
      'nobody can sign in: write server.jwt_authentication.enabled: true once the issuer, the audience and the keys are yours',
    issuer:
      'nobody can sign in: no issuer is accepted; name one in server.jwt_authentication.issuers.configuration',
    audience:
      'nobody can sign in: no audience is accepted; write in server.jwt_authentication.audience whom the tokens are made for',
    keys: 'nobody can sign in by "https://a.test": it has no keys; let them be fetched by server.jwt_authentication.jwks_auto_fetch.enabled: true, or give them in server.jwt_authentication.jwks, or in issuer_options for it alone',
  }
  const TAKEN =
    'is taken at its word: whatever its tokens have as "sub" is the role; say in server.identity_map.configuration who may be whom'
  const issuers = (list: string): [string, string] => [
    'issuers: https://a.test',
    `issuers: ${list}`,
  ]
  const NO_MAP: [string, string] = [MAP, '']
  const own = (bound: Record<string, string>) =>
    `    issuer_options: {${Object.entries(bound).map(([name, key]) => `${name}: {jwks: ${key}}`)}}\n`
  const MAP_B: [string, string] = [MAP, `${MAP}      https://b.test /^(.*)@b\\.test$ \\1\n`]

  test.each<Row>([
    {
      name: 'nobody, as it is without settings',
      change: [[TRUST, '']],
      says: [`8:5: ${NOBODY.enabled}`],
    },
    {
      name: 'nobody, as it is written',
      change: [['enabled: true', 'enabled: false']],
      says: [`11:40: ${NOBODY.enabled}`],
    },
    {
      name: 'nobody in any way',
      change: [[TRUST, '    server.jwt_authentication.enabled: true\n']],
      says: [`8:5: ${NOBODY.issuer}`, `8:5: ${NOBODY.audience}`],
    },
    {
      name: 'no issuer and no audience, though they are written',
      change: [issuers('[]'), ['audience: gate', "audience: ''"], NO_MAP],
      says: [`12:40: ${NOBODY.issuer}`, `13:41: ${NOBODY.audience}`],
    },
    {
      name: 'an issuer without keys',
      change: [[A, '{keys: []}']],
      says: [`12:40: ${NOBODY.keys}`],
    },
    {
      name: 'an issuer whose own keys are none',
      more: own({ 'https://a.test': '{keys: []}' }),
      says: [
        `12:40: ${NOBODY.keys}`,
        '14:37: no issuer uses these keys: each has its own in issuer_options, or they are fetched; remove them',
      ],
    },
    {
      name: 'keys that no issuer uses',
      more: own({ 'https://a.test': B }),
      says: [
        '14:37: no issuer uses these keys: each has its own in issuer_options, or they are fetched; remove them',
      ],
    },
    {
      name: 'two issuers, keys for both',
      change: [issuers('[https://a.test, https://b.test]'), MAP_B],
      says: [
        '14:37: each of these keys may sign for all of "https://a.test", "https://b.test"; give every issuer its own in issuer_options',
      ],
    },
    {
      name: 'two issuers, of which one has its own',
      change: [issuers('[https://a.test, https://b.test]'), MAP_B],
      more: own({ 'https://b.test': B }),
      says: [],
    },
    {
      name: 'two issuers and two audiences',
      change: [
        issuers('[https://a.test, https://b.test]'),
        ['audience: gate', 'audience: [gate, tool]'],
        MAP_B,
      ],
      more: own({ 'https://b.test': B }),
      says: [
        "13:41: each of the 2 issuers may make tokens for each of the 2 audiences; let all of them make theirs for one audience, this gate's",
      ],
    },
    {
      name: 'an issuer that is no https URL',
      change: [issuers('a.test'), NO_MAP],
      says: [
        '12:40: "a.test" is not an https URL, as issuers are; write what its tokens have as "iss", letter by letter',
        `12:40: "a.test" ${TAKEN} (a line "a.test /^(.*)$ \\1" if that is what you mean)`,
      ],
    },
    {
      name: 'an issuer that is a document',
      change: [
        issuers('https://a.test/x/.well-known/openid-configuration'),
        ['https://a.test /', 'https://a.test/x/.well-known/openid-configuration /'],
      ],
      says: [
        '12:40: "https://a.test/x/.well-known/openid-configuration" is the address of a document and not an issuer; write "https://a.test/x", or what else its tokens have as "iss"',
      ],
    },
    {
      name: 'an issuer with a slash, the other without',
      change: [
        issuers('[https://a.test, https://b.test/]'),
        [MAP, `${MAP}      https://b.test/ carl carl\n`],
      ],
      more: own({ 'https://b.test/': B }),
      says: [
        '12:57: "https://b.test/" ends in "/", unlike the others; leave it there only if its tokens have it in "iss"',
      ],
    },
    {
      name: 'issuers that all have a slash',
      change: [issuers('[https://a.test/]'), ['https://a.test /', 'https://a.test/ /']],
      says: [],
    },
    {
      name: 'addresses of keys',
      change: [issuers('{issuer_jwks_map: {https://a.test: https://a.test/keys}}')],
      says: [
        '12:75: keys are not fetched from "https://a.test/keys": that needs server.jwt_authentication.jwks_auto_fetch.enabled: true, and no jwks in issuer_options',
      ],
    },
    {
      name: 'addresses of keys, as JSON in a string',
      change: [issuers(`'{"issuer_jwks_map": {"https://a.test": "https://a.test/keys"}}'`)],
      says: [
        '12:40: keys are not fetched from "https://a.test/keys": that needs server.jwt_authentication.jwks_auto_fetch.enabled: true, and no jwks in issuer_options',
      ],
    },
    {
      name: 'keys that are fetched',
      change: [
        issuers('{issuer_jwks_map: {https://a.test: https://a.test/keys}}'),
        [`    server.jwt_authentication.jwks: ${A}\n`, ''],
      ],
      more: `${FETCHED}${OPTIONS}        jwks_min_fresh: 1h\n`,
      says: [],
    },
    {
      name: 'keys that are fetched, and others that nobody uses',
      more: FETCHED,
      says: [
        '14:37: no issuer uses these keys: each has its own in issuer_options, or they are fetched; remove them',
      ],
    },
    {
      name: 'keys fetched in clear',
      change: [
        issuers('{issuer_jwks_map: {https://a.test: http://a.test/keys}}'),
        [`    server.jwt_authentication.jwks: ${A}\n`, ''],
      ],
      more: FETCHED,
      says: [
        '12:75: keys are fetched over https alone, and "http://a.test/keys" is something else',
      ],
    },
    {
      name: 'withdrawn keys that count for long',
      change: [[`    server.jwt_authentication.jwks: ${A}\n`, '']],
      more: `${FETCHED}${OPTIONS}        jwks_min_fresh: 2h\n        jwks_stale_grace: 25h\n`,
      says: [
        '19:25: a key that was withdrawn may sign for as long; write at most 1h',
        '20:27: a key that was withdrawn may sign for as long; write at most 24h',
      ],
    },
    {
      name: 'options of fetching where nothing is fetched',
      more: `${OPTIONS}        bearer_token_file: token\n        allow_plaintext: true\n`,
      says: [
        '19:28: nothing is fetched from this issuer, so it has no effect: it needs server.jwt_authentication.jwks_auto_fetch.enabled: true, and no jwks here',
        '20:26: nothing is fetched from this issuer, so it has no effect: it needs server.jwt_authentication.jwks_auto_fetch.enabled: true, and no jwks here',
      ],
    },
    {
      name: 'an issuer that may outlast the login',
      change: [[`    server.jwt_authentication.jwks: ${A}\n`, '']],
      more: `${FETCHED}    server.jwt_authentication.client.timeout: 7500ms\n`,
      says: [
        '17:47: an issuer that hangs outlasts the login, and nobody learns why it failed; write less than half of limits.authentication_timeout (15s)',
      ],
    },
    {
      name: 'OAUTHBEARER alone',
      change: [
        ['authentication.enabled: true', 'authentication.enabled: false'],
        ['audience: gate', "audience: ''"],
      ],
      more: `${OAUTH}.enabled: true\n${OAUTH}.audience: gate\n`,
      says: [],
    },
    {
      name: 'OAUTHBEARER for nobody',
      more: `${OAUTH}.enabled: true\n${OAUTH}.audience: []\n`,
      says: [
        '18:49: nobody can sign in: no audience is accepted; write in server.oauthbearer_authentication.audience whom the tokens are made for',
      ],
    },
    {
      name: 'an issuer of OAUTHBEARER alone',
      more: `${OAUTH}.enabled: true\n${OAUTH}.issuers.configuration: http://b.test\n`,
      says: [
        '14:37: each of these keys may sign for all of "https://a.test", "http://b.test"; give every issuer its own in issuer_options',
        '18:62: "http://b.test" is not an https URL, as issuers are; write what its tokens have as "iss", letter by letter',
        '18:62: "http://b.test" is taken at its word: whatever its tokens have as "sub" is the role; say in server.identity_map.configuration who may be whom (a line "http://b.test /^(.*)$ \\1" if that is what you mean)',
      ],
    },
    {
      name: 'options of an issuer that is asked for groups alone',
      more: `    management: {role: m}\n    server.jwt_authentication.authorization.enabled: true\n    server.jwt_authentication.authorization.roles: [a]\n${OPTIONS}        bearer_token_file: token\n`,
      says: [],
    },
    {
      name: 'tokens for good',
      more: '    server.jwt_authentication.require_expiry: false\n',
      says: [
        '17:47: a token without "exp" is a password for good; write true, and let the issuer set it',
      ],
    },
    {
      name: 'a minute more',
      more: '    server.jwt_authentication.clock_tolerance: 1m\n',
      says: [],
    },
    {
      name: 'more than a minute more',
      more: '    server.jwt_authentication.clock_tolerance: 1m30s\n',
      says: [
        '17:48: an expired token is good for 90 s more; write at most 60s, and set the clocks',
      ],
    },
  ])('$name', check)
})

describe('who may be whom', () => {
  const UNANCHORED = '    server.identity_map.allow_unanchored: true\n'
  const line = (text: string): [string, string] => [MAP, `${MAP}      https://a.test ${text}\n`]
  test.each<Row>([
    {
      name: 'an issuer without a map',
      change: [[MAP, '']],
      more: '    server.jwt_authentication.claim: email\n',
      says: [
        '12:40: "https://a.test" is taken at its word: whatever its tokens have as "email" is the role; say in server.identity_map.configuration who may be whom (a line "https://a.test /^(.*)$ \\1" if that is what you mean)',
      ],
    },
    {
      name: 'one issuer of two without a map',
      change: [['issuers: https://a.test', 'issuers: [https://a.test, https://b.test]']],
      more: `    issuer_options: {https://b.test: {jwks: ${B}}}\n`,
      says: [
        '12:57: "https://b.test" is taken at its word: whatever its tokens have as "sub" is the role; say in server.identity_map.configuration who may be whom (a line "https://b.test /^(.*)$ \\1" if that is what you mean)',
      ],
    },
    {
      name: 'an unanchored pattern',
      change: [line('/ops deploy')],
      more: UNANCHORED,
      says: [
        '18:43: line 2 of the identity map may match a part of a name, with anything around it; write ^ and $ there, and false here',
      ],
    },
    {
      name: 'many unanchored patterns',
      change: [[MAP, MAP + '      https://a.test /^ops deploy\n'.repeat(7)]],
      more: UNANCHORED,
      says: [
        '24:43: lines 2, 3, 4, 5, 6 and 2 more of the identity map may match a part of a name, with anything around it; write ^ and $ there, and false here',
      ],
    },
    {
      name: 'leave for patterns that are not there',
      more: UNANCHORED,
      says: ['17:43: no pattern of the identity map needs it; write false, so that none slips in'],
    },
    {
      name: 'a line for a reserved role',
      change: [line('carl postgres')],
      says: [
        '15:40: line 2: "postgres" is reserved, and no token is enough to become it; remove this, or name the role in allow_roles',
      ],
    },
    {
      name: 'a pattern for reserved roles',
      change: [line('/^(.*)$ pg_\\1')],
      says: [
        '15:40: line 2: "pg_\\\\1" is reserved, and no token is enough to become it; remove this, or name the role in allow_roles',
      ],
    },
    {
      name: "a line for the gate's own role",
      change: [line('carl watcher')],
      more: '    management: {role: watcher}\n',
      says: [
        '15:40: line 2: "watcher" is reserved, and no token is enough to become it; remove this, or name the role in allow_roles',
      ],
    },
    {
      name: 'a line for a reserved role that is allowed',
      change: [line('carl pg_monitor')],
      more: '    allow_roles: [pg_monitor]\n',
      says: [],
    },
    {
      name: 'a line for a reserved role that CockroachDB spells otherwise',
      change: [line('carl PG_Monitor'), ['kind: postgresql', 'kind: cockroachdb']],
      more: '    allow_roles: [pg_monitor]\n',
      says: [],
    },
    {
      name: 'an exception that only the management role can know to be one',
      more: '    management: {role: watcher}\n    allow_roles: [dba]\n',
      says: [],
    },
    {
      name: 'an exception that is none, and one for a superuser',
      more: '    allow_roles: [carl, pg_monitor, postgres]\n',
      says: [
        '17:19: "carl" is not reserved: naming it here has no effect; remove it',
        '17:37: a token is enough to become "postgres", who may do anything on the cluster; grant what is needed to another role, and remove it',
      ],
    },
  ])('$name', check)
})
