/**
 * The certificates that a configuration names, and when each of them ends.
 * https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5
 * Rule: where several are trusted the last to end counts; where they are a chain, the first.
 */
import { X509Certificate } from 'node:crypto'
import { certificatesIn } from './pem.ts'
import type { File } from './schema.ts'

/** What one key of the file names. */
export interface NamedCertificates {
  /** Like `listeners[0].tls.cert_file`. */
  key: string
  /** As the key has it; empty where the certificates stand in its place. */
  file: string
  counts: 'first' | 'last'
  /** As they are in use. */
  pem(): string
}

export interface CertificateEnd {
  key: string
  file: string
  /** The common name of the certificate that counts, or else what it has in its place. */
  subject: string
  /** Milliseconds since the epoch. */
  endsMs: number
}

export interface CertificateFiles {
  /** A file as it was when the configuration was read. */
  read(file: string): string
  /** As it is now. @throws where it can't be read */
  again(file: string): string
}

/** In the order of the file, each file once. */
export function namedCertificates(file: File, files: CertificateFiles): NamedCertificates[] {
  const seen = new Set<string>()
  return [...ofListeners(file, files), ...ofClusters(file, files), ...ofPeers(file, files)].filter(
    ({ key, file, counts }) => {
      const same = JSON.stringify([file || key, counts])
      return !seen.has(same) && seen.add(same)
    },
  )
}

/** The next one to end first. */
export function certificateEnds(named: readonly NamedCertificates[]): CertificateEnd[] {
  return named
    .flatMap(({ key, file, counts, pem }) => {
      const inOrder = certificatesIn(pem())
        .map((block) => new X509Certificate(block))
        .sort((one, other) => endMs(one) - endMs(other))
      const counting = counts === 'first' ? inOrder[0] : inOrder.at(-1)
      return counting === undefined
        ? []
        : [{ key, file, subject: nameOf(counting), endsMs: endMs(counting) }]
    })
    .sort((one, other) => one.endsMs - other.endsMs)
}

/** The door reads these again when they change, and where it can't it goes on with those that it has. */
function ofListeners({ listeners }: File, { read, again }: CertificateFiles): NamedCertificates[] {
  const watched = (file: string): string => {
    try {
      const pem = again(file)
      const found = certificatesIn(pem).map((block) => new X509Certificate(block))
      return found.length > 0 ? pem : read(file)
    } catch {
      return read(file)
    }
  }
  return listeners.flatMap((listener, at) => {
    if ('directory' in listener || listener.tls === undefined) return []
    const { cert_file, certificates, client_ca_file } = listener.tls
    const key = `listeners[${at}].tls`
    return [
      ...from(`${key}.cert_file`, cert_file, 'first', watched),
      ...certificates.flatMap(({ cert_file }, at) =>
        from(`${key}.certificates[${at}].cert_file`, cert_file, 'first', watched),
      ),
      ...from(`${key}.client_ca_file`, client_ca_file, 'last', watched),
    ]
  })
}

function ofClusters({ clusters }: File, { read }: CertificateFiles): NamedCertificates[] {
  return Object.entries(clusters).flatMap(([name, section]) => {
    const key = `clusters.${name}`
    const options = Object.entries(section.issuer_options)
    return [
      ...from(`${key}.certificate.ca_cert`, section.certificate?.ca_cert, 'first', read),
      ...section.nodes.flatMap(({ tls }, at) =>
        from(`${key}.nodes[${at}].tls.ca_file`, tls?.ca_file, 'last', read),
      ),
      ...inPlace(`${key}.${CUSTOM_CA}`, section[CUSTOM_CA]),
      ...options.flatMap(([issuer, { custom_ca }]) =>
        inPlace(`${key}.issuer_options.${issuer}.custom_ca`, custom_ca),
      ),
    ]
  })
}

const CUSTOM_CA = 'server.jwt_authentication.issuers.custom_ca'

/** One that a rotation has added is in there too: the gate signs by whichever of them is good. */
function ofPeers({ peers }: File, { read }: CertificateFiles): NamedCertificates[] {
  return from('peers.ca_cert', peers?.ca_cert, 'last', read)
}

function from(
  key: string,
  file: string | undefined,
  counts: NamedCertificates['counts'],
  read: (file: string) => string,
): NamedCertificates[] {
  return file === undefined ? [] : [{ key, file, counts, pem: () => read(file) }]
}

function inPlace(key: string, pem: string | undefined): NamedCertificates[] {
  return pem === undefined ? [] : [{ key, file: '', counts: 'last', pem: () => pem }]
}

function nameOf({ subject, subjectAltName }: X509Certificate): string {
  const [, commonName] = /^CN=(.*)$/m.exec(subject ?? '') ?? []
  return commonName ?? subjectAltName ?? (subject ?? '').replaceAll('\n', ', ')
}

function endMs({ validTo }: X509Certificate): number {
  return Date.parse(validTo)
}
