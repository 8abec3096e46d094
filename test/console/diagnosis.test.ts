/** What the doctor finds of the console, on a real node. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { diagnoseConsole } from '../../src/console/diagnosis.ts'
import { nodeAt } from '../support/managed_node.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'

let shared: StateNode
const stop = new AbortController().signal

beforeAll(async () => {
  shared = await startStateNode(18)
})
afterAll(async () => {
  await shared.close()
})

it.each<[string, string | undefined, string, string]>([
  ['postern', 'admin', 'ok', 'no database is called postern'],
  [
    'postgres',
    'admin',
    'warning',
    'a database is called postgres, as the console is: nobody reaches it through the gate',
  ],
  ['postern', undefined, 'unchecked', 'a management role would look for a database of its name'],
  ["it's", 'admin', 'ok', "no database is called it's"],
  ['postern', 'nobody', 'unchecked', 'role "nobody" does not exist'],
])('%s as %s: %s', async (database, role, mark, says) => {
  const node = nodeAt({ path: shared.address }, 'postgresql')
  expect(await diagnoseConsole(node, database, role, stop)).toMatchObject({
    name: 'console',
    mark,
    says: expect.stringContaining(says),
  })
})
