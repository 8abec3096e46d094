/**
 * A user's memberships follow the token's groups: what has to be granted, and taken back, from where
 * the role stands. Pure. https://www.postgresql.org/docs/18/role-membership.html
 * Rule: on PostgreSQL only what the gate itself granted is taken back. A role that may log in, or that
 * is or inherits more than a user, is not granted, unless it is allowed by name. Whoever is too
 * powerful after what was taken back is granted nothing.
 */
import type { Authorization } from '../policy/groups.ts'
import type { Dialect } from '../wire/options.ts'
import { identifier } from './paste.ts'
import { GROUP } from './setup.ts'
import type { OtherRole, Standing } from './standing.ts'

export interface MembershipRules extends Pick<Authorization, 'roles' | 'keepOthers'> {
  dialect: Dialect
  /** Roles that may be granted, or signed in to, although they are more than a user. */
  allowRoles: ReadonlySet<string>
}

export interface MembershipChange {
  granted: string[]
  revoked: string[]
}

export interface MembershipPlan {
  change: MembershipChange
  /** The wanted roles that the user is a member of after the change. */
  roles: string[]
  /** The wanted roles that it is no member of: `name: why`. */
  left: string[]
  /** What the role may do beyond a user's rights when everything is taken back. */
  powers: string[]
}

/** @param wanted - undefined where nobody asks for groups: then memberships stay as they are. */
export function planMemberships(
  standing: Standing,
  { role, wanted }: { role: string; wanted: readonly string[] | undefined },
  rules: MembershipRules,
): MembershipPlan {
  const reasons = (wanted ?? []).map(
    (name) => [name, whyNot(name, role, standing.roles.get(name), rules)] as const,
  )
  const roles = reasons.filter(([, why]) => why === undefined).map(([name]) => name)
  const held = [...standing.roles].filter(([, { grantedBy }]) => grantedBy !== undefined)
  const revoked =
    wanted === undefined
      ? []
      : held
          .filter(([name, other]) => !roles.includes(name) && mayBeRevoked(name, other, rules))
          .map(([name]) => name)
  const remaining = held.filter(
    ([name, { grantedBy }]) =>
      !revoked.includes(name) || (rules.dialect === 'postgresql' && grantedBy?.others),
  )
  const powers = powersOf(role, standing, remaining, rules)
  const has = new Set(held.map(([name]) => name))
  const granted = powers.length > 0 ? [] : roles.filter((name) => !has.has(name))
  const left = reasons.flatMap(([name, why]) => (why === undefined ? [] : [`${name}: ${why}`]))
  return { change: { granted, revoked }, roles, left, powers }
}

/** CockroachDB has none of PostgreSQL's attributes to judge by. */
function powersOf(
  role: string,
  standing: Standing,
  remaining: [name: string, other: OtherRole][],
  { dialect, allowRoles }: MembershipRules,
): string[] {
  if (dialect === 'cockroachdb' || allowRoles.has(role)) return []
  const inherited = remaining.filter(([name]) => !allowRoles.has(name))
  return [...new Set([...standing.powers, ...inherited.flatMap(([, { powers }]) => powers)])]
}

function mayBeRevoked(
  name: string,
  { grantedBy }: OtherRole,
  { dialect, keepOthers, roles }: MembershipRules,
): boolean {
  if (name === GROUP) return false
  if (dialect === 'postgresql') return grantedBy?.us === true
  return !keepOthers || roles.some((pattern) => pattern.matches(name, true))
}

export const IS_MISSING = 'is not there'
export const NOT_GRANTABLE = 'may not be granted by the management role'

/** Why nobody, or the role, becomes a member of another one; undefined where nothing is in the way. */
export function whyNot(
  name: string,
  role: string,
  other: OtherRole | undefined,
  { allowRoles }: Pick<MembershipRules, 'allowRoles'>,
): string | undefined {
  if (other === undefined) return IS_MISSING
  if (name === GROUP) return "is the gate's own"
  if (other.circle) return name === role ? 'is the user' : 'is a member of the user'
  if (!allowRoles.has(name)) {
    if (other.login) return 'may log in, so it is a user'
    if (other.powers.length > 0) return `has ${other.powers.join(', ')}`
  }
  const may = other.grantedBy !== undefined || other.grantable
  return may ? undefined : NOT_GRANTABLE
}

/**
 * What is taken back goes first, in a transaction of its own: it counts even where a grant fails, and
 * what remains is judged again.
 */
export function nextStep({ granted, revoked }: MembershipChange): MembershipChange | undefined {
  if (revoked.length > 0) return { granted: [], revoked }
  return granted.length > 0 ? { granted, revoked: [] } : undefined
}

/** The grantor is told: what has another one would never be taken back. */
export function statementOf(
  { granted, revoked }: MembershipChange,
  role: string,
  dialect: Dialect,
): string {
  const by = dialect === 'postgresql' ? ' GRANTED BY CURRENT_USER' : ''
  const list = (names: string[]) => names.map(identifier).join(', ')
  return revoked.length > 0
    ? `REVOKE ${list(revoked)} FROM ${identifier(role)}${by}`
    : `GRANT ${list(granted)} TO ${identifier(role)}${by}`
}
