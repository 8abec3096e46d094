/**
 * A configuration file becomes a Config: narrow values that nobody has to check again. Everything
 * that can be wrong with the file is found here, all at once, each with its place.
 */
import type { Node } from '../cluster/node.ts'
import { openPowers, type Powers } from '../cluster/powers.ts'
import { Failure } from '../failure.ts'
import { type IdentityMap, parseIdentityMap } from '../identity/identity_map.ts'
import { NO_KEYS } from '../identity/keys.ts'
import type { Trust } from '../identity/trust.ts'
import type { Rules } from '../policy/decide.ts'
import type { Level } from '../telemetry/log.ts'
import { type Complaint, type ConfigDocument, type Outside, readDocument } from './document.ts'
import { type ListenerTls, readListenerTls } from './listener_tls.ts'
import { check, shown } from './mistakes.ts'
import { type Reading, readNode } from './nodes.ts'
import { readableSections, type Sections } from './readable.ts'
import * as schema from './schema.ts'
import type { HostPort } from './values.ts'

export interface Config {
  listeners: ListenerConfig[]
  cluster: {
    name: string
    trust: Trust
    rules: Rules
    node: Node
    /** Whom the gate asks about roles as, and `postern cluster doctor` looks around as. */
    management: { role: string } | undefined
    powers: Powers | undefined
  }
  limits: { connections: number; authenticationTimeoutMs: number }
  ops: HostPort | undefined
  log: { level: Level }
  /** `stdout` or the path of a file. */
  auditTo: string
}

export interface ListenerConfig {
  bind: HostPort | { path: string; mode: number }
  tls: ListenerTls | undefined
  /** A token may be asked for without TLS: a unix socket, or loopback by `allow_plaintext`. */
  allowPlaintext: boolean
}

/** A file without mistakes, for those who look at what it says. */
export interface Inspected {
  config: Config
  /** The values as they stand in the file. */
  file: schema.File
  document: ConfigDocument
}

/** @throws Failure `config_invalid`, with every mistake on a line of its own. */
export function parseConfig(name: string, text: string, outside: Outside): Config {
  return inspectConfig(name, text, outside).config
}

/** @throws Failure `config_invalid`, with every mistake on a line of its own. */
export function inspectConfig(name: string, text: string, outside: Outside): Inspected {
  const document = readDocument(name, text, outside)
  if (document.value === undefined) throw invalid(document, document.complaints)
  const value = document.value ?? {}
  const read = check(schema.file, value)
  const found: Complaint[] = (read.ok ? [] : read.mistakes).map(({ path, message, key }) => ({
    offset: document.offset(path, key),
    what: message,
  }))
  const reading = openReading(document, outside, (path, what) =>
    found.push({ offset: document.offset(path), what }),
  )
  const parts = readParts(read.ok ? read.value : readableSections(value), reading)
  // What is missing from outside is told once, not again for what stands in its place.
  const told = new Set(document.complaints.map(({ offset }) => offset))
  const complaints = [...document.complaints, ...found.filter(({ offset }) => !told.has(offset))]
  const [cluster] = parts.clusters
  if (!read.ok || complaints.length > 0 || cluster === undefined)
    throw invalid(document, complaints)
  return {
    config: toConfig(read.value, parts.listeners, cluster, document),
    file: read.value,
    document,
  }
}

/** What the files say that the sections name, and the identity map. */
function readParts({ listeners, clusters }: Sections, reading: Reading) {
  return {
    listeners: listeners.flatMap((listener, index) => {
      if (listener === undefined) return []
      return 'directory' in listener
        ? unixListener(listener)
        : tcpListener(['listeners', index, 'tls'], listener, reading)
    }),
    clusters: Object.entries(clusters).map(([name, section]) => {
      const node = readNode(name, section, reading)
      return {
        name,
        trust: trust(name, section, reading),
        rules: rules(section),
        node,
        management: section.management,
        powers: powers(section, node, reading),
      }
    }),
  }
}

function toConfig(
  file: schema.File,
  listeners: ListenerConfig[],
  cluster: Config['cluster'],
  document: ConfigDocument,
): Config {
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

function openReading(
  document: ConfigDocument,
  outside: Outside,
  complain: Reading['complain'],
): Reading {
  return {
    complain,
    pem(path, file, problemOf) {
      try {
        const pem = outside.readFile(document.resolve(file))
        const problem = problemOf(pem)
        if (problem === undefined) return pem
        complain(path, `${file} is ${problem}`)
      } catch (thrown) {
        complain(path, `cannot read ${file}: ${(thrown as Error).message}`)
      }
      return undefined
    },
    isPrivate: (file) => (outside.fileMode(document.resolve(file)) & 0o077) === 0,
    resolve: document.resolve,
    now: outside.now,
    tellTo: (other) => openReading(document, outside, other),
  }
}

function unixListener({ directory, port, mode }: schema.UnixListener): ListenerConfig {
  const bind = { path: `${directory}/.s.PGSQL.${port}`, mode }
  return { bind, tls: undefined, allowPlaintext: true }
}

function tcpListener(
  path: PropertyKey[],
  { address, tls, allow_plaintext }: schema.TcpListener,
  reading: Reading,
): ListenerConfig {
  const read = tls && readListenerTls(path, tls, reading)
  return { bind: address, tls: read, allowPlaintext: allow_plaintext }
}

function trust(name: string, section: schema.ClusterSection, reading: Reading): Trust {
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
    identityMap: identityMap(section, issuers?.names ?? new Set(), (what) =>
      reading.complain(['clusters', name, 'server.identity_map.configuration'], what),
    ),
    foldCase: section.kind === 'cockroachdb',
  }
}

/**
 * An issuer without a rule is taken at its word, so a map that is empty by mistake, or whose issuer is
 * misspelt, would let everybody be whom their token says: both are refused.
 */
function identityMap(
  section: schema.ClusterSection,
  issuers: ReadonlySet<string>,
  complain: (what: string) => void,
): IdentityMap {
  const text = section['server.identity_map.configuration']
  const parsed = parseIdentityMap(text ?? '', {
    foldCase: section.kind === 'cockroachdb',
    allowUnanchored: section['server.identity_map.allow_unanchored'],
  })
  if (!parsed.ok) {
    for (const { text } of parsed.problems) complain(text)
    return { lookup: () => ({ found: true, users: [], lines: [] }), lineCount: 0 }
  }
  if (text !== undefined && parsed.lines.length === 0)
    complain(
      'the map holds no rule, and without one every issuer is taken at its word; write one, or leave the key out',
    )
  if (issuers.size > 0)
    for (const { number, mapName } of parsed.lines)
      if (!issuers.has(mapName))
        complain(
          `line ${number}: ${shown(mapName)} is not an accepted issuer; write it exactly as the token's \`iss\``,
        )
  return parsed.map
}

/** CockroachDB has none of PostgreSQL's attributes to ask for; by `forward` only tokens sign in. */
function powers(
  { kind, management, sign_in }: schema.ClusterSection,
  node: Node,
  { now }: Reading,
): Powers | undefined {
  const asks = kind === 'postgresql' && sign_in !== 'forward'
  return management !== undefined && asks ? openPowers(node, management, now) : undefined
}

function rules(section: schema.ClusterSection): Rules {
  return {
    audiences: section['server.jwt_authentication.audience'],
    allowRoles: new Set(section.allow_roles),
    ownRoles: new Set(section.management && [section.management.role]),
    replicationRoles: new Set(section.replication_roles),
  }
}

/** In the order of the file. */
function invalid(document: ConfigDocument, complaints: readonly Complaint[]): Failure {
  const problems = complaints
    .toSorted((one, other) => one.offset - other.offset)
    .map(({ offset, what }) => `${document.place(offset)}: ${what}`)
  return new Failure('config_invalid', { values: { problems: problems.join('\n') } })
}
