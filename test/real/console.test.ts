/**
 * The gate's own console, with real clients: psql, node-postgres and JDBC ask it who is in, who was refused
 * and what it does, and are told.
 */
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { ISSUER } from '../support/tokens.ts'
import {
  describeWith,
  expectNoToken,
  JDBC,
  JWT_SWITCH,
  keepFile,
  makeDirectory,
  pgConfig,
  psql,
  ROOT,
  run,
  start,
  url,
} from '../support/tools.ts'
import { openTls } from '../support/wire_client.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)

let gate: TestGate
let caFile: string
const clients: pg.Client[] = []

beforeAll(async () => {
  gate = await startGate({
    node,
    top: {
      console: { admins: ['ops', 'maxroach'] },
      access: [{ user: 'nobody', action: 'deny' }, { action: 'allow' }],
    },
  })
  caFile = await keepFile('ca.crt', gate.caPem)
})
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.end()))
})
afterAll(async () => {
  await gate.close()
  expectNoToken(gate.minted, gate.log, gate.audit)
})

async function enter(user: string, database = 'postern'): Promise<pg.Client> {
  const client = new pg.Client(pgConfig(gate, user, await gate.token(user), { database }))
  client.on('error', () => undefined)
  await client.connect()
  clients.push(client)
  return client
}

/** What it shows, row by row. */
async function shown(client: pg.Client, sql: string): Promise<Record<string, unknown>[]> {
  return (await client.query(sql)).rows
}

async function refusal(work: Promise<unknown>) {
  return await work.then(
    () => undefined,
    ({ code, message, hint }: { code: string; message: string; hint?: string }) => ({
      code,
      message,
      hint,
    }),
  )
}

describe('who may', () => {
  it('an admin, by a token; the role need not be in the cluster', async () => {
    const client = await enter('ops')
    expect(await shown(client, 'SHOW VERSION')).toMatchObject([{ version: '0.0.0-test' }])
    await gate.event('login_decision', { User: 'ops', Result: 'granted', Database: 'postern' })
    await gate.event('client_authentication_ok', { User: 'ops', Node: 'console' })
  })

  it('nobody else, and the audit stream has it', async () => {
    expect(await refusal(enter('carl'))).toEqual({
      code: '42501',
      message: 'permission denied for database "postern"',
      hint: expect.stringContaining('console.admins names the roles that may use it'),
    })
    await gate.event('client_authentication_failed', { User: 'carl', Failure: 'console_denied' })
  })

  it('nobody whose token is not good, and nobody whom no rule lets in', async () => {
    const wrong = { ...pgConfig(gate, 'ops', await gate.token('carl')), database: 'postern' }
    expect(await refusal(new pg.Client(wrong).connect())).toMatchObject({
      code: '28000',
      message: 'JWT authentication: invalid principal',
    })
    expect(await refusal(enter('nobody'))).toMatchObject({ code: '28000' })
  })

  it('nobody who asks for replication', async () => {
    const config = pgConfig(gate, 'ops', await gate.token('ops'), { database: 'postern' })
    const client = new pg.Client({ ...config, replication: 'database' } as pg.ClientConfig)
    expect(await refusal(client.connect())).toMatchObject({ code: '42501' })
  })

  it('nobody without a token, where the cluster takes passwords', async () => {
    const open = await startGate({
      node,
      cluster: { non_jwt_logins: 'passthrough', passthrough_scram: 'no_channel_binding' },
      top: { console: { admins: ['ops'] } },
    })
    const config = pgConfig(open, 'ops', 'a password', { database: 'postern' })
    const client = new pg.Client({ ...config, options: '' })
    expect(await refusal(client.connect())).toMatchObject({ code: '42501' })
    await open.close()
  })

  it('nobody by a cluster whose admins these are not, whoever has the name there', async () => {
    const two = await startGate({
      node,
      clusters: { dev: {} },
      top: { console: { admins: ['ops'], clusters: ['test'] } },
    })
    const by = async (cluster: string) => {
      const options = `${JWT_SWITCH} --cluster=${cluster}`
      const token = await two.token('ops')
      return new pg.Client(pgConfig(two, 'ops', token, { database: 'postern', options }))
    }
    expect(await refusal((await by('dev')).connect())).toMatchObject({
      code: '42501',
      hint: expect.stringContaining('console.clusters'),
    })
    const good = await by('test')
    await good.connect()
    await good.end()
    await two.close()
  })

  it('nobody where there are no admins: the name is a database like any', async () => {
    const plain = await startGate({ node })
    const config = pgConfig(plain, 'carl', await plain.token('carl'), { database: 'postern' })
    expect(await refusal(new pg.Client(config).connect())).toMatchObject({ code: '3D000' })
    await plain.close()
  })

  it('while no node is there', async () => {
    const alone = await startGate({
      node: '/nonexistent/.s.PGSQL.5432',
      top: { console: { admins: ['ops'] } },
    })
    const config = pgConfig(alone, 'ops', await alone.token('ops'), { database: 'postern' })
    const client = new pg.Client(config)
    await client.connect()
    expect((await client.query('SHOW NODES')).rows).toMatchObject([
      { cluster: 'test', sessions: '0' },
    ])
    await client.end()
    await alone.close()
  })
})

describe('what is shown', () => {
  it('who is signed in, by which issuer and rule, and how long it took', async () => {
    await enter('carl', 'postgres')
    const ops = await enter('ops')
    const rows = await shown(ops, "SHOW SESSIONS WHERE user_name = 'carl'")
    expect(rows).toEqual([
      expect.objectContaining({
        user_name: 'carl',
        database_name: 'postgres',
        cluster: 'test',
        principal: 'carl',
        issuer: ISSUER,
        access_rule: expect.stringMatching(
          /^access\[1\] \(\/etc\/postern\/postern\.yaml:\d+:\d+\)$/,
        ),
        session_start: expect.any(Date),
        token_expires: expect.any(Date),
        login_ms: expect.any(Number),
        worker: '0',
      }),
    ])
    expect(await shown(ops, "SHOW SESSIONS WHERE node = 'console'")).toHaveLength(1)
  })

  it('who was refused, and why', async () => {
    const bad = new pg.Client(pgConfig(gate, 'ops', await gate.token('carl')))
    await refusal(bad.connect())
    const ops = await enter('ops')
    const [first] = await shown(ops, "SHOW REFUSALS WHERE user_name = 'ops' LIMIT 1")
    expect(first).toMatchObject({
      failure: 'invalid_principal',
      sqlstate: '28000',
      cluster: 'test',
      detail: expect.stringContaining('token issued for'),
      refused_at: expect.any(Date),
    })
    const id = first?.['request_id']
    expect(await shown(ops, `SHOW REFUSALS WHERE request_id = '${id}'`)).toHaveLength(1)
  })

  it('nodes, issuers, keys, certificates, rules, settings, metrics', async () => {
    const ops = await enter('ops')
    expect(await shown(ops, 'SHOW NODES')).toMatchObject([
      { cluster: 'test', up: '1', drained: false },
    ])
    expect(await shown(ops, 'SHOW ISSUERS')).toMatchObject([
      { cluster: 'test', issuer: ISSUER, keys_from: 'the configuration', keys: '1' },
    ])
    expect(await shown(ops, 'SHOW KEYS')).toMatchObject([{ key_id: 'test-key' }])
    expect(await shown(ops, 'SHOW CERTIFICATES')).toMatchObject([
      { setting: 'listeners[0].tls.cert_file', file: 'server.crt', ends: expect.any(Date) },
    ])
    expect(await shown(ops, 'SHOW ACCESS')).toMatchObject([
      { kind: 'rule', action: 'deny', conditions: '{"user":"nobody"}' },
      { kind: 'rule', action: 'allow', conditions: '{}' },
    ])
    expect(await shown(ops, 'SHOW CLUSTER SETTING limits.connections')).toMatchObject([
      { variable: 'limits.connections', value: '10000', origin: 'default', changeable: false },
    ])
    expect(await shown(ops, "SHOW STATS WHERE metric = 'postern_build_info'")).toEqual([
      { metric: 'postern_build_info', labels: 'version=0.0.0-test', value: 1 },
    ])
    expect(await shown(ops, 'SHOW REVOCATIONS')).toEqual([])
    expect(await shown(ops, 'SHOW THROTTLED')).toEqual([])
    expect((await shown(ops, 'HELP')).length).toBeGreaterThan(20)
  })

  it.each([
    ['SELECT * FROM pg_class', '0A000', 'the gate has no answer to this: SELECT * FROM pg_class'],
    ['SHOW SESSIONS WHERE colour = 1', '42704', 'column "colour" does not exist'],
    ['SHOW CLUSTER SETTING colour', '42704', 'setting "colour" does not exist'],
    ['SHOW SESSIONS FOR ME', '42601', 'syntax error at or near "FOR"'],
    ["SHOW SESSIONS WHERE a = 'b", '42601', 'unterminated quoted text at or near "\'b"'],
    ["CANCEL SESSION 'nobody'", '42704', 'session "nobody" does not exist'],
    ["DRAIN NODE 'nobody'", '42704', 'node "nobody" does not exist'],
    [
      "REVOKE TOKEN 'x'",
      '55000',
      'REVOKE needs the state that gates share, and this gate has none',
    ],
    [
      'SET CLUSTER SETTING log.level = warn',
      '55000',
      'SET CLUSTER SETTING needs the state that gates share, and this gate has none',
    ],
  ])('%s: %s', async (sql, code, message) => {
    const ops = await enter('ops')
    expect(await refusal(ops.query(sql))).toMatchObject({ code, message })
    // By the extended protocol as well, and the session goes on.
    expect(await refusal(ops.query({ text: sql, values: [], name: 'x' }))).toMatchObject({ code })
    expect(await shown(ops, 'SELECT 1 AS one')).toEqual([{ one: '1' }])
  })

  it('ends a session whose message is too long', async () => {
    const ops = await enter('ops')
    expect(await refusal(ops.query(`SHOW SESSIONS -- ${'x'.repeat(20_000)}`))).toMatchObject({
      code: '08P01',
    })
  })
})

describe('what is done', () => {
  it('a session ends, and its end is in the audit stream behind the reason', async () => {
    const carl = await enter('carl', 'postgres')
    const ended = new Promise<string>((resolve) =>
      carl.on('error', ({ message }) => resolve(message)),
    )
    const ops = await enter('ops')
    const [session] = await shown(ops, "SHOW SESSIONS WHERE user_name = 'carl'")
    const id = String(session?.['session_id'])
    const { command } = await ops.query('CANCEL SESSION $1', [id])
    expect(command).toBe('CANCEL')
    expect(await ended).toBe('terminating connection due to administrator command')
    const event = await gate.event('cancel_session', { CanceledSessionID: id })
    expect(event).toMatchObject({
      User: 'ops',
      CanceledUser: 'carl',
      Statement: `CANCEL SESSION '${id}'`,
      SystemIdentity: 'ops',
      Issuer: ISSUER,
      RemoteAddress: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
    })
    await gate.event('client_session_end', { SessionID: id })
    expect(await shown(ops, 'SHOW CHANGES LIMIT 1')).toMatchObject([
      {
        change: 'cancel_session',
        statement: `CANCEL SESSION '${id}'`,
        who: `ops (ops of ${ISSUER})`,
        changed_at: expect.any(Date),
      },
    ])
  })

  it('a node gets no new sessions, and those that are there go on', async () => {
    const carl = await enter('carl', 'postgres')
    const ops = await enter('ops')
    const [one] = await shown(ops, 'SHOW NODES')
    const name = String(one?.['node'])
    await ops.query(`DRAIN NODE '${name}'`)
    await gate.event('drain_node', { NodeName: name, Drained: true, User: 'ops' })
    expect(await shown(ops, 'SHOW NODES')).toMatchObject([{ drained: true }])
    expect(await refusal(enter('carl', 'postgres'))).toMatchObject({ code: '08006' })
    expect(JSON.stringify(gate.log)).toContain('these are drained by the console')
    expect((await carl.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    await ops.query(`UNDRAIN NODE '${name}'`)
    await enter('carl', 'postgres')
    await gate.event('drain_node', { NodeName: name, Drained: false })
  })

  it('a node of one cluster, and none of its name in another one', async () => {
    const two = await startGate({
      node,
      clusters: { dev: {} },
      top: { console: { admins: ['ops'], clusters: ['test'] } },
    })
    const into = async (cluster: string, user: string, database: string) => {
      const options = `${JWT_SWITCH} --cluster=${cluster}`
      const client = new pg.Client(
        pgConfig(two, user, await two.token(user), { database, options }),
      )
      await client.connect()
      clients.push(client)
      return client
    }
    const ops = await into('test', 'ops', 'postern')
    const [one] = await shown(ops, 'SHOW NODES')
    const name = String(one?.['node'])
    expect(await refusal(ops.query(`DRAIN NODE '${name}'`))).toMatchObject({
      code: '22023',
      message: `several clusters have a node ${name}: add CLUSTER and the name of one of them (dev, test)`,
    })
    await ops.query(`DRAIN NODE '${name}' CLUSTER 'test'`)
    await two.event('drain_node', { NodeCluster: 'test', NodeName: name, Cluster: 'test' })
    expect(await shown(ops, 'SHOW NODES')).toMatchObject([
      { cluster: 'dev', drained: false },
      { cluster: 'test', drained: true },
    ])
    expect(await refusal(into('test', 'carl', 'postgres'))).toMatchObject({ code: '08006' })
    await into('dev', 'carl', 'postgres')
    await Promise.all(clients.splice(0).map((client) => client.end()))
    await two.close()
  })

  it('the configuration is read again', async () => {
    const ops = await enter('ops')
    await ops.query('RELOAD')
    await gate.event('reload', { User: 'ops', Statement: 'RELOAD' })
    expect(JSON.stringify(gate.log)).toContain('the configuration was read again')
  })

  it('nothing inside of a transaction: it could not be taken back', async () => {
    const ops = await enter('ops')
    await ops.query('BEGIN')
    expect(await refusal(ops.query('RELOAD'))).toMatchObject({
      code: '25001',
      message: 'RELOAD cannot run inside a transaction block',
    })
    expect(await refusal(ops.query('SHOW VERSION'))).toMatchObject({ code: '25P02' })
    expect((await ops.query('ROLLBACK')).command).toBe('ROLLBACK')
    await shown(ops, 'SHOW VERSION')
  })

  it('nothing that could not be written down', async () => {
    let full = false
    const lines: string[] = []
    const own = await startGate({
      node,
      top: { console: { admins: ['ops'] } },
      auditTo: {
        write(line: string) {
          if (full && line.includes('"drain_node"')) throw new Error('the disk is full')
          lines.push(line)
        },
      },
    })
    const client = new pg.Client(
      pgConfig(own, 'ops', await own.token('ops'), { database: 'postern' }),
    )
    await client.connect()
    const [one] = (await client.query('SHOW NODES')).rows
    full = true
    expect(await refusal(client.query(`DRAIN NODE '${one.node}'`))).toMatchObject({ code: 'XX000' })
    expect((await client.query('SHOW NODES')).rows).toMatchObject([{ drained: false }])
    await client.end()
    await own.close()
  })

  it('a cancel ends nothing', async () => {
    const ops = await enter('ops')
    const { processID, secretKey } = ops as unknown as Record<string, number>
    const request = Buffer.alloc(16)
    for (const [at, value] of [16, 80877102, processID ?? 0, secretKey ?? 0].entries())
      request.writeInt32BE(value, 4 * at)
    const canceler = await openTls(gate.port, gate.caPem)
    canceler.write(request)
    expect(await canceler.next()).toBeUndefined()
    canceler.close()
    const [sent] = await shown(ops, "SHOW STATS WHERE labels = 'result=sent'")
    expect(sent).toMatchObject({ metric: 'postern_cancels_total', value: 1 })
  })
})

describeWith('psql', 'psql', () => {
  async function say(...args: string[]) {
    const target = url(gate.port, 'ops', { database: 'postern', sslrootcert: caFile })
    return await psql([target, ...args], { env: { PGPASSWORD: await gate.token('ops') } })
  }

  it('shows rows, one statement after the other', async () => {
    const { code, stdout, stderr } = await say(
      '-c',
      'SELECT 1; SHOW NODES; -- and no more',
      '-c',
      'show version',
    )
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(stdout.split('\n')).toEqual([
      '1',
      expect.stringMatching(/\|1\|0\|0\|f\|\d+$/),
      expect.stringMatching(/^0\.0\.0-test\|/),
      '',
    ])
  })

  it('says who it is connected to, and that there are no tables', async () => {
    const { stdout, stderr } = await say(
      '-c',
      '\\conninfo',
      '-c',
      '\\d',
      '-c',
      '\\l',
      '-c',
      'SELECT 1',
    )
    expect(stdout).toContain('postern')
    expect(stderr).toContain('the gate has no answer to this: SELECT')
    expect(stderr).toContain('HINT:  this is no database: SHOW HELP tells what can be said here')
    expect(stdout).toMatch(/^1$/m)
  })

  it('hears a notice of what is left out, and errors in their words', async () => {
    const { stderr } = await say('-c', "REVOKE ROLE 'x'")
    expect(stderr).toContain('ERROR:  syntax error at or near "ROLE"')
  })
})

const JVM = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xshare:auto', '-Duser.timezone=UTC']

describeWith('JDBC', 'JDBC, in each of its modes', () => {
  it('shows rows as text and in binary, and hears errors', async () => {
    const classes = await makeDirectory()
    const source = join(ROOT, 'test/support/Console.java')
    const compiled = await run('javac', ['-cp', JDBC, '-d', classes, source])
    expect(compiled.stderr).toBe('')
    const env = { PGUSER: 'ops', PGPASSWORD: await gate.token('ops'), PGOPTIONS: JWT_SWITCH }
    const target = `jdbc:postgresql://127.0.0.1:${gate.port}/postern?sslmode=verify-full&sslrootcert=${caFile}`
    const program = start('java', [...JVM, '-cp', `${JDBC}:${classes}`, 'Console', target], { env })
    const { stdout, stderr } = await program.ended
    expect(stderr).toBe('')
    const answers = [
      'workers: 8',
      '42704 ERROR: session "nobody\'s" does not exist',
      'true',
      '25001 ERROR: RELOAD cannot run inside a transaction block',
      'true null',
      '0A000 ERROR: the gate has no answer to this: SELECT * FROM pg_class',
    ]
    const modes = ['simple', 'extended', 'extendedForPrepared', 'extendedCacheEverything']
    expect(stdout.trim().split('\n')).toEqual(
      modes.flatMap((mode) => [`${mode}: ops timestamptz true`, ...answers]),
    )
  }, 60_000)
})
