/**
 * The console as a session like any: what is pipelined, half closed or made up on the wire, and every way in
 * which a session ends.
 */
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { describeWith, expectNoToken, JWT_SWITCH, PYTHON, run } from '../support/tools.ts'
import {
  fields,
  message,
  openTls,
  query,
  refusalOf,
  signIn,
  uint32,
  type WireClient,
} from '../support/wire_client.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
const CONSOLE = { console: { admins: ['ops'] } }
const EXPIRING = { session: { end_at_token_expiry: 'always', grace: '0s' } }

let gate: TestGate
const open: WireClient[] = []

beforeAll(async () => {
  gate = await startGate({ node, cluster: EXPIRING, top: CONSOLE })
})
afterEach(() => {
  for (const client of open.splice(0)) client.close()
})
afterAll(async () => {
  await gate.close()
  expectNoToken(gate.minted, gate.log, gate.audit)
})

async function enter(at = gate, claims: Record<string, unknown> = {}) {
  const client = await openTls(at.port, at.caPem)
  open.push(client)
  const token = await at.token('ops', claims)
  const said = await signIn(client, { user: 'ops', database: 'postern' }, token)
  expect(refusalOf(said)).toBeUndefined()
  return { client, said }
}

/** The last thing that is said before the end. */
async function lastWords({ next }: WireClient) {
  let last: Record<string, string> | undefined
  for (;;) {
    const said = await next()
    if (said === undefined) return last
    if (said.type === 'E') last = fields(said.body)
  }
}

it('greets as a server does, with a key for cancels', async () => {
  const { said } = await enter()
  const types = said.map(({ type }) => type).join('')
  expect(types).toMatch(/^RRS+KZ$/)
  const told = said
    .filter(({ type }) => type === 'S')
    .map(({ body }) => body.toString().split('\0'))
  expect(new Map(told.map(([name = '', value = '']) => [name, value])).get('server_version')).toBe(
    '18.0 (Postern)',
  )
})

it('answers what is pipelined, in its order, however much it is', async () => {
  const { client } = await enter()
  const count = 500
  client.write(
    Buffer.concat(
      Array.from({ length: count }, (_, at) => query(`SELECT 1 AS c${at}; SHOW NODES`)),
    ),
  )
  for (let at = 0; at < count; at++) {
    const said = await client.until('Z')
    expect(said[0]?.body.toString()).toContain(`c${at}\0`)
  }
}, 60_000)

it('answers who has closed his side', async () => {
  const { client } = await enter()
  client.write(query('SHOW VERSION'))
  client.socket.end()
  expect((await client.until('Z')).map(({ type }) => type).join('')).toBe('TDCZ')
  expect(await client.next()).toBeUndefined()
})

it('tells a function call, and what is no message, that there is none', async () => {
  for (const bytes of [message('F', uint32(1)), message('?', ''), message('Q', 'no end')]) {
    const { client } = await enter()
    client.write(bytes)
    expect(await lastWords(client)).toMatchObject({ S: 'FATAL', C: '08P01' })
  }
})

it('goes on after COPY messages that nobody asked for', async () => {
  const { client } = await enter()
  client.write(Buffer.concat([message('d', 'x'), message('c', ''), query('SELECT 1')]))
  expect((await client.until('Z')).map(({ type }) => type).join('')).toBe('TDCZ')
})

describe('ends', () => {
  it('with its token', async () => {
    const exp = Math.floor(Date.now() / 1000) + 2
    const { client } = await enter(gate, { exp })
    expect(await lastWords(client)).toMatchObject({
      C: '57P01',
      M: 'terminating connection because the token has expired',
    })
  })

  it('with the gate, and when it is idle', async () => {
    const own = await startGate({ node, top: CONSOLE, limits: { idle_timeout: '300ms' } })
    const idle = await enter(own)
    expect(await lastWords(idle.client)).toMatchObject({ C: '57P05' })
    const last = await enter(own)
    const closed = own.close()
    expect(await lastWords(last.client)).toMatchObject({ C: '57P01' })
    await closed
    expect(own.audit.filter(({ EventType }) => EventType === 'client_session_end')).toHaveLength(2)
  })

  it('when the client does, and leaves nothing behind', async () => {
    const { client } = await enter()
    const before = gate.audit.length
    client.write(message('X', ''))
    expect(await client.next()).toBeUndefined()
    await gate.event('client_session_end', { Ended: 'the client closed the connection' })
    expect(gate.audit.length).toBeGreaterThan(before)
  })
})

const PROGRAM = `
import os, psycopg2
connection = psycopg2.connect(os.environ["DSN"])
cursor = connection.cursor()
cursor.execute("SHOW SESSIONS WHERE user_name = %s", ("ops",))
print(cursor.fetchall()[0][1], cursor.description[0].name)
try:
    cursor.execute("RELOAD")
except psycopg2.Error as e:
    print(e.pgcode)
connection.rollback()
connection.autocommit = True
cursor.execute("RELOAD")
print(cursor.statusmessage)
cursor.execute("SHOW CHANGES LIMIT 1")
print(cursor.fetchone()[1])
`

describeWith('psycopg2', 'psycopg2', () => {
  it('shows rows, and changes things outside of its transactions alone', async () => {
    const token = await gate.token('ops')
    const options = `host=127.0.0.1 port=${gate.port} user=ops dbname=postern sslmode=require options=${JWT_SWITCH}`
    const env = { DSN: options, PGPASSWORD: token }
    const { stdout, stderr } = await run(PYTHON, ['-c', PROGRAM], { env })
    expect(stderr).toBe('')
    expect(stdout.trim().split('\n')).toEqual(['ops session_id', '25001', 'RELOAD', 'reload'])
  })
})
