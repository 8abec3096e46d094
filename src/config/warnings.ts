/**
 * What is legal in a configuration file and unwise, or without effect: each with its place, and what
 * to do. A pure look at a file that has no mistakes. Rule: what a gate needs to be secure by default is
 * a mistake, not a warning; and what somebody may well mean can be written so that nothing is told.
 */
import type { Inspected } from './config.ts'
import type { Complaint, Outside } from './document.ts'
import type { ClusterSection, File, TcpListener } from './schema.ts'
import { isLoopback } from './values.ts'
import { warnOfAudit } from './warnings_audit.ts'
import {
  warnOfAuthority,
  warnOfKeyFile,
  warnOfListenerCertificate,
  warnOfTrusted,
} from './warnings_certificates.ts'
import { warnOfConsole } from './warnings_console.ts'
import { warnOfPool } from './warnings_pool.ts'
import { warnOfGroups } from './warnings_roles.ts'
import { warnOfTrust, warnOfWaiting } from './warnings_trust.ts'

/** Where a warning goes. */
export type Warn = (path: PropertyKey[], what: string) => void

export type Look = Pick<Outside, 'readFile' | 'fileMode' | 'now'>

/** In the order of the file. */
export function warningsOf({ file, document, config }: Inspected, outside: Look): Complaint[] {
  const found: Complaint[] = []
  const warn: Warn = (path, what) => found.push({ offset: document.offset(path), what })
  const look: Look = {
    now: outside.now,
    readFile: (path) => outside.readFile(document.resolve(path)),
    fileMode: (path) => outside.fileMode(document.resolve(path)),
  }
  for (const [index, listener] of file.listeners.entries())
    if (!('directory' in listener)) warnOfListener(['listeners', index], listener, look, warn)
  for (const [name, section] of Object.entries(file.clusters)) {
    warnOfSignIn(['clusters', name], section, look, warn)
    warnOfTrust(['clusters', name], section, document, warn)
    warnOfGroups(['clusters', name], section, warn)
    warnOfWaiting(['clusters', name], section, file.limits.authentication_timeout, warn)
    warnOfPool(['clusters', name], section, file.limits.authentication_timeout, warn)
  }
  if (file.peers !== undefined)
    warnOfAuthority(
      ['peers', 'ca_cert'],
      file.peers.ca_cert,
      'gates believe each other no more',
      look,
      warn,
    )
  warnOfAudit(file, warn)
  warnOfOps(file, warn)
  warnOfConsole(file, warn)
  for (const { path, what } of config.access.strays) warn(path, what)
  return found.sort((one, other) => one.offset - other.offset)
}

function warnOfListener(
  path: PropertyKey[],
  { tls, allow_plaintext, proxy_protocol }: TcpListener,
  look: Look,
  warn: Warn,
): void {
  if (allow_plaintext)
    warn(
      [...path, 'allow_plaintext'],
      'clients may send their tokens in clear, and whoever can capture on this machine reads them; remove it and give the listener tls',
    )
  for (const [index, { bits }] of proxy_protocol?.from.entries() ?? [])
    if (bits === 0)
      warn(
        [...path, 'proxy_protocol', 'from', index],
        'anybody may say which address they come from; name your proxies alone',
      )
  if (tls === undefined) return
  const pairs = [
    { at: [...path, 'tls'], ...tls },
    ...tls.certificates.map((pair, index) => ({
      at: [...path, 'tls', 'certificates', index],
      ...pair,
    })),
  ]
  for (const { at, cert_file, key_file } of pairs) {
    warnOfListenerCertificate([...at, 'cert_file'], cert_file, look, warn)
    warnOfKeyFile([...at, 'key_file'], key_file, look, warn)
  }
  if (tls.client_ca_file !== undefined)
    warnOfTrusted([...path, 'tls', 'client_ca_file'], tls.client_ca_file, look, warn)
}

function warnOfSignIn(
  path: PropertyKey[],
  { nodes, sign_in, certificate, scram }: ClusterSection,
  look: Look,
  warn: Warn,
): void {
  for (const [index, { tls }] of nodes.entries())
    if (tls !== undefined)
      warnOfTrusted([...path, 'nodes', index, 'tls', 'ca_file'], tls.ca_file, look, warn)
  if (sign_in === 'trust')
    warn(
      [...path, 'sign_in'],
      'the node asks nothing: whoever else reaches it is any role; write peer or certificate, or let its pg_hba.conf trust the gate alone',
    )
  if (scram !== undefined && sign_in !== 'scram')
    warn(
      [...path, 'scram'],
      `no secret is used with sign_in: ${sign_in}; remove it, or write sign_in: scram`,
    )
  if (certificate === undefined) return
  if (sign_in === 'certificate')
    warnOfAuthority(
      [...path, 'certificate', 'ca_cert'],
      certificate.ca_cert,
      'nobody can sign in',
      look,
      warn,
    )
  else
    warn(
      [...path, 'certificate'],
      `nothing is signed with sign_in: ${sign_in}, and whoever gets this key is any role; remove it, or write sign_in: certificate`,
    )
}

function warnOfOps({ ops: { listen } }: File, warn: Warn): void {
  if (listen === undefined || isLoopback(listen.host)) return
  warn(
    ['ops', 'listen'],
    `${listen.host} is not loopback, and nobody is asked for a password here; write 127.0.0.1:${listen.port}, or let only your monitoring reach it`,
  )
}
