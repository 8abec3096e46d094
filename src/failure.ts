/**
 * Every way in which Postern says no: one row a failure. A row holds what a client may see
 * (SQLSTATE, sentence, hint) and what we keep (log level, the audit event's Reason). Nothing else
 * in the project spells a SQLSTATE, an HTTP status or an exit code; docs/failures.md lists the rows.
 * SQLSTATEs: https://www.postgresql.org/docs/18/errcodes-appendix.html
 */

import { ANSWERS } from './failure_answers.ts'
import { COMMANDS } from './failure_commands.ts'

/** Reasons of `client_authentication_failed`, named as CockroachDB names them. */
export type Reason =
  | 'PRE_HOOK_ERROR'
  | 'CREDENTIALS_INVALID'
  | 'USER_NOT_FOUND'
  | 'METHOD_NOT_FOUND'
  | 'NO_REPLICATION_ROLEOPTION'
  | 'AUTHORIZATION_ERROR'
  | 'PROVISIONING_ERROR'
  | 'UNKNOWN'

export interface FailureRow {
  sqlstate: string
  /** What the client reads; `{name}` is replaced from the failure's values. */
  say: string
  hint?: string
  level: 'debug' | 'info' | 'warn' | 'error'
  reason: Reason
  /** Behind a token that was accepted, the hint says that it was. */
  behindToken?: true
  /** The connection closes without a word: the other side is gone, or doesn't speak PostgreSQL. */
  silent?: true
  /** Exit code where the failure ends the process; 1 unless told. */
  exit?: number
  /** HTTP status on the operators' door; 500 unless told. */
  http?: number
}

const credentials = { sqlstate: '28000', level: 'info', reason: 'CREDENTIALS_INVALID' } as const
const authorization = {
  sqlstate: '28000',
  level: 'info',
  reason: 'AUTHORIZATION_ERROR',
} as const
const protocol = { sqlstate: '08P01', level: 'info', reason: 'PRE_HOOK_ERROR' } as const
const routing = { sqlstate: '08C00', level: 'info', reason: 'PRE_HOOK_ERROR' } as const
const node = { sqlstate: '08006', level: 'error', reason: 'UNKNOWN' } as const

export const FAILURES = {
  // The token, in the order of the checks.
  jwt_not_enabled: { ...credentials, say: 'JWT authentication: not enabled' },
  invalid_token: { ...credentials, say: 'JWT authentication: invalid token' },
  invalid_issuer: { ...credentials, say: 'JWT authentication: invalid issuer' },
  /** The issuer's keys can't be had; why is in the log alone. */
  jwks_unavailable: {
    ...credentials,
    level: 'warn',
    say: 'JWT authentication: unable to validate token',
  },
  missing_claim: { ...credentials, say: 'JWT authentication: missing claim' },
  failed_to_extract_claim: {
    ...credentials,
    say: 'JWT authentication: failed to extract claim',
  },
  invalid_claim_value: { ...credentials, say: 'JWT authentication: invalid claim value' },
  invalid_principal: { ...credentials, say: 'JWT authentication: invalid principal' },
  invalid_identity: { ...credentials, say: 'JWT authentication: invalid identity' },
  invalid_audience: { ...credentials, say: 'JWT authentication: invalid audience' },
  insufficient_scope: { ...credentials, say: 'OAuth bearer authentication: insufficient scope' },

  // Groups, and users that are not there yet. Why is in the log alone.
  userinfo_lookup_failed: {
    ...authorization,
    level: 'warn',
    say: 'JWT authorization: userinfo lookup failed',
  },
  no_userinfo_endpoint: {
    ...authorization,
    level: 'warn',
    say: 'JWT authorization: No userinfo endpoint',
  },
  empty_group_list: { ...authorization, say: 'JWT authorization: empty group list' },
  role_sync_failed: {
    ...authorization,
    level: 'error',
    say: 'JWT authorization: the groups could not become memberships',
    behindToken: true,
    hint: 'give the request id to who runs this gate',
  },
  provisioning_failed: {
    ...credentials,
    reason: 'PROVISIONING_ERROR',
    level: 'error',
    say: 'JWT provisioning: failed to create role',
    behindToken: true,
    hint: 'give the request id to who runs this gate',
  },

  // The login around the token.
  token_required: {
    ...credentials,
    sqlstate: '28P01',
    reason: 'METHOD_NOT_FOUND',
    say: 'password authentication failed for user {user}',
    hint: 'this gate takes tokens: set options to --crdb:jwt_auth_enabled=true (in a URL, options=--crdb:jwt_auth_enabled%3Dtrue) and give the token as the password',
  },
  /** A client without a token asks by OAUTHBEARER where to get one. */
  bearer_token_required: {
    ...credentials,
    level: 'debug',
    say: 'OAuth bearer authentication failed for user "{user}"',
  },
  not_a_token: {
    ...credentials,
    sqlstate: '28P01',
    say: 'password authentication failed for user {user}',
    hint: 'this gate takes tokens: give one as the password',
  },
  password_authentication_failed: {
    ...credentials,
    sqlstate: '28P01',
    say: 'password authentication failed for user {user}',
  },
  role_refused: {
    ...credentials,
    sqlstate: '28P01',
    reason: 'USER_NOT_FOUND',
    say: 'password authentication failed for user {user}',
  },
  replication_refused: {
    ...credentials,
    sqlstate: '42501',
    reason: 'NO_REPLICATION_ROLEOPTION',
    say: 'permission denied to start WAL sender',
  },
  no_user: { ...credentials, say: 'no PostgreSQL user name specified in startup packet' },
  name_too_long: {
    ...credentials,
    sqlstate: '42622',
    say: 'the {what} name is longer than 63 bytes',
    hint: 'the database would cut it short: let server.identity_map.configuration map it to a shorter one',
  },
  channel_binding_lost: {
    ...credentials,
    say: 'SCRAM channel binding negotiation error',
    hint: 'connect with channel_binding=disable: a gate stands between your connection and the database',
  },
  encryption_required: {
    ...protocol,
    sqlstate: '08C00',
    say: 'server requires encryption',
    hint: 'connect with sslmode=verify-full: neither a token nor a password is asked for in clear',
  },

  // Which cluster, where a gate has several.
  cluster_missing: {
    ...routing,
    say: 'missing cluster identifier',
    hint: 'name the cluster in one of three ways: the first label of the host (CLUSTER.gate.example.com), options=--cluster=CLUSTER, or before the database (CLUSTER.DATABASE)',
  },
  cluster_ambiguous: {
    ...routing,
    say: 'multiple different cluster identifiers provided',
    hint: "Is '{one}' or '{other}' the identifier for the cluster that you're connecting to?",
  },
  cluster_not_found: { ...routing, say: 'cluster {name} not found' },
  cluster_flag: { ...routing, say: '{problem}' },
  database_prefix: { ...routing, say: 'invalid database param' },

  // The wire.
  client_gone: {
    ...protocol,
    silent: true,
    level: 'debug',
    say: 'the client closed the connection',
  },
  not_postgres: {
    ...protocol,
    silent: true,
    level: 'info',
    say: 'invalid length of startup packet',
  },
  proxy_header: {
    ...protocol,
    silent: true,
    level: 'warn',
    say: 'invalid PROXY protocol header: {problem}',
  },
  invalid_startup: { ...protocol, say: 'invalid startup packet layout: {problem}' },
  unsupported_protocol: {
    ...protocol,
    sqlstate: '0A000',
    say: 'unsupported frontend protocol {version}: server supports 3.0 to 3.2',
  },
  unencrypted_data: { ...protocol, say: 'received unencrypted data after {request} request' },
  tls_handshake_failed: { ...protocol, silent: true, say: 'could not accept SSL connection' },
  parameter_not_allowed: { ...protocol, say: 'parameter {name} is not allowed' },
  invalid_parameter: {
    ...protocol,
    sqlstate: '22023',
    say: 'invalid value for parameter "{name}": "{value}"',
  },
  invalid_options: { ...protocol, say: '{problem}' },
  password_expected: { ...protocol, say: "client didn't send required auth data" },
  invalid_password_message: { ...protocol, say: 'expected 0-terminated byte array' },
  message_too_large: { ...protocol, say: 'message size {size} out of bounds (0..{limit})' },
  protocol_violation: { ...protocol, say: 'invalid message: {problem}' },
  login_timeout: {
    ...protocol,
    sqlstate: '57014',
    say: 'canceling authentication due to timeout',
  },
  too_many_connections: {
    ...protocol,
    sqlstate: '53300',
    level: 'warn',
    say: 'sorry, too many clients already',
  },
  too_many_from_address: {
    ...protocol,
    sqlstate: '53300',
    level: 'warn',
    say: 'too many connections from this address',
  },
  too_many_sessions: {
    ...authorization,
    sqlstate: '53300',
    say: 'too many connections for role "{user}"',
  },

  /** All sessions that the pool may have there are somebody's, and stayed so. */
  pool_timeout: {
    ...authorization,
    sqlstate: '53300',
    level: 'warn',
    say: 'timed out waiting for a database connection',
    hint: 'try again, or close connections that nobody uses',
  },

  // Who may come in, and who may stay.
  /** Which rule or list it was is in the log alone. */
  access_denied: {
    ...authorization,
    say: 'no access entry for host "{host}", user "{user}", database "{database}"',
    hint: 'ask who runs this gate',
  },
  token_revoked: { ...credentials, say: 'JWT authentication: the token is revoked' },
  too_many_failures: {
    ...routing,
    reason: 'CREDENTIALS_INVALID',
    say: 'too many failed authentication attempts',
    hint: 'connection throttling is triggered by repeated authentication failure: make sure that user and token or password are right, and wait',
  },
  /** To a session that was let in before. */
  access_withdrawn: {
    ...node,
    sqlstate: '57P01',
    level: 'info',
    say: 'terminating connection due to administrator command',
  },

  // The node.
  node_unreachable: {
    ...node,
    say: 'the database could not be reached',
    behindToken: true,
    hint: 'try again, then give the request id to who runs this gate',
  },
  node_signin_failed: {
    ...node,
    say: 'the gate could not sign in to the database',
    behindToken: true,
    hint: 'give the request id to who runs this gate',
  },
  node_protocol: { ...node, say: 'the database broke the protocol' },
  node_lost: { ...node, say: 'the connection to the database was lost' },
  /** The node refused the session in its own words; they go to the client as they came. */
  node_refused: { ...node, level: 'info', say: '{message}' },

  // The gate.
  /** What gates share may have changed since: somebody may have been revoked. */
  state_stale: {
    ...node,
    sqlstate: '57P03',
    say: 'the gate lets nobody in at the moment',
    hint: 'try again, then give the request id to who runs this gate',
  },
  shutting_down: {
    ...node,
    sqlstate: '57P01',
    level: 'info',
    say: 'terminating connection due to administrator command',
  },
  token_expired: {
    ...node,
    sqlstate: '57P01',
    level: 'info',
    say: 'terminating connection because the token has expired',
    hint: 'sign in again with a fresh token',
  },
  idle_timeout: {
    ...node,
    sqlstate: '57P05',
    level: 'info',
    say: 'terminating connection due to idle-session timeout',
  },
  not_ready: { ...node, sqlstate: '57P03', level: 'debug', say: '{problem}', http: 503 },
  unknown_host: { ...node, level: 'debug', say: 'this host has no page: ops.hosts', http: 421 },
  internal_error: { ...node, sqlstate: 'XX000', say: 'internal error' },

  // What the gate answers itself.
  ...ANSWERS,

  // The command line and the configuration file.
  ...COMMANDS,
} as const satisfies Record<string, FailureRow>

export type FailureCode = keyof typeof FAILURES

/** What a client is told while its session goes on; no failure. */
export const TOKEN_EXPIRES_SOON = '01000'

/** A node's own SQLSTATEs that the gate goes by: what it asks otherwise, elsewhere, or not again. */
export const NODE_SAYS = {
  syntax: '42601',
  shuttingDown: '57P01',
  crashed: '57P02',
  notNow: '57P03',
  locked: '55P03',
  canceled: '57014',
  full: '53300',
  again: '40001',
} as const

/** What gates answer each other, whatever they were told. */
export const PEERS_SAY = { heard: 204 } as const

/** HTTP statuses of a node's health page. */
export const HEALTH_SAYS = { ready: 200, notReady: 503 } as const

export interface FailureParts {
  /** Fills the `{name}`s of the row's sentence. */
  values?: Record<string, string | number>
  /** DETAIL for the client: only what the client itself sent. */
  detail?: string
  /** For the log alone; never sent. */
  log?: string
  /** A node's own ErrorResponse, which the client gets as it came. */
  response?: Buffer
  cause?: unknown
}

/** A thrown row. Thrown anywhere, answered once, at the door. */
export class Failure extends Error {
  readonly code: FailureCode
  readonly row: FailureRow
  readonly values: NonNullable<FailureParts['values']>
  readonly detail: string | undefined
  readonly hint: string | undefined
  readonly log: string | undefined
  readonly response: Buffer | undefined

  constructor(code: FailureCode, parts: FailureParts = {}) {
    const row: FailureRow = FAILURES[code]
    super(
      fill(row.say, parts.values ?? {}),
      parts.cause === undefined ? {} : { cause: parts.cause },
    )
    this.code = code
    this.row = row
    this.values = parts.values ?? {}
    this.detail = parts.detail
    this.hint = row.hint === undefined ? undefined : fill(row.hint, parts.values ?? {})
    this.log = parts.log
    this.response = parts.response
  }
}

/** Anything that was thrown, as a Failure: what is not one of ours is an internal error. */
export function asFailure(thrown: unknown): Failure {
  if (thrown instanceof Failure) return thrown
  const log = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)
  return new Failure('internal_error', { log, cause: thrown })
}

function fill(sentence: string, values: Record<string, string | number>): string {
  return sentence.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole))
}
