/**
 * The console without a gate around it: who is heard, what is too much, what takes too long. With a gate and
 * real clients: test/real/console.test.ts.
 */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { parseConfig } from '../../src/config/config.ts'
import { openConsole } from '../../src/console/console.ts'
import type { ConsoleParts } from '../../src/console/parts.ts'
import { Failure } from '../../src/failure.ts'
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

function read(text: string) {
  const outside = { env: () => undefined, readFile: () => '', fileMode: () => 0, now: () => 0 }
  return parseConfig('postern.yaml', text, outside)
}

function open(more: Partial<ConsoleParts> = {}) {
  const known = openKnown(() => 1_000)
  const counted: Metric[] = []
  const audited: unknown[] = []
  const configs = { now: read(`${FILE}console: {admins: [carl]}`), without: read(FILE) }
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
    drained: { has: () => false, list: () => [], put: () => undefined },
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
  known.whoIsIn.ends(3, failed({ SessionID: 'admin' }))
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
    refused: { code: 'console_unsure', values: {}, detail: undefined },
  })
  expect(audited).toMatchObject([
    { EventType: 'revoke', User: 'carl', Statement: "REVOKE TOKEN 'x'" },
  ])
})

it('does nothing any more that could not be written down in time', async () => {
  const written = Promise.withResolvers<void>()
  const revoked: unknown[] = []
  const told: unknown[] = []
  const { say } = open({
    audit: () => written.promise,
    state: { revoke: async (what: unknown) => void revoked.push(what) } as never,
    log: { info: () => undefined, warn: (...line: unknown[]) => void told.push(line) } as never,
  })
  const answer = say("REVOKE TOKEN 'x'")
  await vi.advanceTimersByTimeAsync(10_000)
  expect(await answer).toMatchObject({ refused: { code: 'console_timeout' } })
  written.resolve()
  await vi.advanceTimersByTimeAsync(0)
  expect(revoked).toEqual([])
  expect(told).toEqual([
    [
      { request: 'admin' },
      'the console gave up on a statement, and then: the statement was not done in time',
    ],
  ])
})

function seen(known: ReturnType<typeof openKnown>, cluster: string, node: string) {
  known.count({ name: 'node_state', cluster, node, before: 'gone', state: 'up' })
}

it.each(["REVOKE TOKEN 'x'", 'SET CLUSTER SETTING log.level = warn'])(
  'knows not what became of %s, where the connection to the state was lost',
  async (statement) => {
    const told: unknown[] = []
    const lost = () =>
      Promise.reject(new Failure('node_lost', { log: 'the node ended the session' }))
    const { say } = open({
      state: { revoke: lost, set: lost, snapshot: () => ({ settings: [] }) } as never,
      settings: {
        problem: () => undefined,
        find: (name) => ({ name, value: '', origin: 'default', place: '', trust: false }),
        try: () => undefined,
      },
      log: { info: () => undefined, warn: (...line: unknown[]) => void told.push(line) } as never,
    })
    expect(await say(statement)).toMatchObject({ refused: { code: 'console_unsure' } })
    expect(told).toEqual([
      [
        { request: 'admin', user: 'carl', failure: 'console_unsure' },
        'the console: the node ended the session',
      ],
    ])
  },
)

it('leaves a line in the log of who was refused for want of a right', async () => {
  const told: unknown[] = []
  const { say, configs } = open({
    state: { snapshot: () => ({ settings: [] }) } as never,
    settings: {
      problem: () => undefined,
      find: (name) => ({ name, value: '', origin: 'default', place: '', trust: true }),
      try: () => undefined,
    },
    log: { info: () => undefined, warn: (...line: unknown[]) => void told.push(line) } as never,
  })
  await say("SET CLUSTER SETTING clusters.main.session.grace = '9h'")
  await say("SHOW SESSIONS WHERE nothing = 'x'")
  configs.now = configs.without
  await say('SHOW SESSIONS')
  expect(told).toEqual([
    [
      { request: 'admin', user: 'carl', failure: 'console_trust' },
      expect.stringMatching(/^the console refused a statement: the setting "clusters\.main\./),
    ],
    [
      { request: 'admin', user: 'carl', failure: 'console_denied' },
      'the console refused a statement: permission denied for database "postern"',
    ],
  ])
})

it('drains a node of one cluster, and asks which where several have one of the name', async () => {
  const put: unknown[] = []
  const gone = [{ cluster: 'old', node: 'n3' }]
  const { say, known, audited } = open({
    drained: { has: () => false, list: () => gone, put: (...how) => void put.push(how) },
  })
  for (const cluster of ['dev', 'prod']) seen(known, cluster, 'n1')
  seen(known, 'dev', 'n2')
  expect(await say("DRAIN NODE 'n1'")).toMatchObject({
    refused: {
      code: 'console_value',
      values: {
        problem:
          'several clusters have a node n1: add CLUSTER and the name of one of them (dev, prod)',
      },
    },
  })
  for (const named of ["'n9'", "'n2' CLUSTER 'prod'", "'n3'"])
    expect(await say(`DRAIN NODE ${named}`)).toMatchObject({
      refused: { code: 'console_not_found' },
    })
  expect(audited).toEqual([])
  for (const named of ["DRAIN NODE 'n1' CLUSTER 'prod'", "DRAIN NODE 'n2'", "UNDRAIN NODE 'n3'"])
    expect(await say(named)).toMatchObject({ ok: true })
  expect(put).toEqual([
    [{ cluster: 'prod', node: 'n1' }, true],
    [{ cluster: 'dev', node: 'n2' }, true],
    [{ cluster: 'old', node: 'n3' }, false],
  ])
  expect(audited[0]).toMatchObject({ NodeCluster: 'prod', NodeName: 'n1', Drained: true })
})

it('shows what this gate has changed while the state is down, and says so', async () => {
  const down = new Failure('node_unreachable', { log: 'node db: refused' })
  const state = {
    note: () => Promise.reject(down),
    history: () => Promise.reject(down),
  } as never
  const { say } = open({ state })
  await say('RELOAD')
  expect(await say('SHOW CHANGES')).toMatchObject({
    answered: {
      view: {
        rows: [[expect.anything(), 'reload', 'RELOAD', ...Array(4).fill(expect.anything())]],
      },
      notice: "these are of this gate alone; the others can't be had: refused",
    },
  })
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

const TWO = `
listeners: [{directory: /tmp}]
clusters:
  main: {kind: postgresql, nodes: [{address: /tmp/.s.PGSQL.5432}], sign_in: peer, server.jwt_authentication.clock_tolerance: 2s}
  dev: {kind: postgresql, nodes: [{address: /tmp/.s.PGSQL.5433}], sign_in: peer}
console: {admins: [carl], clusters: [main]}
`

it('answers nobody who signed in to a cluster whose admins these are not', async () => {
  const { say, known, configs } = open()
  configs.now = read(TWO)
  expect(await say('SHOW STATS')).toMatchObject({ ok: true })
  const session = { SessionID: 'dev', Node: 'console', Cluster: 'dev' }
  known.whoIsIn.begins(3, ok(session), 0)
  expect(await say('SHOW STATS', 'dev')).toMatchObject(DENIED)
})

it.each<[string, number, number, unknown]>([
  ['before its end', 999, 998_999, { ok: true }],
  ['as far as the clock may be off', 999, 1_000_998, { ok: true }],
  ['no longer', 999, 1_001_000, { ok: false, refused: { code: 'console_expired' } }],
  ['or without an end', 0, 9_000_000_000_000, { ok: true }],
])('heeds a token %s', async (_, TokenExpiry, nowMs, answer) => {
  const { say, known, configs } = open({ now: () => nowMs })
  configs.now = read(TWO)
  known.whoIsIn.begins(3, ok({ SessionID: 'old', Node: 'console', TokenExpiry }), 0)
  expect(await say('SHOW STATS', 'old')).toMatchObject(answer as object)
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
