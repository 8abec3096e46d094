/** A gate that signs in by certificate, and one sign-in through it, as its user and its operator see it. */
import { makeAuthority } from '../../src/cluster/authority.ts'
import type { CertificateAndKey } from '../../src/dev/certificates.ts'
import { type GateOptions, startGate, type TestGate } from './gate.ts'
import { openTls, refusalOf, signIn } from './wire_client.ts'

export type Negotiation = 'postgres' | 'direct'

export interface CertificateGateOptions extends Partial<GateOptions> {
  node: string
  /** Who signs for roles. */
  authority: CertificateAndKey
  /** Whom the node's certificate must come from. */
  nodeCaPem: string
  sslnegotiation?: Negotiation
}

const YEAR_MS = 365 * 86_400_000

/** An authority for client certificates, good today. */
export function makeClientCa(name = 'Postern client CA'): Promise<CertificateAndKey> {
  return makeAuthority(name, YEAR_MS, Date.now())
}

export async function startCertificateGate({
  authority,
  nodeCaPem,
  sslnegotiation = 'postgres',
  ...options
}: CertificateGateOptions): Promise<TestGate> {
  return await startGate({
    ...options,
    cluster: {
      sign_in: 'certificate',
      certificate: { ca_cert: 'client-ca.crt', ca_key: 'client-ca.key' },
      ...options.cluster,
    },
    nodeTls: { ca_file: 'node-ca.crt', sslnegotiation, ...options.nodeTls },
    files: {
      '/etc/postern/client-ca.crt': authority.certPem,
      '/etc/postern/client-ca.key': authority.keyPem,
      '/etc/postern/node-ca.crt': nodeCaPem,
    },
  })
}

export interface Told {
  sqlstate: string | undefined
  says: string | undefined
}

/** What somebody who signs in with a good token is told; undefined for one who is let in. */
export async function toldBy(gate: TestGate, user: string): Promise<Told | undefined> {
  const client = await openTls(gate.port, gate.caPem)
  try {
    const refusal = refusalOf(await signIn(client, { user }, await gate.token(user)))
    return refusal && { sqlstate: refusal['C'], says: refusal['M'] }
  } finally {
    client.close()
  }
}

/** Why not, for who runs the gate: of the last one who was refused. */
export async function reasonOf(gate: TestGate): Promise<string> {
  const { Detail } = await gate.event('client_authentication_failed')
  return String(Detail)
}
