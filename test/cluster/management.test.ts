/** The management role's sessions: how many there are, who waits for them, and how they end. */
import { once } from 'node:events'
import pg from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { type Management, openManagement } from '../../src/cluster/management.ts'
import { literal } from '../../src/cluster/paste.ts'
import type { Ask } from '../../src/cluster/visit.ts'
import { asFailure, Failure } from '../../src/failure.ts'
import { nodeAt, only } from '../support/managed_node.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import { type ScriptedSql, type SqlAnswer, scriptedSql } from '../support/scripted_sql.ts'

const LIMITS = { jobMs: 5_000, idleMs: 60_000, jobsMax: 100 }
const SETTINGS = expect.stringContaining('SET standard_conforming_strings = on')

let node: ScriptedNode | undefined
let management: Management | undefined
afterEach(async () => {
  management?.close()
  await node?.close()
  node = undefined
})

async function start(
  answer: (sql: string) => SqlAnswer | Promise<SqlAnswer> = () => [],
  limits: Partial<typeof LIMITS> = {},
) {
  const sql: ScriptedSql = scriptedSql(answer)
  const server = await startScriptedNode(sql.script)
  const opened = openManagement(
    only(nodeAt({ host: '127.0.0.1', port: server.port })),
    { role: 'manager' },
    { ...LIMITS, ...limits },
  )
  node = server
  management = opened
  const run = (statement: string, signal = NEVER) => opened.change(signal, (ask) => ask(statement))
  const look = (statement: string, signal = NEVER) => opened.look(signal, (ask) => ask(statement))
  return { server, asked: sql.asked, run, look, management: opened }
}

/** The statement is not answered before `answer` is called. */
function held(statement: string) {
  const arrived = Promise.withResolvers<void>()
  const answered = Promise.withResolvers<SqlAnswer>()
  return {
    arrived: arrived.promise,
    answer: () => answered.resolve([]),
    script(sql: string): SqlAnswer | Promise<SqlAnswer> {
      if (sql !== statement) return [{ sql }]
      arrived.resolve()
      return answered.promise
    },
  }
}

function socketOf({ sockets: [first] }: ScriptedNode) {
  if (first === undefined) throw new Error('nobody has connected')
  return first
}

const never = () => new Promise<never>(() => undefined)
const NEVER = new AbortController().signal

it('signs in as the role, once for jobs that follow each other', async () => {
  const { server, asked, run, look } = await start((sql) => [{ sql }])
  expect(await run('a')).toEqual([{ sql: 'a' }])
  expect(await look('b')).toEqual([{ sql: 'b' }])
  expect(asked).toEqual([SETTINGS, 'a', 'b'])
  expect(server.startups).toEqual([
    expect.objectContaining({
      user: 'manager',
      database: 'postgres',
      options: '-c search_path=pg_catalog',
      client_encoding: 'SQL_ASCII',
    }),
  ])
})

it('has two sessions for those who look, and two for those who change', async () => {
  const { server, look, run } = await start()
  const many = Array.from({ length: 20 }, (_, at) => (at % 2 === 0 ? look('a') : run('b')))
  await Promise.all(many)
  expect(server.startups).toHaveLength(4)
})

it('a job has a session to itself until it is done', async () => {
  const { server, asked, management } = await start((sql) => [{ sql }])
  const twice = (name: string) => async (ask: Ask) => [await ask(name), await ask(name)]
  const names = ['a', 'b', 'c', 'd', 'e']
  const answers = await Promise.all(names.map((name) => management.change(NEVER, twice(name))))
  expect(answers).toEqual(names.map((name) => [[{ sql: name }], [{ sql: name }]]))
  expect([asked.length, server.startups.length]).toEqual([12, 2])
})

it('who looks does not wait behind who changes', async () => {
  const first = held('slow')
  const { run, look } = await start(first.script)
  const changes = [run('slow'), run('slow'), run('b')]
  await first.arrived
  expect(await look('a')).toEqual([{ sql: 'a' }])
  first.answer()
  await Promise.all(changes)
})

it('goes after a while that nobody needs it, and comes back', async () => {
  const { server, run } = await start(undefined, { idleMs: 20 })
  await run('a')
  await once(socketOf(server), 'close')
  await run('b')
  expect(server.startups).toHaveLength(2)
})

describe('a session that the node ends', () => {
  it('between jobs is replaced', async () => {
    const { server, asked, run } = await start()
    await run('a')
    socketOf(server).end()
    await once(socketOf(server), 'close')
    await run('b')
    expect(asked).toEqual([SETTINGS, 'a', SETTINGS, 'b'])
  })

  it('in a job ends that job, and nothing is sent twice', async () => {
    const { server, asked, run } = await start((sql) => {
      if (sql === 'a') server.sockets.at(-1)?.destroy()
      return sql === 'a' ? never() : []
    })
    expect(await run('a').catch(asFailure)).toMatchObject({ code: 'node_lost' })
    await run('b')
    expect(asked).toEqual([SETTINGS, 'a', SETTINGS, 'b'])
  })
})

it('a job that throws takes its session with it: it may be in a transaction', async () => {
  const { server, asked, run, management } = await start((sql) =>
    sql === 'bad' ? { sqlstate: '42501', text: 'permission denied' } : [],
  )
  await expect(run('bad')).rejects.toThrow('42501: permission denied')
  const ours = management.change(NEVER, async (ask) => {
    await ask('BEGIN')
    throw new Error('ours')
  })
  await expect(ours).rejects.toThrow('ours')
  await run('good')
  expect(asked.filter((sql) => !sql.startsWith('SET'))).toEqual(['bad', 'BEGIN', 'good'])
  expect(server.startups).toHaveLength(3)
})

it('a refusal that the job itself takes is none', async () => {
  const { server, management } = await start((sql) =>
    sql === 'bad' ? { sqlstate: '42601', text: 'syntax error' } : [{ sql }],
  )
  const job = async (ask: Ask) => await ask('bad').catch(() => ask('other'))
  expect(await management.change(NEVER, job)).toEqual([{ sql: 'other' }])
  expect(server.startups).toHaveLength(1)
})

describe('waiting', () => {
  const LATE = { code: 'node_signin_failed', log: 'the management role: no answer within 0.2 s' }

  it('ends for a job that takes too long, and for those behind it', async () => {
    const { run } = await start((sql) => (sql === 'slow' ? never() : []), { jobMs: 200 })
    const all = await Promise.all(
      ['slow', 'slow', 'c', 'd'].map((job) => run(job).catch(asFailure)),
    )
    expect(all).toMatchObject([LATE, LATE, LATE, LATE])
    expect(await run('e')).toEqual([])
  })

  it('ends where the node says nothing at sign-in', async () => {
    node = await startScriptedNode({ greet: () => undefined })
    const address = { host: '127.0.0.1', port: node.port }
    management = openManagement(
      only(nodeAt(address)),
      { role: 'manager' },
      { ...LIMITS, jobMs: 200 },
    )
    expect(await management.look(NEVER, async () => 1).catch(asFailure)).toMatchObject(LATE)
  })

  it('is for so many, and no more', async () => {
    const first = held('slow')
    const { run } = await start(first.script, { jobsMax: 3 })
    const jobs = [run('slow'), run('slow'), run('b')]
    expect(await run('c').catch(asFailure)).toMatchObject({
      log: 'the management role: 3 logins are waiting for its sessions',
    })
    first.answer()
    await Promise.all(jobs)
    expect(await run('d')).toEqual([{ sql: 'd' }])
  })
})

describe('a login that is over', () => {
  const over = new Failure('login_timeout')

  it('asks for nothing, and waits no more', async () => {
    const first = held('slow')
    const { run, look, asked } = await start(first.script)
    const login = new AbortController()
    const jobs = [run('slow'), run('slow')]
    await first.arrived
    const waiting = run('never sent', login.signal)
    login.abort(over)
    await expect(waiting).rejects.toBe(over)
    await expect(look('never sent', login.signal)).rejects.toBe(over)
    first.answer()
    await Promise.all(jobs)
    expect(asked).not.toContain('never sent')
  })

  it('does not wait for what it only looks at', async () => {
    const first = held('slow')
    const { look } = await start(first.script)
    const login = new AbortController()
    const waiting = look('slow', login.signal)
    await first.arrived
    login.abort(over)
    await expect(waiting).rejects.toBe(over)
    expect(await look('next')).toEqual([{ sql: 'next' }])
  })

  it('waits for a change that was sent, and sends none after it', async () => {
    const first = held('slow')
    const { asked, management } = await start(first.script)
    const login = new AbortController()
    let changed = false
    const job = management.change(login.signal, async (ask) => {
      await ask('slow')
      changed = true
      await ask('never sent')
    })
    await first.arrived
    login.abort(over)
    first.answer()
    await expect(job).rejects.toBe(over)
    expect([changed, asked]).toEqual([true, [SETTINGS, 'slow']])
  })
})

describe('closing', () => {
  const CLOSING = { log: 'the management role: the gate is closing' }

  it('ends an idle session with a word', async () => {
    const { server, run, management } = await start()
    await run('a')
    management.close()
    await once(socketOf(server), 'close')
    expect(await run('b').catch(asFailure)).toMatchObject(CLOSING)
  })

  it('cuts short what is under way, and what waits', async () => {
    let arrived: () => void = () => undefined
    const slow = new Promise<void>((resolve) => (arrived = resolve))
    const { run, management } = await start((sql) => {
      if (sql === 'slow') arrived()
      return sql === 'slow' ? never() : []
    })
    const jobs = [run('slow'), run('b')].map((job) => job.catch(asFailure))
    await slow
    management.close()
    expect(await Promise.all(jobs)).toMatchObject([CLOSING, CLOSING])
  })
})

it('says what the node refuses at sign-in', async () => {
  const { socketDir, port } = inject('postgres')
  management = openManagement(only(nodeAt({ path: `${socketDir}/.s.PGSQL.${port}` })), {
    role: 'nobody_at_all',
  })
  const refused = await management.look(NEVER, async () => 1).catch(asFailure)
  expect(refused).toMatchObject({ code: 'role_refused', log: expect.stringContaining('28000') })
})

it('quotes the same whatever is set for the role', async () => {
  const { socketDir, host, port } = inject('postgres')
  const admin = new pg.Client({ host, port, user: 'postgres', database: 'postgres' })
  await admin.connect()
  await admin.query('CREATE ROLE odd_manager LOGIN IN ROLE postern_users')
  await admin.query('ALTER ROLE odd_manager SET standard_conforming_strings = off')
  const path = `${socketDir}/.s.PGSQL.${port}`
  management = openManagement(only(nodeAt({ path })), { role: 'odd_manager' })
  const text = "\\'; SELECT 2 --"
  expect(await management.look(NEVER, (ask) => ask(`SELECT ${literal(text)} AS text`))).toEqual([
    { text },
  ])
  await admin.query('DROP ROLE odd_manager')
  await admin.end()
})
