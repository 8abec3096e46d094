/** What is unwise, or without effect, of the gate's own console. */
import type { File } from './schema.ts'
import type { Warn } from './warnings.ts'

/** Databases that every cluster of the kind has. */
const BUILT_IN: Record<string, readonly string[]> = {
  postgresql: ['postgres', 'template0', 'template1'],
  cockroachdb: ['defaultdb', 'postgres', 'system'],
}

export function warnOfConsole({ console: own, clusters, state }: File, warn: Warn): void {
  const { database, admins, may_change_trust } = own
  const path = ['console', 'may_change_trust']
  if (may_change_trust && state === undefined)
    warn(path, 'nothing can be changed without state; remove it')
  else if (may_change_trust && admins.length === 0)
    warn(
      path,
      'nothing can be changed here without console.admins, but what other gates set counts here, too; where that is not meant, remove it',
    )
  if (admins.length === 0) return
  const [hidden] = Object.entries(clusters).find(([, { kind }]) =>
    BUILT_IN[kind]?.includes(database),
  ) ?? [undefined]
  if (hidden !== undefined)
    warn(
      ['console', 'database'],
      `the cluster ${hidden} has a database ${database}, which nobody could reach any more; write another name`,
    )
}
