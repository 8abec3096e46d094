/** The door itself: places, deadlines, sockets that say nothing, unix sockets, closing. */

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type GateOptions, startGate, type TestGate } from '../support/gate.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import {
  fields,
  JWT_OPTION,
  message,
  openPlain,
  openTls,
  query,
  refusalOf,
  signIn,
  sslRequest,
  startup,
} from '../support/wire_client.ts'

let node: ScriptedNode
const gates: TestGate[] = []
beforeAll(async () => {
  node = await startScriptedNode()
})
afterAll(() => node.close())
afterEach(async () => {
  await Promise.all(gates.splice(0).map((gate) => gate.close()))
})

async function open(options: Partial<GateOptions> = {}): Promise<TestGate> {
  const gate = await startGate({ node: node.address, ...options })
  gates.push(gate)
  return gate
}

describe('deadlines', () => {
  const limits = { authentication_timeout: '300ms' }

  it.each<[string, Buffer]>([
    ['silence', Buffer.alloc(0)],
    ['half a startup packet and silence', startup({ user: 'maxroach' }).subarray(0, 11)],
    ['SSLRequest and silence', sslRequest()],
  ])('ends %s', async (_name, bytes) => {
    const gate = await open({ limits })
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    if (bytes.length > 0) client.write(bytes)
    while ((await client.bytes(1)).length > 0);
    expect(gate.log.some(({ failure }) => failure === 'login_timeout')).toBe(true)
  })

  it('tells a client that never gives its token', async () => {
    const gate = await open({ limits })
    const client = await openTls(gate.port, gate.caPem)
    client.write(startup({ user: 'maxroach', ...JWT_OPTION }))
    expect((await client.next())?.type).toBe('R')
    expect(fields((await client.next())?.body ?? Buffer.alloc(0))).toMatchObject({
      C: '57014',
      M: 'canceling authentication due to timeout',
    })
    expect(await client.next()).toBeUndefined()
  })

  it('ends a startup packet that drips in byte by byte', async () => {
    const gate = await open({ limits })
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    const packet = startup({ user: 'maxroach', application_name: 'x'.repeat(9_000) })
    let at = 0
    const drip = setInterval(() => client.write(packet.subarray(at, ++at)), 20)
    const said = await client.next()
    clearInterval(drip)
    expect(fields(said?.body ?? Buffer.alloc(0))).toMatchObject({ C: '57014' })
    expect(at).toBeLessThan(100)
  })

  it('gives up on a node that accepts and never answers', async () => {
    const mute = await startScriptedNode({ greet: () => undefined })
    const gate = await open({ node: mute.address, limits })
    const client = await openTls(gate.port, gate.caPem)
    const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    expect(refusalOf(said)).toMatchObject({ C: '08006' })
    expect(gate.log.at(-1)?.msg).toContain(`node ${mute.address}: no answer`)
    await expect.poll(() => mute.sockets.every((socket) => socket.destroyed)).toBe(true)
    await mute.close()
  })

  it('do not end a session that is signed in', async () => {
    const gate = await open({ limits })
    const client = await openTls(gate.port, gate.caPem)
    await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    await new Promise((resolve) => setTimeout(resolve, 500))
    client.write(message('X', ''))
    client.socket.end()
    expect(await gate.event('client_session_end')).toMatchObject({ BytesToNode: 5 })
  })
})

describe('places', () => {
  it('are bounded: who comes too many is told at once, who leaves makes room', async () => {
    const gate = await open({ limits: { connections: 2 } })
    const clients = [
      await openPlain({ host: '127.0.0.1', port: gate.port }),
      await openPlain({ host: '127.0.0.1', port: gate.port }),
    ]
    const third = await openPlain({ host: '127.0.0.1', port: gate.port })
    expect(fields((await third.next())?.body ?? Buffer.alloc(0))).toMatchObject({
      C: '53300',
      M: 'sorry, too many clients already',
    })
    expect(await third.next()).toBeUndefined()
    for (const client of clients) client.close()
    await expect
      .poll(async () => {
        const client = await openTls(gate.port, gate.caPem).catch(() => undefined)
        client?.close()
        return client !== undefined
      })
      .toBe(true)
  })
})

describe('a unix socket', () => {
  it('takes a token without TLS, and is its owner’s and group’s alone', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'postern-door-'))
    const listeners = [{ directory, port: 7777 }]
    const gate = await open({ listeners })
    const path = join(directory, '.s.PGSQL.7777')
    expect(statSync(path).mode & 0o777).toBe(0o770)
    const client = await openPlain({ path })
    const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    expect(refusalOf(said)).toBeUndefined()
    expect(await gate.event('client_authentication_ok')).toMatchObject({
      Network: 'unix',
      Transport: 'local',
      RemoteAddress: '',
    })
    client.close()
    rmSync(directory, { recursive: true })
  })
})

describe('a loopback listener with allow_plaintext', () => {
  it('takes a token in clear', async () => {
    const gate = await open({ listener: { tls: undefined, allow_plaintext: true } })
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(sslRequest())
    expect((await client.bytes(1)).toString()).toBe('N')
    const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    expect(refusalOf(said)).toBeUndefined()
    client.close()
  })
})

describe('closing', () => {
  it('tells every session why, those that are signing in as well', async () => {
    const gate = await startGate({ node: node.address })
    const signedIn = await openTls(gate.port, gate.caPem)
    await signIn(signedIn, { user: 'maxroach' }, await gate.token('maxroach'))
    const waiting = await openTls(gate.port, gate.caPem)
    waiting.write(startup({ user: 'maxroach', ...JWT_OPTION }))
    await waiting.next()
    const closed = gate.close()
    for (const client of [signedIn, waiting])
      expect(fields((await client.next())?.body ?? Buffer.alloc(0))).toMatchObject({
        C: '57P01',
        M: 'terminating connection due to administrator command',
      })
    await closed
    await expect(openPlain({ host: '127.0.0.1', port: gate.port })).rejects.toThrow('ECONNREFUSED')
  })

  it('does not put words into the middle of a row', async () => {
    const half = Buffer.concat([Buffer.from('D'), Buffer.from([0, 0, 1, 0]), Buffer.alloc(10)])
    const slow = await startScriptedNode({ session: (_chunk, { send }) => send(half) })
    const gate = await startGate({ node: slow.address })
    const client = await openTls(gate.port, gate.caPem)
    await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    client.write(query('select 1'))
    expect(await client.bytes(half.length)).toEqual(half)
    await gate.close()
    expect(await client.bytes(1)).toHaveLength(0)
    await slow.close()
  })
})

it('answers something wrong with us by XX000, and says more only in the log', async () => {
  let left = Number.POSITIVE_INFINITY
  const now = () => {
    if (--left === 0) throw new TypeError('the clock is broken')
    return Date.now()
  }
  const gate = await open({ now })
  const token = await gate.token('maxroach')
  // The first reading begins the report, the second one judges the token.
  left = 2
  const client = await openTls(gate.port, gate.caPem)
  const refusal = refusalOf(await signIn(client, { user: 'maxroach' }, token))
  expect(refusal).toMatchObject({ C: 'XX000', M: 'internal error' })
  expect(JSON.stringify(refusal)).not.toContain('clock')
  expect(gate.log.find(({ failure }) => failure === 'internal_error')?.msg).toContain('clock')
})

it('lets nobody in whom it cannot write down, tells them, and goes on', async () => {
  const full = { broken: true }
  const auditTo = {
    write() {
      if (full.broken) throw new Error('ENOSPC: no space left on device')
    },
  }
  const gate = await open({ auditTo })
  const startups = node.startups.length
  for (let round = 0; round < 2; round++) {
    const client = await openTls(gate.port, gate.caPem)
    const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    expect(refusalOf(said)).toMatchObject({ C: 'XX000', M: 'internal error' })
  }
  expect(node.startups).toHaveLength(startups)
  full.broken = false
  const client = await openTls(gate.port, gate.caPem)
  const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
  expect(refusalOf(said)).toBeUndefined()
  client.close()
})
