/**
 * The nodes of a cluster as the configuration names them: where they are, how TLS goes there, and what
 * the gate signs in with.
 * Rule: a CA key that others can read is refused; whoever has it is any role of the cluster.
 */
import { type Authority, openAuthority } from '../cluster/authority.ts'
import type { Address, NodeTls } from '../cluster/node.ts'
import type { Place } from '../cluster/node_names.ts'
import type { Entry, Member, NodesPlan } from '../cluster/nodes.ts'
import { openRoleCertificates, type RoleCertificates } from '../cluster/role_certificates.ts'
import { openRoleSecrets, type RoleSecrets } from '../cluster/scram.ts'
import { normalizeUsername } from '../identity/username.ts'
import type { Issuers } from '../issuers/issuers.ts'
import type { Outside } from './document.ts'
import type { NodeSection } from './node_settings.ts'
import { certificateProblem, privateKeyProblem, secureContext } from './pem.ts'
import type { ClusterSection } from './schema.ts'

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
  /** Those of the cluster that are open already, from when the file was read before. */
  issuers(cluster: string): Issuers | undefined
  elsewhere: Outside['elsewhere']
}

/** Every node of a cluster, which are all signed in to in one way. */
export function readNodes(name: string, section: ClusterSection, reading: Reading): NodesPlan {
  const path = ['clusters', name]
  // Read even where nothing is signed with them: a mistake in them is one all the same.
  const authority =
    section.certificate && readAuthority([...path, 'certificate'], section.certificate, reading)
  const proofs = {
    certificates: certificatesBy(section, authority, reading),
    secrets: secretsOf(section),
  }
  const read = (node: NodeSection, at: number) =>
    readEntry([...path, 'nodes', at], node, section, proofs, reading)
  const [first, ...others] = section.nodes as [NodeSection, ...NodeSection[]]
  const { interval, timeout, down_after, up_after } = section.health
  return {
    entries: [read(first, 0), ...others.map((node, at) => read(node, at + 1))],
    locality: section.prefer?.locality,
    target: section.target,
    health: {
      intervalMs: interval,
      timeoutMs: timeout,
      downAfter: down_after,
      upAfter: up_after,
    },
    connectTimeoutMs: section.connect_timeout,
  }
}

/** What the gate signs in with; the same on each node. */
interface Proofs {
  certificates: Certificates
  secrets: RoleSecrets | undefined
}

function secretsOf({ sign_in, kind, scram }: ClusterSection): RoleSecrets | undefined {
  if (sign_in !== 'scram') return undefined
  // In the cluster's spelling, as a grant's role is.
  const spelled = (role: string) => (kind === 'cockroachdb' ? normalizeUsername(role) : role)
  const secrets = Object.entries(scram?.secrets ?? {})
  return openRoleSecrets(new Map(secrets.map(([role, secret]) => [spelled(role), secret])))
}

type Certificates = (nodeCa: string) => RoleCertificates | undefined

/** One of them for all nodes with the same CA: what is signed for a role is good on each. */
function certificatesBy(
  section: ClusterSection,
  authority: Authority | undefined,
  { now }: Reading,
): Certificates {
  const opened = new Map<string, RoleCertificates>()
  return (nodeCa) => {
    if (section.sign_in !== 'certificate' || authority === undefined) return undefined
    const certificates = opened.get(nodeCa) ?? openRoleCertificates(authority, nodeCa, now)
    opened.set(nodeCa, certificates)
    return certificates
  }
}

function readEntry(
  path: PropertyKey[],
  node: NodeSection,
  section: ClusterSection,
  { certificates, secrets }: Proofs,
  reading: Reading,
): Entry {
  const nodeCa =
    node.tls && reading.pem([...path, 'tls', 'ca_file'], node.tls.ca_file, certificateProblem)
  const tls =
    node.tls && nodeCa !== undefined
      ? readTls([...path, 'tls'], node.tls, nodeCa, reading)
      : undefined
  const common = {
    signIn: section.sign_in,
    certificates: nodeCa === undefined ? undefined : certificates(nodeCa),
    secrets,
    dialect: section.kind,
    sendRemoteAddress: section.kind === 'cockroachdb' && section.send_remote_addr,
    connectTimeoutMs: section.connect_timeout,
  }
  /** @param known - the name that a certificate has, where none is told. */
  const memberAt = (address: Address, known: string): Member => ({
    node: {
      ...common,
      name: nameOf(address),
      address,
      tls: tls && { ...tls, serverName: node.tls?.server_name ?? known },
    },
    healthUrl: 'srv' in node ? undefined : node.health_url,
    weight: 'srv' in node ? 1 : node.weight,
    priority: 0,
    locality: node.locality ?? '',
  })
  if ('srv' in node) {
    const at = ({ host, port, weight, priority }: Place) => {
      return { ...memberAt({ host, port }, host), weight, priority }
    }
    return { kind: 'srv', name: node.srv, memberAt: at }
  }
  if ('dns' in node) {
    const at = ({ host, port }: Place) => memberAt({ host, port }, node.dns)
    return { kind: 'dns', name: node.dns, port: node.port, memberAt: at }
  }
  const { address } = node
  return { kind: 'node', member: memberAt(address, 'path' in address ? '' : address.host) }
}

function nameOf(address: Address): string {
  return 'path' in address ? address.path : `${address.host}:${address.port}`
}

/** But for the name that the node's certificate has. */
function readTls(
  path: PropertyKey[],
  tls: NonNullable<NodeSection['tls']>,
  ca: string,
  { complain }: Reading,
): Omit<NodeTls, 'serverName'> | undefined {
  const made = secureContext({ ca })
  if (made.ok) return { secureContext: made.secureContext, direct: tls.sslnegotiation === 'direct' }
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
