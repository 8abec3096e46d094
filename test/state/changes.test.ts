/** What is revoked twice, and what is set by two at once, with a real PostgreSQL. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { listRevocations, listSettings, revoke, setSetting } from '../../src/state/changes.ts'
import { openStateSession, type StateSession } from '../../src/state/session.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'

const T = 1_800_000_000
const SUBJECT = { kind: 'subject', issuer: 'https://issuer.test', value: 'alice' } as const
const PLACE = { role: 'changes', database: 'changes' }

let node: StateNode
let session: StateSession
beforeAll(async () => {
  node = await startStateNode(18)
  await node.make('changes')
  session = await open()
})
afterAll(async () => {
  session.close()
  await node.close()
})

const open = () => openStateSession(node.nodes(), PLACE, new AbortController().signal)
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

it('a setting is held against those that there are as it is written', async () => {
  const said = {
    change: 'set_cluster_setting',
    statement: '',
    address: '',
    session: '',
    cluster: '',
  }
  const sessions = await Promise.all([open(), open()])
  const set = (
    by: StateSession,
    name: string,
    mayBe?: (now: ReadonlyMap<string, string>) => void,
  ) => setSetting(by, { name, value: '1', who: 'op' }, T * 1000, said, mayBe)
  const alone = (now: ReadonlyMap<string, string>) => {
    if (now.size > 0) throw new Error(`beside ${[...now.keys()]}`)
  }
  try {
    const [one, other] = sessions
    const both = await Promise.allSettled([set(one, 'one', alone), set(other, 'other', alone)])
    const [kept, ...more] = await listSettings(session)
    expect(more).toEqual([])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(both).toContainEqual({ status: 'rejected', reason: new Error(`beside ${kept?.name}`) })
  } finally {
    for (const each of sessions) each.close()
  }
})
