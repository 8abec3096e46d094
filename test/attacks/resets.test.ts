/**
 * Lesson 5.20 once more: who resets a connection before the gate has accepted it has no address there, and a
 * socket without an address must not be taken for one of this machine's own.
 */
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { TestGate } from '../support/gate.ts'
import { sendAndReset } from '../support/reset.ts'
import { makeDirectory } from '../support/tools.ts'
import {
  cancelRequest,
  JWT_OPTION,
  openPlain,
  password,
  query,
  refusalOf,
  signIn,
  startup,
} from '../support/wire_client.ts'
import { attempt, battlefield, value } from './attempt.ts'

const field = battlefield()
const USER = { user: 'maxroach', database: 'trustdb' }
const PLAIN = { tls: undefined, allow_plaintext: true }

const heard: string[] = []
let node: pg.Client
beforeAll(async () => {
  const { socketDir: host, port } = inject('postgres')
  node = new pg.Client({ host, port, user: 'postgres', database: 'trustdb' })
  node.on('notification', ({ payload = '' }) => heard.push(payload))
  await node.connect()
  await node.query('LISTEN resets')
})
afterAll(() => node.end())

async function connections(gate: TestGate): Promise<string | undefined> {
  const text = await (await fetch(`${gate.opsUrl}/metrics`)).text()
  return /^postern_connections_total (\d+)$/m.exec(text)?.[1]
}

describe('5.20 an address that is gone before anybody looked', () => {
  it.each([
    ['rule', { access: [{ address: 'unix', action: 'allow' }] }, {}],
    [
      'denylist',
      { access_lists: { denylist_file: '/etc/postern/deny.yaml' } },
      {
        '/etc/postern/deny.yaml':
          '{SequenceNumber: 1, denylist: [{entity: {item: 127.0.0.0/8, type: ip}}]}',
      },
    ],
    [
      'allowlist',
      { access_lists: { allowlist_file: '/etc/postern/allow.yaml' } },
      {
        '/etc/postern/allow.yaml': '{SequenceNumber: 1, allowlist: {test: {ips: [192.0.2.0/24]}}}',
      },
    ],
  ])('passes no %s, and runs no statement', async (name, top, files) => {
    const gate = await field.gate({ listener: PLAIN, top, files })
    const token = await gate.token('maxroach')
    const said = [startup({ ...JWT_OPTION, ...USER }), password(token)]
    sendAndReset(gate.port, ...said, query(`NOTIFY resets, '${name}'`))
    // Accepted behind it: what was accepted before has been counted by then.
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    const refusal = refusalOf(await signIn(client, USER, token))
    expect(refusal?.['M']).toMatch(/^no access entry for host "127\.0\.0\.1"/)
    client.close()
    expect(await connections(gate)).toBe('1')
    await node.query(`NOTIFY resets, 'the end'`)
    await expect.poll(() => heard.splice(0)).toEqual(['the end'])
    expect(gate.audit.filter(({ Network }) => Network === 'unix')).toEqual([])
  })

  it('cancels nothing of a unix socket’s session', async () => {
    const directory = await makeDirectory()
    const gate = await field.gate({ listeners: [{ directory, port: 5432 }] })
    const client = await openPlain({ path: join(directory, '.s.PGSQL.5432') })
    const greeting = await signIn(client, USER, await gate.token('maxroach'))
    const key = greeting.find(({ type }) => type === 'K')?.body ?? Buffer.alloc(0)
    expect(key).toHaveLength(8)
    const slept = value(client, `SELECT 'slept' FROM pg_sleep(1)`)
    sendAndReset(gate.port, cancelRequest(key))
    expect(await slept).toBe('slept')
    // It is the key, from where it is good.
    const sleeping = value(client, 'SELECT pg_sleep(60)')
    const own = await openPlain({ path: join(directory, '.s.PGSQL.5432') })
    own.write(cancelRequest(key))
    expect(await own.bytes(1)).toHaveLength(0)
    expect(await sleeping).toBe('canceling statement due to user request')
    client.close()
    own.close()
  })

  it('and the gate is as good as before', async () => {
    const gate = await field.gate()
    for (let times = 0; times < 5; times++) sendAndReset(gate.port, startup(USER))
    expect(await attempt(gate, await gate.token('maxroach'))).toBe('in as maxroach')
    expect(await connections(gate)).toBe('1')
  })
})
