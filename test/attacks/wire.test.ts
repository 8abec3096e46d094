/**
 * Lessons 5.9 to 5.11, 5.14, 5.19 and 5.20: what can be done with bytes before anybody is known. The node is
 * the real one, and afterwards the gate must be as good as before.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TestGate } from '../support/gate.ts'
import { proxyFor } from '../support/proxy_header.ts'
import { type Served, startServe } from '../support/serve.ts'
import { residentBytes } from '../support/tools.ts'
import {
  cancelRequest,
  fields,
  gssencRequest,
  JWT_OPTION,
  message,
  openDirectTls,
  openPlain,
  openTls,
  password,
  refusalOf,
  signIn,
  sslRequest,
  startup,
  uint32,
  type WireClient,
} from '../support/wire_client.ts'
import { attempt, battlefield, heard, IN, outcome, realNode, shout, USER } from './attempt.ts'

const field = battlefield()
const HELLO = startup({ ...JWT_OPTION, ...USER })
const QUERY = message('Q', 'SELECT 1\0')

let gate: TestGate
beforeAll(async () => {
  gate = await field.gate({ listeners: [{ address: '127.0.0.1:0', allow_plaintext: true }] })
})
afterAll(async () => expect(await attempt(gate, await gate.token('maxroach'))).toBe(IN))

/** Of the listener that has no TLS, and asks for tokens in clear. */
function clearPort(): number {
  const opened = gate.log.find(({ msg }) => msg === 'the gate is open')
  const [, second] = (opened?.['listening'] ?? []) as { port: number }[]
  return second?.port ?? 0
}

/** An ErrorResponse that is all that came, or that came behind so many bytes. */
function errorIn(bytes: Buffer, behind = 0): Record<string, string> {
  expect(bytes.toString('latin1', behind, behind + 1)).toBe('E')
  expect(bytes.length).toBe(behind + 1 + bytes.readUInt32BE(behind + 1))
  return fields(bytes.subarray(behind + 5))
}

describe('5.9 memory before anybody is known', () => {
  it.each([0, 1, 4, 7, 10_005, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff])(
    'a startup packet that says it has %i bytes is waited for by nobody',
    async (length) => {
      const bytes = Buffer.concat([uint32(length), uint32(196_608), Buffer.alloc(64, 'x')])
      if (length >>> 24 !== 0x16) expect(await shout(gate.port, bytes)).toHaveLength(0)
      expect(await heard(await openTls(gate.port, gate.caPem), bytes)).toHaveLength(0)
    },
  )

  it.each([128 * 1024 + 5, 0x7fff_ffff, 0xffff_ffff, 3, 0])(
    'nor is a password that says it has %i',
    async (length) => {
      const client = await openTls(gate.port, gate.caPem)
      client.write(HELLO)
      await client.until('R')
      const told = await heard(client, Buffer.from('p'), uint32(length), Buffer.alloc(64, 'x'))
      expect(errorIn(told)).toMatchObject({ C: '08P01' })
    },
  )

  it('a thousand parameters, or one of ten thousand bytes, are one packet like another', async () => {
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, at) => [`_pq_.${at}`, '']))
    for (const parameters of [many, { application_name: 'x'.repeat(9_800) }]) {
      const client = await openTls(gate.port, gate.caPem)
      const said = await signIn(client, { ...USER, ...parameters }, await gate.token('maxroach'))
      expect(await outcome(client, said)).toBe(IN)
      client.close()
    }
  })

  describe('by many who hold on to it', () => {
    const CLIENTS = 300
    const TOGETHER = 20
    const KIB = 1024
    let served: Served
    beforeAll(async () => {
      served = await startServe({ node: realNode() })
      // What the first ones cost is not theirs.
      for (let login = 0; login < 20; login++)
        expect(await attempt(served, await served.token('maxroach'))).toBe(IN)
    })
    afterAll(async () => {
      served.child.kill('SIGTERM')
      expect((await served.ended).code).toBe(0)
    })

    it.each<[string, number, (client: WireClient) => Promise<void> | void]>([
      ['say nothing after their SSLRequest', 150, (client) => client.write(sslRequest())],
      [
        'begin a handshake',
        150,
        (client) => {
          // A ClientHello of 16 KiB, as its record says, of which little comes.
          client.write(
            Buffer.from([0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3, ...Array(200).fill(7)]),
          )
        },
      ],
      [
        'begin a startup packet',
        100,
        (client) => {
          client.write(Buffer.concat([uint32(10_004), uint32(196_608), Buffer.alloc(5000, 'x')]))
        },
      ],
    ])('%s, in bounded memory', async (_how, kib, say) => {
      await grows(kib, () => openPlain({ host: '127.0.0.1', port: served.port }), say)
    })

    it.each<[string, number, number]>([
      ['announce a password', 250, 1],
      ['give most of one', 500, 120 * KIB],
    ])('%s, in bounded memory', async (_how, kib, bytes) => {
      await grows(
        kib,
        () => openTls(served.port, served.caPem),
        async (client) => {
          client.write(HELLO)
          await client.until('R')
          client.write(
            Buffer.concat([Buffer.from('p'), uint32(128 * KIB), Buffer.alloc(bytes, 'x')]),
          )
        },
      )
    })

    /** Of all that is held at once, and the last client is an honest one. */
    async function grows(
      kib: number,
      open: () => Promise<WireClient>,
      say: (client: WireClient) => Promise<void> | void,
    ) {
      const pid = served.child.pid ?? 0
      const before = (await residentBytes(pid)) ?? 0
      const clients: WireClient[] = []
      for (let at = 0; at < CLIENTS; at += TOGETHER) {
        const opening = Array.from({ length: TOGETHER }, async () => {
          const client = await open()
          client.socket.on('error', () => undefined)
          await say(client)
          return client
        })
        clients.push(...(await Promise.all(opening)))
      }
      expect(await attempt(served, await served.token('maxroach'))).toBe(IN)
      const grown = ((await residentBytes(pid)) ?? 0) - before
      expect(grown / CLIENTS / KIB).toBeLessThan(kib)
      expect(clients.filter(({ socket }) => socket.closed)).toEqual([])
      for (const client of clients) client.close()
    }
  })
})

describe.concurrent('5.9 bytes that drip', () => {
  const limits = { handshake_timeout: '400ms', authentication_timeout: '800ms' }
  let short: TestGate
  beforeAll(async () => {
    short = await field.gate({ limits, listener: { proxy_protocol: undefined } })
  })

  const plain = () => openPlain({ host: '127.0.0.1', port: short.port })
  it.each<[string, () => Promise<WireClient>, Buffer[], Buffer]>([
    ['a startup packet', plain, [], startup({ ...USER, application_name: 'x'.repeat(9_000) })],
    ['requests for encryption', plain, [], Buffer.concat(Array(2000).fill(gssencRequest()))],
    [
      'a TLS handshake',
      plain,
      [sslRequest()],
      Buffer.from([0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, ...Array(9000).fill(3)]),
    ],
    ['a cancel key', plain, [], cancelRequest(Buffer.alloc(256))],
    [
      'a startup packet within TLS',
      () => openTls(short.port, short.caPem),
      [],
      startup({ ...USER, application_name: 'x'.repeat(9_000) }),
    ],
    ['a token', () => openTls(short.port, short.caPem), [HELLO], password('x'.repeat(9_000))],
  ])('%s is cut short by the deadline', async (_what, open, first, dripping) => {
    const client = await open()
    for (const bytes of first) client.write(bytes)
    let at = 0
    const drip = setInterval(() => client.write(dripping.subarray(at, ++at)), 10)
    await heard(client)
    clearInterval(drip)
    expect(at).toBeLessThan(dripping.length)
  })
})

describe('5.10 plaintext stuffed before TLS', () => {
  it.each<[string, Buffer[], string, number]>([
    [
      'a login behind SSLRequest',
      [sslRequest(), HELLO, password('x'), QUERY],
      'received unencrypted data after SSL request',
      0,
    ],
    [
      'a ClientHello behind it',
      [sslRequest(), Buffer.from([0x16, 3, 1, 0, 5])],
      'received unencrypted data after SSL request',
      0,
    ],
    [
      'one byte',
      [sslRequest(), Buffer.from('Q')],
      'received unencrypted data after SSL request',
      0,
    ],
    [
      'a login behind GSSENCRequest',
      [gssencRequest(), HELLO],
      'received unencrypted data after GSSAPI encryption request',
      0,
    ],
    [
      'SSLRequest behind it, and a login',
      [gssencRequest(), sslRequest(), HELLO],
      'received unencrypted data after GSSAPI encryption request',
      0,
    ],
  ])('%s ends it', async (_what, bytes, text, behind) => {
    const told = await shout(gate.port, Buffer.concat(bytes))
    expect(errorIn(told, behind)).toMatchObject({ C: '08P01', M: text })
  })

  it('what comes in clear behind the S is the handshake’s, and fails it', async () => {
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(sslRequest())
    expect((await client.bytes(1)).toString()).toBe('S')
    const told = await heard(client, HELLO, password('x'), QUERY)
    // A TLS alert, or nothing.
    expect([undefined, 0x15]).toContain(told[0])
  })

  it('in front of it, a cancel is the only thing that is heard', async () => {
    expect(await shout(gate.port, cancelRequest(Buffer.alloc(8)), sslRequest())).toHaveLength(0)
  })
})

describe('5.11 negotiation that goes round and round', () => {
  it('is answered once each, and then refused', async () => {
    const rounds = [gssencRequest, sslRequest].flatMap((first) =>
      [gssencRequest, sslRequest].map((then) => [first(), then(), first(), then(), first()]),
    )
    for (const requests of rounds) {
      const client = await openPlain({ host: '127.0.0.1', port: clearPort() })
      const answers: string[] = []
      for (const request of requests) {
        client.write(request)
        const [byte] = await client.bytes(1)
        answers.push(byte === undefined ? '' : String.fromCharCode(byte))
        if (byte !== 'N'.charCodeAt(0)) break
      }
      expect(answers.join('')).toMatch(/^N{1,2}E$/)
      client.close()
    }
  })

  it('a hundred thousand requests in one breath are one that is refused', async () => {
    for (const request of [sslRequest(), gssencRequest()]) {
      const all = Buffer.concat(Array<Buffer>(100_000).fill(request))
      expect(errorIn(await shout(gate.port, all))).toMatchObject({ C: '08P01' })
    }
  })

  it('within TLS there is no second one, nor another handshake', async () => {
    for (const request of [sslRequest(), gssencRequest()]) {
      const told = await heard(await openTls(gate.port, gate.caPem), request)
      expect(errorIn(told)).toMatchObject({ C: '0A000' })
    }
    const again = await openDirectTls(gate.port, gate.caPem, {
      ALPNProtocols: ['postgresql'],
      maxVersion: 'TLSv1.2',
    })
    const tls = again.socket as unknown as { renegotiate(how: object, done: () => void): void }
    tls.renegotiate({}, () => undefined)
    expect(await heard(again)).toHaveLength(0)
  })
})

describe('5.14 who smuggles himself in by a parameter', () => {
  const options = (more: string) => ({ options: `${JWT_OPTION.options}${more}` })

  it.each<[string, Record<string, string>, string]>([
    ['a role in options', options(' -c role=postgres'), '42501: permission denied to set role'],
    [
      'another session',
      options(' -c session_authorization=postgres'),
      '42501: permission denied to set session',
    ],
    ['a role as a parameter', { role: 'postgres' }, '42501: permission denied to set role'],
    [
      'a session as one',
      { session_authorization: 'postgres' },
      '42501: permission denied to set session',
    ],
    ['superuser', { is_superuser: 'on' }, '55P02: parameter "is_superuser" cannot be changed'],
    [
      'a user in options',
      options(' -c user=postgres'),
      '42704: unrecognized configuration parameter',
    ],
    ['a user behind a NUL in options', options(' -c a.b=x%00user%00postgres'), IN],
    ['an escaped switch', options('%20-c%20role=postgres'), '22023: invalid value for parameter'],
    ['a capital user', { USER: 'postgres' }, '42704: unrecognized configuration parameter "USER"'],
    [
      'libraries',
      { session_preload_libraries: '/evil' },
      '42501: permission denied to set parameter',
    ],
    ['local libraries', { local_preload_libraries: '/evil' }, '42501: access to library'],
    ['replication', { replication: 'database' }, '42501: permission denied to start WAL sender'],
    ['replication in options', options(' -c replication=database'), '42704: unrecognized'],
    [
      'a revival token',
      { 'crdb:session_revival_token_base64': 'AAAA' },
      '08P01: parameter crdb:session',
    ],
    ['a path of his own, which is his own matter', { search_path: 'evil' }, IN],
  ])('%s', async (_how, parameters, told) => {
    const token = await gate.token('maxroach')
    expect(await attempt(gate, token, { ...USER, ...parameters })).toMatch(told)
  })
  // maxroach's token, and somebody else's name.
  it.each<[string, Record<string, string>, string]>([
    [
      'the name in other letters',
      { ...USER, user: 'MaxRoach' },
      '28000: JWT authentication: invalid principal',
    ],
    [
      'with white space',
      { ...USER, user: 'maxroach ' },
      '28000: JWT authentication: invalid principal',
    ],
    [
      'a longer name, which the node would cut',
      { ...USER, user: `maxroach${'x'.repeat(56)}` },
      '42622: the user name is longer',
    ],
    [
      'as the database’s',
      { user: 'postgres', database: 'maxroach' },
      '28000: JWT authentication: invalid principal',
    ],
    [
      'none',
      { user: '', database: 'maxroach' },
      '28000: no PostgreSQL user name specified in startup packet',
    ],
  ])('%s', async (_how, parameters, told) => {
    expect(await attempt(gate, await gate.token('maxroach'), parameters)).toMatch(told)
  })

  it.each<[string, string, string]>([
    ['a user twice', 'user\0maxroach\0user\0postgres\0\0', 'a parameter was given twice'],
    ['the other way round', 'user\0postgres\0user\0maxroach\0\0', 'a parameter was given twice'],
    [
      'options twice',
      'user\0maxroach\0options\0\0options\0-c role=postgres\0\0',
      'a parameter was given twice',
    ],
    [
      'more behind the end',
      'user\0maxroach\0\0user\0postgres\0\0',
      'expected terminator as last byte',
    ],
    ['no end', 'user\0maxroach\0database\0x', 'expected terminator as last byte'],
    ['a name that is no UTF-8', 'user\0max\xff\0\0', 'a parameter is not UTF-8'],
  ])('a packet with two readings is refused: %s', async (_how, body, problem) => {
    const packet = Buffer.concat([
      uint32(8 + body.length),
      uint32(196_608),
      Buffer.from(body, 'latin1'),
    ])
    const told = await heard(await openTls(gate.port, gate.caPem), packet)
    expect(errorIn(told)['M']).toBe(`invalid startup packet layout: ${problem}`)
  })
})

describe('5.19 a token in clear', () => {
  it('is never asked for, and one that is given all the same opens nothing', async () => {
    const token = await gate.token('maxroach')
    const told = await shout(gate.port, HELLO, password(token), QUERY)
    expect(errorIn(told)).toMatchObject({ C: '08C00', M: 'server requires encryption' })
  })

  it('a TLS of another age is none', async () => {
    const old = { ciphers: 'DEFAULT@SECLEVEL=0', ALPNProtocols: ['postgresql'] }
    for (const maxVersion of ['TLSv1', 'TLSv1.1'] as const)
      await expect(
        openDirectTls(gate.port, gate.caPem, { ...old, minVersion: 'TLSv1', maxVersion }),
      ).rejects.toThrow()
    for (const ciphers of [
      'NULL@SECLEVEL=0',
      'ADH@SECLEVEL=0',
      'RC4@SECLEVEL=0',
      '3DES@SECLEVEL=0',
    ])
      await expect(
        (async () =>
          openDirectTls(gate.port, gate.caPem, { ...old, ciphers, maxVersion: 'TLSv1.2' }))(),
      ).rejects.toThrow()
  })
})

describe('5.20 an address that somebody says he has', () => {
  const where = async (on: TestGate) => String((await on.event('login_decision'))['RemoteAddress'])

  it('a header on a listener that asks for none ends the connection', async () => {
    expect(await shout(gate.port, proxyFor('10.0.0.1'), sslRequest())).toHaveLength(0)
    expect(
      await shout(gate.port, Buffer.from('PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n')),
    ).toHaveLength(0)
    const told = await heard(await openTls(gate.port, gate.caPem), proxyFor('10.0.0.1'), HELLO)
    expect(told).toHaveLength(0)
  })

  it('on one that does, it is believed of the listed proxies alone', async () => {
    const proxied = await field.gate({ listener: { proxy_protocol: { from: ['10.0.0.0/8'] } } })
    expect(await shout(proxied.port, proxyFor('10.0.0.1'), sslRequest())).toHaveLength(0)
  })

  it('and a second one, or one within TLS, is nobody’s', async () => {
    const proxied = await field.gate({ listener: { proxy_protocol: { from: ['127.0.0.0/8'] } } })
    expect(await shout(proxied.port, proxyFor('10.0.0.1'), proxyFor('10.0.0.2'))).toHaveLength(0)
    const client = await openTls(proxied.port, proxied.caPem, proxyFor('192.0.2.7'))
    expect(refusalOf(await signIn(client, USER, 'no token'))).toMatchObject({ C: '28000' })
    expect(await where(proxied)).toBe('192.0.2.7:40000')
    client.close()
    const inside = await openTls(proxied.port, proxied.caPem, proxyFor('192.0.2.8'))
    expect(await heard(inside, proxyFor('10.0.0.3'), HELLO)).toHaveLength(0)
  })

  it('nor has a client a say in it by a parameter', async () => {
    await attempt(gate, 'no token', {
      ...USER,
      'crdb:remote_addr': '10.0.0.1:1',
      application_name: 'me',
    })
    const { RemoteAddress } = await gate.event('login_decision', { ApplicationName: 'me' })
    expect(RemoteAddress).toMatch(/^127\.0\.0\.1:\d+$/)
  })
})
