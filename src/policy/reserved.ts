/**
 * Who may never be granted, whatever a token, a map or a group says: names that a cluster keeps for
 * itself, and its superuser. `allow_roles` names exceptions, one by one.
 * Rule: letters' case doesn't matter here; a name that only looks like root is refused as root.
 */

import { normalizeUsername } from '../identity/username.ts'

const NAMES = new Set(['root', 'node', 'public', 'none', 'postgres'])
const PREFIXES = ['pg_', 'crdb_internal_']

export function isReserved(role: string): boolean {
  const folded = normalizeUsername(role.normalize('NFKC'))
  return NAMES.has(folded) || PREFIXES.some((prefix) => folded.startsWith(prefix))
}
