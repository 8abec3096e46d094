/** What is revoked twice, with a real PostgreSQL. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { listRevocations, revoke } from '../../src/state/changes.ts'
import { openStateSession, type StateSession } from '../../src/state/session.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'

const T = 1_800_000_000
const SUBJECT = { kind: 'subject', issuer: 'https://issuer.test', value: 'alice' } as const

let node: StateNode
let session: StateSession
beforeAll(async () => {
  node = await startStateNode(18)
  const place = await node.make('changes')
  session = await openStateSession(node.nodes(), place, new AbortController().signal)
})
afterAll(async () => {
  session.close()
  await node.close()
})

const change = (before: number | undefined, until: number | undefined, at: number) =>
  revoke(session, { ...SUBJECT, before, until, why: 'lost' }, 'op', at * 1000)

it('goes as far as either says, and that is what is told', async () => {
  await change(undefined, T + 600, T)
  expect(await change(T, T + 900, T + 1)).toEqual({
    ...SUBJECT,
    before: undefined,
    until: T + 900,
    why: 'lost',
  })
})

it('begins anew when it was over, though it is still listed', async () => {
  expect(await listRevocations(session)).toHaveLength(1)
  const told = await change(T + 7200, undefined, T + 7200)
  expect(told).toMatchObject({ before: T + 7200, until: undefined })
  expect(await listRevocations(session)).toMatchObject([{ before: T + 7200, until: undefined }])
})
