/**
 * A configuration file becomes a Config: narrow values that nobody has to check again. Everything
 * that can be wrong with the file is found here, all at once, each with its place.
 */
import type { SecureContext } from 'node:tls'
import type { Node } from '../cluster/node.ts'
import { Failure } from '../failure.ts'
import { parseIdentityMap } from '../identity/identity_map.ts'
import { NO_KEYS } from '../identity/keys.ts'
import type { Trust } from '../identity/trust.ts'
import type { Rules } from '../policy/decide.ts'
import type { Level } from '../telemetry/log.ts'
import { type Complaint, type ConfigDocument, type Outside, readDocument } from './document.ts'
import { check } from './mistakes.ts'
import { type Reading, readNode } from './nodes.ts'
import { certificateProblem, privateKeyProblem, secureContext } from './pem.ts'
import * as schema from './schema.ts'
import type { HostPort } from './values.ts'

export interface Config {
  listeners: ListenerConfig[]
  cluster: {
    name: string
    trust: Trust
    rules: Rules
    node: Node
    /** Whom `postern cluster doctor` looks around as. */
    management: { role: string } | undefined
  }
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
  if (document.value === undefined) throw invalid(document, document.complaints)
  const read = check(schema.file, document.value ?? {})
  const found = (read.ok ? [] : read.mistakes).map(({ path, message, key }) => ({
    offset: document.offset(path, key),
    what: message,
  }))
  // What is missing from outside is told once, not again for what stands in its place.
  const told = new Set(document.complaints.map(({ offset }) => offset))
  const complaints = [...document.complaints, ...found.filter(({ offset }) => !told.has(offset))]
  if (!read.ok || complaints.length > 0) throw invalid(document, complaints)
  return build(read.value, document, outside)
}

function build(file: schema.File, document: ConfigDocument, outside: Outside): Config {
  const complaints: Complaint[] = []
  const reading = openReading(document, outside, complaints)
  const listeners = file.listeners.map((listener, index) =>
    'directory' in listener
      ? unixListener(listener)
      : tcpListener(['listeners', index, 'tls'], listener, reading),
  )
  const clusters = Object.entries(file.clusters).map(([name, section]) => ({
    name,
    trust: trust(name, section, reading),
    rules: rules(section),
    node: readNode(name, section, reading),
    management: section.management,
  }))
  const [cluster] = clusters
  if (complaints.length > 0 || cluster === undefined) throw invalid(document, complaints)
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

function openReading(document: ConfigDocument, outside: Outside, complaints: Complaint[]): Reading {
  const complain: Reading['complain'] = (path, what) =>
    complaints.push({ offset: document.offset(path), what })
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
    now: outside.now,
  }
}

function unixListener({ directory, port, mode }: schema.UnixListener): ListenerConfig {
  const bind = { path: `${directory}/.s.PGSQL.${port}`, mode }
  return { bind, entrance: { secureContext: undefined, allowPlaintext: true } }
}

function tcpListener(
  path: PropertyKey[],
  { address, tls, allow_plaintext }: schema.TcpListener,
  reading: Reading,
): ListenerConfig {
  const entrance = {
    secureContext: tls && serverContext(path, tls, reading),
    allowPlaintext: allow_plaintext,
  }
  return { bind: address, entrance }
}

function serverContext(
  path: PropertyKey[],
  { cert_file, key_file }: { cert_file: string; key_file: string },
  { pem, complain }: Reading,
): SecureContext | undefined {
  const cert = pem([...path, 'cert_file'], cert_file, certificateProblem)
  const key = pem([...path, 'key_file'], key_file, privateKeyProblem)
  if (cert === undefined || key === undefined) return undefined
  const made = secureContext({ cert, key })
  if (made.ok) return made.secureContext
  complain(path, made.problem)
  return undefined
}

function trust(name: string, section: schema.ClusterSection, reading: Reading): Trust {
  const map = parseIdentityMap(section['server.identity_map.configuration'], {
    foldCase: section.kind === 'cockroachdb',
    allowUnanchored: section['server.identity_map.allow_unanchored'],
  })
  if (!map.ok)
    for (const { text } of map.problems)
      reading.complain(['clusters', name, 'server.identity_map.configuration'], text)
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
