/**
 * The console without a gate around it: who is heard, what is too much, what takes too long. With a gate and
 * real clients: test/real/console.test.ts.
 */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { parseConfig } from '../../src/config/config.ts'
import { openConsole } from '../../src/console/console.ts'
import type { ConsoleParts } from '../../src/console/parts.ts'
import type { Metric } from '../../src/peers/messages.ts'
import { openKnown } from '../../src/telemetry/known.ts'
import { failed, ok } from '../support/audit_events.ts'

const FILE = `
listeners: [{directory: /tmp}]
clusters: {main: {kind: postgresql, nodes: [{address: /tmp/.s.PGSQL.5432}], sign_in: peer}}
`

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

function open(more: Partial<ConsoleParts> = {}) {
  const known = openKnown(() => 1_000)
  const counted: Metric[] = []
  const audited: unknown[] = []
  const outside = { env: () => undefined, readFile: () => '', fileMode: () => 0, now: () => 0 }
  const configs = {
    now: parseConfig('postern.yaml', `${FILE}console: {admins: [carl]}`, outside),
    without: parseConfig('postern.yaml', FILE, outside),
  }
  const own = openConsole({
    version: '1.2.3',
    now: () => 1_000,
    config: () => configs.now,
    known,
    status: () => expect.unreachable(),
    samples: async () => [],
    waiting: () => [],
    state: undefined,
    settings: {
      problem: () => undefined,
      find: () => expect.unreachable(),
      try: () => undefined,
    },
    drained: { has: () => false, put: () => undefined },
    endSession: () => undefined,
    reload: () => undefined,
    audit: async (event) => void audited.push(event),
    count: (metric) => void counted.push(metric),
    log: { info: () => undefined, warn: () => undefined },
    ...more,
  })
  known.whoIsIn.begins(3, ok({ SessionID: 'admin', Node: 'console', Database: 'postern' }), 0)
  const say = (statement: string, session = 'admin', worker = 3) =>
    own.ask(worker, { session, statement, parameters: [], inTransaction: false })
  return { say, own, known, counted, audited, configs }
}

const DENIED = { ok: false, refused: { code: 'console_denied' } }

it('answers an admin', async () => {
  const { say, counted } = open()
  expect(await say('SHOW SESSIONS')).toMatchObject({ ok: true, answered: { tag: 'SHOW' } })
  expect(await say('what?')).toMatchObject({ ok: false, refused: { code: 'answer_unsupported' } })
  expect(counted).toEqual([
    { name: 'console_statement', kind: 'show', result: 'ok' },
    { name: 'console_statement', kind: 'other', result: 'refused' },
  ])
})

it('and nobody whose session is not with it, or of another worker, or over', async () => {
  const { say, known } = open()
  expect(await say('SHOW SESSIONS', 'nobody')).toMatchObject(DENIED)
  expect(await say('SHOW SESSIONS', 'admin', 4)).toMatchObject(DENIED)
  known.whoIsIn.begins(3, ok({ SessionID: 'other', Node: 'db:5432' }), 0)
  expect(await say('SHOW SESSIONS', 'other')).toMatchObject(DENIED)
  known.whoIsIn.ends(failed({ SessionID: 'admin' }))
  expect(await say('SHOW SESSIONS')).toMatchObject(DENIED)
})

it('nor who is no admin any more', async () => {
  const { say, configs } = open()
  configs.now = configs.without
  expect(await say('RELOAD')).toMatchObject(DENIED)
})

it('shows ten thousand rows, and says how many more there are', async () => {
  const { say, known } = open()
  for (let at = 0; at < 10_004; at++) known.whoIsIn.begins(0, ok({ SessionID: `s${at}` }), 0)
  const answer = await say('SHOW SESSIONS')
  if (!('answered' in answer)) expect.unreachable()
  expect(answer.answered.view?.rows).toHaveLength(10_000)
  expect(answer.answered.notice).toBe('the first 10000 rows; 5 more are not shown')
  const few = await say("SHOW SESSIONS WHERE session_id = 's7' LIMIT 5")
  expect(few).toMatchObject({
    answered: { view: { rows: [expect.anything()] }, notice: undefined },
  })
})

it('gives up on a state that does not answer', async () => {
  const never = new Promise<never>(() => undefined)
  const state = { revoke: () => never, history: () => never, note: () => never } as never
  const { say, audited } = open({ state })
  const answer = say("REVOKE TOKEN 'x'")
  await vi.advanceTimersByTimeAsync(10_000)
  expect(await answer).toEqual({
    ok: false,
    refused: { code: 'console_timeout', values: {}, detail: undefined },
  })
  expect(audited).toMatchObject([
    { EventType: 'revoke', User: 'carl', Statement: "REVOKE TOKEN 'x'" },
  ])
})

it('writes values into the statement that it writes down', async () => {
  const { own, audited } = open()
  const statement = 'CANCEL SESSION $1'
  const about = { session: 'admin', statement, parameters: ["it's"], inTransaction: false }
  expect(await own.ask(3, about)).toMatchObject({ refused: { code: 'console_not_found' } })
  await own.ask(3, { ...about, parameters: ['admin'] })
  expect(audited).toMatchObject([
    {
      EventType: 'cancel_session',
      CanceledSessionID: 'admin',
      Statement: "CANCEL SESSION 'admin'",
    },
  ])
})

it('lists what was changed, as long as the gate runs', async () => {
  const { say, own } = open()
  await say('RELOAD')
  own.reloaded('the configuration file')
  const answer = await say('SHOW CHANGES')
  if (!('answered' in answer)) expect.unreachable()
  expect(
    answer.answered.view?.rows.map(([, change, statement, who]) => [change, statement, who]),
  ).toEqual([
    ['reload', '', 'the configuration file'],
    ['reload', 'RELOAD', 'carl (carl@example.com of https://issuer.test)'],
  ])
})

it('says why the configuration is kept', async () => {
  const { say } = open({ reload: () => 'postern.yaml:1:1: a mistake' })
  expect(await say('RELOAD')).toMatchObject({
    refused: {
      code: 'console_value',
      values: { problem: 'the configuration in use is kept: postern.yaml:1:1: a mistake' },
    },
  })
})
