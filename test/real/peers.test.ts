/**
 * Row 134 of the reference: cancels between gates. Whichever gate a cancel comes to, it finds its session,
 * one hop away at most; with a key of eight bytes only from the session's own address; and nobody who
 * doesn't know a key is told anything.
 */
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import type { CertificateAndKey } from '../../src/dev/certificates.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { makeClientCa } from '../support/certificate_gate.ts'
import { startCertificateServer } from '../support/certificate_servers.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { metric } from '../support/on_workers.ts'
import { leafOf, peerFiles, peersOf } from '../support/other_gates.ts'
import { proxyFor } from '../support/proxy_header.ts'
import { type Served, startServe, writeConfig } from '../support/serve.ts'
import {
  describeWith,
  expectNoToken,
  keepFile,
  PSQL,
  start,
  startPostern,
  url,
} from '../support/tools.ts'
import {
  cancelRequest,
  fields,
  openPlain,
  openTls,
  query,
  signIn,
  type WireClient,
} from '../support/wire_client.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
const admin = new pg.Client({ host: postgres.socketDir, port: postgres.port, user: 'postgres' })
const CLIENT = '192.0.2.7'
const VERSIONS: Record<number, number> = { 8: (3 << 16) | 0, 36: (3 << 16) | 2 }

let ca: CertificateAndKey
/** One knows two, two knows one, three and itself, three knows nobody that is there. */
let one: TestGate
let two: TestGate
let three: TestGate
const clients: WireClient[] = []
/** Stands still where a test says so. */
const clock: { ms?: number } = {}

beforeAll(async () => {
  await admin.connect()
  ca = await makeClientCa('The CA of the gates')
  const [first, second, third, nobody] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ]
  const open = (port: number, ...others: number[]) => {
    const files = Object.entries(peerFiles(ca)).map(([name, text]) => [
      `/etc/postern/${name}`,
      text,
    ])
    return startGate({
      node,
      listener: { proxy_protocol: { from: ['127.0.0.0/8'] } },
      peers: peersOf(port, ...others),
      now: () => clock.ms ?? Date.now(),
      files: Object.fromEntries(files),
    })
  }
  one = await open(first, second)
  two = await open(second, first, third, second)
  three = await open(third, nobody)
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  // A node doesn't notice who has gone before its statement is over.
  await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'told'`)
  await expectAsleep(0)
})
afterAll(async () => {
  await admin.end()
  const gates = [one, two, three]
  await Promise.all(gates.map((gate) => gate.close()))
  expectNoToken(
    gates.flatMap(({ minted }) => minted),
    ...gates.flatMap(({ log }) => log),
  )
})

describe('row 134: a cancel that comes to another gate', () => {
  it.each([
    { bytes: 8, from: CLIENT, who: 'the session’s own address' },
    { bytes: 36, from: CLIENT, who: 'the session’s own address' },
    { bytes: 36, from: '192.0.2.8', who: 'another address' },
  ])('from $who, with a key of $bytes bytes, ends the statement', async ({ bytes, from }) => {
    const { client, key } = await sleeping(one, bytes)
    const before = await counted(two, 'passed_on')
    await cancel(two, key, from)
    expect(await refusal(client)).toBe('57014')
    await client.until('Z')
    client.write(query('select 1'))
    expect((await client.until('Z')).map(({ type }) => type).join('')).toBe('TDCZ')
    expect(await counted(two, 'passed_on')).toBe(before + 1)
  })

  it('from another address, with a key of 8 bytes, is one that nobody knows', async () => {
    const { client, key } = await sleeping(one, 8)
    const before = [await counted(one, 'unknown'), await counted(one, 'sent')]
    await cancel(two, key, '192.0.2.8')
    expect([await counted(one, 'unknown'), await counted(one, 'sent')]).toEqual([
      Number(before[0]) + 1,
      before[1],
    ])
    await expectAsleep(1)
    // The right one is not stopped by the wrong one.
    await cancel(two, key, CLIENT)
    expect(await refusal(client)).toBe('57014')
  })

  it('goes one hop, and no further', async () => {
    const { client, key } = await sleeping(three, 36)
    const before = [await counted(two, 'unknown'), await counted(three, 'unknown')]
    await cancel(one, key, CLIENT)
    expect([await counted(two, 'unknown'), await counted(three, 'unknown')]).toEqual([
      Number(before[0]) + 1,
      before[1],
    ])
    await expectAsleep(1)
    await cancel(two, key, CLIENT)
    expect(await refusal(client)).toBe('57014')
  })

  it.each([8, 36])('with %i bytes that are nobody’s key is not answered', async (bytes) => {
    await sleeping(one, 36)
    const before = await counted(one, 'sent')
    await cancel(two, Buffer.alloc(bytes), CLIENT)
    await expectAsleep(1)
    expect(await counted(one, 'sent')).toBe(before)
  })

  it('is done when its connection ends: the next statement is not hit', async () => {
    const { client, key } = await enter(one, { bytes: 36 })
    for (let round = 0; round < 10; round++) {
      await cancel(two, key, CLIENT)
      client.write(query('select pg_sleep(0.02)'))
      expect((await client.until('Z')).map(({ type }) => type).join('')).toBe('TDCZ')
    }
  })
})

describe('many cancels with keys that nobody has', () => {
  it('of one address are told so often and no oftener; another address is heard', async () => {
    const { client, key } = await sleeping(one, 8)
    const both = () => Promise.all([counted(two, 'passed_on'), counted(two, 'dropped')])
    const [passedOn, dropped] = await both()
    clock.ms = Date.now()
    for (let at = 0; at < 10; at++)
      await Promise.all(
        Array.from({ length: 20 }, () => cancel(two, Buffer.alloc(8, at), '203.0.113.5')),
      )
    delete clock.ms
    expect(await both()).toEqual([passedOn + 100, dropped + 100])
    await cancel(two, key, CLIENT)
    expect(await refusal(client)).toBe('57014')
  })
})

describeWith('psql', 'psql through a balancer that goes from one gate to the other', () => {
  it('is stopped by Ctrl-C', async () => {
    const gates = [one, two]
    let turn = 0
    const balancer = createServer((socket) => {
      const gate = gates[turn++ % gates.length]
      const upstream = connect(gate?.port ?? 0, '127.0.0.1')
      upstream.write(proxyFor(CLIENT))
      for (const each of [socket, upstream]) each.on('error', () => undefined)
      socket.pipe(upstream).pipe(socket)
    })
    balancer.listen(0, '127.0.0.1')
    await once(balancer, 'listening')
    const { port } = balancer.address() as AddressInfo
    const sslrootcert = await keepFile('ca.crt', one.caPem)
    const to = url(port, 'maxroach', {
      database: 'defaultdb',
      sslrootcert,
      application_name: 'told',
    })
    const env = { PGPASSWORD: await one.token('maxroach') }
    const psql = start('psql', [...PSQL, to, '-c', 'select pg_sleep(30)'], { env })
    await expectAsleep(1)
    expect(turn).toBe(1)
    psql.child.kill('SIGINT')
    const { stderr } = await psql.ended
    expect(stderr).toContain('ERROR:  canceling statement due to user request')
    expect(turn).toBe(2)
    balancer.close()
  })
})

describe('gates of two workers each', () => {
  const gates: Served[] = []
  afterAll(async () => {
    for (const gate of gates) {
      gate.child.kill('SIGTERM')
      const { code, stderr } = await gate.ended
      expect(code).toBe(0)
      if (gate.minted.length > 0) expectNoToken(gate.minted, stderr)
    }
  })

  it('find each session by either gate and whichever worker', async () => {
    const ports = [await freePort(), await freePort()]
    for (const [at, port] of ports.entries()) {
      const peers = peersOf(port, ports[1 - at] ?? 0)
      gates.push(await startServe({ node, files: peerFiles(ca) }, { workers: 2, peers }))
    }
    const [first, second] = gates as [Served, Served]
    const workers = new Map<number, Session>()
    for (let tries = 0; workers.size < 2 && tries < 20; tries++) {
      const some = await Promise.all(
        Array.from({ length: 4 }, () => enter(first, { proxied: false, bytes: 8 })),
      )
      for (const session of some) workers.set(session.key.readUInt16BE(0) >>> 4, session)
    }
    expect(workers.size).toBe(2)
    for (const { client, key } of workers.values())
      for (const by of [first, second, second, first, second]) {
        client.write(query('select pg_sleep(30)'))
        await expectAsleep(1)
        await cancel(by, key)
        expect(await refusal(client)).toBe('57014')
        await client.until('Z')
      }
    // Nobody's, with a number that both have: it is looked for everywhere, and is at rest then.
    await cancel(second, Buffer.from('0017777777777777', 'hex'))
    const metrics = await (await fetch(`http://127.0.0.1:${first.opsPort}/metrics`)).text()
    expect(metrics).toContain('postern_cancels_total{result="unknown"} 1')
  })

  it('tell of one address’s cancels so often and no oftener, whichever worker had them', async () => {
    const [first] = gates as [Served]
    const results = ['passed_on', 'dropped'].map(
      (each) => `postern_cancels_total{result="${each}"}`,
    )
    const both = async () => await Promise.all(results.map((each) => metric(first, each)))
    const before = await both()
    const startedMs = performance.now()
    for (let at = 0; at < 15; at++)
      await Promise.all(Array.from({ length: 20 }, () => cancel(first, Buffer.alloc(8, at))))
    const refilled = (20 * (performance.now() - startedMs)) / 1_000
    const sum = ([one = 0, other = 0]: number[]) => one + other
    await expect.poll(async () => sum(await both()) - sum(before)).toBe(300)
    const [told = 0] = await both()
    expect(told - (before[0] ?? 0)).toBeLessThanOrEqual(100 + refilled + 1)
  })

  it('know each other when their certificates are read again', async () => {
    const [first, second] = gates as [Served, Served]
    expect(first.said()).not.toContain('another gate was not told')
    const next = await makeClientCa('The next CA of the gates')
    for (const gate of [first, second]) {
      const dir = join(gate.configFile, '..')
      await writeFile(join(dir, 'peers-ca.crt'), next.certPem)
      await writeFile(join(dir, 'peers-ca.key'), next.keyPem)
      gate.child.kill('SIGHUP')
      await gate.until('"the configuration was read again"')
    }
    const { client, key } = await enter(first, { proxied: false, bytes: 36 })
    client.write(query('select pg_sleep(30)'))
    await expectAsleep(1)
    await expect
      .poll(async () => {
        await cancel(second, key)
        const { rows } = await admin.query(ASLEEP)
        return rows[0].n
      })
      .toBe(0)
    expect(await refusal(client)).toBe('57014')
  })
})

it('a gate whose peers.listen is taken doesn’t start', async () => {
  const port = await freePort()
  const taken = createServer().listen(port, '127.0.0.1')
  await once(taken, 'listening')
  const { configFile } = await writeConfig(
    { node, files: peerFiles(ca) },
    { peers: peersOf(port, 1) },
  )
  const { code, stderr } = await startPostern(['serve', '--config', configFile]).ended
  expect([code, stderr]).toEqual([1, expect.stringContaining(`cannot listen on 127.0.0.1:${port}`)])
  taken.close()
})

it('a node takes a gate’s certificate for no role', async () => {
  const server = await startCertificateServer('18', ca.certPem)
  const [host = '', port] = server.address.split(':')
  await server.admin.query(`create role postern_users nologin;
    create role maxroach login in role postern_users;
    create role "urn:postern:peer" login in role postern_users`)
  const { cert, key } = await leafOf(ca, 'gate')
  const ssl = { ca: server.caPem, cert, key }
  for (const user of ['maxroach', 'urn:postern:peer']) {
    const client = new pg.Client({ host, port: Number(port), user, database: 'postgres', ssl })
    await expect(client.connect()).rejects.toMatchObject({
      code: '28000',
      message: `certificate authentication failed for user "${user}"`,
    })
  }
  await server.stop()
})

interface Session {
  client: WireClient
  key: Buffer
}

type To = Pick<TestGate, 'port' | 'caPem' | 'token'>

async function enter(gate: To, { proxied = true, bytes = 8 } = {}): Promise<Session> {
  const client = await openTls(gate.port, gate.caPem, proxied ? proxyFor(CLIENT) : undefined)
  clients.push(client)
  const parameters = { user: 'maxroach', database: 'defaultdb', application_name: 'told' }
  const said = await signIn(client, parameters, await gate.token('maxroach'), VERSIONS[bytes])
  const key = Buffer.from(said.find(({ type }) => type === 'K')?.body ?? '')
  expect(key).toHaveLength(bytes)
  return { client, key }
}

async function sleeping(gate: To, bytes: number): Promise<Session> {
  const session = await enter(gate, { bytes })
  session.client.write(query('select pg_sleep(30)'))
  await expectAsleep(1)
  return session
}

/** Through the proxy, where an address is told; not a byte comes back. */
async function cancel(gate: Pick<To, 'port'>, key: Buffer, from?: string): Promise<void> {
  const client = await openPlain({ host: '127.0.0.1', port: gate.port })
  const header = from === undefined ? Buffer.alloc(0) : proxyFor(from)
  client.write(Buffer.concat([header, cancelRequest(key)]))
  expect(await client.bytes(1)).toEqual(Buffer.alloc(0))
  client.close()
}

async function refusal(client: WireClient): Promise<string | undefined> {
  return fields((await client.until('E')).at(-1)?.body ?? Buffer.alloc(0))['C']
}

async function counted({ opsUrl }: TestGate, result: string): Promise<number> {
  const metrics = await (await fetch(`${opsUrl}/metrics`)).text()
  const line = new RegExp(`^postern_cancels_total\\{result="${result}"\\} (\\d+)$`, 'm')
  return Number(line.exec(metrics)?.[1] ?? 0)
}

const ASLEEP = `select count(*)::int as n from pg_stat_activity
  where application_name = 'told' and wait_event = 'PgSleep'`

async function expectAsleep(sessions: number): Promise<void> {
  const count = async () => (await admin.query(ASLEEP)).rows[0].n
  await expect.poll(count, { timeout: 5_000, interval: 20 }).toBe(sessions)
}
