/**
 * What the doctor finds of the shared state on a node: whether its owner gets in, and whether the database is
 * its own alone. Rule: as the doctor's; nothing is changed, and what is wrong comes with what to do.
 */
import type { Check } from '../cluster/doctor.ts'
import type { Node } from '../cluster/node.ts'
import { wordsOf } from '../cluster/refusals.ts'
import { visit } from '../cluster/visit.ts'
import { examine, type StatePlace } from './check.ts'

const name = 'state'

export async function diagnoseState(
  node: Node,
  place: StatePlace,
  stop: AbortSignal,
): Promise<Check[]> {
  const { role, database } = place
  try {
    const problems = await visit(node, role, database, stop, (ask) =>
      examine(ask, place, node.dialect),
    )
    if (problems.length > 0) return problems.map((each) => ({ name, mark: 'bad', ...each }))
    return [{ name, mark: 'ok', says: `${database} is ${role}'s alone` }]
  } catch (thrown) {
    stop.throwIfAborted()
    const says = `as ${role} in the database ${database}: ${wordsOf(thrown)}`
    const todo = 'postern cluster setup prints the role, the database, and the line that lets it in'
    return [{ name, mark: 'bad', says, todo }]
  }
}
