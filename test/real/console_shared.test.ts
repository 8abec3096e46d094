/**
 * The console of gates that share a state: what is revoked and set on one of them counts on all, and the list
 * of changes is theirs together. One of them has its sessions in processes of their own.
 */
import { writeFile } from 'node:fs/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { asFailure } from '../../src/failure.ts'
import { postern } from '../support/fresh_node.ts'
import { type GateOptions, startGate, type TestGate } from '../support/gate.ts'
import { pidsOf } from '../support/on_workers.ts'
import { type Served, startServe } from '../support/serve.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'
import { ISSUER } from '../support/tokens.ts'
import { makeDirectory, pgConfig } from '../support/tools.ts'

type Gate = Pick<TestGate, 'port' | 'caPem' | 'token'>

let shared: StateNode
let gates: [TestGate, TestGate]
/** The second gate's file, to be changed. */
let file: GateOptions

beforeAll(async () => {
  shared = await startStateNode(18)
  await shared.sql('CREATE ROLE carl LOGIN; CREATE ROLE maxroach LOGIN')
  const place = await shared.make('consolestate')
  const top = { state: { cluster: 'test', ...place }, console: { admins: ['ops'] } }
  const options = { node: shared.address, cluster: { sign_in: 'trust' } }
  file = { ...options, top, limits: { connections: 77 } }
  gates = [await startGate({ ...options, top }), await startGate(file)]
})
afterAll(async () => {
  for (const gate of gates) await gate.close()
  await shared.close()
})

async function enter(gate: Gate, user: string, database: string, token?: string) {
  const client = new pg.Client(
    pgConfig(gate, user, token ?? (await gate.token(user)), { database }),
  )
  const ended = new Promise<string>((resolve) =>
    client.on('error', ({ message }) => resolve(message)),
  )
  await client.connect()
  return { client, ended }
}

/** One statement, as an admin. */
async function say(gate: Gate, sql: string, values?: unknown[]) {
  const { client } = await enter(gate, 'ops', 'postern')
  try {
    return (await client.query(sql, values)).rows as Record<string, unknown>[]
  } finally {
    await client.end()
  }
}

async function refusal(work: Promise<unknown>) {
  return await work.then(
    () => undefined,
    ({ code, message }: { code: string; message: string }) => ({ code, message }),
  )
}

const settled = { interval: 20, timeout: 10_000 }

describe('revocation', () => {
  it.each<[string, string, string[]]>([
    [
      'REVOKE TOKEN $1 ISSUER $2 REASON $3',
      `REVOKE TOKEN 'revoked' ISSUER '${ISSUER}' REASON 'lost'`,
      ['revoked', ISSUER, 'lost'],
    ],
    [
      "REVOKE SUBJECT $1 ISSUER $2 BEFORE '2099-01-01T00:00:00Z'",
      `REVOKE SUBJECT 'maxroach' ISSUER '${ISSUER}' BEFORE '2099-01-01T00:00:00Z'`,
      ['maxroach', ISSUER],
    ],
  ])('%s ends its sessions on all gates', async (sql, statement, values) => {
    const [one, other] = gates
    const jti = values[0] === 'revoked' ? 'revoked' : 'another'
    const token = await other.token('maxroach', { jti })
    const { ended } = await enter(other, 'maxroach', 'postgres', token)
    const stays = await enter(other, 'carl', 'postgres')
    await say(one, sql, values)
    expect(await ended).toBe('terminating connection due to administrator command')
    expect((await stays.client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    await stays.client.end()
    expect(await refusal(enter(other, 'maxroach', 'postgres', token))).toEqual({
      code: '28000',
      message: 'JWT authentication: the token is revoked',
    })
    await one.event('revoke', { User: 'ops', Statement: statement })
    const [change] = await say(other, 'SHOW CHANGES LIMIT 1')
    expect(change).toMatchObject({ change: 'revoke', statement, who: `ops (ops of ${ISSUER})` })
  })

  it('is shown, and refused where it names nobody', async () => {
    expect(await say(gates[1], "SHOW REVOCATIONS WHERE kind = 'token'")).toMatchObject([
      { kind: 'token', issuer: ISSUER, value: 'revoked', reason: 'lost', issued_before: null },
    ])
    expect(await refusal(say(gates[0], "REVOKE ISSUER ''"))).toEqual({
      code: '22023',
      message: 'REVOKE ISSUER takes no empty name',
    })
  })

  it('of the admin himself ends his session', async () => {
    const [one] = gates
    const { client, ended } = await enter(one, 'ops', 'postern')
    const { rows } = await client.query("SHOW SESSIONS WHERE node = 'console'")
    const own = rows.at(-1)
    // Before or behind its answer.
    const told = client.query(`REVOKE SESSION '${own.session_id}'`).then(
      () => ended,
      ({ message }: Error) => message,
    )
    expect(await told).toBe('terminating connection due to administrator command')
  })
})

describe('settings', () => {
  const limit = async (gate: Gate, name = 'limits.sessions_per_user') =>
    (await say(gate, `SHOW CLUSTER SETTING ${name}`))[0]

  it('are set for all gates, and counted at once', async () => {
    const [one, other] = gates
    await say(one, 'SET CLUSTER SETTING limits.sessions_per_user = 3')
    await one.event('set_cluster_setting', { SettingName: 'limits.sessions_per_user', Value: '3' })
    await expect.poll(async () => (await limit(other))?.['value'], settled).toBe('3')
    expect(await limit(other)).toMatchObject({
      origin: 'console',
      changeable: true,
      set_by: `ops (ops of ${ISSUER})`,
      problem: null,
    })
    const sessions = await Promise.all([1, 2, 3].map(() => enter(other, 'carl', 'postgres')))
    expect(await refusal(enter(other, 'carl', 'postgres'))).toMatchObject({
      code: '53300',
      message: 'too many connections for role "carl"',
    })
    for (const { client } of sessions) await client.end()
    await say(other, 'RESET CLUSTER SETTING limits.sessions_per_user')
    await expect.poll(async () => (await limit(one))?.['origin'], settled).toBe('default')
  })

  it('of a cluster may leave out its name', async () => {
    const [one, other] = gates
    await say(one, "SET CLUSTER SETTING health.interval TO '7s'")
    await expect
      .poll(async () => (await limit(other, 'clusters.test.health.interval'))?.['value'], settled)
      .toBe('7s')
  })

  it.each([
    [
      'SET CLUSTER SETTING limits.sessions_per_user = many',
      '22023',
      'write a whole number, not "many"',
    ],
    ['SET CLUSTER SETTING listeners = x', '42704', 'setting "listeners" does not exist'],
    [
      "SET CLUSTER SETTING limits.authentication_timeout = '1ms'",
      '22023',
      'write at least 1s: less may be said in the configuration file alone',
    ],
  ])('%s: %s', async (sql, code, message) => {
    expect(await refusal(say(gates[0], sql))).toEqual({ code, message })
  })

  it('that decide trust are not to be set, where the file does not say so', async () => {
    expect(
      await refusal(say(gates[0], "SET CLUSTER SETTING server.jwt_authentication.claim = 'sub'")),
    ).toEqual({
      code: '42501',
      message:
        'the setting "clusters.test.server.jwt_authentication.claim" decides whom the gate trusts, or for how long',
    })
  })

  it('that stand in a file are that file’s', async () => {
    const [one, other] = gates
    expect(await refusal(say(other, 'SET CLUSTER SETTING limits.connections = 5'))).toMatchObject({
      code: '55P02',
      message: expect.stringMatching(
        /^the setting "limits\.connections" is set in the configuration file, at \/etc\/postern\/postern\.yaml:\d+:\d+$/,
      ),
    })
    await say(one, 'SET CLUSTER SETTING limits.connections = 5000')
    await expect
      .poll(async () => await limit(other, 'limits.connections'), settled)
      .toMatchObject({ value: '77', origin: 'file', problem: 'set, but the file says otherwise' })
    await expect
      .poll(async () => await limit(one, 'limits.connections'), settled)
      .toMatchObject({ value: '5000', problem: null })
    // Taken back on the very gate that makes nothing of it.
    await say(other, 'RESET CLUSTER SETTING limits.connections')
    await expect
      .poll(async () => await limit(one, 'limits.connections'), settled)
      .toMatchObject({ value: '10000', origin: 'default' })
    expect(await limit(other, 'limits.connections')).toMatchObject({ problem: null, set_by: '' })
  })

  /** As a gate of another version would, or one whose file allows more. */
  const elsewhere = (change: string) =>
    shared.sql(
      `${change};
       UPDATE postern.changes SET number = number + 1; NOTIFY postern_state`,
      'consolestate',
    )

  it.each([
    ['clusters.renamed.pool.size', 'set, and unknown to this gate', '42501'],
    ['of.another.version', 'set, and unknown to this gate', '42501'],
    [
      'clusters.test.session.grace',
      'set, but the file does not allow it: console.may_change_trust',
      '42501',
    ],
    [
      'limits.handshake_timeout',
      'set, but: write at least 1s: less may be said in the configuration file alone',
      undefined,
    ],
  ])(
    'that do not count are shown, and taken back by whom they concern: %s',
    async (name, problem, code) => {
      const [one] = gates
      const row = async () =>
        (await say(one, `SHOW CLUSTER SETTINGS WHERE variable = '${name}'`))[0]
      await elsewhere(`INSERT INTO postern.settings VALUES ('${name}', '1ms', 'ops', 0)`)
      await expect.poll(row, settled).toMatchObject({ origin: 'default', set_by: 'ops', problem })
      expect((await say(one, `SHOW CLUSTER SETTING ${name}`))[0]).toMatchObject({ problem })
      const refused = await refusal(say(one, `RESET CLUSTER SETTING ${name}`))
      expect(refused?.code).toBe(code)
      if (code !== undefined) await elsewhere(`DELETE FROM postern.settings WHERE name = '${name}'`)
      await expect.poll(async () => (await row())?.['problem'] ?? null, settled).toBeNull()
      expect(
        await shared.sql('SELECT name FROM postern.settings', 'consolestate'),
      ).not.toContainEqual({
        name,
      })
    },
  )

  it('are listed and taken back by a command, for when nobody gets to the console', async () => {
    const [one] = gates
    const dir = await makeDirectory()
    const place = { role: 'consolestate', database: 'consolestate' }
    const listeners = [{ address: '127.0.0.1:0', allow_plaintext: true }]
    const test = { kind: 'postgresql', nodes: [{ address: shared.address }], sign_in: 'trust' }
    const configuration = { listeners, clusters: { test }, state: { cluster: 'test', ...place } }
    await writeFile(`${dir}/postern.yaml`, JSON.stringify(configuration))
    const settings = (...args: string[]) =>
      postern(['settings', ...args, '--config', `${dir}/postern.yaml`], dir)
    await say(one, 'SET CLUSTER SETTING limits.sessions_per_user = 3')
    const { stdout } = await settings('list')
    expect(stdout).toMatch(/^\S+Z {2}limits\.sessions_per_user = 3 \(by ops \(ops of \S+\)\)$/m)
    // In the console's short form.
    expect(await settings('reset', 'health.interval')).toEqual({
      code: 0,
      stdout:
        'Reset: clusters.test.health.interval\nGates that follow the state have it at once.\n',
      stderr: '',
    })
    expect(await settings('reset', 'limits.sessions_per_user')).toMatchObject({ code: 0 })
    await expect.poll(async () => (await limit(one))?.['origin'], settled).toBe('default')
    expect(await settings('reset', 'limits.sessions_per_user')).toMatchObject({
      code: 64,
      stderr: 'postern: this is not set; postern settings list\n',
    })
    expect((await settings('list')).stdout).not.toContain('sessions_per_user')
    expect((await say(one, 'SHOW CHANGES LIMIT 1'))[0]).toMatchObject({
      change: 'set_cluster_setting',
      statement: 'postern settings: reset limits.sessions_per_user',
      who: 'somebody',
    })
  })

  it('that make a gate’s file wrong are not taken there, and it says so', async () => {
    const [one, other] = gates
    // Its file has changed meanwhile, and nobody has told it.
    const { top } = file
    file.top = { ...top, console: { admins: 'ops' } }
    await say(one, "SET CLUSTER SETTING shutdown.grace = '9s'")
    await expect
      .poll(async () => await limit(other, 'shutdown.grace'), settled)
      .toMatchObject({
        origin: 'default',
        problem: expect.stringContaining('write a list, not "ops"'),
      })
    expect(JSON.stringify(other.log)).toContain('the configuration in use is kept')
    file.top = top ?? {}
    await say(other, 'RELOAD')
    expect(await limit(other, 'shutdown.grace')).toMatchObject({ value: '9s', problem: null })
  })
})

it('a gate does not open without what was set of trust', async () => {
  const map = 'clusters.test.server.identity_map.configuration'
  const { top, ...others } = file
  const trusting = { ...top, console: { admins: ['ops'], may_change_trust: true } }
  const sql = (text: string) => shared.sql(text, 'consolestate')
  await sql(
    `INSERT INTO postern.settings VALUES ('${map}', 'https://gone.test /^(.*)$ \\1', 'ops', 0);
     UPDATE postern.changes SET number = number + 1; NOTIFY postern_state`,
  )
  try {
    expect(await startGate({ ...others, top: trusting }).catch(asFailure)).toMatchObject({
      code: 'state_unusable',
      message: expect.stringMatching(
        /not an accepted issuer.*postern settings reset clusters\.test/s,
      ),
    })
  } finally {
    await sql(
      `DELETE FROM postern.settings WHERE name = '${map}';
       UPDATE postern.changes SET number = number + 1; NOTIFY postern_state`,
    )
  }
  const gate = await startGate({ ...others, top: trusting })
  await gate.close()
})

describe('a gate with worker processes', () => {
  let served: Served

  beforeAll(async () => {
    const state = { cluster: 'test', role: 'consolestate', database: 'consolestate' }
    served = await startServe(
      { node: shared.address, cluster: { sign_in: 'trust' } },
      { workers: 2, state, console: { admins: ['ops'] } },
    )
  }, 30_000)

  it('knows all sessions, and ends those of each of them', async () => {
    const sessions = await Promise.all(
      Array.from({ length: 6 }, () => enter(served, 'carl', 'postgres')),
    )
    const rows = await say(served, "SHOW SESSIONS WHERE user_name = 'carl'")
    expect(rows).toHaveLength(6)
    for (const row of rows) await say(served, 'CANCEL SESSION $1', [row['session_id']])
    for (const { ended } of sessions)
      expect(await ended).toBe('terminating connection due to administrator command')
    await expect
      .poll(() => say(served, "SHOW SESSIONS WHERE user_name = 'carl'"), settled)
      .toEqual([])
  }, 30_000)

  const carlIsRefused = async () => {
    const entering = enter(served, 'carl', 'postgres').then(({ client }) => client.end())
    return (await refusal(entering))?.code
  }

  it('gives a drained node no sessions, in a worker that comes later as well', async () => {
    const [node] = await say(served, 'SHOW NODES')
    expect(node).toMatchObject({ up: '2' })
    await say(served, 'DRAIN NODE $1', [node?.['node']])
    await expect.poll(carlIsRefused, settled).toBe('08006')
    served.child.kill('SIGUSR2')
    await served.until('the workers are fresh ones')
    for (const _ of [1, 2, 3, 4]) expect(await carlIsRefused()).toBe('08006')
    await say(served, 'UNDRAIN NODE $1', [node?.['node']])
    await expect.poll(carlIsRefused, settled).toBeUndefined()
  }, 60_000)

  it('shows no session of a worker that died, and those of the others', async () => {
    const sessions = await Promise.all(
      Array.from({ length: 6 }, () => enter(served, 'carl', 'postgres')),
    )
    const shown = () => say(served, "SHOW SESSIONS WHERE user_name = 'carl'")
    const before = await shown()
    const killed = before[0]?.['worker']
    const others = before.filter(({ worker }) => worker !== killed)
    process.kill(pidsOf(served).get(Number(killed)) ?? 0, 'SIGKILL')
    await expect.poll(shown, settled).toEqual(others)
    await Promise.all(sessions.map(({ client }) => client.end()))
  }, 30_000)

  it('has what was set, in each of them', async () => {
    expect(await say(served, 'SHOW CLUSTER SETTING shutdown.grace')).toMatchObject([
      { value: '9s' },
    ])
    await say(gates[0], 'SET CLUSTER SETTING limits.sessions_per_user = 3')
    const value = async () =>
      (await say(served, 'SHOW CLUSTER SETTING limits.sessions_per_user'))[0]?.['value']
    await expect.poll(value, settled).toBe('3')
    await say(gates[0], 'RESET CLUSTER SETTING limits.sessions_per_user')
    await expect.poll(value, settled).toBe('')
  }, 30_000)
})
