/**
 * How a gate ends that is asked to (SIGTERM): who has nothing under way is told at once, who has may
 * finish it, nobody new comes in, and nothing that was committed is lost on the way.
 */
import { open, readFile, rename } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { audited, metric, onEachWorker, pidsOf } from '../support/on_workers.ts'
import { type Served, startServe, writeConfig } from '../support/serve.ts'
import { sharedPostgres } from '../support/shared_postgres.ts'
import {
  describeWith,
  expectNoToken,
  JWT_SWITCH,
  keepFile,
  start,
  startPostern,
} from '../support/tools.ts'
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

const { node, admin } = sharedPostgres('defaultdb')
const ADMINISTRATOR = {
  S: 'FATAL',
  C: '57P01',
  M: 'terminating connection due to administrator command',
}
const COMING_BACK = { S: 'FATAL', C: '57P03', M: 'the gate is shutting down' }
const USER = { user: 'maxroach', database: 'defaultdb' }

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

  it('lets a client that has said nothing yet bring a cancel', async () => {
    const gate = await startServe({ node })
    const { client, key } = await signedIn(gate)
    client.write(query('select pg_sleep(60)'))
    await expectAsleep(1)
    const silent = () => openPlain({ host: '127.0.0.1', port: gate.port })
    const [canceller, other] = await Promise.all([silent(), silent()])
    const connections = async () => await metric(gate, 'postern_connections')
    await expect.poll(connections).toBe(3)
    gate.child.kill('SIGTERM')
    await gate.until('"the gate is closing')
    canceller.write(cancelRequest(key))
    expect(fields((await client.until('E')).at(-1)?.body ?? Buffer.alloc(0))).toMatchObject({
      C: '57014',
    })
    await client.until('Z')
    expect(await lastWords(client)).toMatchObject(ADMINISTRATOR)
    // It is not waited for for long.
    expect((await gate.ended).code).toBe(0)
    other.close()
  })

  it.each([1, 2])(
    'ends at once when it is asked again, later than a second (%i)',
    async (workers) => {
      const gate = await startServe({ node }, { workers })
      const { client } = await signedIn(gate)
      client.write(query('select pg_sleep(60)'))
      await expectAsleep(1)
      gate.child.kill('SIGTERM')
      await gate.until('"the gate is closing')
      await askAgain(gate, client)
      expect((await gate.ended).code).toBe(130)
      // Nobody is left to wait for it.
      await expectAsleep(0)
    },
  )
})

describe('a gate that opens or closes', { timeout: 60_000 }, () => {
  it.each([1, 2])('is ended by no other signal while it closes (%i)', async (workers) => {
    const gate = await startServe({ node }, { workers })
    const { client } = await signedIn(gate)
    await ask(client, 'begin')
    gate.child.kill('SIGTERM')
    await gate.until('"the gate is closing')
    const again = () => {
      gate.child.kill('SIGHUP')
      gate.child.kill('SIGUSR2')
      return gate.said()
    }
    // Signals that come within a second may be one that was sent twice.
    await expect.poll(again).toContain('the configuration is not read again: the gate is closing')
    await expect.poll(again).toContain('the workers are kept: the gate is closing')
    expect(await ask(client, 'commit')).toEqual(['C', 'Z'])
    expect(await lastWords(client)).toMatchObject(ADMINISTRATOR)
    expect((await gate.ended).code).toBe(0)
  })

  it('is ended by no other signal before it is open', async () => {
    const { configFile } = await writeConfig({ node })
    const moved = `${configFile}.moved`
    await rename(configFile, moved)
    expect((await start('mkfifo', [configFile]).ended).code).toBe(0)
    const program = startPostern(['serve', '--config', configFile])
    // It can be opened when the gate is about to read it.
    const file = await open(configFile, 'w')
    program.child.kill('SIGHUP')
    program.child.kill('SIGUSR2')
    await file.writeFile(await readFile(moved))
    await rename(moved, configFile)
    await file.close()
    await program.until('"the gate is open"')
    program.child.kill('SIGTERM')
    await program.until('"the gate is closed"')
    expect((await program.ended).code).toBe(0)
  })

  it('writes down the ends of sessions whose worker hangs when it is asked again', async () => {
    const gate = await startServe({ node }, { workers: 2 })
    const clients: WireClient[] = []
    const sessions = [...(await onEachWorker(gate, clients, 2))]
    const [[number], [, busy]] = sessions as [(typeof sessions)[number], (typeof sessions)[number]]
    const hung = pidsOf(gate).get(number) ?? 0
    await ask(busy.client, 'begin')
    try {
      process.kill(hung, 'SIGSTOP')
      gate.child.kill('SIGTERM')
      await gate.until('"the gate is closing')
      await askAgain(gate, busy.client)
      expect((await gate.ended).code).toBe(130)
      const ends = await audited(gate, 'client_session_end')
      expect(ends).toHaveLength((await audited(gate, 'client_authentication_ok')).length)
    } finally {
      for (const client of clients) client.close()
      killLeft(hung)
    }
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

/** To end, until this client was told that it does; not a third time. */
async function askAgain(gate: Served, client: WireClient): Promise<void> {
  let told: unknown
  const hearing = lastWords(client).then((words) => (told = words))
  const again = () => {
    if (told === undefined) gate.child.kill('SIGTERM')
    return told
  }
  await expect.poll(again, { timeout: 10_000 }).toMatchObject(ADMINISTRATOR)
  await hearing
}

/** A process that nobody is there to end any more. */
function killLeft(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has gone.
  }
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
