/** Settings of all gates and the list of changes, in a real database of a state. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { openState, type State } from '../../src/state/state.ts'
import { openLog } from '../../src/telemetry/log.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'

const open: State[] = []
let node: StateNode

beforeAll(async () => {
  node = await startStateNode(18)
})
afterEach(async () => {
  for (const state of open.splice(0)) await state.close()
})
afterAll(async () => {
  await node.close()
})

async function start(name: string): Promise<State> {
  const state = await openState(
    { role: name, database: name, maxAgeMs: 60_000 },
    {
      nodes: node.nodes,
      log: openLog({ write: () => undefined }, 'error', Date.now),
      now: () => 5_000,
      elapsed: () => performance.now(),
    },
  )
  open.push(state)
  return state
}

const said = (change: string, statement: string) => ({
  change,
  statement,
  address: '192.0.2.7:5000',
  session: 'a1',
  cluster: 'main',
})

it('a setting reaches all gates, is another one, and is gone', async () => {
  await node.make('settings')
  const [one, other] = [await start('settings'), await start('settings')]
  const settings = () => other.snapshot().settings
  await one.set('limits.connections', '5', 'carl', said('set_cluster_setting', 'SET …'))
  await expect
    .poll(settings, { interval: 5 })
    .toEqual([{ name: 'limits.connections', value: '5', who: 'carl', at: 5 }])
  await one.set('limits.connections', "it's 6", 'ops', said('set_cluster_setting', 'SET …'))
  await expect.poll(settings, { interval: 5 }).toMatchObject([{ value: "it's 6", who: 'ops' }])
  await other.set('limits.connections', undefined, 'ops', said('set_cluster_setting', 'RESET …'))
  await expect.poll(() => one.snapshot().settings, { interval: 5 }).toEqual([])
})

it('is long, and not too long', async () => {
  await node.make('longsettings')
  const state = await start('longsettings')
  const set = (value: string) => state.set('map', value, 'ops', said('set_cluster_setting', 'SET'))
  await set('x'.repeat(16_384))
  await expect(set('x'.repeat(16_385))).rejects.toMatchObject({ code: 'usage' })
})

it('what was changed is listed, the newest first, with who said it and how', async () => {
  await node.make('history')
  const state = await start('history')
  const what = {
    kind: 'token',
    issuer: 'i',
    value: 'j',
    before: undefined,
    until: undefined,
    why: '',
  } as const
  await state.revoke(what, 'carl', said('revoke', "REVOKE TOKEN 'j'"))
  await state.note('ops', said('drain_node', `DRAIN NODE '${'é'.repeat(2_000)}'`))
  await state.set('log.level', 'warn', 'ops', said('set_cluster_setting', 'SET …'))
  const all = await state.history(10)
  expect(all.map(({ change, who }) => [change, who])).toEqual([
    ['set_cluster_setting', 'ops'],
    ['drain_node', 'ops'],
    ['revoke', 'carl'],
  ])
  expect(all[2]).toEqual({ ...said('revoke', "REVOKE TOKEN 'j'"), who: 'carl', at: 5 })
  expect(Buffer.byteLength(all[1]?.statement ?? '')).toBeLessThanOrEqual(1024)
  expect(all[1]?.statement).toMatch(/^DRAIN NODE 'é+\.\.\.$/)
  expect(await state.history(1)).toHaveLength(1)
})

it('keeps ten thousand of them', async () => {
  await node.make('manychanges')
  const state = await start('manychanges')
  await state.note('ops', said('reload', 'RELOAD'))
  await node.sql(
    `UPDATE postern.changes SET number = number + 10000;
     INSERT INTO postern.history (number, at) SELECT number - 9999 + i, 1 FROM postern.changes, generate_series(0, 9999) i`,
    'manychanges',
  )
  await state.note('ops', said('reload', 'RELOAD'))
  expect(
    await node.sql('SELECT count(*)::int AS rows FROM postern.history', 'manychanges'),
  ).toEqual([{ rows: 10_000 }])
})
