/**
 * The roles that groups become, where they become any.
 * Rule: a group becomes a role only where a setting names the role, and never a reserved one.
 */
import { UNPRINTABLE } from '../identity/quoted.ts'
import type { RolePattern } from '../identity/role_pattern.ts'
import type { Rules } from './decide.ts'
import { isTooLong } from './names.ts'
import { isReserved } from './reserved.ts'

/** What becomes of groups. */
export interface Authorization {
  /** The only roles that a group may become. */
  roles: readonly RolePattern[]
  /** The key of the userinfo's answer that holds them, where the token doesn't. */
  userinfoKey: string
  /** Who is in no group is not let in. */
  refuseEmpty: boolean
  /** Memberships in roles that `roles` doesn't match are left as they are, on CockroachDB. */
  keepOthers: boolean
}

export interface GroupRules extends Pick<Authorization, 'roles'>, NameRules {}

export interface NameRules extends Pick<Rules, 'allowRoles' | 'ownRoles'> {
  /** Towards CockroachDB, whose names have no case. */
  foldCase: boolean
}

export interface WantedRoles {
  /** Each once, and not more than a thousand; whether they are there the node knows. */
  wanted: string[]
  /** Groups that become nothing. */
  skipped: string[]
}

const WANTED_MAX = 1_000
/** Groups that are looked at: who is in more has an issuer that says everything it knows. */
const LOOKED_AT_MAX = 10_000

export function wantedRoles(groups: readonly string[], rules: GroupRules): WantedRoles {
  const wanted: string[] = []
  const skipped = groups.slice(LOOKED_AT_MAX)
  for (const group of groups.slice(0, LOOKED_AT_MAX)) {
    const room = wanted.length < WANTED_MAX
    const into = room && mayBecome(group, rules) ? wanted : skipped
    into.push(group)
  }
  return { wanted, skipped }
}

function mayBecome(group: string, rules: GroupRules): boolean {
  if (isTooLong(group) || UNPRINTABLE.test(group)) return false
  return rules.roles.some((role) => role.matches(group, rules.foldCase)) && mayBeNamed(group, rules)
}

/** Whether a group of this name may become the role at all, whatever the node says about it. */
export function mayBeNamed(group: string, { foldCase, allowRoles, ownRoles }: NameRules): boolean {
  const reserved = isReserved(group, ownRoles) || (foldCase && isReserved(group, COCKROACH_ADMINS))
  return !reserved || allowRoles.has(group)
}

/** Whether who is in these groups is let in. */
export function mayEnter(
  groups: readonly string[],
  { refuseEmpty }: Pick<Authorization, 'refuseEmpty'>,
): boolean {
  return groups.length > 0 || !refuseEmpty
}

/** CockroachDB's role of superusers. */
const COCKROACH_ADMINS = new Set(['admin'])
