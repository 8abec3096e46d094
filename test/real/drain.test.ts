/**
 * How a gate ends that is asked to (SIGTERM): who has nothing under way is told at once, who has may
 * finish it, nobody new comes in, and nothing that was committed is lost on the way.
 */
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Served, startServe } from '../support/serve.ts'
import { describeWith, expectNoToken, JWT_SWITCH, keepFile, start } from '../support/tools.ts'
import {
  cancelRequest,
  fields,
  JWT_OPTION,
  openPlain,
  openTls,
  query,
  refusalOf,
  signIn,
  startup,
  type WireClient,
} from '../support/wire_client.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
const admin = new pg.Client({
  host: postgres.socketDir,
  port: postgres.port,
  user: 'postgres',
  database: 'defaultdb',
})
const ADMINISTRATOR = {
  S: 'FATAL',
  C: '57P01',
  M: 'terminating connection due to administrator command',
}
const COMING_BACK = { S: 'FATAL', C: '57P03', M: 'the gate is shutting down' }
const USER = { user: 'maxroach', database: 'defaultdb' }

beforeAll(() => admin.connect())
afterAll(() => admin.end())

describe('a gate that is asked to end', () => {
  it('ends what is quiet at once, and what is busy when it has finished', async () => {
    const gate = await startServe({ node })
    const quiet = await signedIn(gate)
    const busy = await signedIn(gate)
    await ask(busy.client, 'begin')
    const coming = await openTls(gate.port, gate.caPem)
    coming.write(startup({ ...USER, ...JWT_OPTION }))
    expect((await coming.next())?.type).toBe('R')

    gate.child.kill('SIGTERM')
    expect(await lastWords(quiet.client)).toMatchObject(ADMINISTRATOR)
    expect(await lastWords(coming)).toMatchObject(ADMINISTRATOR)
    const ready = await fetch(`http://127.0.0.1:${gate.opsPort}/readyz`)
    expect([ready.status, await ready.text()]).toEqual([503, 'closing\n'])
    const late = await openTls(gate.port, gate.caPem)
    expect(refusalOf(await signIn(late, USER, await gate.token('maxroach')))).toMatchObject(
      COMING_BACK,
    )
    expect(await ask(busy.client, 'select 1')).toEqual(['T', 'D', 'C', 'Z'])
    busy.client.write(query('commit'))
    expect((await busy.client.until('Z')).map(({ type }) => type)).toEqual(['C', 'Z'])
    expect(await lastWords(busy.client)).toMatchObject(ADMINISTRATOR)

    const { code, stderr } = await gate.ended
    expect(code).toBe(0)
    expectNoToken(gate.minted, stderr, await gate.auditText())
  })

  it('takes cancels for those that are busy', async () => {
    const gate = await startServe({ node })
    const { client, key } = await signedIn(gate)
    client.write(query('select pg_sleep(60)'))
    await expectAsleep(1)
    gate.child.kill('SIGTERM')
    await gate.until('"the gate is closing')
    const canceller = await openPlain({ host: '127.0.0.1', port: gate.port })
    canceller.write(cancelRequest(key))
    expect(await canceller.bytes(1)).toHaveLength(0)
    expect(fields((await client.until('E')).at(-1)?.body ?? Buffer.alloc(0))).toMatchObject({
      C: '57014',
      M: 'canceling statement due to user request',
    })
    await client.until('Z')
    expect(await lastWords(client)).toMatchObject(ADMINISTRATOR)
    expect((await gate.ended).code).toBe(0)
  })

  it.each(['0s', '300ms'])('ends everybody when the grace of %s is over', async (grace) => {
    const gate = await startServe({ node }, { shutdown: { grace } })
    const sleeping = await signedIn(gate)
    sleeping.client.write(query('select pg_sleep(60)'))
    await expectAsleep(1)
    gate.child.kill('SIGTERM')
    expect(await lastWords(sleeping.client)).toMatchObject(ADMINISTRATOR)
    expect((await gate.ended).code).toBe(0)
    await expectAsleep(0)
  })

  it('ends at once when it is asked again, later than a second', async () => {
    const gate = await startServe({ node })
    const { client } = await signedIn(gate)
    await ask(client, 'begin')
    gate.child.kill('SIGTERM')
    await gate.until('"the gate is closing')
    const again = () => {
      gate.child.kill('SIGTERM')
      return gate.child.exitCode
    }
    await expect.poll(again, { timeout: 5_000 }).toBe(130)
  })
})

describeWith('PostgreSQL15', 'pgbench, while the gate ends', () => {
  it('has counted every transaction that was committed', async () => {
    await admin.query('create table drained (client int, at int)')
    await admin.query('grant insert on drained to maxroach')
    const gate = await startServe({ node })
    const script = 'begin;\ninsert into drained values (:client_id, 1);\nend;\n'
    const args = ['-n', '-c', '8', '-T', '60', '-f', await keepFile('insert.sql', script)]
    const pgbench = start('pgbench', args, {
      env: {
        PGHOST: '127.0.0.1',
        PGPORT: String(gate.port),
        PGUSER: 'maxroach',
        PGDATABASE: 'defaultdb',
        PGPASSWORD: await gate.token('maxroach'),
        PGSSLMODE: 'verify-full',
        PGSSLROOTCERT: gate.caFile,
        PGOPTIONS: JWT_SWITCH,
      },
    })
    await expect.poll(rows, { timeout: 15_000 }).toBeGreaterThan(100)
    gate.child.kill('SIGTERM')
    expect((await gate.ended).code).toBe(0)
    const { stdout, stderr } = await pgbench.ended
    expect(stderr).toContain(ADMINISTRATOR.M)
    const counted = Number(/actually processed: (\d+)/.exec(stdout)?.[1])
    expect(counted).toBe(await rows())
  })

  async function rows(): Promise<number> {
    return (await admin.query('select count(*)::int as n from drained')).rows[0].n
  }
})

async function signedIn(gate: Served): Promise<{ client: WireClient; key: Buffer }> {
  const client = await openTls(gate.port, gate.caPem)
  const parameters = { ...USER, application_name: 'drained' }
  const said = await signIn(client, parameters, await gate.token('maxroach'))
  expect(refusalOf(said)).toBeUndefined()
  return { client, key: said.find(({ type }) => type === 'K')?.body ?? Buffer.alloc(0) }
}

async function ask(client: WireClient, sql: string): Promise<string[]> {
  client.write(query(sql))
  return (await client.until('Z')).map(({ type }) => type)
}

/** The ErrorResponse that comes next, after which there is nothing. */
async function lastWords(client: WireClient): Promise<Record<string, string>> {
  const said = await client.until('E')
  expect(await client.next()).toBeUndefined()
  return fields(said.at(-1)?.body ?? Buffer.alloc(0))
}

async function expectAsleep(sessions: number): Promise<void> {
  const sql = `select count(*)::int as n from pg_stat_activity
    where application_name = 'drained' and wait_event = 'PgSleep'`
  await expect
    .poll(async () => (await admin.query(sql)).rows[0].n, { timeout: 5_000, interval: 20 })
    .toBe(sessions)
}
