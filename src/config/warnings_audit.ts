/** What is unwise in `audit`: proof that proves less than it seems to, and names that cross a network in clear. */
import type { File } from './schema.ts'
import { isLoopback } from './values.ts'
import type { Warn } from './warnings.ts'

export function warnOfAudit({ audit, state }: Pick<File, 'audit' | 'state'>, warn: Warn): void {
  const { to, seal, anchor } = audit
  if (seal !== undefined && anchor === undefined && state === undefined)
    warn(
      ['audit', 'seal'],
      'an end that is cut off does not show without heads that are kept elsewhere; write anchor, or state',
    )
  if (to.kind === 'syslog' && !to.tls && !isLoopback(to.host))
    warn(
      ['audit', 'to'],
      `who signs in crosses the network in clear; write syslog+tls://${to.host}:6514`,
    )
}
