/** A listener behind a proxy: who the client is, who may say so, and what is closed. */
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { GateOptions, TestGate } from '../support/gate.ts'
import { proxyFor, proxyV2, tlv } from '../support/proxy_header.ts'
import { scriptedGates } from '../support/scripted_gates.ts'
import { NODE_KEY } from '../support/scripted_node.ts'
import {
  cancelRequest,
  fields,
  openDirectTls,
  openPlain,
  openTls,
  refusalOf,
  signIn,
  sslRequest,
  uint32,
  type WireClient,
} from '../support/wire_client.ts'

const gates = scriptedGates()

const proxy_protocol = { from: ['127.0.0.0/8', '::1'] }
const plain = { tls: undefined, allow_plaintext: true }

async function open(options: Partial<GateOptions> = {}): Promise<TestGate> {
  const listener = { proxy_protocol, ...options.listener }
  return await gates.open({ ...options, listener })
}

/** @returns the address that the audit stream has of a client that signs in. */
async function enter(gate: TestGate, client: WireClient): Promise<unknown> {
  const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
  expect(refusalOf(said)).toBeUndefined()
  const { RemoteAddress } = await gate.event('client_authentication_ok')
  return RemoteAddress
}

async function closes(client: WireClient): Promise<void> {
  expect(await client.bytes(1)).toHaveLength(0)
}

const v1 = (line: string) => Buffer.from(`PROXY ${line}\r\n`)
const IPV6 = Buffer.concat([
  Buffer.from(`20010db8${'0'.repeat(23)}1`, 'hex'),
  Buffer.alloc(16),
  Buffer.from([0x9c, 0x40, 0, 80]),
])

describe('the client is the one that the header names', () => {
  it.each<[string, Buffer, string]>([
    ['version 1', v1('TCP4 192.0.2.7 10.0.0.1 40000 5432'), '192.0.2.7:40000'],
    ['version 1, IPv6', v1('TCP6 2001:db8::1 ::1 40000 5432'), '[2001:db8::1]:40000'],
    ['version 2', proxyFor('192.0.2.7'), '192.0.2.7:40000'],
    ['version 2, IPv6', proxyV2(0x21, 0x21, IPV6), '[2001:db8::1]:40000'],
  ])('%s', async (_name, header, address) => {
    const gate = await open()
    expect(await enter(gate, await openTls(gate.port, gate.caPem, header))).toBe(address)
  })

  it.each<[string, Buffer]>([
    ['UNKNOWN', v1('UNKNOWN')],
    ['LOCAL, with a TLV', proxyV2(0x20, 0x00, tlv(0x04, Buffer.alloc(3)))],
  ])('and the proxy where it says %s', async (_name, header) => {
    const gate = await open()
    const client = await openTls(gate.port, gate.caPem, header)
    expect(await enter(gate, client)).toMatch(/^127\.0\.0\.1:\d+$/)
  })

  it('with direct TLS behind the header, in one packet or two', async () => {
    const gate = await open()
    for (const together of [true, false]) {
      const { socket } = await openPlain({ host: '127.0.0.1', port: gate.port })
      if (together) socket.cork()
      socket.write(proxyFor('192.0.2.7'))
      socket.removeAllListeners('data')
      const tls = openDirectTls(gate.port, gate.caPem, { ALPNProtocols: ['postgresql'], socket })
      process.nextTick(() => socket.uncork())
      expect(await enter(gate, await tls)).toBe('192.0.2.7:40000')
    }
  })

  it('however the header is cut', async () => {
    const gate = await open({ listener: plain })
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.socket.setNoDelay(true)
    for (const byte of proxyFor('127.0.0.7')) {
      client.write(Buffer.from([byte]))
      await turn()
    }
    expect(await enter(gate, client)).toBe('127.0.0.7:40000')
  })

  it('for the node as well, where it is told', async () => {
    const gate = await open({ cluster: { kind: 'cockroachdb', send_remote_addr: true } })
    await enter(gate, await openTls(gate.port, gate.caPem, proxyFor('192.0.2.7')))
    expect(gates.node.startups.at(-1)).toMatchObject({ 'crdb:remote_addr': '192.0.2.7:40000' })
  })

  it('for a cancel as well', async () => {
    const gate = await open({ listener: plain })
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(proxyFor('127.0.0.7'))
    const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    const key = Buffer.from(said.find(({ type }) => type === 'K')?.body ?? Buffer.alloc(0))
    const cancel = await openPlain({ host: '127.0.0.1', port: gate.port })
    cancel.write(Buffer.concat([proxyFor('127.0.0.7'), cancelRequest(key)]))
    await closes(cancel)
    const theirs = Buffer.concat([uint32(NODE_KEY.pid), uint32(NODE_KEY.secret)])
    await expect.poll(() => gates.node.cancels.at(-1)).toEqual(theirs)
  })
})

describe('closed without a word', () => {
  it.each<[string, Buffer]>([
    ['no header', sslRequest()],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a line that never ends', Buffer.from(`PROXY TCP4 ${'1'.repeat(200)}`)],
    ['an address that is none', v1('TCP4 300.0.2.7 10.0.0.1 40000 5432')],
    ['a length that lies', proxyV2(0x21, 0x11, Buffer.from([192, 0, 2, 7]))],
    ['a length beyond the bound', proxyV2(0x21, 0x11, Buffer.alloc(5_000))],
    ['a wrong checksum', proxyV2(0x21, 0x11, Buffer.alloc(12), tlv(3, Buffer.alloc(4)))],
  ])('%s', async (_name, bytes) => {
    const gate = await open()
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(bytes)
    await closes(client)
    expect(gate.log.find(({ failure }) => failure === 'proxy_header')).toMatchObject({
      level: 'warn',
      msg: expect.stringMatching(/^invalid PROXY protocol header: /),
    })
  })

  it('a second header', async () => {
    const gate = await open()
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(Buffer.concat([proxyFor('192.0.2.7'), proxyFor('192.0.2.8'), sslRequest()]))
    await closes(client)
    expect(gate.log.at(-1)).toMatchObject({ failure: 'not_postgres' })
  })

  it('a header where none belongs', async () => {
    const gate = await gates.open()
    for (const header of [proxyFor('192.0.2.7'), v1('TCP4 192.0.2.7 10.0.0.1 40000 5432')]) {
      const client = await openPlain({ host: '127.0.0.1', port: gate.port })
      client.write(Buffer.concat([header, sslRequest()]))
      await closes(client)
      expect(gate.log.at(-1)).toMatchObject({ failure: 'not_postgres' })
    }
  })

  it('half a header and silence', async () => {
    const gate = await open({ limits: { handshake_timeout: '200ms' } })
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(proxyFor('192.0.2.7').subarray(0, 20))
    while ((await client.bytes(1)).length > 0);
    expect(gate.log.at(-1)).toMatchObject({ failure: 'login_timeout' })
  })

  it('who is no proxy, which is logged once a minute', async () => {
    let ahead = 0
    const now = () => Date.now() + ahead
    const gate = await open({ now, listener: { proxy_protocol: { from: ['192.0.2.0/24'] } } })
    const told = () => gate.log.filter(({ msg }) => String(msg).includes('proxy_protocol.from'))
    for (const lines of [1, 1, 1, 2]) {
      if (lines === 2) ahead = 60_000
      const client = await openPlain({ host: '127.0.0.1', port: gate.port })
      client.write(proxyFor('192.0.2.7'))
      await closes(client)
      expect(told()).toHaveLength(lines)
    }
    expect(told()).toMatchObject([
      { level: 'warn', address: '127.0.0.1', closed: 1 },
      { level: 'warn', address: '127.0.0.1', closed: 3 },
    ])
    expect(gate.audit).toEqual([])
  })
})

describe('a token is not asked for in clear, be the proxy on this machine', () => {
  it.each<[string, Buffer]>([
    ['of a client elsewhere', proxyFor('192.0.2.7')],
    ['of one elsewhere, by IPv6', proxyV2(0x21, 0x21, IPV6)],
    ['of one that the proxy knows nothing of', v1('UNKNOWN')],
    ['of the proxy itself', proxyV2(0x20, 0x00)],
  ])('%s', async (_name, header) => {
    const gate = await open({ listener: plain })
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(header)
    const said = await signIn(client, { user: 'maxroach' }, 'nothing')
    expect(said.map(({ type }) => type)).toEqual(['E'])
    expect(refusalOf(said)).toMatchObject({ C: '08C00', M: 'server requires encryption' })
  })
})

describe('rules and lists look at', () => {
  const MAPPED = Buffer.concat([
    Buffer.from(`${'0'.repeat(20)}ffffc0000207`, 'hex'),
    Buffer.alloc(16),
    Buffer.from([0x9c, 0x40, 0x14, 0xd4]),
  ])
  const LOCAL = proxyV2(
    0x20,
    0x11,
    Buffer.from([192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x14, 0xd4]),
  )
  const only = (address: string) => ({ access: [{ address, action: 'allow' }] })
  const listed = (list: string, text: string) => ({
    top: { access_lists: { [list]: 'list.yaml' } },
    files: { '/etc/postern/list.yaml': `SequenceNumber: 1\n${text}\n` },
  })
  const denied = (item: string) =>
    listed('denylist_file', `denylist: [{entity: {item: ${item}, type: ip}}]`)

  it.each<[string, Buffer, Partial<GateOptions>, string | undefined]>([
    ['the client that it tells', proxyFor('192.0.2.7'), { top: only('192.0.2.0/24') }, undefined],
    ['it, shown as IPv6', proxyV2(0x21, 0x21, MAPPED), { top: only('192.0.2.0/24') }, undefined],
    ['it, and not the proxy', proxyFor('192.0.2.7'), { top: only('127.0.0.0/8') }, '192.0.2.7'],
    ['the proxy where it tells nobody', v1('UNKNOWN'), { top: only('192.0.2.0/24') }, '127.0.0.1'],
    [
      'the proxy where it speaks for itself, whatever else it says',
      LOCAL,
      { top: only('192.0.2.0/24') },
      '127.0.0.1',
    ],
    ['a client that is denied', proxyFor('192.0.2.7'), denied('192.0.2.0/24'), '192.0.2.7'],
    [
      'a client that is denied, shown as IPv6',
      proxyV2(0x21, 0x21, MAPPED),
      denied('192.0.2.7'),
      '::ffff:192.0.2.7',
    ],
    ['a proxy that is denied', LOCAL, denied('127.0.0.1'), '127.0.0.1'],
    [
      'a proxy that nobody allows',
      LOCAL,
      listed('allowlist_file', 'allowlist: {test: {ips: [192.0.2.7]}}'),
      '127.0.0.1',
    ],
  ])('%s', async (_, header, options, refused) => {
    const gate = await open(options)
    const client = await openTls(gate.port, gate.caPem, header)
    const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    const told =
      refused && `no access entry for host "${refused}", user "maxroach", database "maxroach"`
    expect(refusalOf(said)?.['M']).toBe(told)
    // Who stays is waited for when the gate closes.
    client.socket.destroy()
  })
})

it('still takes nothing that came in clear before TLS', async () => {
  const gate = await open()
  const client = await openPlain({ host: '127.0.0.1', port: gate.port })
  client.write(Buffer.concat([proxyFor('192.0.2.7'), sslRequest(), Buffer.from('x')]))
  expect(fields((await client.next())?.body ?? Buffer.alloc(0))).toMatchObject({
    M: 'received unencrypted data after SSL request',
  })
})
