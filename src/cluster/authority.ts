/**
 * The gate's certificate authority: its key is worth the whole cluster, since whatever name it signs
 * is that role. A leaf signs in as exactly one role, for minutes. https://www.rfc-editor.org/rfc/rfc5280
 * Rule: a leaf's subject is one CN, a UTF8String with the role's bytes as they are; the library's
 * other forms rewrite names (`a"postgres"` becomes `postgres`).
 */
import 'reflect-metadata'
import { createPrivateKey, type KeyObject, webcrypto, X509Certificate } from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  X509Certificate as Certificate,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  PemConverter,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { Failure } from '../failure.ts'

export interface Authority {
  /** The certificate that signs, and those between it and a root, which a client sends along. */
  chainPem: string
  subject: string
  /** The first end in the chain: beyond it no leaf is good. */
  notAfterMs: number
  issuer: Certificate
  signingKey: webcrypto.CryptoKey
  signingAlgorithm: SigningAlgorithm
}

export type AuthorityResult = { ok: true; authority: Authority } | { ok: false; problem: string }

type SigningAlgorithm = { name: string; hash: string; namedCurve?: string }

/** Clocks of nodes may be behind ours: PostgreSQL refuses a certificate that is not valid yet. */
export const LEAF_BACKDATED_MS = 5 * 60_000
export const LEAF_LIFETIME_MS = 10 * 60_000

const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** Reads what `ca_cert` and `ca_key` hold; says in a sentence what doesn't fit. */
export function openAuthority(certPem: string, keyPem: string, nowMs: number): AuthorityResult {
  const read = readCertificates(certPem)
  const [first] = read
  if (first === undefined) return problem('ca_cert holds no certificate in PEM')
  const key = readKey(keyPem)
  if (typeof key === 'string') return problem(key)
  if (!first.checkPrivateKey(key))
    return problem('ca_key is not the key of ca_cert (of its first certificate)')
  if (!first.ca)
    return problem(
      'ca_cert is not a CA certificate (basicConstraints CA:TRUE is missing, or keyUsage forbids it)',
    )
  const untimely = read.map((each) => timeProblem(each, nowMs)).find((each) => each !== undefined)
  if (untimely !== undefined) return problem(untimely)
  const signingAlgorithm = algorithmOf(key)
  if (signingAlgorithm === undefined)
    return problem(
      'ca_key must be an ECDSA key (P-256 or P-384), or an RSA key of at least 2048 bits',
    )
  const signingKey = key.toCryptoKey(signingAlgorithm, false, ['sign'])
  const issuer = new Certificate(first.raw)
  const chain = read.filter((each) => each.subject !== each.issuer)
  return {
    ok: true,
    authority: {
      chainPem: chain.map(String).join(''),
      subject: first.subject.replaceAll('\n', ', '),
      notAfterMs: Math.min(...read.map(({ validTo }) => Date.parse(validTo))),
      issuer,
      signingKey,
      signingAlgorithm,
    },
  }
}

/** A key pair for leaves: one is enough for a process, and making one a login costs more than signing. */
export async function makeLeafKey(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify'])
}

export async function keyPem({ privateKey }: webcrypto.CryptoKeyPair): Promise<string> {
  const key = await webcrypto.subtle.exportKey('pkcs8', privateKey)
  return `${PemConverter.encode(key, PemConverter.PrivateKeyTag)}\n`
}

/**
 * A certificate for one role, with the chain behind it. It never outlives its authority.
 * @throws Failure `node_signin_failed` where the authority has ended, or the role can't be a name
 */
export async function issueLeaf(
  authority: Authority,
  role: string,
  leafKey: webcrypto.CryptoKeyPair,
  nowMs: number,
): Promise<{ certPem: string; notAfterMs: number }> {
  const notAfterMs = Math.min(nowMs + LEAF_LIFETIME_MS, authority.notAfterMs)
  if (notAfterMs <= nowMs)
    throw refused(`the authority expired on ${new Date(authority.notAfterMs).toISOString()}`)
  // A node may read the name up to the NUL; as UTF-8, half a surrogate pair is another character.
  if (role === '' || role.includes('\0') || !role.isWellFormed())
    throw refused(`no certificate can name the role ${JSON.stringify(role)}`)
  const leaf = await X509CertificateGenerator.create({
    subject: commonName(role),
    issuer: authority.issuer.subjectName,
    notBefore: new Date(nowMs - LEAF_BACKDATED_MS),
    notAfter: new Date(notAfterMs),
    publicKey: leafKey.publicKey,
    signingKey: authority.signingKey,
    signingAlgorithm: authority.signingAlgorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth]),
      await authorityKeyIdentifier(authority.issuer),
      await SubjectKeyIdentifierExtension.create(leafKey.publicKey),
    ],
  })
  return { certPem: `${leaf.toString('pem')}\n${authority.chainPem}`, notAfterMs }
}

/** A new authority of its own: self-signed, ECDSA P-256, for client certificates alone. */
export async function makeAuthority(
  name: string,
  lifetimeMs: number,
  nowMs: number,
): Promise<{ certPem: string; keyPem: string }> {
  const keys = await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify'])
  const subject = commonName(name)
  const made = await X509CertificateGenerator.create({
    subject,
    issuer: subject,
    notBefore: new Date(nowMs - LEAF_BACKDATED_MS),
    notAfter: new Date(nowMs + lifetimeMs),
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    signingAlgorithm: P256,
    extensions: [
      new BasicConstraintsExtension(true, 1, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certPem: `${made.toString('pem')}\n`, keyPem: await keyPem(keys) }
}

/** As the issuer's certificate has it: there are several ways to make one, and verifiers compare. */
async function authorityKeyIdentifier(issuer: Certificate) {
  const own = issuer.getExtension(SubjectKeyIdentifierExtension)
  if (own !== null) return new AuthorityKeyIdentifierExtension(own.keyId)
  return await AuthorityKeyIdentifierExtension.create(issuer.publicKey)
}

function commonName(text: string): Name {
  return new Name([{ CN: [{ utf8String: text }] }])
}

function readCertificates(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? []
  try {
    return blocks.map((block) => new X509Certificate(block))
  } catch {
    return []
  }
}

function readKey(pem: string): KeyObject | string {
  if (pem.includes('ENCRYPTED'))
    return 'ca_key is encrypted; give it in clear in a file of mode 0600'
  try {
    return createPrivateKey(pem)
  } catch {
    return 'ca_key is not a private key in PEM'
  }
}

function algorithmOf(key: KeyObject): SigningAlgorithm | undefined {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {}
  if (namedCurve === 'prime256v1') return P256
  if (namedCurve === 'secp384r1') return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' }
  if (key.asymmetricKeyType !== 'rsa' || (modulusLength ?? 0) < 2048) return undefined
  return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
}

function timeProblem({ validFrom, validTo }: X509Certificate, nowMs: number): string | undefined {
  if (Date.parse(validTo) <= nowMs) return `ca_cert expired on ${validTo}`
  if (Date.parse(validFrom) > nowMs) return `ca_cert is not valid before ${validFrom}`
  return undefined
}

function refused(log: string): Failure {
  return new Failure('node_signin_failed', { log })
}

function problem(text: string): AuthorityResult {
  return { ok: false, problem: text }
}
