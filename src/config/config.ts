/**
 * A configuration file becomes a Config: narrow values that nobody has to check again. Everything
 * that can be wrong with the file is found here, all at once, each with its place.
 */
import { createSecureContext, type SecureContext } from 'node:tls'
import type { Node, NodeTls } from '../cluster/node.ts'
import { Failure } from '../failure.ts'
import { parseIdentityMap } from '../identity/identity_map.ts'
import { NO_KEYS } from '../identity/keys.ts'
import type { Trust } from '../identity/trust.ts'
import type { Rules } from '../policy/decide.ts'
import type { Level } from '../telemetry/log.ts'
import { type ConfigDocument, type Outside, readDocument } from './document.ts'
import * as schema from './schema.ts'
import type { HostPort } from './values.ts'

export interface Config {
  listeners: ListenerConfig[]
  cluster: { name: string; trust: Trust; rules: Rules; node: Node }
  limits: { connections: number; authenticationTimeoutMs: number }
  ops: HostPort | undefined
  log: { level: Level }
  /** `stdout` or the path of a file. */
  auditTo: string
}

export interface ListenerConfig {
  bind: HostPort | { path: string; mode: number }
  entrance: { secureContext: SecureContext | undefined; allowPlaintext: boolean }
}

/** @throws Failure `config_invalid`, with every mistake on a line of its own. */
export function parseConfig(name: string, text: string, outside: Outside): Config {
  const document = readDocument(name, text, outside)
  if (document.mistakes.length > 0) throw invalid(document.mistakes)
  const read = schema.file.safeParse(document.value ?? {}, { reportInput: true })
  if (!read.success)
    throw invalid(
      schema
        .problems(read.error)
        .map(({ path, message, key }) => `${document.at(path, key)}: ${message}`),
    )
  return build(read.data, document, outside)
}

function build(file: schema.File, document: ConfigDocument, outside: Outside): Config {
  const mistakes: string[] = []
  const complain = (path: PropertyKey[], what: string) =>
    mistakes.push(`${document.at(path)}: ${what}`)
  const pem = (path: PropertyKey[], name: string) => {
    try {
      return outside.readFile(document.resolve(name))
    } catch (thrown) {
      complain(path, `cannot read ${name}: ${(thrown as Error).message}`)
      return ''
    }
  }
  const listeners = file.listeners.map((listener, index) => {
    if ('directory' in listener) return unixListener(listener)
    const path = ['listeners', index, 'tls']
    const { cert_file, key_file } = listener.tls ?? {}
    const pair = cert_file !== undefined && key_file !== undefined
    const secureContext = pair
      ? secure(
          path,
          {
            cert: pem([...path, 'cert_file'], cert_file),
            key: pem([...path, 'key_file'], key_file),
          },
          complain,
        )
      : undefined
    return {
      bind: listener.address,
      entrance: { secureContext, allowPlaintext: listener.allow_plaintext },
    }
  })
  const clusters = Object.entries(file.clusters).map(([name, section]) => ({
    name,
    trust: trust(name, section, complain),
    rules: rules(section),
    node: node(name, section, pem, complain),
  }))
  const [cluster] = clusters
  if (mistakes.length > 0 || cluster === undefined) throw invalid(mistakes)
  return {
    listeners,
    cluster,
    limits: {
      connections: file.limits.connections,
      authenticationTimeoutMs: file.limits.authentication_timeout,
    },
    ops: file.ops.listen,
    log: file.log,
    auditTo: file.audit.to === 'stdout' ? file.audit.to : document.resolve(file.audit.to),
  }
}

type Complain = (path: PropertyKey[], what: string) => void

function unixListener({
  directory,
  port,
  mode,
}: {
  directory: string
  port: number
  mode: number
}) {
  const bind = { path: `${directory}/.s.PGSQL.${port}`, mode }
  return { bind, entrance: { secureContext: undefined, allowPlaintext: true } }
}

function trust(name: string, section: schema.ClusterSection, complain: Complain): Trust {
  const map = parseIdentityMap(section['server.identity_map.configuration'], {
    foldCase: section.kind === 'cockroachdb',
    allowUnanchored: section['server.identity_map.allow_unanchored'],
  })
  if (!map.ok)
    for (const { text } of map.problems)
      complain(['clusters', name, 'server.identity_map.configuration'], text)
  const issuers =
    section['server.jwt_authentication.issuers.configuration'] ??
    section['server.jwt_authentication.issuers']
  const own = Object.entries(section.issuer_options).flatMap(([issuer, { jwks }]) =>
    jwks === undefined ? [] : [[issuer, jwks] as const],
  )
  return {
    enabled: section['server.jwt_authentication.enabled'],
    issuers: issuers?.names ?? new Set(),
    keys: section['server.jwt_authentication.jwks'] ?? NO_KEYS,
    issuerKeys: new Map(own),
    claim: section['server.jwt_authentication.claim'],
    requireExpiry: section['server.jwt_authentication.require_expiry'],
    clockToleranceMs: section['server.jwt_authentication.clock_tolerance'],
    identityMap: map.ok
      ? map.map
      : { lookup: () => ({ found: true, users: [], lines: [] }), lineCount: 0 },
    foldCase: section.kind === 'cockroachdb',
  }
}

function rules(section: schema.ClusterSection): Rules {
  return {
    audiences: section['server.jwt_authentication.audience'],
    allowRoles: new Set(section.allow_roles),
    replicationRoles: new Set(section.replication_roles),
  }
}

function node(
  name: string,
  section: schema.ClusterSection,
  pem: (path: PropertyKey[], file: string) => string,
  complain: Complain,
): Node {
  const [{ address, tls }] = section.nodes as [schema.NodeSection]
  const path = ['clusters', name, 'nodes', 0, 'tls']
  return {
    name: 'path' in address ? address.path : `${address.host}:${address.port}`,
    address,
    tls: tls && nodeTls(path, tls, 'host' in address ? address.host : '', pem, complain),
    signIn: section.sign_in,
    dialect: section.kind,
    connectTimeoutMs: section.connect_timeout,
  }
}

function nodeTls(
  path: PropertyKey[],
  tls: { ca_file: string; server_name?: string | undefined },
  host: string,
  pem: (path: PropertyKey[], file: string) => string,
  complain: Complain,
): NodeTls | undefined {
  const secureContext = secure(path, { ca: pem([...path, 'ca_file'], tls.ca_file) }, complain)
  return secureContext && { secureContext, serverName: tls.server_name ?? host }
}

function secure(
  path: PropertyKey[],
  parts: { cert?: string; key?: string; ca?: string },
  complain: Complain,
): SecureContext | undefined {
  if (Object.values(parts).includes('')) return undefined
  try {
    return createSecureContext({ ...parts, minVersion: 'TLSv1.2' })
  } catch (thrown) {
    complain(path, `not a usable certificate and key in PEM: ${(thrown as Error).message}`)
    return undefined
  }
}

function invalid(mistakes: string[]): Failure {
  return new Failure('config_invalid', { values: { problems: mistakes.join('\n') } })
}
