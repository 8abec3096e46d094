/**
 * What gates share, by two of them on one database of a real PostgreSQL: who is told of a change, and when;
 * how old it is while nobody can be asked; and what keeps a gate from opening.
 */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { freePort } from '../../src/dev/free_port.ts'
import { asFailure, Failure } from '../../src/failure.ts'
import type { Revocation } from '../../src/policy/revocation.ts'
import { openStateSession } from '../../src/state/session.ts'
import { EMPTY, type StateSnapshot, staleness } from '../../src/state/snapshot.ts'
import { openState, type State } from '../../src/state/state.ts'
import { VERSION } from '../../src/state/tables.ts'
import { nodesAt, type StateNode, startStateNode } from '../support/state_node.ts'

let node: StateNode
beforeAll(async () => {
  node = await startStateNode(18)
})
afterAll(() => node.close())

const open: State[] = []
afterEach(async () => {
  for (const state of open.splice(0)) await state.close()
})

const NEVER_MS = 600_000
const SUBJECT: Revocation = {
  kind: 'subject',
  issuer: 'https://iss.test',
  value: 'maxroach',
  before: undefined,
  until: undefined,
  why: 'has left',
}

/** A gate's state, with a clock that stands still unless a test moves it. */
async function start(name: string, pollMs = NEVER_MS) {
  const lines: string[] = []
  const clock = { elapsedMs: 0, nowMs: Date.now() }
  const keep = (line: unknown) => void lines.push(String(line))
  const state = await openState(
    { role: name, database: name, maxAgeMs: 60_000 },
    {
      nodes: node.nodes,
      log: { info: keep, warn: keep, error: keep } as never,
      now: () => clock.nowMs,
      elapsed: () => clock.elapsedMs,
    },
    { postgresql: pollMs },
  )
  open.push(state)
  const heard: StateSnapshot[] = []
  state.changed((snapshot) => heard.push(snapshot))
  return { state, lines, clock, heard }
}

const endSessions = (role: string) =>
  node.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${role}'`)

describe('a revocation', () => {
  it('is known to the other gate at once, and told once', async () => {
    await node.make('told')
    const [one, other] = [await start('told'), await start('told')]
    expect(other.state.snapshot()).toMatchObject({ number: '1', revocations: [], entries: [] })
    await one.state.revoke(SUBJECT, 'somebody')
    for (const { state, heard } of [one, other]) {
      await expect.poll(() => heard.length, { interval: 5 }).toBe(1)
      expect(heard).toEqual([{ ...EMPTY, number: '2', revocations: [SUBJECT] }])
      expect(state.snapshot()).toBe(heard[0])
    }
    await other.state.revoke({ ...SUBJECT, kind: 'issuer', value: '' }, 'somebody')
    await expect.poll(() => one.heard.length, { interval: 5 }).toBe(2)
    expect(one.heard[1]?.revocations.map(({ kind }) => kind).sort()).toEqual(['issuer', 'subject'])
  })

  it('that nobody told of is found by looking', async () => {
    await node.make('silent')
    const { state, heard } = await start('silent', 20)
    await node.sql(
      `BEGIN; INSERT INTO postern.revocations (kind, value) VALUES ('digest', 'abc');
       UPDATE postern.changes SET number = number + 1; COMMIT`,
      'silent',
    )
    await expect.poll(() => heard.length, { interval: 5 }).toBe(1)
    expect(state.snapshot().revocations).toMatchObject([{ kind: 'digest', value: 'abc' }])
  })

  it('that was made while the connection was lost is known when there is another one', async () => {
    await node.make('lost')
    const { state, heard, lines } = await start('lost')
    await node.sql(
      `BEGIN; INSERT INTO postern.revocations (kind, value) VALUES ('session', 's1');
       UPDATE postern.changes SET number = number + 1; COMMIT`,
      'lost',
    )
    expect(heard).toEqual([])
    await endSessions('lost')
    await expect.poll(() => heard.length, { interval: 5 }).toBe(1)
    expect(state.snapshot().revocations).toMatchObject([{ kind: 'session', value: 's1' }])
    expect(lines).toEqual([
      "the shared state can't be read: the node ended the session",
      'the shared state is read again',
    ])
  })

  it('is known by whichever node is there', async () => {
    await node.make('several')
    const dead = nodesAt({ host: '127.0.0.1', port: await freePort() }).entries
    const state = await openState(
      { role: 'several', database: 'several', maxAgeMs: 60_000 },
      {
        nodes: () => ({ ...node.nodes(), entries: [...dead, ...node.nodes().entries] }),
        log: { error: (line: unknown) => expect.unreachable(String(line)) } as never,
        now: Date.now,
        elapsed: () => 0,
      },
    )
    open.push(state)
    expect(state.snapshot().number).toBe('1')
  })

  it('is asked for elsewhere in time, where a node says nothing and clients may wait for days', async () => {
    const place = await node.make('patient')
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const first = nodesAt({ host: '127.0.0.1', port }).entries
    const entries = [...first, ...node.nodes().entries]
    const stop = new AbortController()
    const connected = once(silent, 'connection')
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const days = { entries, connectTimeoutMs: 24 * 86_400_000 }
      const opening = openStateSession(days, place, stop.signal)
      await connected
      await vi.advanceTimersByTimeAsync(5_000)
      const session = await opening
      expect(await session.ask('SELECT 1 AS one')).toEqual([{ one: '1' }])
      session.close()
    } finally {
      vi.useRealTimers()
      stop.abort()
      silent.close()
    }
  })

  it('that ends is one no more, without a change', async () => {
    await node.make('ends')
    const { state, clock, heard } = await start('ends', 20)
    await state.revoke({ ...SUBJECT, until: clock.nowMs / 1000 + 3600 }, '')
    await expect.poll(() => heard.length, { interval: 5 }).toBe(1)
    expect(heard[0]?.revocations).toHaveLength(1)
    clock.nowMs += 3_601_000
    await expect.poll(() => heard.length, { interval: 5 }).toBe(2)
    expect(heard[1]).toEqual({ ...EMPTY, number: '2' })
  })

  it('twice is as far as either says', async () => {
    await node.make('twice')
    const { state } = await start('twice')
    const now = Math.floor(Date.now() / 1000)
    const seen = async (before?: number, until?: number) => {
      const number = Number(state.snapshot().number) + 1
      await state.revoke({ ...SUBJECT, before, until }, '')
      await expect.poll(() => state.snapshot().number, { interval: 5 }).toBe(String(number))
      return state.snapshot().revocations.map((each) => [each.before, each.until])
    }
    expect(await seen(100, now + 10)).toEqual([[100, now + 10]])
    expect(await seen(99.5, now + 20)).toEqual([[100, now + 20]])
    expect(await seen(100.2, now + 15)).toEqual([[101, now + 20]])
    expect(await seen(undefined, undefined)).toEqual([[undefined, undefined]])
    expect(await seen(500, now + 30)).toEqual([[undefined, undefined]])
  })

  it.each<[string, Partial<Revocation>, string]>([
    ['with a NUL', { value: 'a\0b' }, 'a NUL is in no name'],
    ['that is too long', { value: 'x'.repeat(1025) }, 'longer than 1024 bytes: '],
    ['at no time', { before: Number.NaN }, 'NaN is no time'],
  ])('%s is none', async (_name, more, says) => {
    await node.make('odd').catch(() => undefined)
    const { state } = await start('odd')
    const failure = await state.revoke({ ...SUBJECT, ...more }, '').catch(asFailure)
    expect(failure).toMatchObject({ code: 'usage', message: expect.stringContaining(says) })
  })

  it('is kept as it was said, whatever it holds', async () => {
    await node.make('quoted')
    const { state } = await start('quoted')
    const value = `'; DROP TABLE x; --\\' é\u{1f980}"`
    await state.revoke({ ...SUBJECT, value, why: value }, value)
    await expect
      .poll(() => state.snapshot().revocations, { interval: 5 })
      .toEqual([{ ...SUBJECT, value, why: value }])
  })
})

it('entries of access lists come with it', async () => {
  await node.make('lists')
  await (await start('lists')).state.close()
  await node.sql(
    `INSERT INTO postern.access_entries VALUES
      ('deny', '', '203.0.113.7', 'ip', 4102444800, 'scans', 3),
      ('allow', 'main', '10.0.0.0/8', 'ip', NULL, '', 4),
      ('deny', '', 'main', 'cluster', 1, 'long ago', 1);
     UPDATE postern.changes SET number = number + 1`,
    'lists',
  )
  const { state } = await start('lists')
  expect(state.snapshot().entries.toReversed()).toEqual([
    {
      list: 'deny',
      cluster: '',
      item: '203.0.113.7',
      kind: 'ip',
      until: 4_102_444_800,
      why: 'scans',
    },
    {
      list: 'allow',
      cluster: 'main',
      item: '10.0.0.0/8',
      kind: 'ip',
      until: undefined,
      why: '',
    },
  ])
})

describe('its age', () => {
  it('is that of the last answer, and too much of it keeps newcomers out until it is read again', async () => {
    await node.make('aging')
    const { state, clock, lines } = await start('aging', 20)
    expect([state.ageMs(), staleness(state)]).toEqual([0, undefined])
    await node.sql('ALTER ROLE aging NOLOGIN')
    await endSessions('aging')
    await expect.poll(() => lines.length, { interval: 5 }).toBeGreaterThan(0)
    clock.elapsedMs += 60_000
    expect([state.ageMs(), staleness(state)]).toEqual([60_000, undefined])
    clock.elapsedMs += 1
    expect(staleness(state)).toBe(
      'the shared state was last heard of 60 s ago; state.max_age allows 60 s',
    )
    await node.sql('ALTER ROLE aging LOGIN')
    await expect.poll(() => state.ageMs(), { interval: 5 }).toBe(0)
    expect(staleness(state)).toBeUndefined()
    expect(lines.at(-1)).toBe('the shared state is read again')
    expect(new Set(lines).size).toBe(lines.length)
  })

  it('is without end where no node is to be had at the start; the gate opens, and goes on asking', async () => {
    const lines: unknown[] = []
    const state = await openState(
      { role: 'r', database: 'd', maxAgeMs: 60_000 },
      {
        nodes: () => ({ entries: [], connectTimeoutMs: 100 }),
        log: { info: () => undefined, error: (line: unknown) => lines.push(line) } as never,
        now: Date.now,
        elapsed: () => 0,
      },
    )
    open.push(state)
    expect([state.ageMs(), lines]).toEqual([
      Number.POSITIVE_INFINITY,
      ["the shared state can't be read: no node is known"],
    ])
    expect(staleness(state)).toBe(
      'the shared state has not been read yet; state.max_age allows 60 s',
    )
  })

  it('grows where there is more than can be kept', async () => {
    await node.make('many')
    const { state, lines } = await start('many', 50)
    await node.sql(
      `INSERT INTO postern.revocations (kind, value) SELECT 'digest', n FROM generate_series(1, 100001) n;
       UPDATE postern.changes SET number = number + 1`,
      'many',
    )
    await expect
      .poll(() => lines, { interval: 20, timeout: 10_000 })
      .toEqual([
        "the shared state can't be read: the shared state has more than 100000 rows in postern.revocations",
      ])
    expect(state.snapshot().revocations).toEqual([])
    const failure = await state.revoke(SUBJECT, '').catch(asFailure)
    expect(failure).toMatchObject({
      code: 'usage',
      message: expect.stringContaining('there are 100000 revocations already'),
    })
    await node.sql(
      `DELETE FROM postern.revocations WHERE value = '1'; UPDATE postern.changes SET number = number + 1`,
      'many',
    )
    await expect
      .poll(() => state.snapshot().revocations.length, { interval: 20, timeout: 10_000 })
      .toBe(100_000)
  }, 30_000)
})

it('is made once, by however many gates at the same time', async () => {
  await node.make('crowd')
  const all = await Promise.all([1, 2, 3, 4, 5, 6].map(() => start('crowd')))
  expect(all.map(({ state }) => state.snapshot().number)).toEqual(Array(6).fill('1'))
  expect(await node.sql('SELECT version FROM postern.schema_version', 'crowd')).toEqual([
    { version: VERSION },
  ])
})

it('of a newer gate is not used: it may hold what this one does not know', async () => {
  await node.make('newer')
  await (await start('newer')).state.close()
  await node.sql('UPDATE postern.schema_version SET version = version + 1', 'newer')
  const failure = await start('newer').catch(asFailure)
  expect(failure).toMatchObject({
    code: 'state_unusable',
    message: expect.stringContaining(
      `made by a newer Postern (version ${VERSION + 1}, and this one knows ${VERSION})`,
    ),
  })
})

it('ends with a word, and a closed one asks for nothing', async () => {
  await node.make('closed')
  const { state } = await start('closed')
  await state.close()
  const sessions = () => node.sql("SELECT 1 FROM pg_stat_activity WHERE usename = 'closed'")
  await expect.poll(sessions, { interval: 10 }).toEqual([])
  await expect(state.revoke(SUBJECT, '')).rejects.toBeInstanceOf(Failure)
})
