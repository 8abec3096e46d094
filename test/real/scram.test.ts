/**
 * Sign-in by a secret a role to a real PostgreSQL 18: over TLS with certificates of every kind, in clear,
 * by its unix socket; passwords that have more than one form, and many iterations or one.
 */
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { Name, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { keyPem } from '../../src/cluster/authority.ts'
import { literal } from '../../src/cluster/paste.ts'
import { type FreshNode, startFreshNode } from '../support/fresh_node.ts'
import { type GateOptions, startGate, type TestGate } from '../support/gate.ts'
import { openTls, query, refusalOf, signIn } from '../support/wire_client.ts'

const MANAGEMENT = 'postern_management'
const SECRET = 'a long random secret'
/** Passwords by role: what is in the gate's file, where PostgreSQL was told the same. */
const PASSWORDS: Record<string, string> = {
  ascii: SECRET,
  spaces: ' with\tspaces ',
  quotes: `it's "quoted" \\ back`,
  umlauts: 'Zürich – Übergröße',
  two_forms: '\ufb01ne \u2168 e\u0301 \uff50\uff57',
  odd_spaces: 'a\u00a0b\u3000c\u200bd\u00ad\u00e9',
  controls: '\u2168\u0085',
  directions: '\u2168\u200e',
  picture: '\u2168 😀',
  cyrillic: 'пароль',
  hebrew: 'שלום',
  chinese: '密碼',
  long: 'x\u00e9'.repeat(300),
  once: SECRET,
  often: SECRET,
  [MANAGEMENT]: SECRET,
}
const ITERATIONS: Record<string, number> = { once: 1, often: 100_000 }

let node: FreshNode
const gates: TestGate[] = []

beforeAll(async () => {
  node = await startFreshNode(18)
  for (const [role, password] of Object.entries(PASSWORDS))
    await node.sql(
      `SET scram_iterations = ${ITERATIONS[role] ?? 4096};
       CREATE ROLE ${role} LOGIN PASSWORD ${literal(password)}`,
    )
  await node.sql('CREATE ROLE no_password LOGIN')
  node.write(
    'pg_hba.conf',
    [
      'local all admin trust',
      'local all all scram-sha-256',
      'host trusting all 127.0.0.1/32 trust',
      'host all all 127.0.0.1/32 scram-sha-256',
    ].join('\n'),
  )
  node.write('postgresql.conf', `${node.read('postgresql.conf')}\nssl = on\n`)
  await node.sql('CREATE DATABASE trusting')
}, 60_000)
afterAll(async () => {
  await Promise.all(gates.map((gate) => gate.close()))
  await node.close()
  const lines = JSON.stringify(gates.map(({ log, audit }) => [log, audit]))
  for (const password of Object.values(PASSWORDS))
    expect(lines).not.toContain(JSON.stringify(password).slice(1, -1))
})

async function open(options: Partial<GateOptions> & { node: string }): Promise<TestGate> {
  const gate = await startGate({
    ...options,
    cluster: { sign_in: 'scram', scram: { secrets: PASSWORDS }, ...options.cluster },
  })
  gates.push(gate)
  return gate
}

const openEncrypted = (caPem: string, more: Partial<GateOptions> = {}) =>
  open({
    node: `127.0.0.1:${node.port}`,
    nodeTls: { ca_file: 'node-ca.crt' },
    files: { '/etc/postern/node-ca.crt': caPem },
    ...more,
  })

/** Who it is for the node, and over what; or what it was told. */
async function whoIs(gate: TestGate, user: string, database = 'postgres') {
  const client = await openTls(gate.port, gate.caPem)
  try {
    const said = await signIn(client, { user, database }, await gate.token(user))
    const refused = refusalOf(said)
    if (refused !== undefined) return `${refused['C']} ${refused['M']}`
    client.write(
      query(
        `SELECT current_user || ' by ' || split_part(system_user, ':', 1) || ', ' || CASE WHEN ssl THEN 'TLS' ELSE 'clear' END
         FROM pg_stat_ssl WHERE pid = pg_backend_pid()`,
      ),
    )
    const row = (await client.until('Z')).find(({ type }) => type === 'D')
    return row?.body.toString('utf8', 6)
  } finally {
    client.close()
  }
}

it('PostgreSQL has read its rules', async () => {
  await node.reload()
  expect(await node.sql('SHOW ssl')).toEqual([{ ssl: 'on' }])
})

describe('a password', () => {
  const roles = Object.keys(PASSWORDS).filter((role) => ![MANAGEMENT, 'once'].includes(role))
  it.each(roles)('%s', async (role) => {
    const [gate = await openEncrypted(node.nodeCa.certPem)] = gates
    expect(await whoIs(gate, role)).toBe(`${role} by scram-sha-256, TLS`)
    // With what is remembered now.
    expect(await whoIs(gate, role)).toBe(`${role} by scram-sha-256, TLS`)
  })
})

describe('a way to the node', () => {
  it('in clear, on this machine', async () => {
    const gate = await open({ node: `127.0.0.1:${node.port}` })
    expect(await whoIs(gate, 'ascii')).toBe('ascii by scram-sha-256, clear')
  })

  it('its unix socket', async () => {
    const gate = await open({ node: `${node.socketDir}/.s.PGSQL.${node.port}` })
    expect(await whoIs(gate, 'ascii')).toBe('ascii by scram-sha-256, clear')
  })

  it('TLS from the first byte', async () => {
    const nodeTls = { ca_file: 'node-ca.crt', sslnegotiation: 'direct' }
    const gate = await openEncrypted(node.nodeCa.certPem, { nodeTls })
    expect(await whoIs(gate, 'ascii')).toBe('ascii by scram-sha-256, TLS')
  })

  it('with a management role that signs in alike', async () => {
    const gate = await openEncrypted(node.nodeCa.certPem, {
      cluster: { management: { role: MANAGEMENT } },
    })
    expect(await whoIs(gate, 'ascii')).toBe('ascii by scram-sha-256, TLS')
  })
})

describe('nobody gets in', () => {
  const refused = (user: string) => `28P01 password authentication failed for user ${user}`
  const COULD_NOT = '08006 the gate could not sign in to the database'

  it.each<[string, string, string, string, string | undefined]>([
    ['with another secret', 'ascii', 'another', refused('ascii'), undefined],
    ['as a role without a password', 'no_password', SECRET, refused('no_password'), undefined],
    ['as nobody', 'nobody_there', SECRET, refused('nobody_there'), undefined],
    ['where the node asks for nothing', 'ascii', SECRET, COULD_NOT, 'trusting'],
    ['by one iteration', 'once', SECRET, '08006 the database broke the protocol', undefined],
  ])('%s', async (_name, user, secret, told, database) => {
    const cluster = { scram: { secrets: { [user]: secret } } }
    const gate = await openEncrypted(node.nodeCa.certPem, { cluster })
    expect(await whoIs(gate, user, database)).toBe(told)
  })
})

describe('bound to a certificate that is signed with', () => {
  const rsa = {
    name: 'RSASSA-PKCS1-v1_5',
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
  }
  it.each<[string, webcrypto.AlgorithmIdentifier & { name: string }]>([
    ['ECDSA and SHA-256', { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as never],
    ['ECDSA and SHA-384', { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' } as never],
    ['RSA and SHA-512', { ...rsa, hash: 'SHA-512' } as never],
    ['RSA-PSS and SHA-384', { ...rsa, name: 'RSA-PSS', hash: 'SHA-384', saltLength: 48 } as never],
    ['Ed25519, which names no hash', { name: 'Ed25519' }],
  ])('%s', async (_name, algorithm) => {
    const { certPem, keyPem } = await selfSigned(algorithm)
    node.write('server.crt', certPem)
    node.write('server.key', keyPem)
    await node.reload()
    const gate = await openEncrypted(certPem)
    expect(await whoIs(gate, 'ascii')).toBe('ascii by scram-sha-256, TLS')
  })
})

async function selfSigned(algorithm: webcrypto.AlgorithmIdentifier & { name: string }) {
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair
  const made = await X509CertificateGenerator.createSelfSigned({
    name: new Name([{ CN: [{ utf8String: 'node' }] }]),
    notBefore: new Date('2020-01-01T00:00:00Z'),
    notAfter: new Date('2049-12-31T00:00:00Z'),
    keys,
    signingAlgorithm: algorithm as never,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])],
  })
  return { certPem: `${made.toString('pem')}\n`, keyPem: await keyPem(keys) }
}
