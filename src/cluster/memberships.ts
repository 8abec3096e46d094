/**
 * A user's memberships follow the token's groups: the management role grants what is wanted and takes
 * back the rest. https://www.postgresql.org/docs/18/role-membership.html
 * Rule: on PostgreSQL only what the gate itself granted is taken back; a role that is, or inherits,
 * more than a user is not granted, unless it is allowed by name; what will be changed is told before.
 */
import { LRUCache } from 'lru-cache'
import { Failure } from '../failure.ts'
import type { Authorization } from '../policy/groups.ts'
import type { Dialect } from '../wire/options.ts'
import type { Management } from './management.ts'
import { identifier, literal } from './paste.ts'
import { holding, POWER_COLUMNS, powersIn } from './powers.ts'
import { wordsOf } from './refusals.ts'
import { GROUP } from './setup.ts'
import { NodeRefused } from './sign_in.ts'
import type { Ask } from './visit.ts'

export interface MembershipRules extends Pick<Authorization, 'roles' | 'keepOthers'> {
  dialect: Dialect
  /** Roles that may be granted although they are more than a user. */
  allowRoles: ReadonlySet<string>
}

export interface MembershipChange {
  granted: string[]
  revoked: string[]
}

/**
 * Makes the role a direct member of the wanted roles that are there, and of no other that the rules
 * let it be taken from. What was settled for it is good for half a minute.
 * @param before - told what will be changed; what it throws leaves everything as it is. Called again
 *   where another gate came in between.
 * @returns what was changed by this call
 * @throws Failure `role_sync_failed`
 */
export type SyncMemberships = (
  role: string,
  wanted: readonly string[],
  before: (change: MembershipChange) => unknown,
) => Promise<MembershipChange>

const ROLES_MAX = 1_000
const GOOD_FOR_MS = 30_000
/** Other gates may change the same role's memberships at the same time. */
const TRIES_MAX = 4

export function openMemberships(
  management: Management,
  rules: MembershipRules,
  now: () => number,
): SyncMemberships {
  const known = new LRUCache<string, { untilMs: number; wanted: string; done: Promise<unknown> }>({
    max: ROLES_MAX,
  })
  return async (role, wanted, before) => {
    const names = wanted.toSorted().join('\0')
    const settled = known.get(role)
    if (settled?.wanted === names && now() < settled.untilMs) {
      await settled.done
      return { granted: [], revoked: [] }
    }
    const done = management
      .run((ask) => settle(ask, { role, wanted, rules }, before))
      .catch((thrown: unknown) => {
        throw explained(thrown, role)
      })
    const fresh = { untilMs: now() + GOOD_FOR_MS, wanted: names, done }
    known.set(role, fresh)
    done.catch(() => {
      if (known.peek(role) === fresh) known.delete(role)
    })
    return await done
  }
}

interface Asked {
  role: string
  wanted: readonly string[]
  rules: MembershipRules
}

/**
 * Until there is nothing left to do: without a lock, which any user of the database could hold, what
 * another gate did meanwhile shows as a refusal, or in the next look.
 */
async function settle(
  ask: Ask,
  asked: Asked,
  before: (change: MembershipChange) => unknown,
): Promise<MembershipChange> {
  const made: MembershipChange = { granted: [], revoked: [] }
  let told = ''
  let refused: NodeRefused | undefined
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const change = await missing(ask, asked)
    if (change.granted.length + change.revoked.length === 0) return made
    if (told !== JSON.stringify(change)) await before(change)
    told = JSON.stringify(change)
    try {
      await ask(statements(change, asked))
      made.granted.push(...change.granted)
      made.revoked.push(...change.revoked)
    } catch (thrown) {
      if (!(thrown instanceof NodeRefused)) throw thrown
      refused = thrown
    }
  }
  throw refused ?? new Failure('role_sync_failed', { log: 'others change them all the time' })
}

/** What is to be granted and revoked; nothing for a role that is not there. */
async function missing(ask: Ask, { role, wanted, rules }: Asked): Promise<MembershipChange> {
  const rows = await ask(direct(role))
  if (rows.length === 0) return { granted: [], revoked: [] }
  const may = new Set(await grantable(ask, { role, wanted, rules }))
  const held = rows.filter((row) => row['name'] !== null)
  const has = new Set(held.map((row) => String(row['name'])))
  const mayBeRevoked = (name: string, own: boolean) => {
    if (rules.dialect === 'postgresql') return own
    return !rules.keepOthers || rules.roles.some((pattern) => pattern.matches(name, true))
  }
  return {
    granted: [...may].filter((name) => !has.has(name)),
    revoked: held
      .filter((row) => mayBeRevoked(String(row['name']), row['own'] === 't'))
      .map((row) => String(row['name']))
      .filter((name) => !may.has(name) && name !== GROUP),
  }
}

/** A row a membership, or one without a name for a role that has none. CockroachDB knows no grantor. */
function direct(role: string): string {
  return `SELECT granted.rolname AS name, bool_or(grantor.rolname = current_user) AS own
    FROM pg_roles member
    LEFT JOIN pg_auth_members m ON m.member = member.oid
    LEFT JOIN pg_roles granted ON granted.oid = m.roleid
    LEFT JOIN pg_roles grantor ON grantor.oid = m.grantor
    WHERE member.rolname = ${literal(role)} GROUP BY granted.rolname`
}

/** The wanted roles that are there, are no more than a user, and don't hold the role themselves. */
async function grantable(ask: Ask, { role, wanted, rules }: Asked): Promise<string[]> {
  if (wanted.length === 0) return []
  const rows = await ask(
    `SELECT role.rolname AS name, bool_or(held.rolname = ${literal(role)}) AS circle, ${POWER_COLUMNS}
    FROM ${holding(wanted)} GROUP BY role.rolname`,
  )
  return rows.flatMap((row) => {
    const name = String(row['name'])
    const allowed = rules.allowRoles.has(name) || powersIn(row).length === 0
    return allowed && row['circle'] !== 't' && name !== GROUP ? [name] : []
  })
}

/** One text, so one transaction. The grantor is told: as another one it would never be taken back. */
function statements({ granted, revoked }: MembershipChange, { role, rules }: Asked): string {
  const by = rules.dialect === 'postgresql' ? ' GRANTED BY CURRENT_USER' : ''
  const list = (names: string[]) => names.map(identifier).join(', ')
  return [
    ...(revoked.length > 0 ? [`REVOKE ${list(revoked)} FROM ${identifier(role)}${by}`] : []),
    ...(granted.length > 0 ? [`GRANT ${list(granted)} TO ${identifier(role)}${by}`] : []),
  ].join('; ')
}

function explained(thrown: unknown, role: string): unknown {
  if (!(thrown instanceof NodeRefused || thrown instanceof Failure)) return thrown
  const log = `memberships of ${JSON.stringify(role)}: ${wordsOf(thrown)}; postern cluster setup prints the rights that the management role needs`
  return new Failure('role_sync_failed', { log, cause: thrown })
}
