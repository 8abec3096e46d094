/** What a session leaves on the node when its client has gone, or was told that it is over; a real PostgreSQL. */
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { terminate } from '../../src/wire/node_messages.ts'
import { type GateOptions, startGate, type TestGate } from '../support/gate.ts'
import { fields, openPlain, query, refusalOf, signIn } from '../support/wire_client.ts'

const { socketDir, port, host } = inject('postgres')
const USER = 'ends_user'
const ACTIVE = `SELECT pid FROM pg_stat_activity WHERE usename = '${USER}' AND state = 'active'`
const ENDED = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${USER}'`

let admin: pg.Client
beforeAll(async () => {
  admin = new pg.Client({ host, port, user: 'postgres', database: 'postgres' })
  await admin.connect()
  for (const name of [USER, 'ends_weak', 'ends_management'])
    await admin.query(`CREATE ROLE ${name} LOGIN IN ROLE postern_users`)
  await admin.query('GRANT pg_signal_backend TO ends_management')
})
afterAll(async () => {
  for (const name of [USER, 'ends_weak', 'ends_management']) await admin.query(`DROP ROLE ${name}`)
  await admin.end()
})

let gate: TestGate | undefined
afterEach(async () => {
  await admin.query(ENDED)
  await gate?.close()
})

async function open(options: Partial<GateOptions> = {}): Promise<TestGate> {
  const node = `${socketDir}/.s.PGSQL.${port}`
  gate = await startGate({ node, listener: { allow_plaintext: true }, ...options })
  return gate
}

async function come(to: TestGate, token?: string) {
  const client = await openPlain({ host: '127.0.0.1', port: to.port })
  const parameters = { user: USER, database: 'defaultdb' }
  const said = await signIn(client, parameters, token ?? (await to.token(USER)))
  return { client, refusal: refusalOf(said) }
}

async function enter(to: TestGate, token?: string) {
  const { client, refusal } = await come(to, token)
  expect(refusal).toBeUndefined()
  return client
}

const active = async () => (await admin.query(ACTIVE)).rowCount
const isActive = async (count: number, timeout = 5_000) =>
  await expect.poll(active, { timeout, interval: 20 }).toBe(count)

const LONG = 'SELECT pg_sleep(600)'
const caught = (then: string) => `DO $$ BEGIN LOOP
  BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; ${then} END LOOP; END $$`
const CATCHES_ONE = caught('EXIT;').replace('END LOOP;', `END LOOP; PERFORM pg_sleep(600);`)
const CATCHES_ALL = caught('')

describe('a client that vanishes in a statement', () => {
  it('leaves nothing running, and has one session at a time as its bound says', async () => {
    const to = await open({ limits: { sessions_per_user: 1 } })
    for (let round = 0; round < 5; round++) {
      let came = await come(to)
      while (came.refusal !== undefined) {
        expect(came.refusal).toMatchObject({ C: '53300' })
        came = await come(to)
      }
      came.client.write(query(LONG))
      await isActive(1)
      came.client.socket.resetAndDestroy()
    }
    await isActive(0)
  })

  it('holds its place for as long as the statement catches its cancels', async () => {
    const to = await open({ limits: { sessions_per_user: 1 } })
    const client = await enter(to)
    client.write(query(CATCHES_ALL))
    await isActive(1)
    client.socket.resetAndDestroy()
    await to.event('client_session_end')
    expect((await come(to)).refusal).toMatchObject({
      C: '53300',
      M: `too many connections for role "${USER}"`,
    })
    expect(await active()).toBe(1)
    await admin.query(ENDED)
    await expect.poll(async () => (await come(to)).refusal, { timeout: 5_000 }).toBeUndefined()
  })
})

describe('a client that says goodbye', () => {
  let listener: pg.Client
  beforeAll(async () => {
    listener = new pg.Client({ host, port, user: 'postgres', database: 'defaultdb' })
    await listener.connect()
    await listener.query('LISTEN ends')
  })
  afterAll(() => listener.end())

  const isGone = async (to: TestGate) => {
    const there = `SELECT FROM pg_stat_activity WHERE usename = '${USER}'`
    await expect.poll(async () => (await admin.query(there)).rowCount).toBe(0)
    const metrics = await (await fetch(`${to.opsUrl}/metrics`)).text()
    expect(metrics).not.toMatch(/^postern_cancels_total\{result="own"\} [1-9]/m)
  }

  it('when all is answered costs the node no cancel', async () => {
    const to = await open()
    const client = await enter(to)
    client.write(query('SELECT 1'))
    await client.until('Z')
    client.write(terminate)
    client.socket.end()
    await to.event('client_session_end')
    await isGone(to)
  })

  it('behind a statement, and vanishes then, leaves nothing running', async () => {
    const to = await open()
    const client = await enter(to)
    client.write(query(LONG))
    await isActive(1)
    client.write(terminate)
    await new Promise((resolve) => setTimeout(resolve, 50))
    client.socket.resetAndDestroy()
    await isActive(0)
  })

  it('behind a statement has it carried out, and its place is taken until then', async () => {
    const to = await open({ limits: { sessions_per_user: 1 } })
    const heard = new Promise((resolve) => void listener.once('notification', resolve))
    const client = await enter(to)
    client.write(query("SELECT pg_sleep(1.5), pg_notify('ends', 'done')"))
    await isActive(1)
    client.write(terminate)
    client.socket.end()
    expect((await come(to)).refusal).toMatchObject({ C: '53300' })
    expect(await heard).toMatchObject({ payload: 'done' })
    await isGone(to)
  })
})

describe('a session whose token has expired', () => {
  /** A session in a statement, whose client was told that it is over. */
  const expire = async (statement: string, cluster: Record<string, unknown> = {}) => {
    const to = await open({
      cluster: { session: { end_at_token_expiry: 'always', grace: '0s' }, ...cluster },
    })
    const exp = Math.floor(Date.now() / 1000) + 2
    const client = await enter(to, await to.token(USER, { exp }))
    client.write(query(statement))
    await isActive(1)
    const told = (await client.until('E')).at(-1)
    expect(fields(told?.body ?? Buffer.alloc(0))).toMatchObject({ S: 'FATAL', C: '57P01' })
    return to
  }

  it('is cancelled again where its statement catches a cancel', async () => {
    const to = await expire(CATCHES_ONE)
    await to.event('client_session_end')
    await isActive(0)
    const metrics = await (await fetch(`${to.opsUrl}/metrics`)).text()
    expect(metrics).toMatch(/^postern_cancels_total\{result="own"\} [2-9]/m)
  })

  it.each([
    ['terminated', 'ends_management', 'a session that went on after its cancels was terminated'],
    [
      'not terminated',
      'ends_weak',
      'a session that goes on after its cancels was not terminated: .*permission denied to terminate process',
    ],
  ])(
    'and catches all is %s by a management role as its rights are',
    async (how, role, says) => {
      const to = await expire(CATCHES_ALL, { management: { role } })
      const line = () => to.log.find(({ msg }) => new RegExp(says).test(String(msg)))
      await expect.poll(line, { timeout: 15_000 }).toMatchObject({ level: 'warn', user: USER })
      if (how === 'terminated') await isActive(0)
      else expect(await active()).toBe(1)
    },
    30_000,
  )
})

it('a gate that closes waits for the end of what it has cancelled, and cancels it again', async () => {
  const to = await open()
  const client = await enter(to)
  client.write(query(CATCHES_ONE))
  await isActive(1)
  gate = undefined
  await to.close()
  // The node has told the gate by closing its side, and then the process is gone.
  await isActive(0, 1_000)
  client.close()
})

it.each<[string, Record<string, string>, string]>([
  ['in options', { options: '-c post_auth_delay=60' }, 'post_auth_delay'],
  ['by its flag', { options: '-eW60' }, 'post_auth_delay'],
  ['as a parameter', { Post_Auth_Delay: '60' }, 'Post_Auth_Delay'],
])('a delay %s never reaches the node', async (_name, { options = '', ...more }, name) => {
  const to = await open()
  const client = await openPlain({ host: '127.0.0.1', port: to.port })
  const parameters = { user: USER, database: 'defaultdb', ...more }
  const own = { ...parameters, options: `--crdb:jwt_auth_enabled=true ${options}` }
  const refusal = refusalOf(await signIn(client, own, await to.token(USER)))
  expect(refusal).toMatchObject({ C: '08P01', M: `parameter ${name} is not allowed` })
})
