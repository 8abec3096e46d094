/**
 * What a startup packet asks for, in the cluster's own spelling: user and database, the switch that
 * says that a token will come, and what is left for the node. Pure.
 * Rule: a parameter that only a gate may set is cut or refused before anybody else reads it.
 */

import type { Node } from '../cluster/node.ts'
import { Failure } from '../failure.ts'
import { normalizeUsername } from '../identity/username.ts'
import type { Ask } from '../policy/decide.ts'
import { readOptions } from '../wire/options.ts'
import type { Startup } from '../wire/startup.ts'

const REVIVAL_TOKEN = 'crdb:session_revival_token_base64'
const COCKROACHDB_DATABASE = 'defaultdb'

export interface Asked {
  ask: Ask
  /** The client will give a token: `--crdb:jwt_auth_enabled=true`. */
  jwt: boolean
  options: string | undefined
  replication: string | undefined
  others: ReadonlyMap<string, string>
  applicationName: string
  /** The minor version of protocol 3 that was agreed on. */
  minor: number
}

export function readAsk(startup: Startup, { dialect, signIn }: Node): Asked {
  if (startup.parameters.has(REVIVAL_TOKEN))
    throw new Failure('parameter_not_allowed', { values: { name: REVIVAL_TOKEN } })
  // A CockroachDB node that judges the token again has to see the switch, too.
  const forwarded = dialect === 'cockroachdb' && signIn === 'forward'
  const { jwt, rest } = readOptions(startup.options, dialect, forwarded)
  // To PostgreSQL `Alice` and `alice` are two roles.
  const user = dialect === 'cockroachdb' ? normalizeUsername(startup.user) : startup.user
  const database = startup.database ?? (dialect === 'cockroachdb' ? COCKROACHDB_DATABASE : user)
  const others = new Map(startup.parameters)
  others.delete('crdb:remote_addr')
  others.delete('crdb:jwt_auth_enabled')
  return {
    ask: { user, database, replication: asksReplication(startup.replication) },
    jwt,
    options: rest,
    replication: startup.replication,
    others,
    minor: startup.minor,
    applicationName: startup.parameters.get('application_name') ?? '',
  }
}

/** `database`, or PostgreSQL's booleans and every unambiguous beginning of them. */
function asksReplication(value: string | undefined): boolean {
  if (value === undefined) return false
  const folded = value.toLowerCase()
  if (folded === 'database' || folded === '1' || folded === 'on') return true
  if (folded === '0' || folded === 'of' || folded === 'off') return false
  if (folded !== '' && ('true'.startsWith(folded) || 'yes'.startsWith(folded))) return true
  if (folded !== '' && ('false'.startsWith(folded) || 'no'.startsWith(folded))) return false
  throw new Failure('invalid_parameter', { values: { name: 'replication', value } })
}
