/**
 * The grants by which the management role may make users members of the roles that groups become, as
 * text to paste, for either kind of cluster. https://www.postgresql.org/docs/18/sql-grant.html
 */
import { quoted } from '../identity/quoted.ts'
import type { Authorization } from '../policy/groups.ts'
import { identifier } from './paste.ts'

/** @param admin - a statement that lets the management role grant this role, quoted where it has to be. */
export function groupGrants(
  { roles }: Pick<Authorization, 'roles'>,
  admin: (role: string) => string,
): string[] {
  return [
    '-- Groups become memberships: the management role may grant the roles that the file names. They',
    '-- have to be there already; CREATE ROLE makes one.',
    ...roles.map(({ text, literal }) =>
      literal
        ? admin(identifier(text))
        : `-- Likewise each role that ${quoted(text)} is meant for: ${admin('a_role')}`,
    ),
  ]
}
