/** Who may tell a gate something, what is answered, and how much of it there may be. */
import { once } from 'node:events'
import { Agent, type RequestOptions, request } from 'node:https'
import { connect as connectPlain, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { type ConnectionOptions, connect } from 'node:tls'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Ca, issue, makeCa } from '../../src/dev/certificates.ts'
import { PEERS_SAY } from '../../src/failure.ts'
import { leafOf, type OtherGate, peersConfig, startOtherGate } from '../support/other_gates.ts'

const KEY = Buffer.from('12345678').toString('base64url')
const KEY_3_2 = Buffer.alloc(36, 7).toString('base64url')

let ca: Ca
let gate: OtherGate
const closing: (() => unknown)[] = []
beforeAll(async () => {
  ca = await makeCa()
})
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function open(found?: () => Promise<boolean>): Promise<OtherGate> {
  gate = await startOtherGate(peersConfig(ca, []), { ...(found && { found }) })
  closing.push(() => gate.close())
  return gate
}

/** Whoever has these is one of the gates. */
async function asGate(): Promise<ConnectionOptions> {
  return { ...(await leafOf(ca, 'gate')), rejectUnauthorized: false }
}

interface Asked extends RequestOptions {
  body?: string
  /** Of TLS, from before. */
  session?: Buffer | undefined
}

async function ask({ body = JSON.stringify({ key: KEY, from: '192.0.2.1' }), ...options }: Asked) {
  const agent = new Agent()
  const headers = { 'content-type': 'application/json' }
  const about = { host: '127.0.0.1', port: gate.port, method: 'POST', path: '/cancel', headers }
  const asked = request({ ...about, agent, ...options }).end(body)
  const [response] = await once(asked, 'response')
  return { status: response.statusCode, said: await text(response) }
}

const HEARD = { status: PEERS_SAY.heard, said: '' }

describe('another gate', () => {
  it.each([
    ['known', true, KEY, []],
    ['not known', false, KEY, ['cancel unknown']],
    ['known', true, KEY_3_2, []],
    ['not known', false, KEY_3_2, ['cancel unknown']],
  ])('is answered the same of a key that is %s', async (_name, known, key, counted) => {
    await open(async () => known)
    const body = JSON.stringify({ key, from: '192.0.2.1' })
    expect(await ask({ ...(await asGate()), body })).toEqual(HEARD)
    expect([gate.heard, gate.counted]).toEqual([[[key, '192.0.2.1']], counted])
  })

  it.each([
    ['no key', { from: '192.0.2.1' }],
    ['a short key', { key: KEY.slice(1), from: '192.0.2.1' }],
    ['a key of 35 bytes', { key: Buffer.alloc(35).toString('base64url'), from: '' }],
    ['a key that is none', { key: '!'.repeat(11), from: '192.0.2.1' }],
    ['no address', { key: KEY }],
    ['a long address', { key: KEY, from: '1'.repeat(65) }],
    ['more than there is', { key: KEY, from: '', hop: 2 }],
    ['nothing', null],
  ])('is answered the same with %s, which does nothing', async (_name, body) => {
    await open()
    expect(await ask({ ...(await asGate()), body: JSON.stringify(body) })).toEqual(HEARD)
    expect([gate.heard, gate.counted]).toEqual([[], []])
  })

  it('finds nothing else, and is not read beyond a small bound', async () => {
    await open()
    const options = await asGate()
    expect((await ask({ ...options, path: '/metrics', method: 'GET', body: '' })).status).toBe(404)
    const { status } = await ask({ ...options, body: JSON.stringify({ key: 'x'.repeat(2_000) }) })
    expect([status, gate.heard]).toEqual([413, []])
  })

  it('doesn’t wait for a node that hangs, and has 64 cancels at a time', async () => {
    await open(() => new Promise(() => undefined))
    const options = await asGate()
    const answers = await Promise.all(Array.from({ length: 80 }, () => ask(options)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([PEERS_SAY.heard]))
    expect(gate.heard).toHaveLength(64)
    expect(gate.counted).toEqual(Array.from({ length: 16 }, () => 'cancel dropped'))
    // Who was answered keeps no place.
    expect(await ask(options)).toEqual(HEARD)
    expect(gate.heard).toHaveLength(65)
  })
})

describe('is not heard:', () => {
  const strangers: [name: string, options: () => Promise<ConnectionOptions>][] = [
    ['who has no certificate', async () => ({})],
    ['a role of this authority', () => leafOf(ca, 'role')],
    ['a gate of another authority', async () => await leafOf(await makeCa(), 'gate')],
    [
      'a client of this authority with the name in its CN and in its host names',
      async () => {
        const name = 'urn:postern:peer'
        const issued = await issue(ca, { cn: name, sans: [name], use: 'client' })
        return { cert: issued.certPem, key: issued.keyPem }
      },
    ],
    [
      'a server of this authority',
      async () => {
        const issued = await issue(ca, { cn: 'node', sans: ['127.0.0.1'] })
        return { cert: issued.certPem, key: issued.keyPem }
      },
    ],
    ['a gate that speaks TLS 1.2', async () => ({ ...(await asGate()), maxVersion: 'TLSv1.2' })],
  ]
  it.each(strangers)('%s', async (_name, options) => {
    await open()
    await expect(ask({ ...(await options()), rejectUnauthorized: false })).rejects.toThrow()
    expect([gate.heard, gate.counted]).toEqual([[], []])
    // The next one is.
    expect(await ask(await asGate())).toEqual(HEARD)
  })

  it('a stranger again, by a session from before', async () => {
    await open()
    const options = { ...(await leafOf(ca, 'role')), rejectUnauthorized: false }
    const first = connect({ host: '127.0.0.1', port: gate.port, ...options })
    const sessions: Buffer[] = []
    first.on('session', (session) => sessions.push(session)).on('error', () => undefined)
    await once(first, 'close')
    for (const session of sessions)
      await expect(ask({ ...options, session, agent: new Agent() })).rejects.toThrow()
    expect(gate.heard).toEqual([])
  })

  it('who speaks no TLS, or nothing: the socket is closed in time', async () => {
    await open()
    const say = async (what: string) => {
      const socket = connectPlain(gate.port, '127.0.0.1')
      socket.on('error', () => undefined).resume()
      if (what !== '') socket.write(what)
      await once(socket, 'close')
    }
    await Promise.all(['', 'GET / HTTP/1.1\r\n\r\n', '\x16\x03\x01\x02\x00'].map(say))
    expect(await ask(await asGate())).toEqual(HEARD)
  })
})

it('a flood of strangers has an end, and the gate goes on', async () => {
  await open()
  const sockets = await Promise.all(
    Array.from({ length: 400 }, async () => {
      const socket = connectPlain(gate.port, '127.0.0.1')
      socket.on('error', () => undefined).resume()
      await once(socket, 'connect')
      return socket
    }),
  )
  const isOpen = (socket: Socket) => !socket.closed
  await expect.poll(() => sockets.filter(isOpen).length).toBeLessThanOrEqual(256)
  await expect.poll(() => sockets.filter(isOpen).length, { timeout: 10_000 }).toBe(0)
  expect(await ask(await asGate())).toEqual(HEARD)
})
