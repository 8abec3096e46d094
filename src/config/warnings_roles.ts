/**
 * The roles that groups may become, looked at: those that say nothing, and those that no group becomes.
 * Rule: as in warnings.ts; a file that turns groups off and keeps its roles is one of the second kind.
 */
import { GROUP } from '../cluster/setup.ts'
import { normalizeUsername } from '../identity/username.ts'
import { mayBeNamed } from '../policy/groups.ts'
import { shown } from './mistakes.ts'
import type { ClusterSection } from './schema.ts'
import { AUTHORIZATION, ROLES } from './trust_settings.ts'
import type { Warn } from './warnings.ts'

/** Names that have nothing in common: what matches all of them matches whatever an issuer says. */
const ANYTHING = ['a', 'Z9', 'somebody else', 'x-ray_7/é.@', '42']

export function warnOfGroups(path: PropertyKey[], section: ClusterSection, warn: Warn): void {
  const roles = section[ROLES]
  if (roles.length > 0 && !section[AUTHORIZATION])
    warn(
      [...path, ROLES],
      `no group becomes a role: that needs ${AUTHORIZATION}: true; write it, or remove the roles`,
    )
  const foldCase = section.kind === 'cockroachdb'
  const names = {
    foldCase,
    allowRoles: new Set(section.allow_roles),
    ownRoles: new Set(section.management && [section.management.role]),
  }
  for (const [index, role] of roles.entries()) {
    const at = [...path, ROLES, index]
    if (!role.literal) {
      if (ANYTHING.every((name) => role.matches(name, foldCase)))
        warn(
          at,
          `${shown(role.text)} matches every name, so whoever names groups at the issuer chooses the role; write what the groups that are meant have in common, like /^team_.*$`,
        )
      continue
    }
    const name = foldCase ? normalizeUsername(role.text) : role.text
    if (name === GROUP || !mayBeNamed(name, names))
      warn(at, `${shown(role.text)} is reserved, and no group becomes it; remove it`)
  }
}
