/**
 * Workers that are killed: the audit stream says of each session of theirs that it ended, the gate says
 * that it isn't ready while there is none, and who connects meanwhile waits.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { ask, audited, comeIn, metric, onEachWorker, pidsOf } from '../support/on_workers.ts'
import { type Served, startServe } from '../support/serve.ts'
import { makeDirectory } from '../support/tools.ts'
import { openPlain, type WireClient } from '../support/wire_client.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
const WORKERS = 2
/** Several processes start, one after the other; a busy machine takes its time. */
const SLOW = { timeout: 60_000 }
const LOST = 'a worker was lost, with its sessions: SIGKILL'

let gate: Served
const clients: WireClient[] = []
afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  gate.child.kill('SIGTERM')
  expect((await gate.ended).code).toBe(0)
})

describe('when no worker is left', SLOW, () => {
  it('the gate is not ready, and who comes waits for the next one', async () => {
    const directory = await makeDirectory()
    const listeners = [{ directory, port: 26257 }]
    gate = await startServe({ node, listeners }, { workers: WORKERS })
    expect(await readiness()).toEqual([200, 'ok\n'])
    for (const pid of pidsOf(gate).values()) process.kill(pid, 'SIGKILL')
    await expect.poll(times(LOST), { interval: 10 }).toBe(WORKERS)
    expect(await readiness()).toEqual([503, 'no worker is open\n'])
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    clients.push(client)
    const password = await gate.token('maxroach')
    const local = new pg.Client({
      host: directory,
      port: 26257,
      user: 'maxroach',
      database: 'defaultdb',
      password,
      options: '--crdb:jwt_auth_enabled=true',
    })
    await local.connect()
    await local.query('select 1')
    await local.end()
    client.socket.end()
    expect(await client.next()).toBeUndefined()
    await comeIn(gate, clients)
    expect(await readiness()).toEqual([200, 'ok\n'])
    for (const each of clients.splice(0)) each.close()
    gate.child.kill('SIGTERM')
    await gate.ended
    expect(existsSync(join(directory, '.s.PGSQL.26257'))).toBe(false)
  })
})

describe('the audit stream has an end for each session', SLOW, () => {
  it('of a worker that is killed', async () => {
    gate = await startServe({ node }, { workers: WORKERS })
    const sessions = await onEachWorker(gate, clients, WORKERS)
    const [killed = 0] = sessions.keys()
    process.kill(pidsOf(gate).get(killed) ?? 0, 'SIGKILL')
    await gate.until(LOST)
    await expectEnds(killed)
  })

  it('of a worker that was to be replaced, and is killed before they end', async () => {
    gate = await startServe({ node }, { workers: WORKERS })
    const sessions = await onEachWorker(gate, clients, WORKERS)
    const old = pidsOf(gate)
    gate.child.kill('SIGUSR2')
    await gate.until('the workers are fresh ones')
    const [killed = 0, other = 0] = sessions.keys()
    process.kill(old.get(killed) ?? 0, 'SIGKILL')
    await gate.until(LOST)
    await expectEnds(killed)
    await ask((sessions.get(other) as { client: WireClient }).client)
    expect(await metric(gate, 'postern_workers_ended_total{how="lost"}')).toBe(1)
    // Nobody comes in its place: that one is there.
    expect(pidsOf(gate).size).toBe(2 * WORKERS)
  })

  async function expectEnds(worker: number): Promise<void> {
    const of = async (type: string) =>
      (await audited(gate, type)).filter(({ InstanceID }) => InstanceID === worker)
    const begun = await of('client_authentication_ok')
    const ends = await of('client_session_end')
    expect(ends).toHaveLength(begun.length)
    for (const { SessionID, SystemIdentity, TokenDigest, RemoteAddress } of begun)
      expect(ends).toContainEqual(
        expect.objectContaining({
          ...{ SessionID, SystemIdentity, TokenDigest, RemoteAddress },
          Ended: 'the worker process was lost',
          Duration: expect.any(Number),
          BytesToClient: null,
          BytesToNode: null,
        }),
      )
  }
})

async function readiness(): Promise<[number, string]> {
  const answer = await fetch(`http://127.0.0.1:${gate.opsPort}/readyz`)
  return [answer.status, await answer.text()]
}

function times(line: string): () => number {
  return () => gate.said().split(line).length - 1
}
