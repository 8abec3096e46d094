/** A pool before a node that does as a test says: what makes a session unfit for the next client. */
import { once } from 'node:events'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Node } from '../../src/cluster/node.ts'
import { openPool, type PoolEvent, type PoolPlan } from '../../src/cluster/pool.ts'
import type { LeftQuiet } from '../../src/cluster/pool_session.ts'
import { FAILURES } from '../../src/failure.ts'
import type { Grant } from '../../src/policy/decide.ts'
import { nodeAt } from '../support/managed_node.ts'
import {
  authenticationOk,
  error,
  keyData,
  parameterStatus,
  readyForQuery,
  type ScriptedNode,
  startScriptedNode,
} from '../support/scripted_node.ts'
import { message, uint32 } from '../support/wire_client.ts'

type Answers = (sql: string) => Buffer[] | 'nothing'

const PLAN: PoolPlan = {
  shareBetweenPrincipals: false,
  maxAgeMs: 60_000,
  idleTimeoutMs: 60_000,
  size: 2,
  maxNodeConnections: 4,
  waitTimeoutMs: 5_000,
}
const QUIET: LeftQuiet = { canceled: false, parametersTold: false }
const SETTINGS = [
  parameterStatus('TimeZone', 'UTC'),
  parameterStatus('server_version', '18.4'),
  parameterStatus('crdb_version', 'CockroachDB CCL v23.1.2 (x86_64)'),
]
const NOTICE = message('N', 'SNOTICE\0Mhello\0\0')
const NOTIFICATION = message('A', Buffer.concat([uint32(1), Buffer.from('news\0\0')]))
const never = new AbortController().signal

const complete = (tag: string) => message('C', `${tag}\0`)
const row = (...values: string[]) => {
  const cells = values.map((value) => Buffer.concat([uint32(value.length), Buffer.from(value)]))
  return message('D', Buffer.concat([Buffer.from([0, values.length]), ...cells]))
}
const one = (...values: string[]) => [row(...values), complete('SELECT 1'), readyForQuery()]

/** As PostgreSQL answers what is asked of a session that is well. */
const well = (sql: string): Buffer[] => {
  const [, seed = ''] = /'(\d\.\d+)'/.exec(sql) ?? []
  if (sql === 'RESET ROLE') return [complete('RESET'), readyForQuery()]
  if (sql === 'CLOSE ALL') return [complete('CLOSE'), readyForQuery()]
  if (sql === 'DISCARD ALL') return [complete('DISCARD ALL'), readyForQuery()]
  if (sql.includes('current_setting')) return one('UTC', '18.4', 'CockroachDB CCL v23.1.2 (x86_64)')
  if (isBeginning(sql)) return one('t', 't', 't', 't')
  return one(Buffer.from('carl').toString('hex'), seed, 't', 't', 't')
}
/** What a session that is to be kept is asked of its beginning. */
const isBeginning = (sql: string) => sql.includes('rolreplication')
const seedIn = (sql: string) => /'(\d\.\d+)'/.exec(sql)?.[1] ?? ''
const isCheck = (sql: string) => sql.includes('rolcanlogin')

let scripted: ScriptedNode | undefined
afterEach(() => {
  vi.useRealTimers()
  return scripted?.close()
})

interface Options {
  answers?: Answers
  plan?: Partial<PoolPlan>
  dialect?: Node['dialect']
}

async function open({ answers = well, plan = {}, dialect = 'postgresql' }: Options = {}) {
  const asked: string[] = []
  let secret = 0
  scripted = await startScriptedNode({
    greet: ({ send }) =>
      send(authenticationOk, NOTICE, ...SETTINGS, keyData(1, ++secret), readyForQuery()),
    session(chunk, { send, socket }) {
      for (let at = 0; at < chunk.length; at += 1 + chunk.readInt32BE(at + 1)) {
        const type = String.fromCharCode(chunk.readUInt8(at))
        const sql = chunk.toString('utf8', at + 5, at + chunk.readInt32BE(at + 1))
        asked.push(type === 'Q' ? sql : type)
        if (type === 'X') socket.end()
        const answer = type === 'Q' ? answers(sql) : 'nothing'
        if (answer !== 'nothing') send(...answer)
      }
    },
  })
  const node = nodeAt({ host: '127.0.0.1', port: scripted.port }, dialect)
  const events: PoolEvent[] = []
  const state = { up: true, ms: 0 }
  const pool = openPool(
    { ...PLAN, ...plan },
    { elapsed: () => state.ms, isUp: () => state.up, tell: (event) => events.push(event) },
  )
  /** The last session's process is stopped: it reads nothing any more, and doesn't see the end. */
  const hang = () => scripted?.sockets.at(-1)?.pause().removeAllListeners('end')
  const waited: number[] = []
  const wait = (ms: number) => waited.push(ms)
  const take = async (signal = never, ms = 5_000, subject = 'carl') =>
    await pool.take(grantFor(subject), node, NO_PARAMETERS, signal, ms, wait)
  const sum = (kind: 'idle' | 'waiting') =>
    events.reduce((so, event) => so + (event.kind === kind ? event.change : 0), 0)
  const idle = async (sessions: number) =>
    await expect.poll(() => sum('idle'), { interval: 1 }).toBe(sessions)
  const closed = () => events.flatMap((event) => (event.kind === 'closed' ? [event] : []))
  /** Of a session that was kept and can be had. */
  const keepOne = async () => {
    const first = await take()
    first.keep?.(QUIET)
    await idle(1)
    return first
  }
  return { pool, node, scripted, asked, state, hang, waited, take, sum, idle, closed, keepOne }
}

const NO_PARAMETERS = {
  options: undefined,
  replication: undefined,
  others: new Map<string, string>(),
  remoteAddress: '',
}

function grantFor(subject: string): Grant {
  const principal = { issuer: 'https://iss.test', subject, names: ['carl'], users: ['carl'] }
  return { role: 'carl', database: 'db', principal: principal as unknown as Grant['principal'] }
}

const keyOf = ({ opening }: { opening: { cancelKey: Buffer | undefined } }) =>
  opening.cancelKey?.readInt32BE(4)

describe('a session that is kept', () => {
  it('is reset, checked, and told its settings again, but for notices', async () => {
    const { take, keepOne, asked, sum } = await open()
    const first = await keepOne()
    expect([first.warm, first.opening.messages]).toEqual([
      false,
      Buffer.concat([NOTICE, ...SETTINGS]),
    ])
    const second = await take()
    expect([second.warm, keyOf(second), second.opening.messages]).toEqual([
      true,
      keyOf(first),
      Buffer.concat(SETTINGS),
    ])
    expect(asked).toEqual([
      'DISCARD ALL',
      'RESET ROLE',
      expect.stringContaining('pg_settings'),
      expect.stringContaining('setseed'),
    ])
    expect(sum('idle')).toBe(0)
  })

  it('is seeded anew each time, and no name is written into what is asked', async () => {
    const { take, keepOne, asked, idle } = await open()
    await keepOne()
    for (let at = 0; at < 3; at++) {
      ;(await take()).keep?.(QUIET)
      await idle(1)
    }
    const checks = asked.filter(isCheck)
    expect(new Set(checks.map((sql) => /setseed\((.*?)\)/.exec(sql)?.[1])).size).toBe(3)
    for (const sql of checks) expect(sql).not.toMatch(/carl|\bdb\b/)
  })

  it.each<[string, Buffer[]]>([
    ['an error', [error('57014', 'canceled'), readyForQuery()]],
    ['a notice', [NOTICE, complete('DISCARD ALL'), readyForQuery()]],
    ['a notification', [complete('DISCARD ALL'), NOTIFICATION, readyForQuery()]],
    ['another statement', [complete('DISCARD TEMP'), readyForQuery()]],
    ['a row', [row('x'), row('y'), complete('DISCARD ALL'), readyForQuery()]],
    ['an end without a beginning', [readyForQuery(), complete('DISCARD ALL'), readyForQuery()]],
    ['an open transaction', [complete('DISCARD ALL'), readyForQuery('T')]],
    [
      'another setting than in the beginning',
      [complete('DISCARD ALL'), parameterStatus('TimeZone', 'CET'), readyForQuery()],
    ],
    [
      'a setting that it never told',
      [parameterStatus('x', 'y'), complete('DISCARD ALL'), readyForQuery()],
    ],
    ['no message at all', [message('Z', 'II')]],
  ])('is closed when the answer to its reset is %s', async (_name, answer) => {
    const answers: Answers = (sql) => (sql === 'DISCARD ALL' ? answer : well(sql))
    const { take, closed, asked } = await open({ answers })
    ;(await take()).keep?.(QUIET)
    await expect.poll(closed).toMatchObject([{ why: 'reset_failed' }])
    await expect.poll(() => asked.at(-1)).toBe('X')
    expect((await take()).warm).toBe(false)
  })

  it.each([0, 1, 2, 3])(
    'is closed when the answer about its beginning has a no, at %i',
    async (no) => {
      const values = ['t', 't', 't', 't'].with(no, 'f')
      const answers: Answers = (sql) => (isBeginning(sql) ? one(...values) : well(sql))
      const { take, closed } = await open({ answers })
      ;(await take()).keep?.(QUIET)
      await expect.poll(closed).toMatchObject([{ why: 'reset_failed' }])
    },
  )

  it('is asked for the settings of its beginning once', async () => {
    const { take, keepOne, asked, idle } = await open()
    await keepOne()
    ;(await take()).keep?.(QUIET)
    await idle(1)
    const questions = asked.filter(isBeginning).map((sql) => sql.includes('pg_settings'))
    expect(questions).toEqual([true, false])
  })

  it('is asked for its settings where one of them was told of meanwhile', async () => {
    const { take, asked, idle } = await open()
    ;(await take()).keep?.({ canceled: false, parametersTold: true })
    await idle(1)
    expect(asked.at(-1)).toBe(
      "SELECT pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('server_version'), pg_catalog.current_setting('crdb_version')",
    )
  })

  it('is closed when one of them is another one now', async () => {
    const answers: Answers = (sql) =>
      sql.includes('current_setting') ? one('CET', '18.4', '') : well(sql)
    const { take, closed } = await open({ answers })
    ;(await take()).keep?.({ canceled: false, parametersTold: true })
    await expect
      .poll(closed)
      .toMatchObject([{ why: 'reset_failed', detail: 'Error: TimeZone is another one now' }])
  })

  it.each<[string, { up?: boolean; ms?: number }, boolean, string, string[]]>([
    ['was cancelled', {}, true, 'canceled', ['X']],
    ['is on a node that is down', { up: false }, false, 'node', []],
    ['is too old', { ms: PLAN.maxAgeMs }, false, 'old', ['X']],
  ])('is not one that %s', async (_name, change, canceled, why, told) => {
    const { take, closed, asked, state } = await open()
    const first = await take()
    Object.assign(state, change)
    first.keep?.({ ...QUIET, canceled })
    expect(closed()).toMatchObject([{ why }])
    await expect.poll(() => first.leg.socket.closed || asked.length > 0).toBe(true)
    expect(asked).toEqual(told)
  })

  it('is closed as soon as the node says anything, or ends it', async () => {
    const { scripted, keepOne, closed, idle, take } = await open()
    await keepOne()
    scripted.sockets.at(-1)?.write(NOTIFICATION)
    await idle(0)
    await keepOne()
    scripted.sockets.at(-1)?.end()
    await idle(0)
    expect(closed().map(({ why }) => why)).toEqual(['lost', 'lost'])
    expect((await take()).warm).toBe(false)
  })

  it('is closed when its node is left, and when the pool is closed; then nothing is kept', async () => {
    const { pool, node, keepOne, closed, take, sum, asked } = await open()
    await keepOne()
    pool.forget('another')
    expect(sum('idle')).toBe(1)
    pool.forget(node.name)
    expect([sum('idle'), closed().at(-1)?.why]).toEqual([0, 'node'])
    await keepOne()
    pool.close()
    expect([sum('idle'), closed().at(-1)?.why]).toEqual([0, 'closing'])
    const last = await take()
    last.keep?.(QUIET)
    expect(closed().at(-1)?.why).toBe('closing')
    await expect.poll(() => asked.filter((each) => each === 'X')).toHaveLength(3)
  })

  it('goes by the name of its node, not by what a look-up made of it', async () => {
    const { pool, node, keepOne, sum } = await open({ plan: { size: 1 } })
    const take = (node: Node) => pool.take(grantFor('carl'), node, NO_PARAMETERS, never, 5_000)
    const first = await keepOne()
    const again = await take({ ...node, address: { ...node.address } })
    expect([again.warm, keyOf(again)]).toEqual([true, keyOf(first)])
    again.keep?.(QUIET)
    await expect.poll(() => sum('idle')).toBe(1)
    // The same name at another address: its room is taken, and the session is not the same.
    const { host, port } = { host: '127.0.0.1', port: 0, ...node.address }
    const elsewhere = await take({
      ...node,
      address: { host: host.replace('127.', '::ffff:127.'), port },
    })
    expect([elsewhere.warm, keyOf(elsewhere)]).toEqual([false, (keyOf(first) ?? 0) + 1])
    await expect.poll(() => first.leg.socket.closed).toBe(true)
  })

  it('on CockroachDB has its cursors closed, and a version that discards all the rest', async () => {
    const answers: Answers = (sql) =>
      isCheck(sql) ? one('carl', /'(\d\.\d+)'/.exec(sql)?.[1] ?? '', 't', 't', 't') : well(sql)
    const { keepOne, asked, take } = await open({ answers, dialect: 'cockroachdb' })
    await keepOne()
    expect((await take()).warm).toBe(true)
    expect(asked.slice(0, 2)).toEqual(['CLOSE ALL', 'DISCARD ALL'])
    expect(asked[2]).not.toMatch(/setseed|rolvaliduntil/)
  })

  it('on CockroachDB has a password that is still good, where it is for one', async () => {
    const answers: Answers = (sql) =>
      isCheck(sql) ? one('carl', seedIn(sql), 'f', 't', 't') : well(sql)
    const { pool, node, asked, closed, idle } = await open({ answers, dialect: 'cockroachdb' })
    const scram: Node = { ...node, signIn: 'scram' }
    const take = () => pool.take(grantFor('carl'), scram, NO_PARAMETERS, never, 5_000)
    ;(await take()).keep?.(QUIET)
    await idle(1)
    expect((await take()).warm).toBe(false)
    expect(asked.find(isCheck)).toContain('rolvaliduntil')
    expect(closed()).toMatchObject([{ why: 'check_failed' }])
  })
})

describe('a session that is to be handed out', () => {
  const CARL = Buffer.from('carl').toString('hex')
  it.each<[string, (sql: string) => Buffer[] | 'nothing']>([
    ['may not log in', (sql) => one(CARL, seedIn(sql), 'f', 't', 't')],
    ['may not connect', (sql) => one(CARL, seedIn(sql), 't', 'f', 't')],
    ["has a password that isn't good any more", (sql) => one(CARL, seedIn(sql), 't', 't', 'f')],
    ['is somebody else now', (sql) => one('00', seedIn(sql), 't', 't', 't')],
    ['is not there', () => [complete('SELECT 0'), readyForQuery()]],
    ['is there twice', (sql) => [row(CARL), ...well(sql)]],
    ['is said to be well in another answer', () => one(CARL, '0.5', 't', 't', 't')],
    ['is said to be well in a shorter answer', (sql) => one(CARL, seedIn(sql), 't', 't')],
    ['can not be asked', () => [error('42704', 'invalid role OID'), readyForQuery()]],
    ['is asked in vain', () => 'nothing'],
    ['is told of with a notice', (sql) => [NOTICE, ...well(sql)]],
  ])('is closed when its role %s; a new one is opened', async (_name, answer) => {
    const answers: Answers = (sql) => (isCheck(sql) ? answer(sql) : well(sql))
    const { take, keepOne, closed } = await open({ answers, plan: { size: 1 } })
    const first = await keepOne()
    const second = await take(never, 100)
    expect([second.warm, keyOf(second)]).toEqual([false, (keyOf(first) ?? 0) + 1])
    expect(closed()).toMatchObject([{ why: 'check_failed' }])
  })

  it('is closed when it has become too old', async () => {
    const { take, keepOne, closed, state } = await open()
    await keepOne()
    state.ms = PLAN.maxAgeMs
    expect((await take()).warm).toBe(false)
    expect(closed()).toMatchObject([{ why: 'old' }])
  })

  it('goes with a login that is over', async () => {
    const answers: Answers = (sql) => (isCheck(sql) ? 'nothing' : well(sql))
    const { take, keepOne, asked } = await open({ answers, plan: { size: 1 } })
    await keepOne()
    const login = new AbortController()
    const taken = take(login.signal)
    await expect.poll(() => asked.some(isCheck)).toBe(true)
    login.abort(new Error('over'))
    await expect(taken).rejects.toThrow('over')
    // Its place is free again.
    expect((await take()).warm).toBe(false)
  })
})

describe('places', () => {
  it("are free when the node's sockets have closed, however they were used", async () => {
    const { take, sum } = await open({ plan: { size: 1 } })
    for (let at = 0; at < 3; at++) {
      const session = await take()
      const next = take()
      expect(sum('waiting')).toBe(1)
      if (at === 0) session.leg.destroy()
      if (at === 1) session.leg.close()
      if (at === 2) session.keep?.(QUIET)
      ;(await next).leg.destroy()
    }
    await expect.poll(() => sum('waiting')).toBe(0)
  })

  it('are free when no session can be opened', async () => {
    const { take, scripted } = await open({ plan: { size: 1 } })
    await scripted.close()
    for (let at = 0; at < 3; at++)
      await expect(take()).rejects.toThrow(FAILURES.node_unreachable.say)
  })

  it('go to another principal without its session', async () => {
    const { take, keepOne, closed } = await open({ plan: { size: 1 } })
    const first = await keepOne()
    const second = await take(never, 5_000, 'dora')
    expect([second.warm, keyOf(second)]).toEqual([false, (keyOf(first) ?? 0) + 1])
    expect(closed()).toMatchObject([{ why: 'room' }])
    await expect.poll(() => first.leg.socket.closed).toBe(true)
  })

  it('of a node that hangs are free when it is left, and who waits there is told to go elsewhere', async () => {
    const { take, keepOne, hang, pool, node, sum } = await open({ plan: { size: 1 } })
    await keepOne()
    hang()
    pool.forget(node.name)
    const busy = await take()
    hang()
    busy.leave?.()
    const next = take()
    expect(sum('waiting')).toBe(1)
    pool.forget(node.name)
    await expect(next).rejects.toMatchObject({ code: 'node_unreachable' })
    expect((await take()).warm).toBe(false)
  })

  it('are free when a client leaves something on a node that is down', async () => {
    const { take, hang, state } = await open({ plan: { size: 1 } })
    const busy = await take()
    hang()
    state.up = false
    busy.leave?.()
    expect((await take()).warm).toBe(false)
  })

  it('count while a session gives no answer to its reset', async () => {
    const { take, hang, closed, sum, pool, node } = await open({ plan: { size: 1 } })
    const first = await take()
    hang()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    first.keep?.(QUIET)
    vi.advanceTimersByTime(5_000)
    vi.useRealTimers()
    const next = take()
    await expect
      .poll(closed)
      .toMatchObject([{ why: 'reset_failed', detail: 'Error: the node gave no answer in time' }])
    expect(sum('waiting')).toBe(1)
    pool.forget(node.name)
    await expect(next).rejects.toMatchObject({ code: 'node_unreachable' })
  })

  it('are not held for what is left when the pool is closed: it is a leg like any other', async () => {
    const { take, hang, pool } = await open()
    const { leg, leave } = await take()
    hang()
    pool.close()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const said = once(leg.socket, 'finish')
    leave?.()
    await said
    const ended = once(leg.socket, 'close')
    vi.advanceTimersByTime(2_000)
    await ended
  })

  it('tell how long they were waited for, given or not', async () => {
    const { take, state, waited } = await open({ plan: { size: 1, waitTimeoutMs: 20 } })
    const first = await take()
    const next = take()
    state.ms = 700
    await expect(next).rejects.toMatchObject({ code: 'pool_timeout' })
    const last = take()
    state.ms = 1_000
    first.leg.destroy()
    await last
    expect(waited).toEqual([0, 700, 300])
  })

  it('are not waited for longer than allowed', async () => {
    const { take, sum } = await open({ plan: { size: 1, waitTimeoutMs: 20 } })
    await take()
    await expect(take()).rejects.toMatchObject({ code: 'pool_timeout' })
    expect(sum('waiting')).toBe(0)
  })
})
