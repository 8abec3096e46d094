/**
 * A listener's certificates as the configuration names them: read at the start, and again when their
 * files change. Rule: a bad file keeps the certificates that are in use.
 */
import { X509Certificate } from 'node:crypto'
import { Failure } from '../failure.ts'
import type { Reading } from './nodes.ts'
import { certificateProblem, privateKeyProblem, secureContext } from './pem.ts'
import type { TcpListener } from './schema.ts'

export interface TlsMaterial {
  /** The first one is for clients that name no server, or none of the others'. */
  certificates: readonly [ServerCertificate, ...ServerCertificate[]]
  /** Whom the certificates of clients must come from; without it they are not asked for one. */
  clientCaPem: string | undefined
}

export interface ServerCertificate {
  certPem: string
  keyPem: string
  /** DNS names, with or without a wildcard in the place of the first label. */
  names: readonly string[]
}

export interface ListenerTls {
  material: TlsMaterial
  /** Where it comes from; a change of one of them is a reason to read again. */
  files: readonly string[]
  /** @throws Failure `config_invalid` */
  read(): TlsMaterial
}

type Section = NonNullable<TcpListener['tls']>

/** @returns undefined after a complaint. */
export function readListenerTls(
  path: PropertyKey[],
  section: Section,
  reading: Reading,
): ListenerTls | undefined {
  const material = readMaterial(path, section, reading)
  if (material === undefined) return undefined
  const { certificates, client_ca_file } = section
  const names = [section, ...certificates].flatMap(({ cert_file, key_file }) => [
    cert_file,
    key_file,
  ])
  const files = [...names, ...(client_ca_file === undefined ? [] : [client_ca_file])]
  return { material, files: files.map(reading.resolve), read: () => readAgain(section, reading) }
}

function readAgain(section: Section, reading: Reading): TlsMaterial {
  const found: string[] = []
  const complain = (_path: PropertyKey[], what: string) => found.push(what)
  const material = readMaterial([], section, reading.tellTo(complain))
  if (material !== undefined) return material
  throw new Failure('config_invalid', { values: { problems: found.join('\n') } })
}

function readMaterial(
  path: PropertyKey[],
  section: Section,
  reading: Reading,
): TlsMaterial | undefined {
  const { certificates, client_ca_file } = section
  const first = readCertificate(path, section, reading)
  const others = certificates.map((pair, index) =>
    readCertificate([...path, 'certificates', index], pair, reading),
  )
  const ca =
    client_ca_file && reading.pem([...path, 'client_ca_file'], client_ca_file, certificateProblem)
  const missing = client_ca_file !== undefined && ca === undefined
  const read = others.filter((each) => each !== undefined)
  if (first === undefined || missing || read.length < others.length) return undefined
  return { certificates: [first, ...read], clientCaPem: ca }
}

function readCertificate(
  path: PropertyKey[],
  { cert_file, key_file }: { cert_file: string; key_file: string },
  { pem, complain }: Reading,
): ServerCertificate | undefined {
  const certPem = pem([...path, 'cert_file'], cert_file, certificateProblem)
  const keyPem = pem([...path, 'key_file'], key_file, privateKeyProblem)
  if (certPem === undefined || keyPem === undefined) return undefined
  const made = secureContext({ cert: certPem, key: keyPem })
  if (made.ok) return { certPem, keyPem, names: dnsNames(certPem) }
  complain(path, made.problem)
  return undefined
}

/** `DNS:a.example, DNS:*.b.example, IP Address:…` (RFC 5280 section 4.2.1.6). */
function dnsNames(certPem: string): string[] {
  const { subjectAltName = '' } = new X509Certificate(certPem)
  return [...subjectAltName.matchAll(/DNS:([^\s,"]+)/g)].map(([, name]) => name ?? '')
}
