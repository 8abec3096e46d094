/**
 * A login found again in an audit stream: its `login_decision`, and how the node took it.
 * Rule: the file may be any file, and big. It is read once, a line at a time, and what is not of the
 * form is not there.
 */
import type { Findings } from '../identity/findings.ts'
import type { Step } from '../telemetry/events.ts'
import { linesOf } from '../telemetry/lines.ts'
import { readObject } from '../telemetry/seal.ts'
import type { Login } from './explanation_login.ts'

/** @returns undefined where no login has the id. */
export async function findLogin(
  stream: AsyncIterable<Uint8Array>,
  id: string,
): Promise<Login | undefined> {
  let login: Login | undefined
  const written = JSON.stringify(id).slice(1, -1)
  for await (const { bytes } of linesOf(stream)) {
    if (!bytes.includes(written)) continue
    const event = readObject(bytes.toString())
    if (event?.['SessionID'] !== id) continue
    if (event.EventType === 'login_decision') login = readLogin(event)
    const taken = OUTCOMES.has(event.EventType)
    if (login !== undefined && taken && login.Result === 'granted')
      login.Node = { Failure: text(event.Failure), Why: text(event.Detail) }
    if (login !== undefined && (taken || login.Result === 'refused')) return login
  }
  return login
}

const OUTCOMES = new Set<unknown>(['client_authentication_ok', 'client_authentication_failed'])

type Members = Record<string, unknown>

const METHODS = ['jwt_token', 'oauthbearer', 'passthrough'] as const
const STEPS: readonly Step[] = ['powers', 'provisioning', 'groups']

/** A login's decision, with what else is known of who came. */
export interface Recorded extends Login {
  SessionID: string
  Cluster: string
  Database: string
  RemoteAddress: string
  /** Of its client certificate; empty where none was shown. */
  ClientSubject: string
}

/** All of them, as they come. */
export async function* readDecisions(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Recorded> {
  for await (const { bytes } of linesOf(stream)) {
    if (!bytes.includes('login_decision')) continue
    const event = readObject(bytes.toString())
    if (event?.['EventType'] === 'login_decision') yield readRecorded(event)
  }
}

function readRecorded(event: Members): Recorded {
  const tls = isRecord(event.Tls) ? event.Tls : {}
  return {
    ...readLogin(event),
    SessionID: text(event.SessionID),
    Cluster: text(event.Cluster),
    Database: text(event.Database),
    RemoteAddress: text(event.RemoteAddress),
    ClientSubject: text(tls.clientSubject),
  }
}

function readLogin(event: Members): Login {
  return {
    Result: event.Result === 'granted' ? 'granted' : 'refused',
    Failure: text(event.Failure),
    Why: text(event.Why),
    Detail: text(event.Detail),
    Step: STEPS.find((step) => step === event.Step) ?? '',
    Role: text(event.Role),
    User: text(event.User),
    Method: METHODS.find((method) => method === event.Method) ?? 'jwt_token',
    Replication: event.Replication === true,
    Token: readFindings(isRecord(event.Token) ? event.Token : {}),
    AcceptedAudiences: texts(event.AcceptedAudiences) ?? [],
    JudgedMs: Math.floor((number(event.Timestamp) ?? 0) / 1_000_000),
  }
}

function readFindings(token: Members): Findings {
  const all: { [Name in keyof Findings]-?: Findings[Name] | undefined } = {
    issuer: optional(token.issuer),
    type: optional(token.type),
    algorithm: optional(token.algorithm),
    keyId: optional(token.keyId),
    keysFrom: optional(token.keysFrom),
    keysFetched: number(token.keysFetched),
    verified: token.verified === true ? true : undefined,
    remembered: token.remembered === true ? true : undefined,
    issuedAt: number(token.issuedAt),
    notBefore: number(token.notBefore),
    expires: number(token.expires),
    audiences: texts(token.audiences),
    tokenId: optional(token.tokenId),
    digest: optional(token.digest),
    claim: optional(token.claim),
    names: texts(token.names),
    mapped: typeof token.mapped === 'boolean' ? token.mapped : undefined,
    mapLines: numbers(token.mapLines),
    users: texts(token.users),
    userCount: number(token.userCount),
    groups: texts(token.groups),
    groupsFrom:
      token.groupsFrom === 'userinfo'
        ? 'userinfo'
        : token.groupsFrom === 'token'
          ? 'token'
          : undefined,
    groupCount: number(token.groupCount),
    roles: texts(token.roles),
    roleCount: number(token.roleCount),
    left: texts(token.left),
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

function isRecord(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function optional(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}

function texts(value: unknown): string[] | undefined {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : undefined
}

function numbers(value: unknown): number[] | undefined {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'number') : undefined
}
