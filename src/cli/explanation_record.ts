/**
 * A login found again in an audit stream: its `login_decision`, and how the node took it.
 * Rule: the file may be any file, and big. It is read once, a line at a time, and what is not of the
 * form is not there.
 */
import { Buffer } from 'node:buffer'
import type { Findings } from '../identity/findings.ts'
import type { Step } from '../telemetry/events.ts'
import type { Login } from './explanation_login.ts'

/** An event is shorter by far; the rest of a longer line is not looked at. */
const LINE_BYTES_MAX = 1024 * 1024
const NEWLINE = 0x0a

/** @returns undefined where no login has the id. */
export async function findLogin(
  stream: AsyncIterable<Uint8Array>,
  id: string,
): Promise<Login | undefined> {
  let login: Login | undefined
  const written = JSON.stringify(id).slice(1, -1)
  for await (const line of lines(stream)) {
    if (!line.includes(written)) continue
    const event = parse(line)
    if (event?.SessionID !== id) continue
    if (event.EventType === 'login_decision') login = readLogin(event)
    const taken = OUTCOMES.has(event.EventType)
    if (login !== undefined && taken && login.Result === 'granted')
      login.Node = { Failure: text(event.Failure), Why: text(event.Detail) }
    if (login !== undefined && (taken || login.Result === 'refused')) return login
  }
  return login
}

const OUTCOMES = new Set<unknown>(['client_authentication_ok', 'client_authentication_failed'])

async function* lines(stream: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let parts: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of stream) {
    let from = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      yield Buffer.concat([...parts, chunk.subarray(from, end)]).toString()
      parts = []
      bytes = 0
      from = end + 1
    }
    bytes += chunk.length - from
    if (bytes <= LINE_BYTES_MAX) parts.push(chunk.subarray(from))
  }
  if (parts.length > 0) yield Buffer.concat(parts).toString()
}

type Members = Record<string, unknown>

function parse(line: string): Members | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

const METHODS = ['jwt_token', 'oauthbearer', 'passthrough'] as const
const STEPS: readonly Step[] = ['powers', 'provisioning', 'groups']

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
