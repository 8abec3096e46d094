/**
 * A configuration file becomes a Config: narrow values that nobody has to check again. Everything
 * that can be wrong with the file is found here, all at once, each with its place.
 */
import { createHash } from 'node:crypto'
import type { SignIn } from '../cluster/node.ts'
import type { NodesPlan } from '../cluster/nodes.ts'
import type { PoolPlan } from '../cluster/pool.ts'
import { Failure } from '../failure.ts'
import type { Trust } from '../identity/trust.ts'
import type { Issuers } from '../issuers/issuers.ts'
import type { Rules } from '../policy/decide.ts'
import type { Authorization } from '../policy/groups.ts'
import { type Networks, openNetworks } from '../policy/networks.ts'
import { type Revocations, revokedIds } from '../policy/revocation.ts'
import type { StatePlace } from '../state/check.ts'
import type { StatePlan } from '../state/state.ts'
import type { Level } from '../telemetry/log.ts'
import { type Challenge, configurationOf } from '../wire/oauthbearer.ts'
import type { Dialect } from '../wire/options.ts'
import { type Access, readAccess } from './access.ts'
import { type AuditPlan, readAudit } from './audit_settings.ts'
import { type NamedCertificates, namedCertificates } from './certificates.ts'
import { type ConsoleConfig, consoleOf } from './console_settings.ts'
import { type Complaint, type ConfigDocument, type Outside, readDocument } from './document.ts'
import { type ListenerTls, readListenerTls } from './listener_tls.ts'
import { check } from './mistakes.ts'
import { type Reading, readNodes } from './nodes.ts'
import { type PeersConfig, readPeers } from './peers.ts'
import { poolPlan } from './pool_settings.ts'
import { readableSections, type Sections } from './readable.ts'
import { openReading } from './reading.ts'
import { type SettingNow, settingsNow, underlaid } from './runtime_settings.ts'
import * as schema from './schema.ts'
import { noteOutside, outsideOf, type Source } from './source.ts'
import type { StateSection } from './state_settings.ts'
import { type Believed, readTrust } from './trust.ts'
import { AUTHORIZATION, JWT, KEEP_OTHERS, OAUTH, PROVISIONING, ROLES } from './trust_settings.ts'
import type { HostPort } from './values.ts'

export interface Config {
  listeners: ListenerConfig[]
  /** In the order of the file; a client says which one where there are several. */
  clusters: [ClusterConfig, ...ClusterConfig[]]
  limits: Limits
  /** How long sessions may finish what they do when the gate is asked to end. */
  shutdown: { graceMs: number }
  /** Where operators are listened to, and the names that the status page goes by. */
  ops: { listen: HostPort; hosts: readonly string[] } | undefined
  log: { level: Level }
  audit: AuditPlan
  /** Where logins are told as spans, by OTLP over HTTP; undefined where they aren't. */
  tracing: { endpoint: string } | undefined
  /** How many processes have the sessions; with 1 the gate's own has them. */
  workers: number | 'auto'
  /** Gates beside this one, which cancels are told to. */
  peers: PeersConfig | undefined
  /** Who may come in: rules, and lists. */
  access: Access
  /** What gates share, and which cluster keeps it. */
  state: (StatePlan & { cluster: string }) | undefined
  /** Whose ends are to be seen. */
  certificates: readonly NamedCertificates[]
  /** The gate's own console, where there is one. */
  console: ConsoleConfig | undefined
  /** What is set for all gates may decide whom this one trusts, whether it has a console or not. */
  mayChangeTrust: boolean
  /** Those that can be changed while gates run. */
  settings: readonly SettingNow[]
  /** What it was made of. */
  source: Source
}

/** How much is enough, for one process; undefined where there is no bound. */
export interface Limits {
  connections: number
  connectionsPerAddress: number | undefined
  sessionsPerUser: number | undefined
  handshakeTimeoutMs: number
  authenticationTimeoutMs: number
  idleTimeoutMs: number | undefined
  /** Before who failed may try again, the first time; 0 for at once. */
  failedLoginDelayMs: number
  /** Of each address range. */
  handshakesPerSecond: number | undefined
}

/** What becomes of a session when the token that began it expires. */
export interface AtExpiry {
  end: 'never' | 'when_idle' | 'always'
  /** How long `always` lets it finish what it does. */
  graceMs: number
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
  nodes: NodesPlan
  /** Whom the gate asks about roles as, and `postern cluster doctor` looks around as. */
  management: { role: string } | undefined
  /** What becomes of groups, where anything does. */
  authorization: Authorization | undefined
  /** Where it keeps what gates share, if it does. */
  state: StatePlace | undefined
  /** Tokens that the file itself revokes. */
  revokedIds: Revocations
  /** A user who is not there is made at the first sign-in. */
  provisioning: boolean
  /** What becomes of clients that don't say that a token will come. */
  nonJwtLogins: 'reject' | 'passthrough' | 'detect'
  /** Another one where anything of this would be: of its section, or of a file that it names. */
  fingerprint: string
  atExpiry: AtExpiry
  /** How node sessions are kept for the next client, where they are. */
  pool: PoolPlan | undefined
  /** Whether node sessions say whose they are. */
  attribution: 'off' | 'application_name'
}

export interface ListenerConfig {
  bind: HostPort | { path: string; mode: number } | { fd: number }
  /** Who has to say, by a PROXY header, whom they speak for; nobody else may connect then. */
  proxies: Networks | undefined
  /** How long a silent connection waits for a sign of life. */
  keepAliveMs: number
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

/**
 * @param previous - what the file said before: an issuer of which nothing changed goes on.
 * @throws Failure `config_invalid`, with every mistake on a line of its own.
 */
export function parseConfig(
  name: string,
  text: string,
  outside: Outside,
  previous?: Config,
): Config {
  return inspectConfig(name, text, outside, previous).config
}

/** @throws Failure `config_invalid`, with every mistake on a line of its own. */
export function inspectConfig(
  name: string,
  text: string,
  from: Outside,
  previous?: Config,
): Inspected {
  const settings = from.settings ?? previous?.source.settings ?? new Map<string, string>()
  const { outside, done } = noteOutside(name, text, { ...from, settings })
  const document = underlaid(readDocument(name, text, outside), settings)
  if (document.value === undefined) throw invalid(document, document.complaints)
  const value = document.value ?? {}
  const read = check(schema.file, value)
  const found: Complaint[] = (read.ok ? [] : read.mistakes).map(({ path, message, key }) => ({
    offset: document.offset(path, key),
    what: message,
  }))
  const complain: Reading['complain'] = (path, what) =>
    found.push({ offset: document.offset(path), what })
  const known = new Map(previous?.clusters.map(({ name, issuers }) => [name, issuers]))
  const open = (from: Outside) => openReading(document, from, complain, known)
  const placed = (path: PropertyKey[]) => document.place(document.offset(path))
  const sections = read.ok ? read.value : readableSections(value)
  const parts = {
    listeners: readListeners(sections, open(outside)),
    clusters: readClusters(sections, document, outside, open),
    peers: sections.peers && readPeers(sections.peers, open(outside)),
    access: readAccess(sections, open(outside), placed, previous?.access),
    audit: sections.audit && readAudit(sections.audit, open(outside)),
  }
  // What is missing from outside is told once, not again for what stands in its place.
  const told = new Set(document.complaints.map(({ offset }) => offset))
  const complaints = [...document.complaints, ...found.filter(({ offset }) => !told.has(offset))]
  const [first, ...others] = parts.clusters
  const { audit } = parts
  if (!read.ok || complaints.length > 0 || first === undefined || audit === undefined)
    throw invalid(document, complaints)
  const source = done()
  const kept = outsideOf(source, from.now)
  return {
    config: {
      ...toConfig(read.value, parts.listeners, [first, ...others]),
      peers: parts.peers,
      access: parts.access,
      audit,
      certificates: namedCertificates(read.value, {
        read: (file) => kept.readFile(document.resolve(file)),
        again: (file) => from.readFile(document.resolve(file)),
      }),
      mayChangeTrust: document.mayChangeTrust,
      settings: settingsNow(document, read.value),
      source,
    },
    file: read.value,
    document,
  }
}

function readListeners({ listeners }: Sections, reading: Reading): ListenerConfig[] {
  return listeners.flatMap((listener, index) => {
    if (listener === undefined) return []
    return 'directory' in listener
      ? unixListener(listener)
      : tcpListener(['listeners', index, 'tls'], listener, reading)
  })
}

/** What the files say that the sections name, and the identity map. */
function readClusters(
  { clusters, state }: Sections,
  document: ConfigDocument,
  outside: Outside,
  open: (outside: Outside) => Reading,
): ClusterConfig[] {
  return Object.entries(clusters).map(([name, section]) => {
    const print = openPrint(document, name)
    const reading = open(print.noting(outside))
    const nodes = readNodes(name, section, reading)
    const believed = readTrust(name, section, reading)
    const kept = state?.cluster === name ? state : undefined
    // Two sections may be about the same nodes.
    const owner = state && { role: state.role }
    return {
      name,
      trust: believed.jwt,
      rules: rules(section, owner),
      oauthbearer: oauthbearer(section, believed, owner),
      issuers: believed.issuers,
      dialect: section.kind,
      signIn: section.sign_in,
      nodes,
      management: section.management,
      state: kept && { role: kept.role, database: kept.database },
      revokedIds: revokedIds(section.jwt_revoked_ids),
      authorization: authorization(section),
      provisioning: section[PROVISIONING],
      nonJwtLogins: section.non_jwt_logins,
      atExpiry: { end: section.session.end_at_token_expiry, graceMs: section.session.grace },
      pool: poolPlan(section.pool),
      attribution: section.attribution,
      fingerprint: print.done(),
    }
  })
}

/** Of a cluster's section as it stands in the file, and of all the texts that it names. */
function openPrint({ value }: ConfigDocument, name: string) {
  const hash = createHash('sha256')
  const note = (...parts: unknown[]) => void hash.update(`${JSON.stringify(parts)}\n`)
  const { clusters } = value as { clusters: Record<string, unknown> }
  note(clusters[name])
  let over = false
  return {
    noting: (outside: Outside): Outside => ({
      ...outside,
      readFile(path) {
        const text = outside.readFile(path)
        // What is read later on is read anew each time.
        if (!over) note(path, text)
        return text
      },
    }),
    done() {
      over = true
      return hash.digest('hex')
    },
  }
}

function toConfig(
  file: schema.File,
  listeners: ListenerConfig[],
  clusters: Config['clusters'],
): Omit<
  Config,
  'peers' | 'access' | 'audit' | 'certificates' | 'mayChangeTrust' | 'settings' | 'source'
> {
  return {
    listeners,
    clusters,
    limits: limits(file.limits),
    workers: file.workers,
    state: file.state && statePlan(file.state),
    shutdown: { graceMs: file.shutdown.grace },
    console: consoleOf(file.console, Object.keys(file.clusters)),
    ops: file.ops.listen && { listen: file.ops.listen, hosts: file.ops.hosts },
    log: file.log,
    tracing: file.tracing.otlp_endpoint ? { endpoint: file.tracing.otlp_endpoint } : undefined,
  }
}

function statePlan({ cluster, role, database, max_age }: StateSection): Config['state'] {
  return { cluster, role, database, maxAgeMs: max_age }
}

function limits(section: schema.File['limits']): Limits {
  return {
    connections: section.connections,
    connectionsPerAddress: section.connections_per_address,
    sessionsPerUser: section.sessions_per_user,
    handshakeTimeoutMs: section.handshake_timeout,
    authenticationTimeoutMs: section.authentication_timeout,
    idleTimeoutMs: section.idle_timeout,
    failedLoginDelayMs: section.failed_login_delay,
    handshakesPerSecond: section.handshakes_per_second,
  }
}

function unixListener({ directory, port, mode }: schema.UnixListener): ListenerConfig {
  const bind = { path: `${directory}/.s.PGSQL.${port}`, mode }
  return { bind, proxies: undefined, keepAliveMs: 0, tls: undefined, allowPlaintext: true }
}

function tcpListener(
  path: PropertyKey[],
  { address, tls, allow_plaintext, proxy_protocol, keepalive }: schema.TcpListener,
  reading: Reading,
): ListenerConfig {
  return {
    bind: address,
    proxies: proxy_protocol && openNetworks(proxy_protocol.from),
    keepAliveMs: keepalive,
    tls: tls && readListenerTls(path, tls, reading),
    allowPlaintext: allow_plaintext,
  }
}

/** With OAUTHBEARER, which may want another audience, and scopes. */
function oauthbearer(
  section: schema.ClusterSection,
  { oauthbearer: trust }: Believed,
  kept: Kept | undefined,
) {
  if (!trust.enabled) return undefined
  const scope = section[`${OAUTH}.scope`]
  const [issuer = ''] = trust.issuers
  return {
    trust,
    rules: {
      ...rules(section, kept),
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

/** The state that this cluster keeps. */
type Kept = Pick<StatePlace, 'role'>

function rules(section: schema.ClusterSection, kept: Kept | undefined): Rules {
  const own = [section.management, kept].flatMap((each) => (each ? [each.role] : []))
  return {
    audiences: section[`${JWT}.audience`],
    scopes: [],
    allowRoles: new Set(section.allow_roles),
    ownRoles: new Set(own),
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
