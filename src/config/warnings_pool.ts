/** What is legal in a cluster's `pool`, and more than it may seem to be, or without effect. */
import type { ClusterSection } from './schema.ts'
import type { Warn } from './warnings.ts'

/** @param loginMs - limits.authentication_timeout */
export function warnOfPool(
  path: PropertyKey[],
  { pool, kind, send_remote_addr }: ClusterSection,
  loginMs: number,
  warn: Warn,
): void {
  if (pool.mode === 'none') return
  if (pool.share_between_principals)
    warn(
      [...path, 'pool', 'share_between_principals'],
      'what DISCARD ALL leaves (docs/pool.md) goes from one person to another; remove it unless the roles stand for applications',
    )
  if (kind === 'cockroachdb' && send_remote_addr)
    warn(
      [...path, 'pool', 'mode'],
      "with send_remote_addr each session begins with its own client's address and port, and is nobody else's; write none, or remove that",
    )
  if (pool.wait_timeout >= loginMs)
    warn(
      [...path, 'pool', 'wait_timeout'],
      `the login is over before its turn, and nobody learns what it waited for; write less than limits.authentication_timeout (${loginMs / 1000}s)`,
    )
}
