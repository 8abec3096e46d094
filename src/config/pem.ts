/**
 * Certificates and keys in PEM, tried as they are read, so that a mistake is told with the name of
 * its file. OpenSSL itself takes a CA file without a certificate, and then trusts nobody.
 * Rule: what a file holds is in no sentence.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'

const CERTIFICATE = /-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs

/** The certificates of a file, each in PEM, without what stands around them. */
export function certificatesIn(pem: string): string[] {
  return pem.match(CERTIFICATE) ?? []
}

/** @returns what is wrong with a file of certificates; undefined where nothing is. */
export function certificateProblem(pem: string): string | undefined {
  const blocks = certificatesIn(pem)
  if (blocks.length > 0 && blocks.every(isCertificate)) return undefined
  return 'not a certificate in PEM (-----BEGIN CERTIFICATE-----)'
}

/** @returns what is wrong with a file of a private key; undefined where nothing is. */
export function privateKeyProblem(pem: string): string | undefined {
  if (pem.includes('ENCRYPTED')) return 'a key with a passphrase; write the key without one'
  try {
    createPrivateKey(pem)
    return undefined
  } catch {
    return 'not a private key in PEM (-----BEGIN PRIVATE KEY-----)'
  }
}

/** @param parts - each without a problem by itself. */
export function secureContext(parts: {
  cert?: string
  key?: string
  ca?: string
}): { ok: true; secureContext: SecureContext } | { ok: false; problem: string } {
  try {
    return { ok: true, secureContext: createSecureContext({ ...parts, minVersion: 'TLSv1.2' }) }
  } catch (thrown) {
    const reason = (thrown as Error).message.replace(/^error:.*::/, '')
    return { ok: false, problem: `the certificate and its key can't be used: ${reason}` }
  }
}

function isCertificate(block: string): boolean {
  try {
    return new X509Certificate(block).serialNumber !== ''
  } catch {
    return false
  }
}
