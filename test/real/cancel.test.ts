/**
 * Cancels through the gate: Ctrl-C in psql ends the statement and not the session, of several sleepers
 * the right one wakes, and who doesn't know a live session's key does nothing and learns nothing.
 */
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { NODE_KEY, type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import {
  describeWith,
  expectNoToken,
  keepFile,
  PSQL,
  start,
  startAtTerminal,
  url,
} from '../support/tools.ts'
import {
  cancelRequest,
  fields,
  message,
  openPlain,
  openTls,
  query,
  signIn,
  uint32,
  type WireClient,
} from '../support/wire_client.ts'

const postgres = inject('postgres')
const admin = new pg.Client({ host: postgres.socketDir, port: postgres.port, user: 'postgres' })

let gate: TestGate
let scriptedGate: TestGate
let scripted: ScriptedNode
let caFile: string
const clients: WireClient[] = []
const printed: string[] = []

beforeAll(async () => {
  gate = await startGate({ node: join(postgres.socketDir, `.s.PGSQL.${postgres.port}`) })
  scripted = await startScriptedNode()
  scriptedGate = await startGate({ node: scripted.address })
  caFile = await keepFile('ca.crt', gate.caPem)
  await admin.connect()
})
afterEach(() => {
  for (const client of clients.splice(0)) client.close()
})
afterAll(async () => {
  await admin.end()
  await Promise.all([gate.close(), scriptedGate.close()])
  await scripted.close()
  const logs = [gate, scriptedGate].flatMap(({ log, audit }) => [log, audit])
  expectNoToken([...gate.minted, ...scriptedGate.minted], printed, ...logs)
})

describeWith('psql', 'Ctrl-C in psql', () => {
  it('ends the statement, and the session goes on', async () => {
    const terminal = startAtTerminal(
      `exec psql -X -n -P pager=off '${connection('typist')}'`,
      await env(),
    )
    await terminal.until('defaultdb=>')
    terminal.child.stdin.write('select pg_sleep(30);\n')
    await expectAsleep('typist')
    terminal.child.stdin.write('\x03')
    await terminal.until('ERROR:  canceling statement due to user request')
    terminal.child.stdin.write("select 'still ' || current_user;\n")
    await terminal.until('still maxroach')
    terminal.child.stdin.write('\\q\n')
    const { code, stdout } = await terminal.ended
    printed.push(stdout)
    expect(code).toBe(0)
  })

  it('wakes the right one of several sleepers', async () => {
    const names = ['sleeper 1', 'sleeper 2', 'sleeper 3']
    const how = await env()
    const sleepers = names.map((name) => {
      const program = start('psql', [...PSQL, connection(name), '-c', 'select pg_sleep(30)'], how)
      return { name, program }
    })
    for (const { name } of sleepers) await expectAsleep(name)
    const [first, second, third] = sleepers
    for (const sleeper of [second, third, first]) {
      sleeper?.program.child.kill('SIGINT')
      const ended = await sleeper?.program.ended
      expect(ended?.stderr).toContain('ERROR:  canceling statement due to user request')
      if (sleeper === second) for (const other of [first, third]) await expectAsleep(other?.name)
    }
  })
})

describe('a CancelRequest', () => {
  it('within TLS cancels, too', async () => {
    const { client, key } = await sleeping('by TLS')
    await sendCancel('tls', key)
    expect(await refusalOf(client)).toEqual({
      code: '57014',
      says: 'canceling statement due to user request',
    })
  })

  const wrong = (key: Buffer, at: number) => {
    const other = Buffer.from(key)
    other.writeUInt8(other.readUInt8(at) ^ 1, at)
    return other
  }
  it.each([
    { name: 'a bit of the secret wrong', make: (key: Buffer) => wrong(key, 7) },
    { name: 'a bit of the process id wrong', make: (key: Buffer) => wrong(key, 3) },
    { name: "another worker's number in it", make: (key: Buffer) => wrong(key, 0) },
    { name: 'no bits', make: () => Buffer.alloc(8) },
    { name: 'half of it', make: (key: Buffer) => key.subarray(0, 4) },
    { name: 'nothing', make: () => Buffer.alloc(0) },
    { name: '256 bytes', make: (key: Buffer) => Buffer.concat([key, Buffer.alloc(248)]) },
  ])('with $name does nothing and is not answered', async ({ name, make }) => {
    const { key } = await sleeping(name)
    const before = await cancels('sent')
    for (const by of ['clear', 'tls'] as const) await sendCancel(by, make(key))
    await expectAsleep(name)
    expect(await cancels('sent')).toBe(before)
  })

  it('with the key of an ended session does nothing', async () => {
    const { client, key } = await sleeping('for a while', 0)
    await client.until('Z')
    client.write(message('X', ''))
    await gate.event('client_session_end', { ApplicationName: 'for a while' })
    const before = await cancels('unknown')
    await sendCancel('clear', key)
    expect(await cancels('unknown')).toBe(before + 1)
  })

  it('does nothing to a session that has nothing to do', async () => {
    const { client, key } = await sleeping('briefly', 0)
    await client.until('Z')
    const before = await cancels('sent')
    await sendCancel('clear', key)
    expect(await cancels('sent')).toBe(before + 1)
    client.write(query('select 1'))
    expect((await client.until('Z')).map(({ type }) => type)).toEqual(['T', 'D', 'C', 'Z'])
  })
})

describe("the node's own key", () => {
  const nodeKey = Buffer.concat([uint32(NODE_KEY.pid), uint32(NODE_KEY.secret)])

  it('is never the one that the client gets; only the gate uses it', async () => {
    const client = await open(scriptedGate)
    const said = await signIn(client, { user: 'carl' }, await scriptedGate.token('carl'))
    const key = said.find(({ type }) => type === 'K')?.body ?? Buffer.alloc(0)
    expect(key).toHaveLength(8)
    expect(Buffer.concat(said.map(({ body }) => body)).includes(nodeKey)).toBe(false)

    await sendCancel('clear', nodeKey, scriptedGate)
    await sendCancel('clear', key, scriptedGate)
    expect(scripted.cancels).toEqual([nodeKey])
  })
})

async function env() {
  return { env: { PGPASSWORD: await gate.token('maxroach') } }
}

function connection(application_name: string): string {
  return url(gate.port, 'maxroach', {
    database: 'defaultdb',
    sslrootcert: caFile,
    application_name,
  })
}

async function open(to: TestGate): Promise<WireClient> {
  const client = await openTls(to.port, to.caPem)
  clients.push(client)
  return client
}

/** A session of the name in the middle of a `pg_sleep`. */
async function sleeping(name: string, seconds = 30): Promise<{ client: WireClient; key: Buffer }> {
  const client = await open(gate)
  const parameters = { user: 'maxroach', database: 'defaultdb', application_name: name }
  const said = await signIn(client, parameters, await gate.token('maxroach'))
  client.write(query(`select pg_sleep(${seconds})`))
  if (seconds > 0) await expectAsleep(name)
  return { client, key: Buffer.from(said.find(({ type }) => type === 'K')?.body ?? '') }
}

async function expectAsleep(name: string | undefined): Promise<void> {
  const sql = `select count(*)::int as n from pg_stat_activity
    where application_name = $1 and wait_event = 'PgSleep'`
  const count = async () => (await admin.query(sql, [name])).rows[0].n
  await expect.poll(count, { timeout: 5_000, interval: 20 }).toBe(1)
}

/** Sends it as libpq does, in clear, or within TLS; not a byte comes back. */
async function sendCancel(by: 'clear' | 'tls', key: Buffer, to = gate): Promise<void> {
  const client =
    by === 'tls' ? await open(to) : await openPlain({ host: '127.0.0.1', port: to.port })
  client.write(cancelRequest(key))
  expect(await client.bytes(1)).toEqual(Buffer.alloc(0))
  client.close()
}

async function refusalOf(client: WireClient): Promise<{ code?: string; says?: string }> {
  const error = (await client.until('E')).at(-1)
  const { C: code = '', M: says = '' } = fields(error?.body ?? Buffer.alloc(0))
  return { code, says }
}

async function cancels(result: string): Promise<number> {
  const metrics = await (await fetch(`${gate.opsUrl}/metrics`)).text()
  return Number(
    new RegExp(`^postern_cancels_total\\{result="${result}"\\} (\\d+)$`, 'm').exec(metrics)?.[1] ??
      0,
  )
}
