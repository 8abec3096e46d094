/**
 * The configuration: values at places where they don't belong, keys that nobody knows, YAML that is nearly
 * YAML; the small forms of values; networks, as numbers. A file is a Config or a list of mistakes, each with
 * its place, and none of them shows a secret.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import fc from 'fast-check'
import { Document, parse } from 'yaml'
import { type Config, inspectConfig, parseConfig } from '../../src/config/config.ts'
import type { Outside } from '../../src/config/document.ts'
import { network } from '../../src/config/networks.ts'
import { outsideOf } from '../../src/config/source.ts'
import {
  duration,
  fileMode,
  hostPort,
  keepalive,
  listenAddress,
  nodeAddress,
  timeout,
} from '../../src/config/values.ts'
import { warningsOf } from '../../src/config/warnings.ts'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { Failure } from '../../src/failure.ts'
import { openNetworks, networkText as textOf } from '../../src/policy/networks.ts'
import { certify } from '../support/certify.ts'
import { ec, jwk } from '../support/forge.ts'
import { addressText, anyJson, few, nearlyText, oddNumber, oddText } from './made_up.ts'
import { isIn } from './near_networks.ts'
import { HEAVY, must, mustEqual, sharing, type Target, target } from './target.ts'

const FOLDER = new URL('../../config/', import.meta.url)
const NAME = '/etc/postern/postern.yaml'
const SECRET = 'hunter2-the-secret-of-a-role'
const NOW_MS = 1_800_000_000_000

const texts = [
  readFileSync(new URL('postern.yaml', FOLDER), 'utf8'),
  ...readdirSync(new URL('examples', FOLDER)).map((name) =>
    readFileSync(new URL(`examples/${name}`, FOLDER), 'utf8'),
  ),
]

/** A file that says something of most keys; beside it, the reference and the examples without their comments. */
const FULL = `
listeners:
  - {address: 127.0.0.1:0, tls: {cert_file: gate.crt, key_file: gate.key, client_ca_file: ca.crt}, keepalive: 30s}
  - {address: 127.0.0.1:1, allow_plaintext: true, proxy_protocol: {from: [10.0.0.0/8, "fd00::/8"]}}
  - {directory: /run/postern, mode: '0770'}
clusters:
  one:
    kind: postgresql
    nodes: [{address: "127.0.0.1:5432"}, {address: "[::1]:5433", weight: 2}]
    sign_in: scram
    scram: {secrets: {ann: ${SECRET}, gate: ${SECRET}, keeper: ${SECRET}}}
    management: {role: gate}
    pool: {mode: session, size: 10}
    server.jwt_authentication.enabled: true
    server.jwt_authentication.issuers.configuration: ["https://iss.test", "https://two.test"]
    server.jwt_authentication.audience: ["a", "b"]
    jwt_revoked_ids: [one, two]
    server.jwt_authentication.claim: /a/b
    server.jwt_authentication.authorization.enabled: true
    server.jwt_authentication.authorization.roles: [team, "/^t_.*$"]
    server.identity_map.configuration: |
      https://iss.test /^(.*)@example\\.com$ \\1
      https://two.test ann bob
    issuer_options: {"https://iss.test": {jwks: JWKS, jwks_min_fresh: 1m}}
  two:
    kind: cockroachdb
    nodes: [{address: "localhost:26257"}]
    sign_in: trust
    non_jwt_logins: reject
  three:
    kind: postgresql
    nodes:
      - {address: "10.0.0.1:5432", tls: {ca_file: ca.crt, server_name: db, sslnegotiation: direct}, locality: eu}
      - {dns: db.internal, port: 5432, tls: {ca_file: ca.crt}, health_url: "http://db.internal:8080/health"}
      - {srv: _pg._tcp.internal, tls: {ca_file: ca.crt}}
    sign_in: certificate
    certificate: {ca_cert: ca.crt, ca_key: ca.key}
    management: {role: gate}
    target: read_write
    prefer: {locality: eu}
    non_jwt_logins: passthrough
    passthrough_scram: no_channel_binding
    session: {end_at_token_expiry: always, grace: 10s}
    allow_roles: [postgres]
    replication_roles: [standby]
    send_remote_addr: false
    security.provisioning.jwt.enabled: false
    server.oauthbearer_authentication.enabled: false
    server.oauthbearer_authentication.issuers.configuration: ["https://iss.test"]
    server.jwt_authentication.jwks_auto_fetch.enabled: true
    server.jwt_authentication.issuers.configuration: {issuer_jwks_map: {"https://iss.test": "https://iss.test/keys"}}
    server.jwt_authentication.issuers.custom_ca: {file: ca.crt}
    issuer_options: {"https://iss.test": {custom_ca: {file: ca.crt}, allow_plaintext: true, bearer_token_file: token}}
state: {cluster: one, role: keeper, database: shared, max_age: 30s}
access_lists: {allowlist_file: allow.yaml, denylist_file: deny.yaml}
access:
  - {address: [10.0.0.0/8, unix], user: ["/^svc_.*$", carl], database: app, cluster: one, action: allow}
  - {issuer: "https://iss.test", method: [jwt], action: allow}
  - {certificate: true, action: jwt}
peers: {listen: "127.0.0.1:26258", gates: ["10.0.0.2:26258", _peers._tcp.internal], ca_cert: ca.crt, ca_key: ca.key}
limits: {connections: 100, handshake_timeout: 5s, handshakes_per_second: 9, failed_login_delay: 2s}
log: {level: info}
audit: {to: "\${env:AUDIT}"}
ops: {listen: 127.0.0.1:0}
shutdown: {grace: 10s}
workers: 1
`

const JWKS = JSON.stringify({ keys: [jwk(ec('P-256'), { kid: 'k' })] })

async function outside(): Promise<Outside> {
  const ca = await makeCa()
  const gate = await issue(ca, { cn: 'gate.example.com', sans: ['gate.example.com'] })
  const authority = await certify({})
  const files: Record<string, string> = {
    'gate.key': gate.keyPem,
    'ca.key': authority.keyPem,
    'half.pem': authority.certPem.slice(0, 200),
    'locked.key': authority.keyPem.replaceAll('PRIVATE', 'ENCRYPTED PRIVATE'),
    'ca.crt': authority.certPem,
    'allow.yaml': `SequenceNumber: 1\nallowlist: {one: {ips: [10.0.0.0/8]}}`,
    'deny.yaml': `SequenceNumber: 1\ndenylist: [{entity: {item: 10.6.6.6, type: ip}}]`,
    odd: `\ufeff\0{file: odd} \${env:AUDIT}`,
  }
  const known = (path: string): string => {
    const name = path.slice(path.lastIndexOf('/') + 1)
    if (files[name] !== undefined) return files[name]
    if (name.endsWith('.crt')) return gate.certPem
    if (name.endsWith('.json')) return JWKS
    throw new Error('no such file')
  }
  return {
    env: (name) => (name === 'AUDIT' ? 'stdout' : undefined),
    readFile: known,
    fileMode: (path) => (path.endsWith('token') ? 0o644 : 0o600),
    now: () => NOW_MS,
  }
}

/** A Config, or undefined for a file with mistakes; each of them has its place. */
function read(text: string, from: Outside): Config | undefined {
  try {
    return parseConfig(NAME, text, from)
  } catch (thrown) {
    if (!(thrown instanceof Failure) || thrown.code !== 'config_invalid') throw thrown
    for (const line of thrown.message.split('\n'))
      must(
        /^\/etc\/postern\/postern\.yaml:\d+:\d+: ./.test(line),
        'a mistake without a place',
        line,
      )
    must(!thrown.message.includes(SECRET) || isElsewhere(text), 'a secret is shown', thrown.message)
    return undefined
  }
}

/** The secret stands where nobody knows that it is one. */
function isElsewhere(text: string): boolean {
  try {
    const all = JSON.stringify(parse(text, { logLevel: 'silent' }), (key, value: unknown) =>
      key === 'scram' ? '' : value,
    )
    return all.includes(SECRET)
  } catch {
    return false
  }
}

/** What holds of each text, whatever it is. */
function judge(text: string, from: Outside): void {
  const config = read(text, from)
  if (config === undefined) return
  const again = parseConfig(
    NAME,
    text,
    outsideOf(config.source, () => NOW_MS),
  )
  mustEqual(prints(again), prints(config), 'made again of what was noted')
  const inspected = inspectConfig(NAME, text, from)
  for (const { what } of warningsOf(inspected, from))
    must(!what.includes(SECRET), 'a secret is shown', what)
  for (const cluster of config.clusters) {
    cluster.trust.identityMap.lookup('https://iss.test', 'ann@example.com')
    must(
      !JSON.stringify([cluster.name, cluster.rules, cluster.pool]).includes(SECRET),
      'a secret is shown',
    )
  }
}

const prints = ({ clusters }: Config) =>
  clusters.map(({ name, fingerprint }) => [name, fingerprint])

const KEYS = [
  ...new Set([...texts.join('\n').matchAll(/^ *(?:- )?([\w.]+):/gm)].map(([, key]) => key ?? '')),
]
const WORDS = [
  'true',
  'postgresql',
  'cockroachdb',
  'peer',
  'certificate',
  'scram',
  'trust',
  'forward',
  'auto',
  'detect',
  'passthrough',
  'session',
  'always',
  '10s',
  '0s',
  '25d',
  '127.0.0.1:1',
  '/run/x',
  'fd:3',
  '*',
  'stdout',
  'ca.crt',
  'ca.key',
  'odd',
  'none',
  'half.pem',
  'locked.key',
  'gate.key',
  'fd:3',
  '0.0.0.0:1',
]

const value = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.oneof(
      fc.constantFrom(...WORDS),
      oddText,
      oddNumber,
      fc.boolean(),
      fc.constant(null),
    ),
  },
  { weight: 2, arbitrary: anyJson(KEYS) },
  { weight: 1, arbitrary: fc.record({ file: fc.constantFrom('odd', 'none', 'x.json') }) },
)
/** Where in the file, as so many steps into it; what is put there, under a new key or in the place of one. */
const change = fc.record({
  steps: fc.array(fc.nat(60), { minLength: 1, maxLength: 5 }),
  key: fc.option(fc.oneof(fc.constantFrom(...KEYS), oddText), { nil: undefined, freq: 3 }),
  value: fc.oneof(
    { weight: 5, arbitrary: value },
    { weight: 1, arbitrary: fc.constant(undefined) },
  ),
})
type Change = { steps: number[]; key?: string | undefined; value: unknown }

function changed(file: unknown, { steps, key, value }: Change): unknown {
  const [step = 0, ...rest] = steps
  if (typeof file !== 'object' || file === null) return value
  const entries = Object.entries(file)
  const [name, inner] = entries[step % (entries.length || 1)] ?? ['x', undefined]
  const deeper = rest.length > 0 && typeof inner === 'object' && inner !== null
  const next = deeper ? changed(inner, { steps: rest, key, value }) : value
  const place = !deeper && key !== undefined && !Array.isArray(file) ? key : name
  if (Array.isArray(file))
    return file.toSpliced(Number(name) || 0, 1, ...(next === undefined ? [] : [next]))
  const others = entries.filter(([each]) => each !== place)
  return Object.fromEntries(next === undefined ? others : [...others, [place, next]])
}

const bases = [FULL, FULL, FULL, ...texts].map(
  (text) => parse(text.replace('JWKS', JWKS)) as unknown,
)

const values = sharing(
  'config/values',
  async () => {
    const from = await outside()
    must(read(JSON.stringify(bases[0]), from) !== undefined, 'what all are made of is mistaken')
    return {
      cases: fc.tuple(fc.nat(bases.length - 1), few(change)),
      judge([base, changes]) {
        judge(JSON.stringify(changes.reduce(changed, bases[base])), from)
      },
    }
  },
  HEAVY,
)

const short = new Document(bases[0]).toString()
const YAML_PIECES = [
  '- ',
  ': ',
  '\n',
  '\n  ',
  '\t',
  '{',
  '}',
  '[',
  ']',
  ',',
  '"',
  "'",
  '|',
  '>',
  '#',
  '&a ',
  '*a',
  '<<: *a',
  '!!binary ',
  '!!set ',
  '!!timestamp ',
  '!x ',
  '---\n',
  '...\n',
  '%YAML 1.1\n',
  '? ',
  '~',
  '.inf',
  '.nan',
  '0x1F',
  '0o17',
  `\${env:AUDIT}`,
  `\${env:}`,
  '{file: odd}',
  '{file: none}',
  '\ufeff',
  '\u2028',
]
const bomb = fc.tuple(fc.nat(12), fc.nat(12)).map(([levels, width]) => {
  const lines = Array.from({ length: levels }, (_, at) => {
    const each = at === 0 ? 'x' : `*a${at - 1}`
    return `a${at}: &a${at} [${Array(width).fill(each).join(', ')}]`
  })
  return lines.join('\n')
})
const depths = fc.oneof(fc.constantFrom(10, 100, 300), fc.integer({ min: 500, max: 1_500 }))
const nested = fc
  .tuple(fc.constantFrom('[]', '{a: }', '- ', '? ', '[{}]', '&a []', '!x []'), depths, fc.boolean())
  .map(([pair, depth, closed]) => {
    const [open = '', close = ''] = pair.split(/(?=[\]}])/)
    return `a: ${open.repeat(depth)}1${closed ? close.repeat(depth) : ''}`
  })

const yamlText = fc.oneof(
  { weight: 20, arbitrary: nearlyText(fc.constant(short), YAML_PIECES) },
  {
    weight: 8,
    arbitrary: nearlyText(
      fc.constantFrom('a: 1', '', 'listeners: []', ...texts.slice(1)),
      YAML_PIECES,
    ),
  },
  {
    weight: 6,
    arbitrary: fc
      .array(fc.oneof(fc.constantFrom(...YAML_PIECES), oddText), { maxLength: 12 })
      .map((all) => all.join('')),
  },
  { weight: 1, arbitrary: bomb },
  { weight: 1, arbitrary: nested },
)

const yaml = sharing(
  'config/yaml',
  async () => {
    const from = await outside()
    return { cases: yamlText, judge: (text) => judge(text, from) }
  },
  HEAVY,
)

const forms = [duration, timeout, keepalive, hostPort, listenAddress, nodeAddress, fileMode]
const formText = nearlyText(
  fc.oneof(
    fc
      .tuple(fc.nat(100_000), fc.constantFrom('ms', 's', 'm', 'h', '.5s', 'd'))
      .map((two) => two.join('')),
    fc.tuple(addressText, fc.nat(70_000)).map(([host, port]) => `${host}:${port}`),
    fc.constantFrom('fd:3', '0770', '1m30s', '[::1]:5432', '/run/x'),
  ),
  [':', '[', ']', 'fd:', '0', '.', 'h', 'm', 's', ' '],
)
const valueForms = target('config/forms', fc.oneof(formText, anyJson()), (input) => {
  for (const form of forms) {
    const read = form.safeParse(input)
    if (!read.success) {
      must(
        read.error.issues.every(({ message }) => message.length < 400),
        'a long sentence',
      )
      continue
    }
    if (typeof read.data === 'number')
      must(Number.isInteger(read.data) && read.data >= 0, 'a number', read.data)
    else if ('port' in read.data) {
      const { host, port } = read.data
      const bare = isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
      mustEqual(hostPort.parse(bare), read.data, 'written and read')
    }
  }
})

const networkText = nearlyText(
  fc.oneof(
    fc.tuple(fc.ipV4(), fc.nat(33)).map((two) => two.join('/')),
    fc.tuple(fc.ipV6(), fc.nat(129)).map((two) => two.join('/')),
    fc.tuple(fc.ipV4(), fc.nat(129)).map(([address, bits]) => `::ffff:${address}/${bits}`),
  ),
  ['/', '%', '.', ':', '0', '-'],
)
/** Near to the networks: their own addresses, with the last part changed, and the same as IPv6. */
const near = fc.record({ at: fc.nat(3), part: fc.nat(255), mapped: fc.boolean() })

const networks = target(
  'config/networks',
  fc.tuple(fc.array(networkText, { minLength: 1, maxLength: 3 }), near, addressText),
  ([list, { at, part, mapped }, any]) => {
    const read = list.flatMap((text) => {
      const found = network.safeParse(text)
      return found.success ? [found.data] : []
    })
    const opened = openNetworks(read)
    const own = read[at % (read.length || 1)]?.address ?? '10.0.0.1'
    const moved = isIP(own) === 4 ? own.replace(/\d+$/, String(part)) : own
    const shown = mapped && isIP(moved) === 4 ? `::ffff:${moved}` : moved
    for (const address of [own, shown, any]) {
      if (isIP(address) === 0) continue
      const texts = read.map(({ address, bits }) => `${address}/${bits}`)
      const expected = texts.some((text) => isIn(text, address))
      mustEqual(opened.include(address), expected, `${address} in ${texts}`)
      // In its one spelling a network is the same.
      for (const [index, each] of read.entries()) {
        const text = textOf(each)
        mustEqual(isIn(text, address), isIn(texts[index] ?? '', address), `${address} in ${text}`)
        mustEqual(textOf(network.parse(text)), text, 'spelled again')
      }
    }
  },
)

export const configTargets: Target[] = [values, yaml, valueForms, networks]
