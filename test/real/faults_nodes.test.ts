/**
 * Two real PostgreSQL behind a gate, and what may happen to one of them: killed, stopped in its tracks,
 * full, or in the company of something that takes connections and never speaks.
 */
import { spawnSync } from 'node:child_process'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { describeWith, keepFile, pgConfig, start, url } from '../support/tools.ts'

const HBA = [
  'host all postgres       127.0.0.1/32 trust',
  'host all +postern_users 127.0.0.1/32 trust',
]
const SQL = [
  {
    database: 'postgres',
    statements: [
      'CREATE ROLE postern_users NOLOGIN',
      'CREATE ROLE maxroach LOGIN IN ROLE postern_users',
      'CREATE ROLE narrow LOGIN CONNECTION LIMIT 1 IN ROLE postern_users',
      'CREATE DATABASE defaultdb OWNER maxroach',
    ],
  },
  {
    database: 'defaultdb',
    statements: ['CREATE TABLE ticks (client int)', 'ALTER TABLE ticks OWNER TO maxroach'],
  },
]
const HEALTH = { interval: '100ms', timeout: '500ms', down_after: 2, up_after: 2 }

class RealNode {
  readonly address: string
  readonly #server: EmbeddedPostgres
  readonly #dir: string
  #stopped: number[] = []

  private constructor(server: EmbeddedPostgres, dir: string) {
    this.#server = server
    this.#dir = dir
    this.address = `127.0.0.1:${server.port}`
  }

  static async start(): Promise<RealNode> {
    const dir = await mkdtemp(join(tmpdir(), 'postern-faults-'))
    await chmod(dir, 0o711)
    const server = await startEmbeddedPostgres({
      dir,
      port: await freePort(),
      uid: process.getuid?.() ?? 0,
      platform: process.platform,
      arch: process.arch,
      hba: HBA,
      ident: [],
      sql: SQL,
    })
    return new RealNode(server, dir)
  }

  /** As the superuser, past the gate. */
  async sql(text: string): Promise<Record<string, unknown>[]> {
    const { port } = this.#server
    const client = new pg.Client({
      host: '127.0.0.1',
      port,
      user: 'postgres',
      database: 'defaultdb',
    })
    await client.connect()
    const { rows } = await client.query(text)
    await client.end()
    return rows
  }

  /** Sessions of a role, as the node counts them. */
  async sessions(role: string): Promise<number> {
    const [row] = await this.sql(
      `SELECT count(*)::int AS count FROM pg_stat_activity WHERE usename = '${role}'`,
    )
    return Number(row?.['count'])
  }

  async ticks(): Promise<number> {
    const [row] = await this.sql('SELECT count(*)::int AS count FROM ticks')
    return Number(row?.['count'])
  }

  /** The whole of it at once, as when the machine is gone. */
  kill(): void {
    signalAll(processesOf(this.#server.pid), 'SIGKILL')
  }

  /** It still takes connections, or rather the kernel does for it, and says no more. */
  freeze(): void {
    this.#stopped = processesOf(this.#server.pid)
    signalAll(this.#stopped, 'SIGSTOP')
  }

  thaw(): void {
    signalAll(this.#stopped.splice(0), 'SIGCONT')
  }

  shutDown(): void {
    process.kill(this.#server.pid, 'SIGTERM')
  }

  async close(): Promise<void> {
    this.thaw()
    await this.#server.stop()
    await rm(this.#dir, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** The server's first process, and its children. */
function processesOf(pid: number): number[] {
  const { stdout } = spawnSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' })
  const children = stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child ?? 0)
  return [pid, ...children]
}

function signalAll(pids: number[], signal: NodeJS.Signals): void {
  for (const pid of pids)
    try {
      process.kill(pid, signal)
    } catch {
      // It has ended by itself.
    }
}

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

let two: RealNode
beforeAll(async () => {
  two = await RealNode.start()
})
afterAll(async () => await two.close())

async function openGate(
  nodes: { address: string }[],
  more: Record<string, unknown> = {},
): Promise<TestGate> {
  const listed = nodes.map(({ address }) => ({ address }))
  const cluster = { nodes: listed, health: HEALTH, connect_timeout: '3s', ...more }
  const gate = await startGate({ node: '127.0.0.1:1', cluster })
  closing.push(() => gate.close())
  return gate
}

/** A session that is closed with the test, unless it ends before. */
async function logIn(gate: TestGate, user = 'maxroach'): Promise<pg.Client> {
  const client = new pg.Client(pgConfig(gate, user, await gate.token(user)))
  client.on('error', () => undefined)
  await client.connect()
  closing.push(() => client.end().catch(() => undefined))
  return client
}

/** Sessions one after the other, each with an answer. */
async function expectIn(gate: TestGate, times: number): Promise<void> {
  for (let at = 0; at < times; at++) {
    const client = await logIn(gate)
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    await client.end()
  }
}

const stateOf = async (gate: TestGate, { address }: { address: string }) => {
  const text = await (await fetch(`${gate.opsUrl}/metrics`)).text()
  const line = text
    .split('\n')
    .find(
      (each) =>
        each.startsWith('postern_nodes{') &&
        each.includes(`node="${address}"`) &&
        each.endsWith(' 1'),
    )
  return /state="(\w+)"/.exec(line ?? '')?.[1]
}

describeWith('pgbench', 'a node that is killed under pgbench', () => {
  it('costs its own sessions alone, and nobody a login', async () => {
    const one = await RealNode.start()
    closing.push(() => one.close())
    const gate = await openGate([one, two])
    const script = await keepFile('tick.sql', 'INSERT INTO ticks VALUES (:client_id);\n')
    const caFile = await keepFile('ca.crt', gate.caPem)
    const bench = start(
      'pgbench',
      [
        '-n',
        '-f',
        script,
        '-c',
        '8',
        '-T',
        '6',
        url(gate.port, 'maxroach', { database: 'defaultdb', sslrootcert: caFile }),
      ],
      {
        env: { PGPASSWORD: await gate.token('maxroach') },
      },
    )
    const both = async () => [await one.sessions('maxroach'), await two.sessions('maxroach')]
    await expect.poll(both).toEqual([4, 4])
    await expect.poll(() => one.ticks()).toBeGreaterThan(10)
    const before = await two.ticks()
    one.kill()
    await expectIn(gate, 20)
    await expect.poll(() => two.ticks()).toBeGreaterThan(before + 10)
    expect(await two.sessions('maxroach')).toBe(4)
    const { stdout, stderr } = await bench.ended
    // Four lost their node; the other four went on to the end.
    expect(stderr.match(/client \d+ (?:script 0 )?aborted/g)).toHaveLength(4)
    const processed = /actually processed: (\d+)/.exec(stdout)?.[1]
    expect(Number(processed)).toBeGreaterThanOrEqual(await two.ticks())
    await expect.poll(() => stateOf(gate, one)).toBe('down')
    expect(await stateOf(gate, two)).toBe('up')
    const lost = gate.audit.filter(
      ({ EventType, Ended }) =>
        EventType === 'client_session_end' && String(Ended).includes('node'),
    )
    expect(lost).toHaveLength(4)
  })
})

describe('a node that is stopped in its tracks', () => {
  it('is noticed, and costs no login; and it is back when it goes on', async () => {
    const one = await RealNode.start()
    closing.push(() => one.close())
    const gate = await openGate([one, two])
    one.freeze()
    // Before anybody has noticed: whoever comes to it first waits for half of the time, and goes on.
    await expectIn(gate, 4)
    await expect.poll(() => stateOf(gate, one), { timeout: 10_000 }).toBe('down')
    await expectIn(gate, 10)
    one.thaw()
    await expect.poll(() => stateOf(gate, one), { timeout: 10_000 }).toBe('up')
    const sessions = async () => {
      await logIn(gate)
      return await one.sessions('maxroach')
    }
    await expect.poll(sessions, { timeout: 10_000 }).toBeGreaterThan(0)
  })
})

it('a node that takes connections and never answers costs no login, and is down', async () => {
  const sockets: { destroy(): void }[] = []
  const mute = createServer((socket) => sockets.push(socket.on('error', () => undefined)))
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve))
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    mute.close()
  })
  const bound = mute.address()
  const address = `127.0.0.1:${typeof bound === 'object' && bound !== null ? bound.port : 0}`
  const gate = await openGate([{ address }, two], { connect_timeout: '1s' })
  await expectIn(gate, 4)
  await expect.poll(() => stateOf(gate, { address }), { timeout: 10_000 }).toBe('down')
  await expectIn(gate, 4)
})

it('a full cluster says so in its own words, and nothing is held against anybody', async () => {
  const one = await RealNode.start()
  closing.push(() => one.close())
  const gate = await openGate([one, two])
  await logIn(gate, 'narrow')
  await logIn(gate, 'narrow')
  expect([await one.sessions('narrow'), await two.sessions('narrow')]).toEqual([1, 1])
  for (let at = 0; at < 5; at++)
    await expect(logIn(gate, 'narrow')).rejects.toMatchObject({
      code: '53300',
      severity: 'FATAL',
      message: 'too many connections for role "narrow"',
      routine: 'InitializeSessionUserId',
    })
  expect([await stateOf(gate, one), await stateOf(gate, two)]).toEqual(['up', 'up'])
  await expectIn(gate, 4)
  expect(await (await fetch(`${gate.opsUrl}/metrics`)).text()).toContain(
    'postern_logins_total{result="node_refused"} 5',
  )
})

it('a node that shuts down while sessions are open takes no new ones', async () => {
  const one = await RealNode.start()
  closing.push(() => one.close())
  const gate = await openGate([one, two])
  const clients = [await logIn(gate), await logIn(gate)]
  expect([await one.sessions('maxroach'), await two.sessions('maxroach')]).toEqual([1, 1])
  // Smart: it waits for its sessions, and refuses others with 57P03.
  one.shutDown()
  const drains = async () => {
    await expectIn(gate, 1)
    return gate.log.filter(({ node }) => node === one.address).map(({ msg }) => String(msg))
  }
  await expect
    .poll(drains, { interval: 5 })
    .toContainEqual(expect.stringMatching(/^the node is draining: .*57P03/))
  for (const client of clients)
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
})
