/** A gate whose disk is full lets nobody in: its page and its metrics say so, and why. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openAuditStream } from '../../src/telemetry/audit_file.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { textOf } from '../support/ops_page.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import { openTls, refusalOf, signIn } from '../support/wire_client.ts'

let node: ScriptedNode
let gate: TestGate
beforeAll(async () => {
  node = await startScriptedNode()
  gate = await startGate({ node: node.address, auditTo: openAuditStream('/dev/full') })
})
afterAll(async () => {
  await gate.close()
  await node.close()
})

const get = async (path: string) => await (await fetch(gate.opsUrl + path)).text()

it('is what somebody is told to act on', async () => {
  expect(textOf(await get('/'))).toContain('Nothing needs a look')
  const client = await openTls(gate.port, gate.caPem)
  const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
  expect(refusalOf(said)?.['C']).toBe('XX000')
  client.close()
  const page = textOf(await get('/'))
  expect(page).toMatch(
    /Act The audit stream could not be written \(last: (?:now|\d+ s ago)\): nobody is let in/,
  )
  expect(page).toContain('internal_error')
  expect(await get('/metrics')).toMatch(/^postern_audit_failures_total [1-9]/m)
})
