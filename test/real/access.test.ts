/**
 * `postern access`, with real sessions: what it writes ends them on both gates that share a state, keeps newcomers
 * out and lets them in again.
 */
import { writeFileSync } from 'node:fs'
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { postern } from '../support/fresh_node.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'
import { makeDirectory } from '../support/tools.ts'
import { JWT_OPTION } from '../support/wire_client.ts'

const ENDED = 'terminating connection due to administrator command'
const NO_ENTRY = 'no access entry for host "127.0.0.1", user "carl", database "postgres"'
const HOUR_MS = 3_600_000
const DENYLIST = 'SequenceNumber: 1\ndenylist:\n- {entity: {item: gone, type: cluster}}\n'

const clock = { ms: Date.now() }
let shared: StateNode
let gates: TestGate[]
let dir: string

beforeAll(async () => {
  shared = await startStateNode(18)
  await shared.sql('CREATE ROLE carl LOGIN')
  const place = await shared.make('lists')
  const cluster = { kind: 'postgresql', nodes: [{ address: shared.address }], sign_in: 'trust' }
  const state = { cluster: 'test', ...place }
  const options = {
    node: shared.address,
    listener: { allow_plaintext: true },
    cluster: { sign_in: 'trust' },
    clusters: { spare: { sign_in: 'trust' } },
    top: { state, access_lists: { denylist_file: 'deny.yaml' } },
    files: { '/etc/postern/deny.yaml': DENYLIST },
    now: () => clock.ms,
  }
  gates = [await startGate(options), await startGate(options)]
  dir = await makeDirectory()
  const listeners = [{ address: '127.0.0.1:0', allow_plaintext: true }]
  const clusters = { test: cluster, spare: cluster }
  writeFileSync(`${dir}/postern.yaml`, JSON.stringify({ listeners, clusters, state }))
})
afterAll(async () => {
  for (const gate of gates) await gate.close()
  await shared.close()
})

/** @returns what it prints */
async function access(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await postern(
    ['access', ...args, '--config', `${dir}/postern.yaml`],
    dir,
  )
  expect([code, stderr]).toEqual([0, ''])
  return stdout
}

interface Session {
  client: pg.Client
  /** What the gate said when it ended it. */
  ended: Promise<string>
}

async function enter(gate: TestGate, cluster = 'test'): Promise<Session> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: gate.port,
    user: 'carl',
    database: `${cluster}.postgres`,
    password: await gate.token('carl'),
    ...JWT_OPTION,
  })
  const ended = new Promise<string>((resolve) =>
    client.on('error', ({ message }) => resolve(message)),
  )
  await client.connect()
  return { client, ended }
}

const enterAll = (cluster?: string) => Promise.all(gates.map((gate) => enter(gate, cluster)))

/** What each gate says to a newcomer. */
async function answers(cluster?: string): Promise<string[]> {
  return await Promise.all(
    gates.map((gate) =>
      enter(gate, cluster).then(
        ({ client }) => client.end().then(() => 'let in'),
        (thrown: Error) => thrown.message,
      ),
    ),
  )
}

const LET_IN = ['let in', 'let in']
const OUT = [NO_ENTRY, NO_ENTRY]

it('denies a network on both gates, until its time is over', async () => {
  const sessions = await enterAll()
  const until = new Date(clock.ms + HOUR_MS).toISOString().replace(/\.\d+/, '')
  expect(await access('deny', '127.0.0.1/8', '--reason', 'a scanner', '--until', until)).toBe(
    `Denied: 127.0.0.0/8, until ${until}: a scanner
Gates that follow the state have it at once, and end the sessions of those who may not stay.\n`,
  )
  for (const { ended } of sessions) expect(await ended).toBe(ENDED)
  expect(await answers()).toEqual(OUT)
  expect(await answers('spare')).toEqual(OUT)
  expect(await access('list')).toBe(`deny   127.0.0.0/8, until ${until}: a scanner\n`)
  clock.ms += HOUR_MS
  expect(await answers()).toEqual(LET_IN)
})

it('lets in again whom it denied', async () => {
  await access('deny', '127.0.0.1')
  await expect.poll(() => answers()).toEqual(OUT)
  expect(await access('remove', 'deny', '127.0.0.1/32')).toMatch(/^Removed: deny 127\.0\.0\.1\n/)
  await expect.poll(() => answers()).toEqual(LET_IN)
  const again = await postern(
    ['access', 'remove', 'deny', '127.0.0.1', '--config', `${dir}/postern.yaml`],
    dir,
  )
  expect(again).toMatchObject({
    code: 64,
    stderr: 'postern: there is no such entry; postern access list\n',
  })
})

it('denies a cluster, and no other one', async () => {
  const sessions = await enterAll('spare')
  const others = await enterAll('test')
  await access('deny', '--cluster', 'spare', '--reason', 'moved')
  for (const { ended } of sessions) expect(await ended).toBe(ENDED)
  expect([await answers('spare'), await answers('test')]).toEqual([OUT, LET_IN])
  for (const { client } of others) {
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    await client.end()
  }
  await access('remove', 'deny', '--cluster', 'spare')
  await expect.poll(() => answers('spare')).toEqual(LET_IN)
})

it('an empty allowlist refuses everybody, one that names them lets them in, and its last entry stays', async () => {
  const sessions = await enterAll()
  expect(await access('allow', '--cluster', 'test', '--nobody')).toMatch(
    /^Allowed: cluster test: nobody but who is named\nCluster test lets in whom its allowlists name, and nobody else\.\n/,
  )
  for (const { ended } of sessions) expect(await ended).toBe(ENDED)
  expect([await answers('test'), await answers('spare')]).toEqual([OUT, LET_IN])
  await access('allow', '127.0.0.0/8', '--cluster', 'test')
  await expect.poll(() => answers()).toEqual(LET_IN)
  const [mine] = await enterAll()
  await access('remove', 'allow', '127.0.0.0/8', '--cluster', 'test')
  expect(await mine?.ended).toBe(ENDED)
  await expect.poll(() => answers()).toEqual(OUT)
  const config = ['--config', `${dir}/postern.yaml`]
  const remove = ['access', 'remove', 'allow', '--cluster', 'test', '--nobody', ...config]
  expect(await postern(remove, dir)).toMatchObject({
    code: 64,
    stderr: expect.stringContaining('this is the last entry of the allowlist of cluster test'),
  })
  expect(await answers()).toEqual(OUT)
  expect(await postern([...remove, '--everybody'], dir)).toMatchObject({ code: 0 })
  await expect.poll(() => answers()).toEqual(LET_IN)
})

it('says in the log that an entry is about a cluster which is not here', async () => {
  for (const { log } of gates)
    expect(log.map(({ msg }) => msg)).toContain(
      'deny.yaml:3: there is no cluster "gone": this is about nobody',
    )
  await shared.sql(
    `INSERT INTO postern.access_entries (list, cluster, item, kind) VALUES ('allow', 'tset', '10.0.0.0/8', 'ip');
     UPDATE postern.changes SET number = number + 1; NOTIFY postern_state`,
    'lists',
  )
  for (const { log } of gates)
    await expect
      .poll(() => log.map(({ msg }) => msg))
      .toContain('the shared lists have an entry about a cluster that is not here: tset')
  expect(await access('list')).toContain(
    'cluster tset: 10.0.0.0/8 (no such cluster in this configuration)\n',
  )
})
