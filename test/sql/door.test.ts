/** The door itself: places, deadlines, sockets that say nothing, unix sockets, closing. */

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { startGate } from '../support/gate.ts'
import { scriptedGates } from '../support/scripted_gates.ts'
import {
  authenticationOk,
  keyData,
  readyForQuery,
  startScriptedNode,
} from '../support/scripted_node.ts'
import {
  cancelRequest,
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

const gates = scriptedGates()
const { open } = gates

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
  const FULL = { C: '53300', M: 'sorry, too many clients already' }

  it('are bounded: who comes too many is told, who cancels is heard, who leaves makes room', async () => {
    const gate = await open({ limits: { connections: 1 } })
    const token = await gate.token('maxroach')
    const enter = async () => {
      const client = await openTls(gate.port, gate.caPem)
      const said = await signIn(client, { user: 'maxroach' }, token)
      return { client, said, refusal: refusalOf(said) }
    }
    const { client, said } = await enter()
    // Each of them gives its place back, whether it closes its end or not.
    for (let at = 0; at < 20; at++) {
      const another = await enter()
      expect(another.refusal).toMatchObject(FULL)
      expect(await another.client.next()).toBeUndefined()
    }
    const before = gates.node.cancels.length
    const cancel = await openPlain({ host: '127.0.0.1', port: gate.port })
    const key = said.find(({ type }) => type === 'K')?.body
    cancel.write(cancelRequest(Buffer.from(key ?? '')))
    expect(await cancel.bytes(1)).toHaveLength(0)
    expect(gates.node.cancels).toHaveLength(before + 1)
    cancel.close()
    client.close()
    await expect.poll(async () => (await enter()).refusal, { timeout: 5_000 }).toBeUndefined()
    const metrics = await (await fetch(`${gate.opsUrl}/metrics`)).text()
    expect(metrics).toMatch(/^postern_connections_refused_total [1-9]/m)
  })

  it('for those who cancel are bounded: beyond them everybody is told at once', async () => {
    const gate = await open({ limits: { connections: 1 } })
    for (let at = 0; at < 1 + 16; at++) {
      const silent = await openPlain({ host: '127.0.0.1', port: gate.port })
      silent.write(sslRequest())
      expect((await silent.bytes(1)).toString()).toBe('S')
    }
    const next = await openPlain({ host: '127.0.0.1', port: gate.port })
    expect(fields((await next.next())?.body ?? Buffer.alloc(0))).toMatchObject(FULL)
    expect(await next.next()).toBeUndefined()
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
    const gate = await startGate({ node: gates.node.address })
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

  it('cancels on the node whatever was under way, however many they are', async () => {
    let busy = 0
    const node = await startScriptedNode({
      greet: ({ send }) =>
        send(authenticationOk, keyData(1, node.startups.length), readyForQuery()),
      session: () => void busy++,
    })
    const gate = await startGate({ node: node.address })
    const token = await gate.token('maxroach')
    const clients = Array.from({ length: 150 }, async () => {
      const client = await openTls(gate.port, gate.caPem)
      expect(refusalOf(await signIn(client, { user: 'maxroach' }, token))).toBeUndefined()
      client.write(query('select pg_sleep(60)'))
      client.socket.on('error', () => undefined)
      return client
    })
    await Promise.all(clients)
    await expect.poll(() => busy).toBe(150)
    await gate.close()
    const secrets = node.cancels.map((key) => key.readUInt32BE(4))
    expect(secrets.toSorted((one, other) => one - other)).toEqual(
      Array.from({ length: 150 }, (_, at) => at + 1),
    )
    await node.close()
  })

  it('cancels it also where its end can’t be written down', async () => {
    const full = { broken: false }
    const auditTo = {
      write() {
        if (full.broken) throw new Error('ENOSPC: no space left on device')
      },
    }
    const busy = Promise.withResolvers<void>()
    const node = await startScriptedNode({ session: () => busy.resolve() })
    const gate = await startGate({ node: node.address, auditTo })
    const client = await openTls(gate.port, gate.caPem)
    await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    client.write(query('select pg_sleep(60)'))
    await busy.promise
    full.broken = true
    await gate.close()
    expect(node.cancels).toHaveLength(1)
    await node.close()
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
  const startups = gates.node.startups.length
  for (let round = 0; round < 2; round++) {
    const client = await openTls(gate.port, gate.caPem)
    const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    expect(refusalOf(said)).toMatchObject({ C: 'XX000', M: 'internal error' })
  }
  expect(gates.node.startups).toHaveLength(startups)
  full.broken = false
  const client = await openTls(gate.port, gate.caPem)
  const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
  expect(refusalOf(said)).toBeUndefined()
  client.close()
})
