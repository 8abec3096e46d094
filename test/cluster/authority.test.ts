/** What the authority signs: the form of a leaf, byte by byte, and what it refuses to sign with. */
import 'reflect-metadata'
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  X509Certificate as Certificate,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectKeyIdentifierExtension,
} from '@peculiar/x509'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  type Authority,
  issueGateLeaf,
  issueLeaf,
  keyPem,
  makeAuthority,
  makeLeafKey,
  openAuthority,
} from '../../src/cluster/authority.ts'
import { type CertifyOptions, certify, type Issued } from '../support/certify.ts'
import { ISSUER, SUBJECT, valueAt, valuesIn } from '../support/der.ts'
import { CONTROL_ROLES, ODD_ROLES } from '../support/odd_roles.ts'

const NOW = Date.parse('2030-05-05T12:00:00Z')
const MINUTE_MS = 60_000
const DAY_MS = 86_400_000

let made: { certPem: string; keyPem: string }
let authority: Authority
let leafKey: Awaited<ReturnType<typeof makeLeafKey>>

beforeAll(async () => {
  made = await makeAuthority('Postern client CA', 30 * DAY_MS, NOW)
  authority = open(made.certPem, made.keyPem)
  leafKey = await makeLeafKey()
})

function open(certPem: string, keyPem: string, nowMs = NOW): Authority {
  const opened = openAuthority(certPem, keyPem, nowMs)
  if (!opened.ok) throw new Error(opened.problem)
  return opened.authority
}

async function leafFor(role: string, by = authority, nowMs = NOW) {
  const issued = await issueLeaf(by, role, leafKey, nowMs)
  const pems = issued.certPem.match(/-----BEGIN[^-]*-----[^-]*-----END[^-]*-----/g) ?? []
  const [leaf, ...chain] = pems.map((pem) => new X509Certificate(pem))
  if (leaf === undefined) throw new Error('no certificate')
  return { ...issued, leaf, chain }
}

describe('a name', () => {
  it.each([...ODD_ROLES, ...CONTROL_ROLES])('%j is the one CN, as its bytes are', async (role) => {
    const { leaf } = await leafFor(role)
    const names = valuesIn(valueAt(leaf.raw, ...SUBJECT).body)
    expect(names.map(({ body }) => valuesIn(body).length)).toEqual([1])
    const [type, value] = valuesIn(valueAt(leaf.raw, ...SUBJECT, 0, 0).body)
    expect(type).toEqual({ tag: 6, body: Buffer.from([0x55, 4, 3]) })
    expect(value).toEqual({ tag: 12, body: Buffer.from(role) })
    expect(leaf.subjectAltName).toBeUndefined()
  })

  it.each(['', '\0', 'maxroach\0', 'postgres\0.maxroach', '\ud83d', 'x\udc00'])(
    '%j is refused',
    async (role) => {
      await expect(leafFor(role)).rejects.toMatchObject({
        code: 'node_signin_failed',
        log: `no certificate can name the role ${JSON.stringify(role)}`,
      })
    },
  )
})

describe('a leaf', () => {
  it('is for a client to sign with, and for nothing else', async () => {
    const { leaf, chain } = await leafFor('maxroach')
    const read = new Certificate(leaf.raw)
    expect(read.extensions.map(({ type, critical }) => [type, critical])).toEqual([
      ['2.5.29.19', true],
      ['2.5.29.15', true],
      ['2.5.29.37', false],
      ['2.5.29.35', false],
      ['2.5.29.14', false],
    ])
    expect(read.getExtension(BasicConstraintsExtension)).toMatchObject({ ca: false })
    expect(read.getExtension(KeyUsagesExtension)?.usages).toBe(KeyUsageFlags.digitalSignature)
    expect(read.getExtension(ExtendedKeyUsageExtension)?.usages).toEqual(['1.3.6.1.5.5.7.3.2'])
    expect([leaf.ca, chain]).toEqual([false, []])
    const { publicKey, subject } = new X509Certificate(made.certPem)
    expect([leaf.verify(publicKey), leaf.issuer]).toEqual([true, subject])
    expect(leaf.checkPrivateKey(createPrivateKey(await keyPem(leafKey)))).toBe(true)
  })

  it('of a gate is for both ends, and has one name, which is no CN', async () => {
    const { certPem, notAfterMs } = await issueGateLeaf(authority, leafKey, NOW)
    const leaf = new X509Certificate(certPem)
    expect([leaf.subject, leaf.subjectAltName]).toEqual([undefined, 'URI:urn:postern:peer'])
    expect(valuesIn(valueAt(leaf.raw, ...SUBJECT).body)).toEqual([])
    const read = new Certificate(leaf.raw)
    expect(read.getExtension(BasicConstraintsExtension)).toMatchObject({ ca: false })
    expect(read.getExtension(KeyUsagesExtension)?.usages).toBe(KeyUsageFlags.digitalSignature)
    expect(read.getExtension(ExtendedKeyUsageExtension)?.usages).toEqual([
      '1.3.6.1.5.5.7.3.1',
      '1.3.6.1.5.5.7.3.2',
    ])
    // RFC 5280 section 4.1.2.6: where the subject is empty.
    expect(read.getExtension('2.5.29.17')?.critical).toBe(true)
    expect(notAfterMs).toBe(NOW + 12 * 60 * MINUTE_MS)
    const late = issueGateLeaf(authority, leafKey, NOW + 30 * DAY_MS)
    await expect(late).rejects.toMatchObject({ log: expect.stringContaining('expired') })
  })

  it('is good from five minutes ago for ten minutes from now', async () => {
    const { leaf, notAfterMs } = await leafFor('maxroach')
    expect(Date.parse(leaf.validFrom)).toBe(NOW - 5 * MINUTE_MS)
    expect(Date.parse(leaf.validTo)).toBe(NOW + 10 * MINUTE_MS)
    expect(notAfterMs).toBe(NOW + 10 * MINUTE_MS)
  })

  it('has a number of its own', async () => {
    const leaves = await Promise.all(Array.from({ length: 20 }, () => leafFor('maxroach')))
    const numbers = new Set(leaves.map(({ leaf }) => leaf.serialNumber))
    expect(numbers.size).toBe(20)
    for (const number of numbers) expect(number.length).toBeGreaterThanOrEqual(16)
  })

  it('never outlives its authority, which signs nothing at its end', async () => {
    const end = NOW + 30 * DAY_MS
    const { leaf } = await leafFor('maxroach', authority, end - MINUTE_MS)
    expect(Date.parse(leaf.validTo)).toBe(end)
    await expect(leafFor('maxroach', authority, end)).rejects.toMatchObject({
      code: 'node_signin_failed',
      message: 'the gate could not sign in to the database',
      log: 'the authority expired on 2030-06-04T12:00:00.000Z',
    })
  })
})

describe('the authority above', () => {
  const signed = (role: string, { certPem, keyPem }: Issued) => leafFor(role, open(certPem, keyPem))

  it.each<[string, CertifyOptions]>([
    ['RSA of 2048 bits', { key: { type: 'rsa', bits: 2048 } }],
    ['P-384', { key: { type: 'ec', curve: 'secp384r1' } }],
    [
      'a name in several parts and forms',
      { subject: [{ C: ['DE'] }, { CN: [{ printableString: 'A CA' }] }] },
    ],
    ['a name with quotes', { subject: [{ CN: [{ utf8String: 'a "CA", #1+1' }] }] }],
    ['a key identifier of its own making', { keyIdentifier: '0102030405' }],
    ['no key identifier', { keyIdentifier: '' }],
  ])('%s: verifies, with its name and key identifier as they are', async (_name, options) => {
    const root = await certify(options)
    const { leaf, chain } = await signed('maxroach', root)
    const ca = new X509Certificate(root.certPem)
    expect(leaf.verify(ca.publicKey)).toBe(true)
    expect(leaf.checkIssued(ca)).toBe(true)
    expect(valueAt(leaf.raw, ...ISSUER)).toEqual(valueAt(ca.raw, ...SUBJECT))
    const identifier = new Certificate(ca.raw).getExtension(SubjectKeyIdentifierExtension)?.keyId
    const { keyId } = new Certificate(leaf.raw).getExtension(AuthorityKeyIdentifierExtension) ?? {}
    if (identifier === undefined) expect(keyId).toHaveLength(40)
    else expect(keyId).toBe(identifier)
    expect(chain).toEqual([])
  })

  it('is sent along where it is an intermediate one; the root is not', async () => {
    const root = await certify({})
    const middle = await certify({
      by: root,
      subject: [{ CN: ['gate 1'] }],
      notAfter: NOW + MINUTE_MS,
    })
    const chained = { ...middle, certPem: middle.certPem + root.certPem }
    for (const by of [middle, chained]) {
      const { leaf, chain, notAfterMs } = await signed('maxroach', by)
      expect(chain.map(({ subject }) => subject)).toEqual(['CN=gate 1'])
      expect(chain.every((each) => leaf.checkIssued(each))).toBe(true)
      expect(notAfterMs).toBe(NOW + MINUTE_MS)
    }
  })

  it('ends with the first of its chain', async () => {
    const root = await certify({ notAfter: NOW + 2 * MINUTE_MS })
    const middle = await certify({ by: root, subject: [{ CN: ['gate 1'] }] })
    const { leaf } = await signed('r', { ...middle, certPem: middle.certPem + root.certPem })
    expect(Date.parse(leaf.validTo)).toBe(NOW + 2 * MINUTE_MS)
  })
})

describe('others in the file', () => {
  const YESTERDAY = NOW - DAY_MS

  it('that have ended, or will soon, stop nothing, and are not sent along', async () => {
    const root = await certify({ notAfter: NOW + 3 * DAY_MS })
    const middle = await certify({ by: root, subject: [{ CN: ['gate 1'] }] })
    const ended = await certify({ subject: [{ CN: ['ended'] }], notAfter: YESTERDAY })
    const beside = await certify({
      by: ended,
      subject: [{ CN: ['beside'] }],
      notAfter: NOW + 1_000,
    })
    const certPem = [middle, ended, beside, root].map((each) => each.certPem).join('')
    const { leaf, chain } = await leafFor('r', open(certPem, middle.keyPem))
    expect(Date.parse(leaf.validTo)).toBe(NOW + 10 * MINUTE_MS)
    expect(chain.map(({ subject }) => subject)).toEqual(['CN=gate 1'])
  })

  it('above the one that signs stop it when they have ended', async () => {
    const root = await certify({ notAfter: YESTERDAY })
    const middle = await certify({ by: root, subject: [{ CN: ['gate 1'] }] })
    expect(openAuthority(middle.certPem + root.certPem, middle.keyPem, NOW)).toEqual({
      ok: false,
      problem: 'ca_cert expired on May  4 12:00:00 2030 GMT',
    })
  })
})

describe('nothing is signed with', () => {
  const KINDS = 'ca_key must be an ECDSA key (P-256 or P-384), or an RSA key of at least 2048 bits'
  const NO_CA =
    'ca_cert is not a CA certificate (basicConstraints CA:TRUE is missing, or keyUsage forbids it)'

  it.each<[string, CertifyOptions, string]>([
    ['RSA of 1024 bits', { key: { type: 'rsa', bits: 1024 } }, KINDS],
    ['Ed25519', { key: { type: 'ed25519' } }, KINDS],
    ['P-521', { key: { type: 'ec', curve: 'secp521r1' } }, KINDS],
    ['secp256k1', { key: { type: 'ec', curve: 'secp256k1' } }, KINDS],
    ['a leaf', { ca: false }, NO_CA],
    ['one that may not sign certificates', { signsNothing: true }, NO_CA],
    ['an expired one', { notAfter: NOW }, 'ca_cert expired on May  5 12:00:00 2030 GMT'],
    [
      'one of tomorrow',
      { notBefore: NOW + DAY_MS },
      'ca_cert is not valid before May  6 12:00:00 2030 GMT',
    ],
  ])('%s', async (_name, options, problem) => {
    const { certPem, keyPem } = await certify(options)
    expect(openAuthority(certPem, keyPem, NOW)).toEqual({ ok: false, problem })
  })

  const pkcs8 = { type: 'pkcs8', format: 'pem' } as const
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  it.each<[string, (pems: { certPem: string; keyPem: string }) => [string, string], string]>([
    [
      'a key of another certificate',
      ({ certPem }) => [certPem, String(other.export(pkcs8))],
      'ca_key is not the key of ca_cert (of its first certificate)',
    ],
    [
      'an encrypted key',
      ({ certPem }) => [
        certPem,
        String(other.export({ ...pkcs8, cipher: 'aes-256-cbc', passphrase: 'x' })),
      ],
      'ca_key is encrypted; give it in clear in a file of mode 0600',
    ],
    [
      'an encrypted key in the older form',
      ({ certPem }) => [
        certPem,
        String(
          other.export({ type: 'sec1', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }),
        ),
      ],
      'ca_key is encrypted; give it in clear in a file of mode 0600',
    ],
    ['no key', ({ certPem }) => [certPem, certPem], 'ca_key is not a private key in PEM'],
    ['no certificate', ({ keyPem }) => [keyPem, keyPem], 'ca_cert holds no certificate in PEM'],
    ['nothing', () => ['', ''], 'ca_cert holds no certificate in PEM'],
  ])('%s', (_name, write, problem) => {
    const [cert, key] = write(made)
    expect(openAuthority(cert, key, NOW)).toEqual({ ok: false, problem })
  })
})
