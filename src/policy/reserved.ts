/**
 * Who may never be granted, whatever a token, a map or a group says: names that a cluster keeps for
 * itself, its superuser, and the gate's own roles. `allow_roles` names exceptions, one by one.
 * Rule: letters' case doesn't matter here; a name that only looks like root is refused as root.
 */

import { normalizeUsername } from '../identity/username.ts'

const NAMES = new Set(['root', 'node', 'public', 'none', 'postgres'])
const PREFIXES = ['pg_', 'crdb_internal_']

export function isReserved(role: string, ownRoles: ReadonlySet<string> = NOBODY): boolean {
  const folded = fold(role)
  if (NAMES.has(folded) || PREFIXES.some((prefix) => folded.startsWith(prefix))) return true
  for (const own of ownRoles) if (fold(own) === folded) return true
  return false
}

const NOBODY: ReadonlySet<string> = new Set()

function fold(role: string): string {
  return normalizeUsername(role.normalize('NFKC'))
}
