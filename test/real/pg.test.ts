/**
 * node-postgres through the gate over TLS to a real PostgreSQL: both protocols, errors, notifications,
 * big values, and sessions that end from either side.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { expectNoToken, pgConfig } from '../support/tools.ts'
import { message, openTls, signIn as wireSignIn } from '../support/wire_client.ts'

const postgres = inject('postgres')
const direct = { host: postgres.socketDir, port: postgres.port, user: 'postgres' }
const ROW_BYTES = 50 * 1024 * 1024

let gate: TestGate
const clients: pg.Client[] = []

beforeAll(async () => {
  gate = await startGate({ node: join(postgres.socketDir, `.s.PGSQL.${postgres.port}`) })
})
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.end()))
})
afterAll(async () => {
  await gate.close()
  expectNoToken(gate.minted, gate.log, gate.audit)
})

async function signIn(user = 'maxroach', more: pg.ClientConfig = {}): Promise<pg.Client> {
  const client = new pg.Client(pgConfig(gate, user, await gate.token(user), more))
  client.on('error', () => undefined)
  await client.connect()
  clients.push(client)
  return client
}

describe('statements', () => {
  it.each([
    { sql: 'select current_user as me', values: undefined, rows: [{ me: 'maxroach' }] },
    { sql: 'select $1::int + $2 as sum', values: [40, 2], rows: [{ sum: 42 }] },
    {
      sql: 'select $1::text as text',
      values: ["it's \u{1f511}"],
      rows: [{ text: "it's \u{1f511}" }],
    },
    { sql: 'select 1 as a; select 2 as b', values: undefined, rows: undefined },
    { sql: 'select where false', values: [], rows: [] },
    { sql: '', values: undefined, rows: [] },
  ])('$sql', async ({ sql, values, rows }) => {
    const client = await signIn()
    const result: pg.QueryResult | pg.QueryResult[] = await client.query(sql, values)
    if (Array.isArray(result))
      expect(result.map((each) => each.rows)).toEqual([[{ a: 1 }], [{ b: 2 }]])
    else expect(result.rows).toEqual(rows)
  })

  it('a prepared statement, many times', async () => {
    const client = await signIn()
    for (let n = 0; n < 50; n++) {
      const text = 'select $1::int * 2 as twice'
      const { rows } = await client.query({ name: 'twice', text, values: [n] })
      expect(rows).toEqual([{ twice: n * 2 }])
    }
    const prepared = await client.query('select name from pg_prepared_statements')
    expect(prepared.rows).toEqual([{ name: 'twice' }])
  })

  it('an error in a transaction, and ROLLBACK', async () => {
    const client = await signIn()
    await client.query('begin')
    await client.query("update orders set item = 'none' where id = 1")
    const broken = client.query('select 1 / $1::int', [0])
    await expect(broken).rejects.toMatchObject({ code: '22012', message: 'division by zero' })
    await expect(client.query('select 1')).rejects.toMatchObject({ code: '25P02' })
    expect((await client.query('rollback')).command).toBe('ROLLBACK')
    const { rows } = await client.query("select count(*)::int as n from orders where item = 'none'")
    expect(rows).toEqual([{ n: 0 }])
  })

  it('a notice', async () => {
    const client = await signIn()
    const noticed = once(client, 'notice')
    await client.query("do $$ begin raise notice 'the bell rang'; end $$")
    expect(await noticed).toMatchObject([{ severity: 'NOTICE', message: 'the bell rang' }])
  })
})

describe('notifications', () => {
  it('reach a session that does nothing', async () => {
    const [listener, speaker] = [await signIn('maxroach'), await signIn('carl')]
    await listener.query('listen news')
    const heard = once(listener, 'notification')
    await speaker.query("select pg_notify('news', 'the lamp is lit')")
    expect(await heard).toMatchObject([{ channel: 'news', payload: 'the lamp is lit' }])
  })
})

describe('a row of 50 MB', () => {
  const row = Buffer.alloc(ROW_BYTES, 'postern ')
  const md5 = createHash('md5').update(row).digest('hex')

  it('down', async () => {
    const client = await signIn()
    const sql = `select repeat('postern ', ${ROW_BYTES / 8}) as row`
    const { rows } = await client.query<{ row: string }>(sql)
    expect(
      createHash('md5')
        .update(rows[0]?.row ?? '')
        .digest('hex'),
    ).toBe(md5)
  })

  it('up', async () => {
    const client = await signIn()
    const { rows } = await client.query('select md5($1::bytea) as md5', [row])
    expect(rows).toEqual([{ md5 }])
  })
})

describe('the end of a session', () => {
  it('by the client', async () => {
    const client = await signIn('carl', { application_name: 'leaving' })
    await client.query('select 1')
    await client.end()
    const ended = await gate.event('client_session_end', { ApplicationName: 'leaving' })
    expect(ended).toMatchObject({ User: 'carl', Ended: expect.stringContaining('client closed') })
    expect(ended['BytesToClient']).toBeGreaterThan(10)
  })

  it('by a client that says so and waits: nobody has lost anything', async () => {
    const client = await openTls(gate.port, gate.caPem)
    const parameters = { user: 'carl', database: 'defaultdb', application_name: 'waiting' }
    await wireSignIn(client, parameters, await gate.token('carl'))
    client.write(message('X', ''))
    expect(await client.next()).toBeUndefined()
    client.close()
    const ended = await gate.event('client_session_end', { ApplicationName: 'waiting' })
    expect(ended['Ended']).toBe('the client closed the connection')
  })

  it('by the node, which says why', async () => {
    const client = await signIn('carl', { application_name: 'ended' })
    const failed = once(client, 'error')
    const admin = new pg.Client(direct)
    await admin.connect()
    await admin.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'ended'",
    )
    await admin.end()
    expect(await failed).toMatchObject([
      { code: '57P01', message: 'terminating connection due to administrator command' },
    ])
    const ended = await gate.event('client_session_end', { ApplicationName: 'ended' })
    expect(ended['Ended']).toContain('node closed')
  })
})

describe('what only node-postgres can send', () => {
  it.each([
    {
      name: 'an empty password',
      password: '',
      code: '28P01',
      says: 'password authentication failed for user maxroach',
    },
    {
      name: 'more than any token',
      password: 'x'.repeat(200_000),
      code: '08P01',
      says: /^message size \d+ out of bounds/,
    },
    {
      name: 'a NUL in the token',
      password: 'eyJh\0.e30.AAAA',
      code: '08P01',
      says: 'expected 0-terminated byte array',
    },
  ])('$name', async ({ password, code, says }) => {
    const client = new pg.Client(pgConfig(gate, 'maxroach', password))
    await expect(client.connect()).rejects.toMatchObject({
      code,
      message: expect.stringMatching(says),
    })
  })

  it('nothing, for too long', async () => {
    const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
    const hasty = await startGate({ node, limits: { authentication_timeout: '200ms' } })
    const silent = () => new Promise<string>(() => undefined)
    const client = new pg.Client({ ...pgConfig(hasty, 'maxroach', ''), password: silent })
    await expect(client.connect()).rejects.toMatchObject({
      code: '57014',
      message: 'canceling authentication due to timeout',
    })
    await hasty.close()
  })
})
