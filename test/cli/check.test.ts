/** `postern check`: mistakes of every kind at once, what is unwise, what the gate would do; exit codes. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { FAILURES } from '../../src/failure.ts'
import { certify } from '../support/certify.ts'
import { ec, jwk } from '../support/forge.ts'
import { runIn } from '../support/world.ts'

const KEY = JSON.stringify(jwk(ec('P-256'), { kid: 'k' }))
const DAY_MS = 86_400_000

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-check-'))
  const ca = await makeCa()
  const notBefore = new Date(Date.now() - DAY_MS)
  const notAfter = new Date(Date.now() + 90 * DAY_MS)
  const gate = await issue(ca, { cn: 'gate', sans: ['localhost'], notBefore, notAfter })
  const other = await issue(ca, { cn: 'other' })
  const authority = await certify({})
  const files = {
    'gate.crt': gate.certPem,
    'gate.key': gate.keyPem,
    'other.key': other.keyPem,
    'ca.crt': authority.certPem,
    'ca.key': authority.keyPem,
    'text.pem': 'not PEM\n',
  }
  for (const [name, text] of Object.entries(files))
    await writeFile(join(dir, name), text, { mode: 0o600 })
})
afterAll(() => rm(dir, { recursive: true }))

async function check(yaml: string, ...options: string[]) {
  const file = join(dir, 'postern.yaml')
  await writeFile(file, yaml)
  const { code, stdout, stderr } = await runIn(dir, ['check', '--config', file, ...options])
  const plain = (text: string) => text.replaceAll(`${dir}/`, '')
  return { code, stdout: plain(stdout), stderr: plain(stderr) }
}

const QUIET = `listeners:
  - address: '[::1]:26257'
    tls: {cert_file: gate.crt, key_file: gate.key}
clusters:
  main:
    kind: postgresql
    nodes: [{address: /run/pg/.s.PGSQL.5432}]
    sign_in: peer
    server.jwt_authentication.enabled: true
    server.jwt_authentication.issuers: https://a.test
    server.jwt_authentication.audience: gate
    server.jwt_authentication.jwks: ${KEY}
    server.identity_map.configuration: |
      https://a.test /^(.*)@a\\.test$ \\1
`
const DOES = `postern.yaml: listens on [::1]:26257 (TLS); cluster main (postgresql) at /run/pg/.s.PGSQL.5432, sign-in by peer; accepts tokens of 1 issuer ("https://a.test") with 1 key; 1 identity map line\n`

/** Two warnings more than the quiet file has. */
const UNWISE = `${QUIET}    server.jwt_authentication.require_expiry: false
    allow_roles: [carl]
`
const WARNINGS = `postern.yaml:15:47: warning: a token without "exp" is a password for good; write true, and let the issuer set it
postern.yaml:16:19: warning: "carl" is not reserved: naming it here has no effect; remove it
`

describe('a file without mistakes', () => {
  it.each([
    { name: 'has nothing to warn of', yaml: QUIET, options: [], stdout: DOES },
    { name: 'has nothing to warn of, strictly', yaml: QUIET, options: ['--strict'], stdout: DOES },
    { name: 'is unwise', yaml: UNWISE, options: [], stdout: WARNINGS + DOES },
  ])('$name: exit 0', async ({ yaml, options, stdout }) => {
    expect(await check(yaml, ...options)).toEqual({ code: 0, stdout, stderr: '' })
  })

  it('is unwise, strictly: exit 1', async () => {
    const { exit } = FAILURES['config_warnings']
    expect(await check(UNWISE, '--strict')).toEqual({
      code: exit,
      stdout: WARNINGS + DOES,
      stderr: 'postern: 2 warnings, and --strict allows none\n',
    })
    const one = UNWISE.replace('    allow_roles: [carl]\n', '')
    expect((await check(one, '--strict')).stderr).toBe(
      'postern: 1 warning, and --strict allows none\n',
    )
  })

  it('tells of a console, and what it would hide', async () => {
    const own = (text: string) => check(`${QUIET}${text}`)
    const { stdout } = await own('console: {admins: [ops, carl]}\n')
    expect(stdout).toContain('; a console for "ops", "carl" as database postern; cluster main')
    expect((await own('console: {admins: [ops], database: postgres}\n')).stdout).toContain(
      'warning: the cluster main has a database postgres, which nobody could reach any more; write another name',
    )
    expect(
      (await own('console: {may_change_trust: true}\nstate: {cluster: main}\n')).stdout,
    ).toContain(
      'warning: nothing can be changed here without console.admins, but what other gates set counts here, too; where that is not meant, remove it',
    )
    expect((await own('console: {admins: [ops], may_change_trust: true}\n')).stdout).toContain(
      'warning: nothing can be changed without state; remove it',
    )
  })

  it('says what a gate would do', async () => {
    const { code, stdout } = await check(`listeners:
  - {address: 0.0.0.0:26257, tls: {cert_file: gate.crt, key_file: gate.key}}
  - {address: 127.0.0.1:26258, tls: {cert_file: gate.crt, key_file: gate.key}, allow_plaintext: true}
  - {address: localhost:26259, allow_plaintext: true}
  - {directory: /run/postern, port: 5432}
ops: {listen: 127.0.0.1:8080}
peers: {listen: 127.0.0.1:26260, gates: ['10.0.0.2:26260'], ca_cert: ca.crt, ca_key: ca.key}
clusters:
  crdb:
    kind: cockroachdb
    nodes: [{address: 'crdb.test:26257', tls: {ca_file: ca.crt}}]
    sign_in: certificate
    certificate: {ca_cert: ca.crt, ca_key: ca.key}
    server.jwt_authentication.issuers: [https://a.test, https://b.test, https://c.test, https://d.test]
    server.jwt_authentication.jwks: ${KEY}
    issuer_options: {https://b.test: {jwks: ${KEY}}}
`)
    expect(code).toBe(0)
    expect(stdout.trim().split('\n').at(-1)).toBe(
      'postern.yaml: listens on 0.0.0.0:26257 (TLS), 127.0.0.1:26258 (TLS and in clear), localhost:26259 (in clear), /run/postern/.s.PGSQL.5432; operators on 127.0.0.1:8080; other gates on 127.0.0.1:26260; cluster crdb (cockroachdb) at crdb.test:26257 over TLS, sign-in by certificate; accepts nobody; names 4 issuers ("https://a.test", "https://b.test", "https://c.test" and 1 more) with 2 keys; 0 identity map lines',
    )
  })
})

describe('mistakes', () => {
  const told = async (yaml: string) => {
    const { code, stdout, stderr } = await check(yaml)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    return stderr.trim().split('\n')
  }

  it('are told at once: of keys, of files that they name, of the identity map', async () => {
    const yaml = `listeners:
  - {address: here, tls: {cert_file: gate.crt, key_file: gate.key}}
  - {address: 0.0.0.0:26257, tls: {cert_file: text.pem, key_file: gate.key}}
  - {address: 0.0.0.0:26258, tls: {cert_file: gate.crt, key_file: other.key}}
clusters:
  main:
    nodes: [{address: 'db.test:5432', tls: {ca_file: text.pem}}]
    sign_in: magic
    certificate: {ca_cert: gate.crt, ca_key: gate.key}
    colour: red
    server.jwt_authentication.claim: {file: nowhere}
    server.identity_map.configuration: |
      https://a.test /ops deploy
      https://a.test
limits: {connections: none}
`
    expect(await told(yaml)).toEqual([
      'postern.yaml:2:15: "here" is not an address; write host:port, like 127.0.0.1:26257',
      'postern.yaml:3:47: text.pem is not a certificate in PEM (-----BEGIN CERTIFICATE-----)',
      "postern.yaml:4:35: the certificate and its key can't be used: key values mismatch",
      'postern.yaml:7:5: "kind" is required',
      'postern.yaml:7:54: text.pem is not a certificate in PEM (-----BEGIN CERTIFICATE-----)',
      'postern.yaml:8:14: write peer or certificate or scram or trust or forward, not "magic"',
      'postern.yaml:9:18: ca_cert is not a CA certificate (basicConstraints CA:TRUE is missing, or keyUsage forbids it)',
      'postern.yaml:10:5: unknown key "colour"',
      "postern.yaml:11:38: cannot read nowhere: ENOENT: no such file or directory, open 'nowhere'",
      'postern.yaml:12:40: pattern on line 1 is not anchored: "/ops" would also match "evil-ops-evil"; write "/^ops$"',
      'postern.yaml:12:40: unable to parse line 2: "https://a.test"',
      'postern.yaml:15:23: write a whole number, not "none"',
    ])
  })

  it.each<{ name: string; change: [string, string]; says: string[] }>([
    {
      name: 'do not come from the place of another: patterns that may be allowed',
      change: [
        '      https://a.test /^(.*)@a\\.test$ \\1\n',
        '      https://a.test /ops deploy\n    server.identity_map.allow_unanchored: yes\n',
      ],
      says: ['15:43: write true or false, not "yes"'],
    },
    {
      name: 'do not come from the place of another: a node that is none',
      change: ['[{address: /run/pg/.s.PGSQL.5432}]', '[]'],
      says: ['7:12: name at least one node'],
    },
    {
      name: 'that keys have together come with those of files',
      change: [
        'sign_in: peer',
        'sign_in: certificate\n    certificate: {ca_cert: text.pem, ca_key: ca.key}',
      ],
      says: [
        '8:14: a certificate is shown in TLS; give the node host:port and tls: {ca_file}',
        '9:28: text.pem is not a certificate in PEM (-----BEGIN CERTIFICATE-----)',
      ],
    },
    {
      name: 'of a cluster that is none',
      change: [QUIET.slice(QUIET.indexOf('    kind')), '    - 1\n'],
      says: ['6:5: write keys with their values, not [1]'],
    },
    {
      name: 'of listeners that are none, with the rest',
      change: [
        QUIET.slice(0, QUIET.indexOf('    kind')),
        'listeners: 7\nmore: {}\nclusters:\n  main:\n    certificate: {ca_cert: ca.crt, ca_key: other.key}\n',
      ],
      says: [
        '1:12: write a list, not 7',
        '2:1: unknown key "more"',
        '5:18: ca_key is not the key of ca_cert (of its first certificate)',
      ],
    },
    {
      name: 'of a value without an end',
      change: ['    kind: postgresql', '    kind: postgresql\n    allow_roles: &a [*a, [*a]]'],
      says: [
        '7:22: *a is inside of what it stands for; write it out',
        '7:27: *a is inside of what it stands for; write it out',
      ],
    },
    {
      name: 'of YAML stand alone',
      change: ['    kind: postgresql', '    kind: postgresql\n    kind: cockroachdb'],
      says: ['7:5: this key is there already; keep one of them'],
    },
  ])('$name', async ({ change: [from, to], says }) => {
    expect(QUIET).toContain(from)
    const yaml = QUIET.replace(from, () => to)
    expect(await told(yaml)).toEqual(says.map((line) => `postern.yaml:${line}`))
  })

  it('of a CA key that others can read are told with the rest', async () => {
    await chmod(join(dir, 'ca.key'), 0o644)
    const more = '    certificate: {ca_cert: ca.crt, ca_key: ca.key}\nmore: {}\n'
    const lines = await told(QUIET + more)
    await chmod(join(dir, 'ca.key'), 0o600)
    expect(lines).toEqual([
      'postern.yaml:15:44: ca.key can be read by others; chmod 0600 ca.key',
      'postern.yaml:16:1: unknown key "more"',
    ])
  })

  it('are none where there is no file', async () => {
    const { code, stdout, stderr } = await runIn(dir, ['check', '--config', 'missing.yaml'])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^postern: cannot read missing\.yaml: ENOENT/)
  })
})

it('asks for a file: exit 64', async () => {
  const { code, stderr } = await runIn(dir, ['check'])
  expect(code).toBe(64)
  expect(stderr).toContain("required option '--config <file>' not specified")
})

describe('--as', () => {
  const ACCESS = `
access:
  - {user: carl, address: 10.0.0.0/8, action: allow}
  - {user: carl, issuer: https://b.test, action: allow}
  - {user: uma, action: oauthbearer}
`
  const CARL = 'user carl from 10.1.2.3, database carl, cluster main, by jwt'
  it.each<[string, string, string]>([
    [
      'the rule that fits',
      'user=carl,address=10.1.2.3',
      `${CARL}, with a token of https://a.test: allowed: access[0] (postern.yaml:17:5)`,
    ],
    [
      'that no rule fits whatever the token says',
      'user=eve,address=10.1.2.3',
      'user eve from 10.1.2.3, database eve, cluster main, by jwt: refused before it is asked for a token: no rule fits',
    ],
    [
      'that a token of another issuer would do',
      'user=carl,address=192.0.2.1,database=app',
      'user carl from 192.0.2.1, database app, cluster main, by jwt, with a token of https://a.test: refused: no rule fits',
    ],
    [
      'what is so with the issuer that is named',
      'user=carl,issuer=https://b.test',
      'user carl from a unix socket, database carl, cluster main, by jwt, with a token of https://b.test: allowed: access[1] (postern.yaml:18:5)',
    ],
  ])('tells %s', async (_, as, said) => {
    const yaml = `${QUIET}${ACCESS.replace(/\n {2}- .*oauthbearer.*/, '')}`
    expect(await check(yaml, '--as', as)).toEqual({ code: 0, stdout: `${said}\n`, stderr: '' })
  })

  it('spells names as the cluster does', async () => {
    const yaml = QUIET.replace('kind: postgresql', 'kind: cockroachdb')
    const rules = 'access: [{user: carl, action: allow}]\n'
    const { stdout } = await check(`${yaml}${rules}`, '--as', 'user=CARL')
    expect(stdout).toContain('user carl from a unix socket, database defaultdb, cluster main')
    expect(stdout).toContain(': allowed: access[0]')
  })

  it('tells that there are no rules, and what is wrong with the question', async () => {
    expect((await check(QUIET, '--as', 'user=carl')).stdout).toContain(
      'allowed: there are no rules',
    )
    for (const as of [
      'carl',
      'address=10.0.0.1',
      'user=carl,address=here',
      'user=carl,method=trust',
      'user=carl,method=oauthbearer',
      'user=carl,method=passthrough',
      'user=carl,cluster=x',
    ]) {
      const { code, stderr } = await check(QUIET, '--as', as)
      expect([code, stderr]).toEqual([64, expect.stringContaining('--as: ')])
    }
  })

  it.each<[string, string]>([
    ['access: [{cluster: other, action: allow}]', 'there is no cluster "other"'],
    ['access: [{action: oauthbearer}]', 'no cluster here offers oauthbearer'],
    ['access: [{action: passthrough, issuer: https://a.test}]', 'passthrough'],
    ['access_lists: {denylist_file: gone.yaml}', 'gone.yaml: '],
    ['access_lists: {denylist_file: text.pem}', 'text.pem: '],
  ])('is not asked where the file is mistaken: %s', async (more, problem) => {
    const { code, stderr } = await check(`${QUIET}${more}\n`)
    expect([code, stderr]).toEqual([2, expect.stringContaining(problem)])
  })
})
