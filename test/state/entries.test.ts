/** Entries of the shared lists, written, taken out and listed, on a real PostgreSQL; and told to a gate's state. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { asFailure } from '../../src/failure.ts'
import type { AccessEntry } from '../../src/policy/lists.ts'
import { listEntries, putEntry, removeEntry } from '../../src/state/entries.ts'
import { openStateSession, type StateSession, toFailure } from '../../src/state/session.ts'
import { openState, type State } from '../../src/state/state.ts'
import { tellStrays } from '../../src/state/strays.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'

const NOW_MS = Date.UTC(2026, 10, 23)
const NOW = NOW_MS / 1000
const DENIED: AccessEntry = {
  list: 'deny',
  kind: 'ip',
  cluster: '',
  item: '192.0.2.7',
  until: undefined,
  why: '',
}
const ALLOWED: AccessEntry = { ...DENIED, list: 'allow', cluster: 'main', item: '10.0.0.0/8' }
const CLOSED: AccessEntry = { ...ALLOWED, kind: 'cluster', item: '' }

let node: StateNode
beforeAll(async () => {
  node = await startStateNode(18)
})
afterAll(() => node.close())

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
})

/** A session with a state of its own, as a command has it. */
async function start(name: string): Promise<StateSession> {
  const place = await node.make(name)
  const session = await openStateSession(node.nodes(), place, new AbortController().signal)
  open.push(session)
  return session
}

async function follow(name: string): Promise<State> {
  const state = await openState(
    { role: name, database: name, maxAgeMs: 60_000 },
    {
      nodes: node.nodes,
      log: { info: () => undefined, warn: () => undefined, error: () => undefined } as never,
      now: () => NOW_MS,
      elapsed: () => 0,
    },
  )
  open.push(state)
  return state
}

const put = (session: StateSession, entry: Partial<AccessEntry>, base = DENIED) =>
  putEntry(session, { ...base, ...entry }, NOW_MS)

it('are told to gates, and come in the order of what they are', async () => {
  const session = await start('told')
  const state = await follow('told')
  const why = `'; DROP TABLE x; --\\' é"`
  await put(session, { why })
  await put(session, {}, ALLOWED)
  await put(session, {}, CLOSED)
  await put(session, { kind: 'cluster', item: 'old' })
  const all = [ALLOWED, CLOSED, { ...DENIED, kind: 'cluster', item: 'old' }, { ...DENIED, why }]
  const sorted = (entries: readonly object[]) => entries.map((each) => JSON.stringify(each)).sort()
  await expect.poll(() => sorted(state.snapshot().entries), { interval: 5 }).toEqual(sorted(all))
  expect(sorted(await listEntries(session))).toEqual(sorted(all))
  expect(await removeEntry(session, DENIED, ['192.0.2.7'], false)).toBe(true)
  expect(await removeEntry(session, DENIED, ['192.0.2.7'], false)).toBe(false)
  await expect.poll(() => state.snapshot().entries.length, { interval: 5 }).toBe(3)
})

it('are denied as long as either says, and allowed as long as was said last', async () => {
  const session = await start('twice')
  const until = async (entry: AccessEntry, seconds?: number) =>
    (await put(session, { until: seconds }, entry)).until
  expect(await until(DENIED, NOW + 10)).toBe(NOW + 10)
  expect(await until(DENIED, NOW + 5)).toBe(NOW + 10)
  expect(await until(DENIED, NOW + 20.5)).toBe(NOW + 21)
  expect(await until(DENIED)).toBeUndefined()
  expect(await until(DENIED, NOW + 30)).toBeUndefined()
  expect(await until(ALLOWED)).toBeUndefined()
  expect(await until(ALLOWED, NOW + 30)).toBe(NOW + 30)
  expect(await listEntries(session)).toHaveLength(2)
})

it('that ended a day ago go with the next that comes, but for those of an allowlist', async () => {
  const session = await start('over')
  await put(session, { item: '192.0.2.1', until: NOW - 90_000 })
  await put(session, { item: '192.0.2.2', until: NOW - 80_000 })
  await put(session, { until: NOW - 90_000 }, ALLOWED)
  await put(session, { item: '192.0.2.3' })
  const left = await listEntries(session)
  expect(left.map(({ item }) => item)).toEqual(['10.0.0.0/8', '192.0.2.2', '192.0.2.3'])
})

it('the last of an allowlist goes only where that is meant', async () => {
  const session = await start('last')
  await put(session, {}, CLOSED)
  await put(session, {}, ALLOWED)
  await put(session, { cluster: 'other' }, ALLOWED)
  const remove = async ({ item, ...name }: AccessEntry, last: boolean) => {
    // A session of its own: one that refuses is over.
    const own = await openStateSession(
      node.nodes(),
      { role: 'last', database: 'last' },
      new AbortController().signal,
    )
    open.push(own)
    return await removeEntry(own, name, [item], last).catch((thrown) => asFailure(thrown).message)
  }
  expect(await remove(ALLOWED, false)).toBe(true)
  expect(await remove(CLOSED, false)).toContain('last entry of the allowlist of cluster main')
  for (const each of open.splice(1)) await each.close()
  expect(await listEntries(session)).toHaveLength(2)
  expect(await remove(CLOSED, true)).toBe(true)
})

it.each<[string, Partial<AccessEntry>, string]>([
  ['with a NUL', { why: 'a\0b' }, 'a NUL is in no name'],
  ['that is too long', { why: 'x'.repeat(1025) }, 'longer than 1024 bytes: '],
])('%s are none', async (_, more, says) => {
  await node.make('odd').catch(() => undefined)
  const session = await openStateSession(
    node.nodes(),
    { role: 'odd', database: 'odd' },
    new AbortController().signal,
  )
  open.push(session)
  const failure = await put(session, more).catch(asFailure)
  expect(failure).toMatchObject({ code: 'usage', message: expect.stringContaining(says) })
})

it('are no more than can be read again', async () => {
  const session = await start('full')
  await session.ask(
    `INSERT INTO postern.access_entries (list, kind, item)
     SELECT 'deny', 'ip', '10.' || n / 65536 || '.' || n / 256 % 256 || '.' || n % 256
     FROM generate_series(1, 100000) n`,
  )
  const failure = await put(session, {}).catch(toFailure)
  expect(failure).toMatchObject({
    code: 'usage',
    message: expect.stringContaining('there are 100000 entries already'),
  })
}, 20_000)

it('about clusters that are not here are told once', async () => {
  const session = await start('strays')
  const state = await follow('strays')
  const lines: unknown[] = []
  tellStrays(state, () => ['main'], { warn: (line: unknown) => lines.push(line) } as never)
  await put(session, {}, ALLOWED)
  await put(session, { cluster: 'mian' }, ALLOWED)
  await put(session, { kind: 'cluster', item: 'old' })
  await put(session, { item: '192.0.2.8' })
  await expect.poll(() => state.snapshot().entries.length, { interval: 5 }).toBe(4)
  expect(lines.map(String).sort()).toEqual([
    'the shared lists have an entry about a cluster that is not here: mian',
    'the shared lists have an entry about a cluster that is not here: old',
  ])
})
