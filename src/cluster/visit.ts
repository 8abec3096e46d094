/**
 * A visit to a node by the gate itself, or by who sets it up, for no client: as one role, to see
 * whether it gets in, and to ask a few questions. It goes the way of every session, by a Grant.
 */
import type { Leg } from '../leg.ts'
import type { Grant } from '../policy/decide.ts'
import { terminate } from '../wire/node_messages.ts'
import { connectTo } from './connect.ts'
import type { Node } from './node.ts'
import { query, type Row } from './query.ts'

/** How long one sign-in, with its questions, may take. */
const VISIT_MS = 10_000

export type Ask = (sql: string) => Promise<Row[]>

export async function visit<T>(
  node: Node,
  role: string,
  database: string,
  stop: AbortSignal,
  questions: (ask: Ask) => Promise<T>,
): Promise<T> {
  const leg = await enter(node, role, database, deadline(stop))
  try {
    return await questions((sql) => query(leg, sql))
  } finally {
    leg.close(terminate)
  }
}

/** A session of the gate's own; its leg's deadline is the signal, and as long as `ms` it may take. */
export async function enter(
  node: Node,
  role: string,
  database: string,
  signal: AbortSignal,
  ms?: number,
): Promise<Leg> {
  const { leg } = await connectTo(grant(role, database), node, parameters(node), signal, ms)
  return leg
}

export function deadline(stop: AbortSignal): AbortSignal {
  return AbortSignal.any([stop, AbortSignal.timeout(VISIT_MS)])
}

/** No token stands behind it: who runs this has the gate's own keys. */
function grant(role: string, database: string): Grant {
  const principal = {
    issuer: 'postern',
    names: [role],
    users: [role],
    mapped: false,
    audiences: [],
    groups: undefined,
    scopes: [],
    subject: undefined,
    tokenId: undefined,
    digest: '',
    keyId: '',
    issuedAt: undefined,
    until: undefined,
    notBefore: undefined,
  }
  return { role, database, principal }
}

function parameters({ dialect, signIn }: Node) {
  const forwarded = dialect === 'cockroachdb' && signIn === 'forward'
  return {
    // Nobody else's function stands in for one of ours (CVE-2018-1058).
    options: forwarded
      ? '--crdb:jwt_auth_enabled=true'
      : dialect === 'postgresql'
        ? '-c search_path=pg_catalog'
        : undefined,
    replication: undefined,
    others: new Map([['application_name', 'postern'], ...bytesAsTheyAre(dialect)]),
    remoteAddress: '',
  }
}

/**
 * PostgreSQL compares our bytes with the catalog's, whatever encoding is set for the role: in another
 * one, a question about a role would be about another role. CockroachDB has UTF-8 alone.
 */
function bytesAsTheyAre(dialect: Node['dialect']): [string, string][] {
  return dialect === 'postgresql' ? [['client_encoding', 'SQL_ASCII']] : []
}
