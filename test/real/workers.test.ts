/**
 * A gate of several processes: it looks like one from outside. What a worker has is lost with it and
 * nothing else; workers are replaced without anybody noticing; keys, cancels, counts and the audit stream
 * are the whole gate's.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { makeCa } from '../../src/dev/certificates.ts'
import { openIssuerServer } from '../support/issuer_server.ts'
import {
  APPLICATION,
  ask,
  audited,
  comeIn,
  metric,
  type OnWorker,
  onEachWorker,
  pidsOf,
} from '../support/on_workers.ts'
import { type Served, startServe, writeConfig } from '../support/serve.ts'
import { goodClaims, makeKey, mint } from '../support/tokens.ts'
import { expectNoToken, pgConfig, startPostern } from '../support/tools.ts'
import {
  cancelRequest,
  fields,
  openPlain,
  openTls,
  query,
  refusalOf,
  signIn,
  type WireClient,
} from '../support/wire_client.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
const admin = new pg.Client({ host: postgres.socketDir, port: postgres.port, user: 'postgres' })
const USER = { user: 'maxroach', database: 'defaultdb' }
const WORKERS = 2
const JWT = 'server.jwt_authentication'

let gate: Served | undefined
const clients: WireClient[] = []
beforeAll(() => admin.connect())
afterAll(() => admin.end())
afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  gate?.child.kill('SIGTERM')
  const ended = await gate?.ended
  if (gate !== undefined && ended !== undefined) {
    expect(ended.code).toBe(0)
    if (gate.minted.length > 0) expectNoToken(gate.minted, ended.stderr, await gate.auditText())
  }
  gate = undefined
})

async function open(more: Record<string, unknown> = {}, cluster: Record<string, unknown> = {}) {
  gate = await startServe({ node, cluster }, { workers: WORKERS, ...more })
  return gate
}

describe('a gate of two workers', () => {
  it('lets people in by both, writes down who, and counts them', async () => {
    const gate = await open()
    const sessions = await onEachWorker(gate, clients, WORKERS)
    expect(await metric(gate, 'postern_workers')).toBe(WORKERS)
    await expect.poll(() => metric(gate, 'postern_sessions')).toBe(sessions.size + extras())
    const events = await audited(gate, 'login_decision')
    expect(new Set(events.map(({ InstanceID }) => InstanceID)).size).toBe(WORKERS)
    expect(events.every(({ Result }) => Result === 'granted')).toBe(true)
  })

  it('takes a cancel by either of them', { timeout: 60_000 }, async () => {
    const gate = await open()
    for (const { client, key } of (await onEachWorker(gate, clients, WORKERS)).values())
      for (let round = 0; round < 4; round++) {
        client.write(query('select pg_sleep(60)'))
        await expectAsleep(1)
        const canceller = await openPlain({ host: '127.0.0.1', port: gate.port })
        canceller.write(cancelRequest(key))
        canceller.close()
        const said = await client.until('E')
        expect(fields(said.at(-1)?.body ?? Buffer.alloc(0))).toMatchObject({ C: '57014' })
        await client.until('Z')
      }
  })

  it('loses the sessions of a worker that is killed, and no others', async () => {
    const gate = await open()
    const sessions = await onEachWorker(gate, clients, WORKERS)
    const [killed = 0] = sessions.keys()
    for (const client of clients) await ask(client)
    process.kill(pidsOf(gate).get(killed) ?? 0, 'SIGKILL')
    await gate.until('a worker was lost, with its sessions: SIGKILL')
    for (const [worker, { client }] of sessions)
      if (worker === killed) expect(await client.next()).toBeUndefined()
      else await ask(client)
    await expect.poll(() => metric(gate, 'postern_workers'), { timeout: 15_000 }).toBe(WORKERS)
    // Each of them sees the node, and what the lost one saw has gone with it.
    const up = `postern_nodes{cluster="test",node="${node}",state="up"}`
    await expect.poll(() => metric(gate, up)).toBe(WORKERS)
    expect(await metric(gate, 'postern_workers_ended_total{how="lost"}')).toBe(1)
    await onEachWorker(gate, clients, WORKERS)
    const live = await Promise.all(clients.map(isLive))
    const count = live.filter((each) => each).length
    await expect.poll(() => metric(gate, 'postern_sessions')).toBe(count)
    await expect.poll(() => metric(gate, 'postern_connections')).toBe(count)
  })

  it('is drained as one', async () => {
    const gate = await open()
    const sessions = await onEachWorker(gate, clients, WORKERS)
    for (const { client } of sessions.values()) {
      client.write(query('begin'))
      await client.until('Z')
    }
    gate.child.kill('SIGTERM')
    await gate.until('"the gate is closing')
    for (const { client } of sessions.values()) {
      client.write(query('commit'))
      await client.until('Z')
      const said = await client.until('E')
      expect(fields(said.at(-1)?.body ?? Buffer.alloc(0))).toMatchObject({ C: '57P01' })
    }
    expect((await gate.ended).code).toBe(0)
  })

  it('has one limit for all of its connections', async () => {
    const gate = await open({ limits: { connections: 4 } })
    for (let at = 0; at < 4; at++) {
      await comeIn(gate, clients)
      await expect.poll(() => metric(gate, 'postern_connections')).toBe(at + 1)
    }
    const token = await gate.token('maxroach')
    const another = async () => {
      const client = await openTls(gate.port, gate.caPem)
      const said = await signIn(client, USER, token)
      client.close()
      return refusalOf(said)?.['M']
    }
    // Each worker hears a little later of what the others have.
    for (let at = 0; at < 4; at++)
      await expect.poll(another).toBe('sorry, too many clients already')
  })

  it('asks an issuer for its keys once', async () => {
    const ca = await makeCa('The CA of the issuers')
    const issuer = await openIssuerServer({ ca })
    const key = await makeKey('issued')
    issuer.publish(key)
    try {
      const gate = await open(
        {},
        {
          [`${JWT}.issuers.configuration`]: issuer.issuer,
          [`${JWT}.jwks_auto_fetch.enabled`]: true,
          [`${JWT}.issuers.custom_ca`]: ca.certPem,
          issuer_options: { [issuer.issuer]: { jwks_min_fresh: '1h' } },
        },
      )
      const token = await mint(key, { claims: { ...goodClaims('maxroach'), iss: issuer.issuer } })
      gate.minted.push(token)
      await onEachWorker(gate, clients, WORKERS, token)
      const stranger = await makeKey('nobody')
      const unknown = await mint(stranger, {
        claims: { ...goodClaims('maxroach'), iss: issuer.issuer },
      })
      for (let at = 0; at < 10; at++) {
        const client = await openTls(gate.port, gate.caPem)
        expect(refusalOf(await signIn(client, USER, unknown))?.['M']).toMatch(/^JWT authentic/)
        client.close()
      }
      expect(issuer.hits).toMatchObject({ discovery: 1, jwks: 2 })
    } finally {
      await issuer.close()
    }
  })
})

describe('workers that are replaced', () => {
  /** Of both workers: eight of them in all. */
  const REPLACEMENTS = 4
  const CLIENTS = 8

  it(`${REPLACEMENTS} times under a load of connects: nobody is reset`, {
    timeout: 120_000,
  }, async () => {
    const gate = await open({ limits: { connections: 10_000 } })
    const [[, stays]] = [...(await onEachWorker(gate, clients, WORKERS))] as [[number, OnWorker]]
    const troubles: string[] = []
    let stopped = false
    let logins = 0
    const token = await gate.token('maxroach')
    const load = async () => {
      while (!stopped) {
        const client = new pg.Client(pgConfig(gate, 'maxroach', token))
        client.on('error', (error) => troubles.push(String(error)))
        try {
          await client.connect()
          await client.query('select 1')
          logins++
          await client.end()
        } catch (thrown) {
          troubles.push(String(thrown))
        }
      }
    }
    const loads = Array.from({ length: CLIENTS }, load)
    for (let round = 1; round <= REPLACEMENTS; round++) {
      const before = logins
      gate.child.kill('SIGUSR2')
      await expect
        .poll(() => gate.said().split('the workers are fresh ones').length - 1, { timeout: 20_000 })
        .toBe(round)
      await expect.poll(() => logins, { timeout: 10_000 }).toBeGreaterThan(before + CLIENTS)
    }
    stopped = true
    await Promise.all(loads)
    expect(troubles).toEqual([])
    // A session stays with the worker that it has.
    await ask(stays.client)
    for (const client of clients.splice(0)) client.close()
    await expect
      .poll(() => metric(gate, 'postern_workers_ended_total{how="retired"}'), { timeout: 10_000 })
      .toBe(REPLACEMENTS * WORKERS)
    expect(await metric(gate, 'postern_workers')).toBe(WORKERS)
    await expect.poll(() => metric(gate, 'postern_connections')).toBe(0)
  })

  it('take a configuration that is read again', async () => {
    const gate = await open()
    await onEachWorker(gate, clients, WORKERS)
    const file = JSON.parse(await readFile(gate.configFile, 'utf8'))
    file.clusters.test[`${JWT}.audience`] = 'somebody-else'
    await writeFile(gate.configFile, JSON.stringify(file))
    gate.child.kill('SIGHUP')
    await gate.until('the configuration was read again')
    const refused = async () => {
      const client = await openTls(gate.port, gate.caPem)
      clients.push(client)
      return refusalOf(await signIn(client, USER, await gate.token('maxroach')))?.['M']
    }
    for (let at = 0; at < 6; at++)
      await expect.poll(refused).toBe('JWT authentication: invalid audience')
  })
})

it('that crash again and again end the gate with a word', { timeout: 60_000 }, async () => {
  const { configFile } = await writeConfig({ node }, { workers: WORKERS })
  const crashing = startPostern(['serve', '--config', configFile])
  const killed = new Set<number>()
  const killNew = () => {
    for (const pid of pidsOf(crashing).values())
      if (!killed.has(pid)) {
        killed.add(pid)
        process.kill(pid, 'SIGKILL')
      }
    return crashing.child.exitCode
  }
  await expect.poll(killNew, { timeout: 50_000, interval: 20 }).toBe(1)
  expect((await crashing.ended).stderr).toContain('the worker processes do not stay up')
  expect(killed.size).toBeGreaterThan(WORKERS)
})

it('end with the primary', async () => {
  const { configFile } = await writeConfig({ node }, { workers: WORKERS })
  const killed = startPostern(['serve', '--config', configFile])
  await killed.until(/"the gate is open"/)
  const pids = [...pidsOf(killed).values()]
  expect(pids).toHaveLength(WORKERS)
  killed.child.kill('SIGKILL')
  await killed.ended
  await expect.poll(() => pids.filter(isAlive), { timeout: 5_000 }).toEqual([])
})

it('that cannot open end the gate with a word', async () => {
  const first = await open({ workers: 1 })
  const { configFile } = await writeConfig(
    { node, listener: { address: `127.0.0.1:${first.port}` } },
    { workers: WORKERS },
  )
  const { code, stderr } = await startPostern(['serve', '--config', configFile]).ended
  expect(stderr).toContain('postern: cannot listen on 127.0.0.1')
  expect(code).toBe(1)
})

/** Sessions besides one on each worker. */
function extras(): number {
  return clients.length - WORKERS
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function isLive(client: WireClient): Promise<boolean> {
  if (client.socket.destroyed || client.socket.readableEnded) return false
  client.write(query('select 1'))
  return await client.until('Z').then(
    () => true,
    () => false,
  )
}

async function expectAsleep(sessions: number): Promise<void> {
  const sql = `select count(*)::int as n from pg_stat_activity
    where application_name = '${APPLICATION}' and wait_event = 'PgSleep'`
  await expect
    .poll(async () => (await admin.query(sql)).rows[0].n, { timeout: 5_000, interval: 20 })
    .toBe(sessions)
}
