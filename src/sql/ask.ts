/**
 * What a startup packet asks for, in the cluster's own spelling: user and database, the switch that
 * says that a token will come, and what is left for the node. Pure.
 * Rule: a parameter that only a gate may set is cut or refused before anybody else reads it.
 */

import type { SignIn } from '../cluster/node.ts'
import { Failure } from '../failure.ts'
import { normalizeUsername } from '../identity/username.ts'
import type { Ask } from '../policy/decide.ts'
import { defaultDatabase, isTooLong } from '../policy/names.ts'
import { type Dialect, readOptions } from '../wire/options.ts'
import { printable } from '../wire/options_cockroachdb.ts'
import { isDelay } from '../wire/options_postgresql.ts'
import type { Startup } from '../wire/startup.ts'

const JWT_SWITCH = '--crdb:jwt_auth_enabled=true'
const REVIVAL_TOKEN = 'crdb:session_revival_token_base64'
const SET_BY_THE_GATE = new Set(['user', 'database', 'options', 'replication'])

/** A cluster, as far as its clients have to know how it is spoken to. */
export interface Asking {
  dialect: Dialect
  signIn: SignIn
  nonJwtLogins: NonJwtLogins
}

/** What becomes of a client that doesn't say that a token will come; see `non_jwt_logins`. */
export type NonJwtLogins = 'reject' | 'passthrough' | 'detect'

export interface Asked {
  ask: Ask
  /** The client will give a token: `--crdb:jwt_auth_enabled=true`. */
  jwt: boolean
  options: string | undefined
  replication: string | undefined
  others: ReadonlyMap<string, string>
  /** The minor version of protocol 3 that was agreed on. */
  minor: number
}

export function readAsk(startup: Startup, { dialect, signIn, nonJwtLogins }: Asking): Asked {
  const others =
    dialect === 'cockroachdb' ? folded(startup.parameters) : new Map(startup.parameters)
  if (others.has(REVIVAL_TOKEN))
    throw new Failure('parameter_not_allowed', { values: { name: REVIVAL_TOKEN } })
  const delay = dialect === 'postgresql' && [...others.keys()].find(isDelay)
  if (delay) throw new Failure('parameter_not_allowed', { values: { name: printable(delay) } })
  others.delete('crdb:remote_addr')
  others.delete('crdb:jwt_auth_enabled')
  // A CockroachDB node that judges the token again has to see the switch, too.
  const forwarded = dialect === 'cockroachdb' && signIn === 'forward'
  const { jwt, rest } = readOptions(startup.options, dialect, forwarded)
  const addSwitch = forwarded && !jwt && nonJwtLogins !== 'passthrough'
  return {
    ask: { ...names(startup, dialect), replication: asksReplication(startup.replication) },
    jwt,
    options: addSwitch ? [JWT_SWITCH, rest].filter(Boolean).join(' ') : rest,
    replication: startup.replication,
    others,
    minor: startup.minor,
  }
}

function names({ user, database }: Startup, dialect: Dialect): { user: string; database: string } {
  if (isTooLong(user)) throw tooLong('user')
  if (dialect === 'cockroachdb')
    return { user: normalizeUsername(user), database: database ?? defaultDatabase(user, dialect) }
  // To PostgreSQL `Alice` and `alice` are two roles.
  if (isTooLong(database ?? '')) throw tooLong('database')
  return { user, database: database ?? defaultDatabase(user, dialect) }
}

function tooLong(what: string): Failure {
  return new Failure('name_too_long', { values: { what } })
}

/**
 * CockroachDB reads the names of parameters without their case: a `User` behind our `user` would
 * count. What means one of those that the gate sets itself, or comes twice, is refused.
 */
function folded(parameters: ReadonlyMap<string, string>): Map<string, string> {
  const all = new Map<string, string>()
  for (const [name, value] of parameters) {
    const key = normalizeUsername(name)
    if (SET_BY_THE_GATE.has(key) || all.has(key))
      throw new Failure('parameter_not_allowed', { values: { name: printable(name) } })
    all.set(key, value)
  }
  return all
}

/** `database` as it stands, or PostgreSQL's booleans in any case and every unambiguous beginning of them. */
function asksReplication(value: string | undefined): boolean {
  if (value === undefined) return false
  const folded = value.toLowerCase()
  if (value === 'database' || folded === '1' || folded === 'on') return true
  if (folded === '0' || folded === 'of' || folded === 'off') return false
  if (folded !== '' && ('true'.startsWith(folded) || 'yes'.startsWith(folded))) return true
  if (folded !== '' && ('false'.startsWith(folded) || 'no'.startsWith(folded))) return false
  throw new Failure('invalid_parameter', {
    values: { name: 'replication', value: printable(value) },
  })
}
