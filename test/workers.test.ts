/**
 * What the primary does about workers that cannot be started, do not stay up, or do not go, where real
 * processes won't do so when they are asked to. Real ones are in test/real/workers*.test.ts.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Source } from '../src/config/source.ts'
import { Failure } from '../src/failure.ts'
import type { Metric, ToPrimary, ToWorker } from '../src/peers/messages.ts'
import type { Link } from '../src/peers/processes.ts'
import { openStateAnswers, type StateAnswers } from '../src/peers/state_answers.ts'
import { EMPTY } from '../src/state/snapshot.ts'
import type { AuditEvent } from '../src/telemetry/events.ts'
import { openLog } from '../src/telemetry/log.ts'
import { openWorkers } from '../src/workers.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const LISTENING: Source = {
  name: 'postern.yaml',
  text: '',
  env: new Map(),
  files: new Map(),
  modes: new Map(),
}
const ADDRESSES = [{ host: '127.0.0.1', port: 26257 }]
const CLOSED = new Failure('shutting_down')
const BEGUN = { EventType: 'client_authentication_ok', SessionID: 'a' } as AuditEvent

/** A worker that does what it is told to by the test alone. */
class Puppet implements Link<ToWorker, ToPrimary> {
  waiting = 0
  hangs = false
  readonly pid = 1
  readonly told: ToWorker[] = []
  killed = 0
  say: (message: ToPrimary) => void = () => undefined
  go: (how: string) => void = () => undefined
  send = (message: ToWorker) => {
    if (message.kind !== 'ping') this.told.push(message)
    else if (!this.hangs) this.say({ kind: 'pong' })
  }
  onMessage = (heard: (message: ToPrimary) => void) => {
    this.say = heard
  }
  onGone = (heard: (how: string) => void) => {
    this.go = heard
  }
  close = () => undefined
  kill = () => void this.killed++
  open = () => this.say({ kind: 'open', addresses: ADDRESSES })
}

interface How {
  start?: (at: number) => Puppet
  count?: number
  state?: StateAnswers
}

function primary({ start, count = 2, state }: How = {}) {
  const puppets: Puppet[] = []
  const lines: string[] = []
  const failures: Failure[] = []
  const metrics: Metric[] = []
  const audit: AuditEvent[] = []
  const current = { source: LISTENING }
  const opening = openWorkers({
    start() {
      const puppet = start?.(puppets.length) ?? new Puppet()
      puppets.push(puppet)
      return puppet
    },
    count,
    listening: LISTENING,
    source: () => current.source,
    issuer: () => undefined,
    audit: (_, event) => void audit.push(event),
    metric: (metric) => void metrics.push(metric),
    cancel: async () => undefined,
    attempts: { mayTry: async () => ({ waitMs: 0, beganMs: 0 }), settle: async () => true },
    console: async () => ({ ok: true, answered: { tag: '' } }),
    drained: () => [],
    state,
    logLine: () => undefined,
    log: openLog({ write: (line) => void lines.push(JSON.parse(line).msg) }, 'debug', () => 0),
    elapsed: () => performance.now(),
    failed: (why) => void failures.push(why),
  })
  // Who waits for it hears why it failed.
  opening.catch(() => undefined)
  return { opening, puppets, lines, failures, metrics, audit, current }
}

async function opened(how: How = {}) {
  const all = primary(how)
  for (const puppet of all.puppets) puppet.open()
  return { ...all, workers: await all.opening }
}

describe('a worker that the system does not start', () => {
  const NO_ROOM = 'the worker processes do not stay up: spawn EAGAIN'
  const refuse = (): never => {
    throw new Error('spawn EAGAIN')
  }

  it('at the beginning ends the others', async () => {
    const { opening, puppets } = primary({ start: (at) => (at === 1 ? refuse() : new Puppet()) })
    expect(puppets[0]?.told.at(-1)).toEqual({ kind: 'close' })
    puppets[0]?.go('exit code 0')
    await expect(opening).rejects.toThrow(NO_ROOM)
  })

  it('in the place of one that was lost is tried again, and said', async () => {
    let refused = 0
    const { puppets, lines, workers, failures } = await opened({
      start: (at) => (at === 2 && refused++ < 20 ? refuse() : new Puppet()),
    })
    puppets[0]?.go('SIGKILL')
    // As long as one is open, nobody gives up.
    await vi.advanceTimersByTimeAsync(120_000)
    expect(refused).toBe(21)
    expect(lines.filter((line) => line === NO_ROOM)).toHaveLength(20)
    expect(puppets).toHaveLength(3)
    puppets[2]?.open()
    expect([workers.isOpen(), failures]).toEqual([true, []])
  })

  it('when they are to be replaced leaves those that there are', async () => {
    const { puppets, workers } = await opened({
      start: (at) => (at === 2 ? refuse() : new Puppet()),
    })
    await expect(workers.replace()).rejects.toThrow(NO_ROOM)
    const began = { kind: 'begin', workers: 2 }
    expect(puppets.flatMap(({ told }) => told)).toMatchObject([began, began])
  })
})

describe('workers that crash', () => {
  it('end the gate when none is left, and not while one is', async () => {
    const { puppets, workers, failures } = await opened()
    const crashNew = async () => {
      const before = puppets.length
      await vi.advanceTimersByTimeAsync(10_000)
      expect(puppets).toHaveLength(before + 1)
      puppets.at(-1)?.go('exit code 134')
    }
    puppets[0]?.go('exit code 134')
    for (let round = 0; round < 30; round++) await crashNew()
    expect([failures, workers.isOpen()]).toEqual([[], true])
    // It had lived for long: that is a first crash again.
    puppets[1]?.go('exit code 134')
    expect(workers.isOpen()).toBe(false)
    puppets.length = 0
    const crashAll = async () => {
      await vi.advanceTimersByTimeAsync(10_000)
      for (const puppet of puppets.splice(0)) puppet.go('exit code 134')
      await vi.advanceTimersByTimeAsync(0)
    }
    for (let round = 0; round < 6; round++) await crashAll()
    expect(failures).toEqual([])
    await crashAll()
    expect(failures).toMatchObject([{ code: 'workers_failed' }])
  })

  it('at the same moment count as one', async () => {
    const { puppets, workers, failures } = await opened({ count: 8 })
    for (const puppet of puppets.splice(0)) puppet.go('SIGKILL')
    await vi.advanceTimersByTimeAsync(100)
    expect(puppets).toHaveLength(8)
    for (const puppet of puppets) puppet.open()
    expect([workers.isOpen(), failures]).toEqual([true, []])
  })

  it('before the gate is open end it', async () => {
    const { opening, puppets } = primary()
    puppets[0]?.open()
    puppets[1]?.go('exit code 1')
    await vi.advanceTimersByTimeAsync(0)
    puppets[0]?.go('exit code 0')
    await expect(opening).rejects.toThrow('the worker processes do not stay up: exit code 1')
  })

  it('before they are open, and say why, are heard', async () => {
    const { opening, puppets } = primary({ count: 1 })
    puppets[0]?.say({ kind: 'failed', problem: 'a word' })
    puppets[0]?.go('exit code 0')
    await expect(opening).rejects.toThrow('the worker processes do not stay up: a word')
  })
})

it('one that does not open in time is ended', async () => {
  const { puppets } = primary({ count: 1 })
  await vi.advanceTimersByTimeAsync(29_999)
  expect(puppets[0]?.killed).toBe(0)
  await vi.advanceTimersByTimeAsync(1)
  expect(puppets[0]?.killed).toBe(1)
})

it('a drain waits for all, and for those that start', async () => {
  const { puppets, workers } = await opened()
  puppets[0]?.go('SIGKILL')
  await vi.advanceTimersByTimeAsync(10_000)
  const drained = vi.fn()
  const draining = workers.drain(CLOSED).then(drained)
  expect(puppets[2]?.told.at(-1)).toEqual({ kind: 'drain' })
  puppets[2]?.open()
  puppets[1]?.say({ kind: 'drained' })
  await vi.advanceTimersByTimeAsync(60_000)
  expect([drained.mock.calls.length, puppets.length]).toEqual([0, 3])
  puppets[2]?.say({ kind: 'drained' })
  await draining
  expect(puppets.map(({ killed }) => killed)).toEqual([0, 0, 0])
})

it('one that opens while all are closed is not lost', async () => {
  const { puppets, workers, lines, metrics } = await opened({ count: 1 })
  const replaced = workers.replace().catch(() => undefined)
  await vi.advanceTimersByTimeAsync(0)
  const closing = workers.close(CLOSED)
  puppets[1]?.open()
  for (const puppet of puppets) puppet.go('exit code 0')
  await Promise.all([closing, replaced])
  expect(lines.filter((line) => line.includes('lost'))).toEqual([])
  const ends = metrics.filter(({ name }) => name === 'worker_ended')
  expect(ends).toEqual(Array(2).fill({ name: 'worker_ended', how: 'retired' }))
})

describe('a worker that hangs', () => {
  it('is ended, and another one comes in its place', async () => {
    const { puppets, lines } = await opened()
    Object.assign(puppets[0] ?? {}, { hangs: true })
    await vi.advanceTimersByTimeAsync(30_000)
    expect(puppets.map(({ killed }) => killed)).toEqual([0, 0])
    await vi.advanceTimersByTimeAsync(10_000)
    expect(puppets.map(({ killed }) => killed)).toEqual([1, 0])
    expect(lines).toContain('a worker does not answer: it is ended')
    puppets[0]?.go('SIGKILL')
    await vi.advanceTimersByTimeAsync(100)
    expect(puppets).toHaveLength(3)
  })

  it('and does not take what it is told is told no more of the others', async () => {
    const { puppets } = await opened()
    const come = () => puppets[0]?.say({ kind: 'count', metrics: [{ name: 'connection_opened' }] })
    const told = () => puppets[1]?.told.filter(({ kind }) => kind === 'elsewhere')
    Object.assign(puppets[1] ?? {}, { waiting: 1 })
    await vi.advanceTimersByTimeAsync(100)
    for (let at = 0; at < 3; at++) {
      come()
      await vi.advanceTimersByTimeAsync(100)
    }
    expect(told()).toEqual([])
    Object.assign(puppets[1] ?? {}, { waiting: 0 })
    await vi.advanceTimersByTimeAsync(100)
    expect(puppets[1]?.told.at(-1)).toEqual({ kind: 'elsewhere', connections: 3 })
  })
})

it('workers are not replaced again and again while sessions keep the old ones', async () => {
  const { puppets, workers } = await opened({ count: 1 })
  const replace = async () => {
    const replaced = workers.replace()
    await vi.advanceTimersByTimeAsync(0)
    puppets.at(-1)?.open()
    return await replaced
  }
  for (let round = 0; round < 3; round++) expect(await replace()).toBeUndefined()
  expect(await replace()).toBe('3 that were replaced before still have sessions')
  puppets[0]?.go('exit code 0')
  expect(await replace()).toBeUndefined()
  expect(puppets).toHaveLength(5)
})

it('a close that is hurried writes down the end of what it cuts', async () => {
  const { puppets, workers, audit } = await opened({ count: 1 })
  puppets[0]?.say({ kind: 'ask', id: 1, ask: { kind: 'audit', event: BEGUN } })
  const hurry = Promise.withResolvers<void>()
  const closing = workers.close(CLOSED, hurry.promise)
  await vi.advanceTimersByTimeAsync(2_000)
  hurry.resolve()
  await vi.advanceTimersByTimeAsync(1_000)
  expect(puppets[0]?.killed).toBe(1)
  puppets[0]?.go('SIGKILL')
  await closing
  expect(audit.map(({ EventType }) => EventType)).toEqual([
    'client_authentication_ok',
    'client_session_end',
  ])
})

it('one that not even the system ends is left behind', async () => {
  const { puppets, workers } = await opened()
  const closing = workers.close(CLOSED)
  expect(workers.isOpen()).toBe(false)
  puppets[0]?.go('exit code 0')
  await vi.advanceTimersByTimeAsync(8_000)
  expect(puppets.map(({ killed }) => killed)).toEqual([0, 1])
  await vi.advanceTimersByTimeAsync(2_000)
  await closing
  expect(vi.getTimerCount()).toBe(0)
})

it('one that starts is asked about no cancel: it has no sessions', async () => {
  const { puppets, workers } = await opened({ count: 1 })
  void workers.replace()
  await vi.advanceTimersByTimeAsync(0)
  const key = Buffer.from('0020aaaaaaaaaaaa', 'hex')
  expect(await workers.cancel(key, '192.0.2.1')).toBe(false)
  puppets[1]?.open()
  const asked = workers.cancel(key, '192.0.2.1')
  expect(puppets[1]?.told.at(-1)).toMatchObject({ kind: 'cancel' })
  puppets[1]?.say({ kind: 'cancelled', id: 1, found: true })
  expect(await asked).toBe(true)
})

it('one that starts later is told by what the sockets were bound', async () => {
  const { puppets, workers, current } = await opened({ count: 1 })
  expect(puppets[0]?.told[0]).toEqual({ kind: 'begin', number: 1, workers: 1, source: LISTENING })
  current.source = { ...LISTENING, text: 'another' }
  const replaced = workers.replace()
  await vi.advanceTimersByTimeAsync(0)
  expect(puppets[1]?.told[0]).toEqual({
    kind: 'begin',
    number: 2,
    workers: 1,
    source: current.source,
    listening: LISTENING,
  })
  puppets[1]?.open()
  await replaced
  expect(puppets[0]?.told.at(-1)).toEqual({ kind: 'retire' })
})

describe('what gates share', () => {
  const ask = { kind: 'ask', id: 7, ask: { kind: 'state', known: 0 } } as const

  it('is told to the workers when it changes, and said to whoever asks', async () => {
    let change: () => void = () => undefined
    const snapshot = { ...EMPTY, number: '1' }
    const state = openStateAnswers({
      maxAgeMs: 60_000,
      snapshot: () => snapshot,
      ageMs: () => 5,
      changed(heard) {
        const before = change
        change = () => {
          before()
          heard(snapshot)
        }
      },
    })
    const { puppets } = await opened({ state })
    expect(puppets[0]?.told).toMatchObject([{ kind: 'begin', state: { maxAgeMs: 60_000 } }])
    change()
    for (const { told } of puppets) expect(told.at(-1)).toEqual({ kind: 'state_changed' })
    puppets[1]?.say(ask)
    puppets[1]?.say({ ...ask, id: 8, ask: { ...ask.ask, known: 2 } })
    await vi.advanceTimersByTimeAsync(0)
    const answer = { kind: 'state', number: 2, ageMs: 5 }
    expect(puppets[1]?.told.slice(-2)).toEqual([
      { kind: 'answer', id: 7, answer: { ...answer, snapshot } },
      { kind: 'answer', id: 8, answer: { ...answer, snapshot: undefined } },
    ])
  })

  it('is nothing where nothing is', async () => {
    const { puppets } = await opened()
    puppets[0]?.say(ask)
    await vi.advanceTimersByTimeAsync(0)
    expect(puppets[0]?.told.at(-1)).toMatchObject({ answer: { kind: 'failed' } })
  })
})
