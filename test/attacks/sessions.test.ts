/**
 * Lessons 5.12, 5.21, 5.23 and 5.24: somebody else's sessions, what was true of somebody a moment ago, keys that
 * could be guessed, and clients that wait so that others have to.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { cacheBoth } from '../support/fetched_keys.ts'
import type { TestGate } from '../support/gate.ts'
import { proxyFor } from '../support/proxy_header.ts'
import { letIn, NODE_KEY, startScriptedNode } from '../support/scripted_node.ts'
import { sharedPostgres } from '../support/shared_postgres.ts'
import { goodClaims, makeKey, mint } from '../support/tokens.ts'
import {
  cancelRequest,
  openPlain,
  openTls,
  password,
  query,
  refusalOf,
  signIn,
  startup,
  type WireClient,
} from '../support/wire_client.ts'
import { attempt, battlefield, heard, IN, shout, USER, value } from './attempt.ts'

const field = battlefield()
const { admin } = sharedPostgres()
const clients: WireClient[] = []
afterEach(() => {
  for (const client of clients.splice(0)) client.close()
})

interface Entering {
  /** 3.0 unless told. */
  version?: number
  user?: string
  /** Where the listener has a proxy in front of it. */
  from?: string
}

/** A session, and the key that it was given. */
async function enter(gate: TestGate, { version, user = USER.user, from }: Entering = {}) {
  const client = await openTls(
    gate.port,
    gate.caPem,
    from === undefined ? undefined : proxyFor(from),
  )
  clients.push(client)
  const said = await signIn(client, { ...USER, user }, await gate.token(user), version)
  expect(refusalOf(said)).toBeUndefined()
  return { client, key: Buffer.from(said.find(({ type }) => type === 'K')?.body ?? '') }
}

const PROXIED = { proxy_protocol: { from: ['127.0.0.0/8'] } }
const PROTOCOL_3_2 = 0x3_0002

describe('5.12 cancels of somebody else’s', () => {
  /** Sleeps until it is cancelled; `asleep` says whether the node still has it so. */
  async function sleeper(gate: TestGate, how: Entering = {}) {
    const session = await enter(gate, how)
    const pid = await value(session.client, 'SELECT pg_backend_pid()')
    session.client.write(query('SELECT pg_sleep(60)'))
    const asleep = async () => {
      const sql = `SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'`
      return (await admin.query(sql, [pid])).rowCount === 1
    }
    await expect.poll(asleep, { interval: 10, timeout: 10_000 }).toBe(true)
    return { ...session, asleep }
  }

  const send = async ({ port }: TestGate, key: Buffer, from?: string) => {
    const header = from === undefined ? [] : [proxyFor(from)]
    return await shout(port, Buffer.concat([...header, cancelRequest(key)]))
  }

  const flipped = (key: Buffer) =>
    Array.from({ length: key.length * 8 }, (_, bit) => {
      const near = Buffer.from(key)
      near.writeUInt8(near.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      return near
    })

  it.each<[string, number | undefined]>([
    ['eight bytes', undefined],
    ['thirty-six', PROTOCOL_3_2],
  ])(
    'a key of %s is missed by a bit as by all of them, and nobody is told',
    async (_size, version) => {
      const gate = await field.gate()
      const { client, key, asleep } = await sleeper(gate, version === undefined ? {} : { version })
      const node = Buffer.alloc(8)
      node.writeUInt32BE(Number((await admin.query('SELECT pg_backend_pid() AS pid')).rows[0].pid))
      const guesses = [
        ...flipped(key),
        ...Array.from({ length: 100 }, () => randomBytes(key.length)),
        key.subarray(0, key.length - 1),
        Buffer.concat([key, Buffer.alloc(1)]),
        Buffer.concat([key, key]),
        key.subarray(0, 4),
        Buffer.alloc(key.length),
        node,
      ]
      for (const guess of guesses) expect(await send(gate, guess)).toHaveLength(0)
      expect(await asleep()).toBe(true)
      expect(await send(gate, key)).toHaveLength(0)
      expect(refusalOf(await client.until('Z'))).toMatchObject({ C: '57014' })
    },
  )

  it('the right one from another address is nobody’s, and one that was seen is over with its session', async () => {
    const gate = await field.gate({ listener: PROXIED })
    const [here, elsewhere] = ['192.0.2.7', '192.0.2.8']
    const { client, key, asleep } = await sleeper(gate, { from: here })
    expect(await send(gate, key, elsewhere)).toHaveLength(0)
    expect(await asleep()).toBe(true)
    await send(gate, key, here)
    await client.until('Z')
    client.close()
    const next = await sleeper(gate, { from: here })
    expect(await send(gate, key, here)).toHaveLength(0)
    expect(await next.asleep()).toBe(true)
    await send(gate, next.key, here)
    await next.client.until('Z')
  })

  it('one within somebody’s own session’s TLS reaches no other', async () => {
    const gate = await field.gate()
    const { client, key, asleep } = await sleeper(gate)
    const other = await enter(gate)
    expect(
      await heard(await openTls(gate.port, gate.caPem), cancelRequest(other.key)),
    ).toHaveLength(0)
    expect(await asleep()).toBe(true)
    await heard(await openTls(gate.port, gate.caPem), cancelRequest(key))
    await client.until('Z')
  })

  it('a flood of guesses is looked for so often and no oftener, and keeps no right one from its node', async () => {
    let nowMs = Date.now()
    const gate = await field.gate({ now: () => nowMs })
    const { client, key } = await sleeper(gate)
    const flood = () =>
      Promise.all(
        Array.from({ length: 400 }, () => send(gate, randomBytes(8)).catch(() => undefined)),
      )
    await flood()
    nowMs += 1_000
    await flood()
    const metrics = await (await fetch(`${gate.opsUrl}/metrics`)).text()
    const count = (result: string) =>
      Number(
        new RegExp(`^postern_cancels_total\\{result="${result}"\\} (\\d+)$`, 'm').exec(
          metrics,
        )?.[1],
      )
    expect(count('unknown')).toBe(120)
    expect(count('dropped')).toBe(680)
    await send(gate, key)
    expect(refusalOf(await client.until('Z'))).toMatchObject({ C: '57014' })
  })
})

describe('5.21 what was true a moment ago', () => {
  it('a token that was good is not, when its key was withdrawn', async () => {
    let nowMs = Date.now()
    const issuer = await field.issuer()
    cacheBoth(issuer, 'max-age=60')
    const [old, next] = await Promise.all([makeKey('old'), makeKey('next')])
    issuer.publish(old, next)
    const gate = await field.gateOf([issuer], { now: () => nowMs })
    const token = await mint(old, { claims: { ...goodClaims('maxroach'), iss: issuer.issuer } })
    expect(await attempt(gate, token)).toBe(IN)
    expect(await attempt(gate, token)).toBe(IN)
    issuer.publish(next)
    nowMs += 61_000
    expect(await attempt(gate, token)).toMatch('failed to find key with key ID "old"')
  })

  it('a role that was taken away is, for a remembered token and a kept session as well', async () => {
    const role = `attacks_${randomUUID().slice(0, 8)}`
    await admin.query(`CREATE ROLE ${role} LOGIN IN ROLE postern_users`)
    const gate = await field.gate({ cluster: { pool: { mode: 'session' } } })
    const as = { ...USER, user: role }
    const token = await gate.token(role)
    const { client } = await enter(gate, { user: role })
    expect(await attempt(gate, token, as)).toBe(`in as ${role}`)
    await heard(client, Buffer.from([0x58, 0, 0, 0, 4]))
    const idle = async () => await (await fetch(`${gate.opsUrl}/metrics`)).text()
    await expect
      .poll(idle, { interval: 10, timeout: 10_000 })
      .toMatch(/^postern_pool_idle\{[^}]*\} [1-9]/m)
    await admin.query(`ALTER ROLE ${role} NOLOGIN`)
    expect(await attempt(gate, token, as)).toBe(
      `28P01: password authentication failed for user ${role}`,
    )
    await admin.query(`ALTER ROLE ${role} LOGIN; REVOKE postern_users FROM ${role}`)
    // Kept sessions are told of this one late: docs/pool.md.
    const fresh = await field.gate()
    expect(await attempt(fresh, await fresh.token(role), as)).toMatch('28P01: ')
    await admin.query(`DROP ROLE ${role}`)
    expect(await attempt(gate, token, as)).toMatch('28P01: ')
  })

  it('a session goes on no longer than its token, where that is set', async () => {
    const gate = await field.gate({
      cluster: { session: { end_at_token_expiry: 'always', grace: '0s' } },
    })
    const exp = Math.floor(Date.now() / 1000) + 2
    const client = await openTls(gate.port, gate.caPem)
    clients.push(client)
    await signIn(client, USER, await gate.token('maxroach', { exp }))
    client.write(query('SELECT pg_sleep(60)'))
    const end = (await client.until('E')).at(-1)
    expect(refusalOf(end === undefined ? [] : [end])).toMatchObject({ C: '57P01' })
  })
})

describe('5.23 keys that could be guessed', () => {
  it.each<[string, number | undefined, number]>([
    ['3.0', undefined, 8],
    ['3.2', PROTOCOL_3_2, 36],
  ])(
    'protocol %s: all bits but the worker’s are random, and none is the node’s',
    async (_name, version, bytes) => {
      const node = field.keep(await startScriptedNode())
      const gate = await field.gate({ node: node.address })
      const keys: Buffer[] = []
      for (let session = 0; session < 64; session++) {
        keys.push((await enter(gate, version === undefined ? {} : { version })).key)
        for (const client of clients.splice(0)) client.close()
      }
      expect(new Set(keys.map((key) => key.toString('hex'))).size).toBe(64)
      for (const key of keys) {
        expect(key).toHaveLength(bytes)
        expect([key.readUInt32BE(0), key.readUInt32BE(4)]).not.toContain(NODE_KEY.secret)
      }
      // Each bit is either in one of 64 by chance but once in 2^63.
      const stuck = Array.from({ length: bytes * 8 - 12 }, (_, at) => at + 12).filter((bit) => {
        const ones = keys.filter((key) => (key.readUInt8(bit >> 3) >> (7 - (bit & 7))) & 1).length
        return ones === 0 || ones === 64
      })
      expect(stuck).toEqual([])
    },
  )
})

describe('5.24 waiting so that others have to', () => {
  it('who hangs on the node’s question keeps nobody with a token out', async () => {
    const ca = await makeCa('the CA of the nodes')
    const certificate = await issue(ca, { cn: 'node', sans: ['127.0.0.1'] })
    const node = field.keep(
      await startScriptedNode({
        tls: certificate,
        greet: (conversation) =>
          conversation.parameters['user'] === 'maxroach'
            ? letIn(conversation)
            : conversation.askPassword(() => undefined),
      }),
    )
    const gate = await field.gate({
      node: node.address,
      nodeTls: { ca_file: 'node-ca.crt' },
      files: { '/etc/postern/node-ca.crt': ca.certPem },
      cluster: { non_jwt_logins: 'passthrough', passthrough_scram: 'no_channel_binding' },
    })
    for (let stranger = 0; stranger < 60; stranger++) {
      const client = await openTls(gate.port, gate.caPem)
      client.write(startup({ user: 'carl' }))
      clients.push(client)
    }
    await expect.poll(() => node.startups.length, { interval: 10, timeout: 10_000 }).toBe(4)
    const { client } = await enter(gate)
    client.close()
    expect(node.startups.filter(({ user }) => user === 'carl')).toHaveLength(4)
  })

  it('who takes all places of his address takes nobody else’s', async () => {
    const limits = { connections_per_address: 10 }
    const gate = await field.gate({ limits, listener: PROXIED })
    for (let place = 0; place < 40; place++) {
      const client = await openPlain({ host: '127.0.0.1', port: gate.port })
      client.socket.on('error', () => undefined)
      client.write(proxyFor('192.0.2.66'))
      clients.push(client)
    }
    const { client } = await enter(gate, { from: '192.0.2.7' })
    expect(await value(client, 'SELECT current_user')).toBe('maxroach')
  })

  it('a node that hangs delays its own cluster alone', async () => {
    const hanging = field.keep(await startScriptedNode({ greet: () => undefined }))
    const gate = await field.gate({
      clusters: {
        slow: { nodes: [{ address: hanging.address }], sign_in: 'trust', connect_timeout: '8s' },
      },
    })
    let ended = 0
    for (let login = 0; login < 30; login++) {
      const client = await openTls(gate.port, gate.caPem)
      clients.push(client)
      const user = { ...USER, database: 'slow.defaultdb' }
      void signIn(client, user, await gate.token('maxroach')).then(
        () => ended++,
        () => ended++,
      )
    }
    await expect.poll(() => hanging.startups.length, { interval: 10, timeout: 10_000 }).toBe(30)
    expect(
      await attempt(gate, await gate.token('maxroach'), { ...USER, database: 'test.defaultdb' }),
    ).toBe(IN)
    expect(ended).toBe(0)
  })

  it('a token that is as long as may be, again and again, is work for its sender alone', async () => {
    const gate = await field.gate()
    const key = await makeKey(gate.key.jwk.kid)
    const claims = { ...goodClaims('maxroach'), groups: Array(8_000).fill('a group') }
    const long = await mint(key, { claims })
    const flood = Array.from({ length: 40 }, () => attempt(gate, long))
    const honest = await attempt(gate, await gate.token('maxroach'))
    expect(honest).toBe(IN)
    for (const told of await Promise.all(flood)) expect(told).toMatch('28000: ')
  })
})

it('a password that comes before it is asked for is no answer', async () => {
  const gate = await field.gate()
  const client = await openTls(gate.port, gate.caPem)
  const told = await heard(client, password(await gate.token('maxroach')), startup(USER))
  expect(told).toHaveLength(0)
})
