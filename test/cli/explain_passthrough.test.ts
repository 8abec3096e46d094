/** A login that brought no token, found in an audit stream: there is nothing of a token to explain. */
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { postern } from '../support/fresh_node.ts'

it('a login that the node itself judged', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'postern-explain-'))
  const events = [
    { EventType: 'login_decision', Result: 'granted', Role: 'carl' },
    { EventType: 'client_authentication_ok' },
  ].map((event) => ({ ...event, SessionID: 'abc', Method: 'passthrough', User: 'carl' }))
  writeFileSync(join(dir, 'audit'), events.map((event) => `${JSON.stringify(event)}\n`).join(''))
  const { code, stderr } = await postern(
    ['explain', '--request-id', 'abc', '--audit', 'audit'],
    dir,
  )
  await rm(dir, { recursive: true, force: true })
  expect(stderr).toContain('the login abc brought no token: the node itself judged it')
  expect(code).not.toBe(0)
})
