/**
 * A configuration file becomes a Config: narrow values that nobody has to check again. Everything
 * that can be wrong with the file is found here, all at once, each with its place.
 */
import type { Node, SignIn } from '../cluster/node.ts'
import { Failure } from '../failure.ts'
import type { Trust } from '../identity/trust.ts'
import type { Issuers } from '../issuers/issuers.ts'
import type { Rules } from '../policy/decide.ts'
import type { Authorization } from '../policy/groups.ts'
import type { Level } from '../telemetry/log.ts'
import { type Challenge, configurationOf } from '../wire/oauthbearer.ts'
import type { Dialect } from '../wire/options.ts'
import { type Complaint, type ConfigDocument, type Outside, readDocument } from './document.ts'
import { type ListenerTls, readListenerTls } from './listener_tls.ts'
import { check } from './mistakes.ts'
import { type Reading, readNodes } from './nodes.ts'
import { readableSections, type Sections } from './readable.ts'
import * as schema from './schema.ts'
import { type Believed, readTrust } from './trust.ts'
import { AUTHORIZATION, JWT, KEEP_OTHERS, OAUTH, PROVISIONING, ROLES } from './trust_settings.ts'
import type { HostPort } from './values.ts'

export interface Config {
  listeners: ListenerConfig[]
  /** In the order of the file; a client says which one where there are several. */
  clusters: [ClusterConfig, ...ClusterConfig[]]
  limits: { connections: number; authenticationTimeoutMs: number }
  ops: HostPort | undefined
  log: { level: Level }
  /** `stdout` or the path of a file. */
  auditTo: string
}

/** What is one cluster's own: whom it believes, whom it lets in, where it is. */
export interface ClusterConfig {
  name: string
  trust: Trust
  rules: Rules
  /** How PostgreSQL 18's own way of giving a token is judged, where it is offered. */
  oauthbearer: { trust: Trust; rules: Rules; challenge: Challenge } | undefined
  /** Those whose documents are fetched. */
  issuers: Issuers
  dialect: Dialect
  signIn: SignIn
  nodes: [Node, ...Node[]]
  /** Whom the gate asks about roles as, and `postern cluster doctor` looks around as. */
  management: { role: string } | undefined
  /** What becomes of groups, where anything does. */
  authorization: Authorization | undefined
  /** A user who is not there is made at the first sign-in. */
  provisioning: boolean
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
  const [first, ...others] = parts.clusters
  if (!read.ok || complaints.length > 0 || first === undefined) throw invalid(document, complaints)
  return {
    config: toConfig(read.value, parts.listeners, [first, ...others], document),
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
      const nodes = readNodes(name, section, reading)
      const believed = readTrust(name, section, reading)
      return {
        name,
        trust: believed.jwt,
        rules: rules(section),
        oauthbearer: oauthbearer(section, believed),
        issuers: believed.issuers,
        dialect: section.kind,
        signIn: section.sign_in,
        nodes,
        management: section.management,
        authorization: authorization(section),
        provisioning: section[PROVISIONING],
      }
    }),
  }
}

function toConfig(
  file: schema.File,
  listeners: ListenerConfig[],
  clusters: Config['clusters'],
  document: ConfigDocument,
): Config {
  return {
    listeners,
    clusters,
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
    text: (file) => outside.readFile(document.resolve(file)),
    proxyEnv: {
      HTTPS_PROXY: outside.env('HTTPS_PROXY') ?? outside.env('https_proxy'),
      NO_PROXY: outside.env('NO_PROXY') ?? outside.env('no_proxy'),
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

/** With OAUTHBEARER, which may want another audience, and scopes. */
function oauthbearer(section: schema.ClusterSection, { oauthbearer: trust }: Believed) {
  if (!trust.enabled) return undefined
  const scope = section[`${OAUTH}.scope`]
  const [issuer = ''] = trust.issuers
  return {
    trust,
    rules: {
      ...rules(section),
      audiences: section[`${OAUTH}.audience`] ?? section[`${JWT}.audience`],
      scopes: scope.split(' ').filter((word) => word !== ''),
    },
    challenge: { scope, configuration: configurationOf(issuer) },
  }
}

function authorization(section: schema.ClusterSection): Authorization | undefined {
  if (!section[AUTHORIZATION]) return undefined
  return {
    roles: section[ROLES],
    userinfoKey: section[`${JWT}.userinfo_group_key`],
    refuseEmpty: section[`${JWT}.authorization.empty_groups`] === 'refuse',
    keepOthers: section[KEEP_OTHERS],
  }
}

function rules(section: schema.ClusterSection): Rules {
  return {
    audiences: section[`${JWT}.audience`],
    scopes: [],
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
