/**
 * The node of a cluster as the configuration names it: where it is, how TLS goes there, and what the
 * gate signs in with.
 * Rule: a CA key that others can read is refused; whoever has it is any role of the cluster.
 */
import { type Authority, openAuthority } from '../cluster/authority.ts'
import type { Node, NodeTls } from '../cluster/node.ts'
import { openRoleCertificates } from '../cluster/role_certificates.ts'
import { certificateProblem, privateKeyProblem, secureContext } from './pem.ts'
import type { ClusterSection, NodeSection } from './schema.ts'

/** What reading a section may ask for, and where it complains. */
export interface Reading {
  complain(path: PropertyKey[], what: string): void
  /** A file in PEM, or undefined after a complaint. */
  pem(
    path: PropertyKey[],
    file: string,
    problemOf: (pem: string) => string | undefined,
  ): string | undefined
  /** The text of a file as it is now. @throws an Error whose message says why it can't be read. */
  text(file: string): string
  /** The environment's word on proxies, for what is fetched. */
  proxyEnv: { HTTPS_PROXY: string | undefined; NO_PROXY: string | undefined }
  /** Only its owner can read the file. */
  isPrivate(file: string): boolean
  /** A path of the configuration, from where the configuration is. */
  resolve(file: string): string
  /** Milliseconds since the epoch. */
  now(): number
  /** The same, complaining to somebody else. */
  tellTo(complain: Reading['complain']): Reading
}

/** Every node of a cluster, which are all signed in to in one way. */
export function readNodes(
  name: string,
  section: ClusterSection,
  reading: Reading,
): [Node, ...Node[]] {
  const path = ['clusters', name]
  // Read even where nothing is signed with them: a mistake in them is one all the same.
  const authority =
    section.certificate && readAuthority([...path, 'certificate'], section.certificate, reading)
  const [first, ...others] = section.nodes as [NodeSection, ...NodeSection[]]
  const read = (node: NodeSection, at: number) =>
    readNode([...path, 'nodes', at], node, section, authority, reading)
  return [read(first, 0), ...others.map((node, at) => read(node, at + 1))]
}

function readNode(
  path: PropertyKey[],
  { address, tls }: NodeSection,
  section: ClusterSection,
  authority: Authority | undefined,
  reading: Reading,
): Node {
  const host = 'path' in address ? '' : address.host
  const nodeCa = tls && reading.pem([...path, 'tls', 'ca_file'], tls.ca_file, certificateProblem)
  const certificates =
    section.sign_in === 'certificate' && authority && nodeCa !== undefined
      ? openRoleCertificates(authority, nodeCa, reading.now)
      : undefined
  return {
    name: 'path' in address ? address.path : `${address.host}:${address.port}`,
    address,
    tls:
      tls && nodeCa !== undefined
        ? readTls([...path, 'tls'], tls, host, nodeCa, reading)
        : undefined,
    signIn: section.sign_in,
    certificates,
    dialect: section.kind,
    sendRemoteAddress: section.kind === 'cockroachdb' && section.send_remote_addr,
    connectTimeoutMs: section.connect_timeout,
  }
}

function readTls(
  path: PropertyKey[],
  tls: NonNullable<NodeSection['tls']>,
  host: string,
  ca: string,
  { complain }: Reading,
): NodeTls | undefined {
  const made = secureContext({ ca })
  if (made.ok)
    return {
      secureContext: made.secureContext,
      serverName: tls.server_name ?? host,
      direct: tls.sslnegotiation === 'direct',
    }
  complain(path, made.problem)
  return undefined
}

function readAuthority(
  path: PropertyKey[],
  { ca_cert, ca_key }: NonNullable<ClusterSection['certificate']>,
  reading: Reading,
): Authority | undefined {
  const cert = reading.pem([...path, 'ca_cert'], ca_cert, certificateProblem)
  const key = reading.pem([...path, 'ca_key'], ca_key, privateKeyProblem)
  if (cert === undefined || key === undefined) return undefined
  if (!reading.isPrivate(ca_key))
    reading.complain([...path, 'ca_key'], `${ca_key} can be read by others; chmod 0600 ${ca_key}`)
  const opened = openAuthority(cert, key, reading.now())
  if (opened.ok) return opened.authority
  reading.complain(path, opened.problem)
  return undefined
}
