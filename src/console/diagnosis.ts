/**
 * What the doctor finds of the console on a node: whether a database has its name, which nobody reaches through
 * the gate then. Rule: as the doctor's; nothing is changed.
 */
import type { Check } from '../cluster/doctor.ts'
import type { Node } from '../cluster/node.ts'
import { literal } from '../cluster/paste.ts'
import { wordsOf } from '../cluster/refusals.ts'
import { MANAGEMENT_DATABASE } from '../cluster/setup.ts'
import { visit } from '../cluster/visit.ts'

const name = 'console'

/** @param role - to look around as; undefined where there is none. */
export async function diagnoseConsole(
  node: Node,
  database: string,
  role: string | undefined,
  stop: AbortSignal,
): Promise<Check> {
  if (role === undefined || node.signIn === 'forward')
    return {
      name,
      mark: 'unchecked',
      says: 'a management role would look for a database of its name',
    }
  const own = node.dialect === 'postgresql' ? MANAGEMENT_DATABASE : 'defaultdb'
  try {
    const found = await visit(node, role, own, stop, (ask) =>
      ask(`SELECT 1 AS one FROM pg_database WHERE datname = ${literal(database)}`),
    )
    if (found.length === 0) return { name, mark: 'ok', says: `no database is called ${database}` }
    const says = `a database is called ${database}, as the console is: nobody reaches it through the gate`
    return { name, mark: 'warning', says, todo: 'write another name in console.database' }
  } catch (thrown) {
    stop.throwIfAborted()
    return { name, mark: 'unchecked', says: `as ${role}: ${wordsOf(thrown)}` }
  }
}
