/**
 * Certificates for the development gate and for tests: a CA and what it issues, ECDSA P-256. Their times are fixed, so that no
 * clock is needed: valid ones hold from 2020 to 2049, expired ones ended with 2020.
 * https://www.rfc-editor.org/rfc/rfc5280
 */
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
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

export interface CertificateAndKey {
  certPem: string
  keyPem: string
}

export interface Ca extends CertificateAndKey {
  name: Name
  keys: webcrypto.CryptoKeyPair
}

export interface Wanted {
  cn: string
  /** DNS names and IP addresses. */
  sans?: string[]
  use?: 'server' | 'client'
  notBefore?: Date
  notAfter?: Date
}

const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const NOT_BEFORE = new Date('2020-01-01T00:00:00Z')
const NOT_AFTER = new Date('2049-12-31T00:00:00Z')
const EXPIRED = new Date('2020-12-31T00:00:00Z')

export async function makeCa(cn = 'Postern test CA'): Promise<Ca> {
  const keys = await makeKeys()
  const name = nameOf(cn)
  const usage = KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign
  const certPem = await certificate(name, { name, keys }, keys, NOT_BEFORE, NOT_AFTER, [
    new BasicConstraintsExtension(true, undefined, true),
    new KeyUsagesExtension(usage, true),
  ])
  return { certPem, keyPem: await pemOf(keys), name, keys }
}

export async function issue(ca: Ca, wanted: Wanted): Promise<CertificateAndKey> {
  const { cn, sans = [], use = 'server', notBefore = NOT_BEFORE, notAfter = NOT_AFTER } = wanted
  const keys = await makeKeys()
  const names = sans.map((value) => ({
    type: isIP(value) ? ('ip' as const) : ('dns' as const),
    value,
  }))
  const certPem = await certificate(nameOf(cn), ca, keys, notBefore, notAfter, [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([ExtendedKeyUsage[`${use}Auth`]]),
    await AuthorityKeyIdentifierExtension.create(ca.keys.publicKey),
    ...(names.length > 0 ? [new SubjectAlternativeNameExtension(names)] : []),
  ])
  return { certPem, keyPem: await pemOf(keys) }
}

/** For servers on this machine: one that verifies, and two that must not. */
export async function localCertificates(ca: Ca): Promise<{
  good: CertificateAndKey
  expired: CertificateAndKey
  otherName: CertificateAndKey
}> {
  const here = { cn: 'localhost', sans: ['localhost', '127.0.0.1'] }
  const [good, expired, otherName] = await Promise.all([
    issue(ca, here),
    issue(ca, { ...here, notAfter: EXPIRED }),
    issue(ca, { cn: 'other.example', sans: ['other.example'] }),
  ])
  return { good, expired, otherName }
}

async function certificate(
  subject: Name,
  ca: Pick<Ca, 'name' | 'keys'>,
  keys: webcrypto.CryptoKeyPair,
  notBefore: Date,
  notAfter: Date,
  extensions: Extension[],
): Promise<string> {
  const made = await X509CertificateGenerator.create({
    subject,
    issuer: ca.name,
    notBefore,
    notAfter,
    publicKey: keys.publicKey,
    signingKey: ca.keys.privateKey,
    signingAlgorithm: ECDSA,
    extensions: [...extensions, await SubjectKeyIdentifierExtension.create(keys.publicKey)],
  })
  return `${made.toString('pem')}\n`
}

/** As a UTF8String: the other forms of the library rewrite names with quotes in them. */
function nameOf(cn: string): Name {
  return new Name([{ CN: [{ utf8String: cn }] }])
}

async function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(ECDSA, true, ['sign', 'verify'])
}

async function pemOf(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const key = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)
  return `${PemConverter.encode(key, PemConverter.PrivateKeyTag)}\n`
}
