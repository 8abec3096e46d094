/** Authorities that nobody should make, and those that somebody has: every part of one can be told. */
import 'reflect-metadata'
import { createPublicKey, generateKeyPairSync, type KeyObject, webcrypto } from 'node:crypto'
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'

export interface Issued {
  certPem: string
  keyPem: string
  subject: Name
  key: KeyObject
}

export interface CertifyOptions {
  key?: { type: 'ec'; curve: string } | { type: 'rsa'; bits: number } | { type: 'ed25519' }
  subject?: ConstructorParameters<typeof Name>[0]
  /** Who signs; a certificate of P-256. Unless told, a P-256 key that is kept nowhere. */
  by?: Issued
  ca?: boolean
  /** Its key usage allows no certificates. */
  signsNothing?: boolean
  /** In hexadecimal digits; none where empty. */
  keyIdentifier?: string
  /** Milliseconds since the epoch. */
  notBefore?: number
  notAfter?: number
}

const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const SIGNING = KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign

/** Self-signed where that can be told by the name alone: the library can't sign with every key. */
export async function certify(options: CertifyOptions): Promise<Issued> {
  const { by, ca = true, signsNothing = false, keyIdentifier } = options
  const key = makeKey(options.key ?? { type: 'ec', curve: 'prime256v1' })
  const subject = new Name(options.subject ?? [{ CN: [{ utf8String: 'An authority' }] }])
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'der' })
  const signer = by?.key ?? (isP256(key) ? key : makeKey({ type: 'ec', curve: 'prime256v1' }))
  const made = await X509CertificateGenerator.create({
    subject,
    issuer: by?.subject ?? subject,
    notBefore: new Date(options.notBefore ?? Date.parse('2020-01-01T00:00:00Z')),
    notAfter: new Date(options.notAfter ?? Date.parse('2049-12-31T00:00:00Z')),
    publicKey,
    signingKey: signer.toCryptoKey(P256, false, ['sign']) as webcrypto.CryptoKey,
    signingAlgorithm: P256,
    extensions: [
      new BasicConstraintsExtension(ca, undefined, true),
      new KeyUsagesExtension(signsNothing ? KeyUsageFlags.digitalSignature : SIGNING, true),
      ...(keyIdentifier === '' ? [] : [await identifier(keyIdentifier, publicKey)]),
    ],
  })
  const keyPem = String(key.export({ type: 'pkcs8', format: 'pem' }))
  return { certPem: `${made.toString('pem')}\n`, keyPem, subject, key }
}

async function identifier(told: string | undefined, publicKey: Buffer) {
  if (told !== undefined) return new SubjectKeyIdentifierExtension(told)
  const digest = await webcrypto.subtle.digest('SHA-1', publicKey)
  return new SubjectKeyIdentifierExtension(Buffer.from(digest).toString('hex'))
}

function isP256(key: KeyObject): boolean {
  return key.asymmetricKeyDetails?.namedCurve === 'prime256v1'
}

function makeKey(key: NonNullable<CertifyOptions['key']>): KeyObject {
  if (key.type === 'ed25519') return generateKeyPairSync('ed25519').privateKey
  if (key.type === 'rsa') return generateKeyPairSync('rsa', { modulusLength: key.bits }).privateKey
  return generateKeyPairSync('ec', { namedCurve: key.curve }).privateKey
}
