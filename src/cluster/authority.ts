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
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  PemConverter,
  SubjectAlternativeNameExtension,
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
export const GATE_LEAF_LIFETIME_MS = 12 * 3_600_000
/** What a gate is called: no role has such a name, and no node takes it for one. */
export const GATE_NAME = 'urn:postern:peer'

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
  const chain = chainOf(first, read)
  const untimely = chain.map((each) => timeProblem(each, nowMs)).find((each) => each !== undefined)
  if (untimely !== undefined) return problem(untimely)
  const signingAlgorithm = algorithmOf(key)
  if (signingAlgorithm === undefined)
    return problem(
      'ca_key must be an ECDSA key (P-256 or P-384), or an RSA key of at least 2048 bits',
    )
  const signingKey = key.toCryptoKey(signingAlgorithm, false, ['sign'])
  const issuer = new Certificate(first.raw)
  return {
    ok: true,
    authority: {
      chainPem: chain
        .filter((each) => !isRoot(each))
        .map(String)
        .join(''),
      subject: first.subject.replaceAll('\n', ', '),
      notAfterMs: Math.min(...chain.map(endMs)),
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
  // A node may read the name up to the NUL; as UTF-8, half a surrogate pair is another character.
  if (role === '' || role.includes('\0') || !role.isWellFormed())
    throw refused(`no certificate can name the role ${JSON.stringify(role)}`)
  const wanted = {
    subject: commonName(role),
    lifetimeMs: LEAF_LIFETIME_MS,
    extensions: [new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth])],
  }
  return await sign(authority, wanted, leafKey, nowMs)
}

/**
 * A certificate for a gate, which other gates of the authority know it by: its one name is `GATE_NAME`.
 * Without a CN it is no role, wherever a node asks for the same authority's certificates.
 * @throws Failure `node_signin_failed` where the authority has ended
 */
export async function issueGateLeaf(
  authority: Authority,
  leafKey: webcrypto.CryptoKeyPair,
  nowMs: number,
): Promise<{ certPem: string; notAfterMs: number }> {
  const uses = [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]
  const name = new SubjectAlternativeNameExtension([{ type: 'url', value: GATE_NAME }], true)
  const wanted = {
    subject: new Name([]),
    lifetimeMs: GATE_LEAF_LIFETIME_MS,
    extensions: [new ExtendedKeyUsageExtension(uses), name],
  }
  return await sign(authority, wanted, leafKey, nowMs)
}

async function sign(
  authority: Authority,
  wanted: { subject: Name; lifetimeMs: number; extensions: Extension[] },
  leafKey: webcrypto.CryptoKeyPair,
  nowMs: number,
): Promise<{ certPem: string; notAfterMs: number }> {
  const notAfterMs = Math.min(nowMs + wanted.lifetimeMs, authority.notAfterMs)
  if (notAfterMs <= nowMs)
    throw refused(`the authority expired on ${new Date(authority.notAfterMs).toISOString()}`)
  const leaf = await X509CertificateGenerator.create({
    subject: wanted.subject,
    issuer: authority.issuer.subjectName,
    notBefore: new Date(nowMs - LEAF_BACKDATED_MS),
    notAfter: new Date(notAfterMs),
    publicKey: leafKey.publicKey,
    signingKey: authority.signingKey,
    signingAlgorithm: authority.signingAlgorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      ...wanted.extensions,
      await authorityKeyIdentifier(authority.issuer),
      await SubjectKeyIdentifierExtension.create(leafKey.publicKey),
    ],
  })
  return { certPem: `${leaf.toString('pem')}\n${authority.chainPem}`, notAfterMs }
}

/** A new authority of its own: self-signed, ECDSA P-256, for what a gate shows. */
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

/**
 * From the one that signs up to a root, or as far as they go: others in the file count for nothing. Of
 * several that have signed the same one, the last to end is taken.
 */
function chainOf(first: X509Certificate, all: readonly X509Certificate[]): X509Certificate[] {
  const others = all.toSorted((one, other) => endMs(other) - endMs(one))
  const chain = [first]
  for (let last = first; !isRoot(last); ) {
    const above = others.find(
      (each) => last.checkIssued(each) && last.verify(each.publicKey) && !chain.includes(each),
    )
    if (above === undefined) break
    chain.push(above)
    last = above
  }
  return chain
}

function isRoot({ subject, issuer }: X509Certificate): boolean {
  return subject === issuer
}

function endMs({ validTo }: X509Certificate): number {
  return Date.parse(validTo)
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
