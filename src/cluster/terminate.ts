/**
 * The end of a PostgreSQL session that catches its cancels: as the management role, on the session's own node. It
 * may do that as a member of pg_signal_backend, which nobody has to grant it.
 * https://www.postgresql.org/docs/18/functions-admin.html#FUNCTIONS-ADMIN-SIGNAL
 * Rule: a process that is not the role's any more is left alone.
 */
import { MANAGEMENT_DATABASES } from './management.ts'
import type { Node } from './node.ts'
import { literal } from './paste.ts'
import { visit } from './visit.ts'

/** Whose process it is, and its number with the secret behind it, as the node gave them. */
export interface Backend {
  node: Node
  role: string
  key: Buffer
}

/**
 * @param management - the role that asks for it.
 * @returns whether the node has told the process to end. @throws as `connectTo`; NodeRefused
 */
export async function terminate(
  { node, role, key }: Backend,
  management: string,
  signal: AbortSignal,
): Promise<boolean> {
  const database = MANAGEMENT_DATABASES.postgresql
  return await visit(node, management, database, signal, async (ask) => {
    // No setting of the role's own changes what a quote means.
    await ask('SET standard_conforming_strings = on')
    const [row] = await ask(
      `SELECT pg_terminate_backend(pid) AS told FROM pg_stat_activity
       WHERE pid = ${key.readInt32BE(0)} AND usename = ${literal(role)}`,
    )
    return row?.['told'] === 't'
  })
}
