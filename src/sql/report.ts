/**
 * What observers may know of one session: its audit events, its metrics, its log lines. The session
 * tells it what happened; it decides nothing. A token never comes here.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { MembershipChange } from '../cluster/memberships.ts'
import type { Failure } from '../failure.ts'
import type { Findings } from '../identity/findings.ts'
import type { Principal } from '../identity/principal.ts'
import { shortened } from '../identity/quoted.ts'
import type { Metric } from '../peers/messages.ts'
import type { Primary } from '../peers/primary.ts'
import type { Ask, Grant, Rules } from '../policy/decide.ts'
import type {
  AuditEvent,
  Connection,
  Decision,
  Encryption,
  Happening,
  Identity,
  Method,
  Step,
} from '../telemetry/events.ts'
import type { Logger } from '../telemetry/log.ts'
import { type LoginParts, LoginTime, type Waits, type Whom } from '../telemetry/login_time.ts'
import type { Peer } from '../wire/proxy_header.ts'
import type { Report as Said } from '../wire/server_messages.ts'
import type { Startup } from '../wire/startup.ts'
import type { Origin } from './handshake.ts'
import type { Ended } from './relay.ts'

/** A name is no longer; what is longer may be a token in the wrong place. */
const NAME_CHARACTERS_MAX = 63

export interface Observers {
  primary: Pick<Primary, 'audit' | 'count'>
  log: Logger
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
  /** Where the time of each login goes is told in full. */
  traced: boolean
}

/** Opened with the connection, closed with it. */
export class Report implements Waits {
  readonly #observers: Observers
  readonly #connection: Connection
  readonly #startedMs: number
  /** Until the login is over. */
  #time: LoginTime | undefined
  #openedMs = 0
  #wasOpened = false
  #named = false
  #replication = false
  #tls: Encryption | null = null
  #decided = false
  #method: Method = 'jwt_token'
  #node = ''
  #audiences: readonly string[] = NOBODYS
  #token: Findings = {}
  #identity: Identity | undefined
  #step: Step | '' = ''
  #rule = ''

  constructor(comer: { id: string; origin: Origin }, observers: Observers) {
    this.#observers = observers
    this.#connection = describe(comer)
    this.#startedMs = observers.now()
    this.#time = new LoginTime(observers.elapsed, observers.traced)
    this.#count({ name: 'connection_opened' })
  }

  /** Whose connection it is, where a proxy speaks for somebody. */
  from(peer: Origin): void {
    if (peer !== 'unix') this.#connection.RemoteAddress = hostPort(peer)
  }

  /** Filled while the token is judged. */
  get token(): Findings {
    return this.#token
  }

  /** `host:port` of the client; empty on a unix socket. */
  get remoteAddress(): string {
    return this.#connection.RemoteAddress
  }

  /** The client has said its name, be it what it may. */
  hello({ user, database, parameters }: Startup, socket: Socket): void {
    const connection = this.#connection
    this.#named = true
    this.#time?.turn('gate')
    this.#tls = socket instanceof TLSSocket ? encryption(socket) : null
    connection.User = cut(user)
    connection.Database = cut(database ?? '')
    connection.ApplicationName = cut(parameters.get('application_name') ?? '')
    if (connection.Network === 'tcp') connection.Transport = this.#tls === null ? 'host' : 'hostssl'
  }

  /** While somebody else than the gate is waited for. */
  waiting<T>(whom: Whom, work: Promise<T>): Promise<T> {
    return this.#time?.waiting(whom, work) ?? work
  }

  /** Which cluster it meant. */
  routed({ name }: { name: string }): void {
    this.#connection.Cluster = name
  }

  /** What it asks for, in the cluster's spelling. */
  asked({ user, database, replication }: Ask): void {
    this.#connection.User = user
    this.#connection.Database = cut(database)
    this.#replication = replication
  }

  /** Which way the token is given, and whom it may be made for. */
  offered(method: Method, { audiences }: Pick<Rules, 'audiences'>): void {
    this.#method = method
    this.#audiences = [...audiences]
  }

  /** No token is given: the node is to judge, and the user's own name is all that is known. */
  passing(user: string): void {
    this.#method = 'passthrough'
    this.#identity = { ...NOBODY, SystemIdentity: user }
  }

  identified(principal: Principal): void {
    this.#identity = identify(principal)
    this.#count({ name: 'token', result: this.token.remembered ? 'remembered' : 'verified' })
  }

  /** What comes next on the cluster. */
  at(step: Step): void {
    this.#step = step
  }

  /** Told before it is done: a user is about to be made. */
  async creating(RoleName: string, Source: string): Promise<void> {
    await this.#audit({ EventType: 'create_role', RoleName, Source })
    this.#count({ name: 'role_created' })
  }

  /** Told before it is done: the user's groups are about to be others. */
  async changing({ granted, revoked }: MembershipChange): Promise<void> {
    const Members = [this.#connection.User]
    if (granted.length > 0)
      await this.#audit({ EventType: 'grant_role', GranteeRoles: granted, Members })
    if (revoked.length > 0)
      await this.#audit({ EventType: 'revoke_role', GranteeRoles: revoked, Members })
    this.#count({ name: 'memberships', granted: granted.length, revoked: revoked.length })
  }

  /** The access rule that decided; empty where there are none. */
  letInBy(rule: string): void {
    this.#rule = rule
  }

  async granted({ role }: Pick<Grant, 'role'>): Promise<void> {
    this.#step = ''
    await this.#decide('granted', { Failure: '', Why: '', Detail: '', Role: role })
  }

  /** Written before it is counted: a session that can't be written down was none. */
  async opened(node: { name: string }, warm: boolean): Promise<void> {
    this.#node = node.name
    this.#openedMs = this.#observers.now()
    const Duration = this.#openedMs - this.#startedMs
    const parts = this.#time?.parts()
    const Node = this.#node
    if (this.#identity !== undefined)
      await this.#audit({
        EventType: 'client_authentication_ok',
        ...this.#identity,
        Node,
        NodeSession: warm ? 'warm' : 'new',
        AccessRule: this.#rule,
        Duration,
        Durations: rounded(parts),
      })
    this.#count({ name: 'login', result: 'ok', seconds: Duration / 1000, parts })
    this.#over('ok')
    this.#count({ name: 'session_opened' })
    this.#wasOpened = true
  }

  async ended({ by, how, why }: Ended, bytes: { toClient: number; toNode: number }): Promise<void> {
    this.#count({ name: 'session_closed', by, failure: why?.code ?? '' })
    if (why !== undefined) this.#note(why, how)
    this.#count({ name: 'relayed', direction: 'to_client', bytes: bytes.toClient })
    this.#count({ name: 'relayed', direction: 'to_node', bytes: bytes.toNode })
    if (this.#identity === undefined) return
    await this.#audit({
      EventType: 'client_session_end',
      ...this.#identity,
      Duration: this.#observers.now() - this.#openedMs,
      Ended: how,
      BytesToClient: bytes.toClient,
      BytesToNode: bytes.toNode,
    })
  }

  /** Who was refused before saying its name is in the log alone. */
  async refused(failure: Failure): Promise<void> {
    const { code, row, message, detail, log } = failure
    const Detail = [message, detail, log].filter((part) => part !== undefined).join('; ')
    this.#note(failure, Detail)
    // Its end could not be written down: the login itself was none that failed.
    if (this.#wasOpened) return
    const seconds = (this.#observers.now() - this.#startedMs) / 1000
    this.#count({ name: 'login', result: code, seconds })
    this.#over(code)
    if (!this.#named) return
    if (!this.#decided)
      await this.#decide('refused', { Failure: code, Why: Detail, Detail: detail ?? '', Role: '' })
    await this.#audit({
      EventType: 'client_authentication_failed',
      ...this.#identity,
      Reason: row.reason,
      Failure: code,
      Sqlstate: row.sqlstate,
      Detail,
    })
  }

  closed(): void {
    this.#count({ name: 'connection_closed' })
  }

  /** What the client is told: the failure's sentence, and the way to its line in the log. */
  refusal({ row, message, detail, hint: todo }: Failure): Said {
    const accepted = row.behindToken && this.#method !== 'passthrough'
    const request = `request id: ${this.#connection.SessionID}`
    const first = accepted ? `the token was accepted; ${todo}` : todo
    const hint = first === undefined ? request : `${first}\n${request}`
    return { severity: 'FATAL', sqlstate: row.sqlstate, message, detail, hint }
  }

  /** A line in the log, under the request id that the client was told. */
  #note({ code, row }: Failure, what: string): void {
    const about = {
      request: this.#connection.SessionID,
      failure: code,
      user: this.#connection.User,
    }
    this.#observers.log[row.level](about, what)
  }

  /** The decision record: once a login, and what it rests on is nobody's business any more. */
  async #decide(
    Result: Decision['Result'],
    what: Pick<Decision, 'Failure' | 'Why' | 'Detail' | 'Role'>,
  ): Promise<void> {
    const happening: Happening = {
      EventType: 'login_decision',
      Result,
      ...what,
      AccessRule: this.#rule,
      Step: this.#step,
      Replication: this.#replication,
      Tls: this.#tls,
      Token: this.#token,
      AcceptedAudiences: this.#audiences,
    }
    this.#decided = true
    this.#tls = null
    this.#token = {}
    this.#audiences = NOBODYS
    await this.#audit(happening)
  }

  /** The login is, and nobody asks any more where its time goes. */
  #over(result: string): void {
    const time = this.#time
    this.#time = undefined
    if (time === undefined || !this.#observers.traced) return
    const { SessionID: request, Cluster: cluster } = this.#connection
    const about = { request, cluster, node: this.#node, result, startMs: this.#startedMs }
    this.#count({ name: 'login_trace', ...about, laps: time.laps() })
  }

  #count(metric: Metric): void {
    this.#observers.primary.count(metric)
  }

  async #audit(happening: Happening): Promise<void> {
    const event: AuditEvent = { ...happening, ...this.#connection, Method: this.#method }
    await this.#observers.primary.audit(event)
  }
}

function describe({ id, origin }: { id: string; origin: Origin }): Connection {
  const isUnix = origin === 'unix'
  return {
    SessionID: id,
    Network: isUnix ? 'unix' : 'tcp',
    RemoteAddress: isUnix ? '' : hostPort(origin),
    Transport: isUnix ? 'local' : 'host',
    Cluster: '',
    User: '',
    Database: '',
    ApplicationName: '',
  }
}

function hostPort({ address, port }: Peer): string {
  return `${address.includes(':') ? `[${address}]` : address}:${port}`
}

const NOBODYS: readonly string[] = []
const NOBODY = { Subject: '', Issuer: '', KeyID: '', TokenID: '', TokenDigest: '', TokenExpiry: 0 }

function identify(principal: Principal): Identity {
  return {
    SystemIdentity: shortened(principal.names.join(' ')),
    Subject: shortened(principal.subject ?? ''),
    Issuer: principal.issuer,
    KeyID: principal.keyId,
    TokenID: shortened(principal.tokenId ?? ''),
    TokenDigest: principal.digest,
    TokenExpiry: principal.until ?? 0,
  }
}

function encryption(socket: TLSSocket): Encryption {
  return {
    version: socket.getProtocol() ?? '',
    cipher: socket.getCipher().standardName,
    serverName: typeof socket.servername === 'string' ? socket.servername : '',
    alpn: socket.alpnProtocol || '',
    clientSubject: socket.getPeerX509Certificate()?.subject ?? '',
  }
}

/** To a tenth of a millisecond. */
function rounded(parts: LoginParts = NOTHING): LoginParts {
  const tenths = (ms: number) => Math.round(ms * 10) / 10
  return {
    client: tenths(parts.client),
    issuer: tenths(parts.issuer),
    node: tenths(parts.node),
    gate: tenths(parts.gate),
  }
}

const NOTHING: LoginParts = { client: 0, issuer: 0, node: 0, gate: 0 }

function cut(name: string): string {
  return shortened(name, NAME_CHARACTERS_MAX)
}
