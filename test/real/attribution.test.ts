/** Whose a session is, as the node itself shows it: pg_stat_activity, of a real PostgreSQL, kept sessions too. */
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { FreshNode } from '../support/fresh_node.ts'
import { type PooledGate, startPooledGate, startPooledNode } from '../support/pooled.ts'
import { ISSUER } from '../support/tokens.ts'

let node: FreshNode
const gates: PooledGate[] = []
beforeAll(async () => {
  node = await startPooledNode(18)
})
afterAll(async () => {
  for (const gate of gates) await gate.close()
  await node.close()
})

const DIGEST = createHash('sha256').update(`${ISSUER}\nmaxroach`).digest('hex').slice(0, 12)

async function open(mode: 'none' | 'session') {
  const gate = await startPooledGate(
    node,
    { mode },
    { cluster: { pool: { mode }, attribution: 'application_name' } },
  )
  gates.push(gate)
  return gate
}

const nameOf = async (pid: number) =>
  (await node.sql(`SELECT application_name FROM pg_stat_activity WHERE pid = ${pid}`))[0]?.[
    'application_name'
  ]

it('names the session and its principal behind the client’s own name', async () => {
  const gate = await open('none')
  const guest = await gate.enter('maxroach', {
    application_name: 'a report of the quarter, all of it',
  })
  const { SessionID } = await gate.gate.event('client_authentication_ok')
  const name = `a report of the quarter, postern/${SessionID}/${DIGEST}`
  expect(await nameOf(await guest.pid())).toBe(name)
  expect(guest.settings['application_name']).toBe(name)
  // Nothing keeps a client from another name.
  await guest.ask("SET application_name = 'postern/somebody/else'")
  expect(await nameOf(await guest.pid())).toBe('postern/somebody/else')
  await guest.leave()
})

it('names the principal alone where sessions are kept, so that they go to the next client', async () => {
  const gate = await open('session')
  const pids: number[] = []
  for (const round of [1, 2]) {
    const guest = await gate.enter('maxroach', { application_name: 'app' })
    pids.push(await guest.pid())
    expect(await nameOf(pids.at(-1) ?? 0)).toBe(`app postern/-/${DIGEST}`)
    await guest.ask(`SET application_name = 'round ${round}'`)
    await guest.leave()
    await gate.idle(1)
  }
  expect(pids[1]).toBe(pids[0])
  expect(await nameOf(pids[0] ?? 0)).toBe(`app postern/-/${DIGEST}`)
})
