/** The list of changes: what is under way to the shared state, and what does not get there. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { openChanges } from '../../src/console/changes.ts'
import { Failure } from '../../src/failure.ts'
import type { Said } from '../../src/state/changes.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const said = (statement: string): Said => ({
  change: 'drain_node',
  statement,
  address: '',
  session: '',
  cluster: '',
})

/** A state that is as slow as the test likes. */
function open() {
  const under: { statement: string; done: PromiseWithResolvers<void> }[] = []
  const lines: unknown[] = []
  let now = 0
  const changes = openChanges({
    state: {
      async note(_who, { statement }) {
        const done = Promise.withResolvers<void>()
        under.push({ statement, done })
        await done.promise
      },
      history: async () => [],
    },
    log: { warn: (...line: unknown[]) => void lines.push(...line) } as never,
    now: () => now++,
  })
  const list = async () => (await changes.list(10_000)).changes.map(({ statement }) => statement)
  return { changes, under, lines, list }
}

it('one is written after the other, and whoever made it waits for that', async () => {
  const { changes, under, list } = open()
  const made: string[] = []
  for (const each of ['a', 'b']) void changes.note('ops', said(each)).then(() => made.push(each))
  await vi.advanceTimersByTimeAsync(0)
  expect(under.map(({ statement }) => statement)).toEqual(['a'])
  expect([made, await list()]).toEqual([[], ['b', 'a']])
  under[0]?.done.resolve()
  await vi.advanceTimersByTimeAsync(0)
  expect(under.map(({ statement }) => statement)).toEqual(['a', 'b'])
  // The state has it now.
  expect([made, await list()]).toEqual([['a'], ['b']])
})

it('a state that is slow is waited for a moment, and what fails later stays in the list', async () => {
  const { changes, under, lines, list } = open()
  const made = changes.note('ops', said('a'))
  await vi.advanceTimersByTimeAsync(4_000)
  await made
  under[0]?.done.reject(new Failure('node_unreachable', { log: 'node db: refused' }))
  await vi.advanceTimersByTimeAsync(0)
  expect(lines).toEqual(['a change is not in the list that gates share: refused'])
  expect(await list()).toEqual(['a'])
})

it('a hundred wait for it, and no more', async () => {
  const { changes, under, lines, list } = open()
  for (let at = 0; at < 101; at++) void changes.note('ops', said(`${at}`))
  await vi.advanceTimersByTimeAsync(0)
  expect(under).toHaveLength(1)
  expect(lines).toEqual(['a change is not in the list that gates share: 100 others wait for that'])
  expect(await list()).toHaveLength(101)
  for (let at = 0; at < 100; at++) {
    under[at]?.done.resolve()
    await vi.advanceTimersByTimeAsync(0)
  }
  expect(under).toHaveLength(100)
  expect(await list()).toEqual(['100'])
})

it('a state that does not answer keeps nobody from the list', async () => {
  const changes = openChanges({
    state: { note: async () => undefined, history: () => new Promise(() => undefined) },
    log: { warn: () => expect.unreachable() },
    now: () => 0,
  })
  const listed = changes.list(10)
  await vi.advanceTimersByTimeAsync(4_000)
  expect(await listed).toEqual({ changes: [], missing: 'the statement was not done in time' })
})
