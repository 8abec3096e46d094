/**
 * The other gates as the configuration names them, and the authority that they are known by.
 * Rule: a gate's certificate is good to others only by a chain that ends in the file; the one that signs may
 * be any of the file's certificates, so that through a rotation old ones and new ones believe each other.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { type Authority, openAuthority } from '../cluster/authority.ts'
import type { Reading } from './nodes.ts'
import type { PeerGate, PeersSection } from './peer_settings.ts'
import { certificateProblem, certificatesIn, privateKeyProblem } from './pem.ts'
import type { HostPort } from './values.ts'

export interface PeersConfig {
  listen: HostPort
  gates: readonly PeerGate[]
  /** Signs for this gate. */
  authority: Authority
  /** Whom the other gates' certificates must come from. */
  trustedPem: string
}

const PATH = ['peers']

/** @returns undefined after a complaint. */
export function readPeers(
  { listen, gates, ca_cert, ca_key }: PeersSection,
  { pem, complain, isPrivate, now }: Reading,
): PeersConfig | undefined {
  const cert = pem([...PATH, 'ca_cert'], ca_cert, certificateProblem)
  const key = pem([...PATH, 'ca_key'], ca_key, privateKeyProblem)
  if (cert === undefined || key === undefined) return undefined
  if (!isPrivate(ca_key))
    complain([...PATH, 'ca_key'], `${ca_key} can be read by others; chmod 0600 ${ca_key}`)
  const trusted = certificatesIn(cert)
  const opened = openAuthority(signerFirst(trusted, key).join('\n'), key, now())
  if (!opened.ok) complain(PATH, opened.problem)
  else if (!trusted.some(isRoot))
    complain(
      [...PATH, 'ca_cert'],
      `${ca_cert} ends in no root (a CA that signed itself), and other gates are known by it; add it`,
    )
  if (!opened.ok) return undefined
  return { listen, gates, authority: opened.authority, trustedPem: trusted.join('\n') }
}

function signerFirst(blocks: readonly string[], keyPem: string): string[] {
  const key = createPrivateKey(keyPem)
  const signs = (block: string) => new X509Certificate(block).checkPrivateKey(key)
  return [...blocks.filter(signs), ...blocks.filter((block) => !signs(block))]
}

function isRoot(block: string): boolean {
  const certificate = new X509Certificate(block)
  return certificate.checkIssued(certificate)
}
