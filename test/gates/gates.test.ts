/** One gate tells others: whom, how long it waits, and what it does about those that it doesn't believe. */
import { once } from 'node:events'
import { createServer as createHttps } from 'node:https'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { connect } from 'node:tls'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { openNames } from '../../src/cluster/node_names.ts'
import { type Ca, issue, makeCa } from '../../src/dev/certificates.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { FAILURES, PEERS_SAY } from '../../src/failure.ts'
import { makeClientCa } from '../support/certificate_gate.ts'
import { startDnsServer } from '../support/dns_server.ts'
import { leafOf, type OtherGate, peersConfig, startOtherGate } from '../support/other_gates.ts'

const KEY = Buffer.from('12345678')
const TOLD = [KEY.toString('base64url'), '192.0.2.1']

let ca: Ca
const closing: (() => unknown)[] = []
beforeAll(async () => {
  ca = await makeCa()
})
afterEach(async () => {
  vi.useRealTimers()
  for (const close of closing.splice(0).reverse()) await close()
})

async function start(...parts: Parameters<typeof startOtherGate>): Promise<OtherGate> {
  const gate = await startOtherGate(...parts)
  closing.push(() => gate.close())
  return gate
}

const at = (port: number) => ({ host: '127.0.0.1', port })

describe('a cancel', () => {
  it('is told to all others, and goes no further', async () => {
    const beyond = await start(peersConfig(ca, []))
    const others = [
      await start(peersConfig(ca, [at(beyond.port)])),
      await start(peersConfig(ca, [at(beyond.port)])),
    ]
    const gate = await start(
      peersConfig(
        ca,
        others.map(({ port }) => at(port)),
      ),
    )
    await gate.cancel(KEY, '192.0.2.1')
    expect(others.map(({ heard, counted }) => [heard, counted])).toEqual([
      [[TOLD], ['cancel unknown']],
      [[TOLD], ['cancel unknown']],
    ])
    expect(beyond.heard).toEqual([])
    expect(gate.counted).toEqual(['cancel passed_on', 'peer_told ok', 'peer_told ok'])
    expect([...gate.log, ...others.flatMap(({ log }) => log)]).toEqual([])
  })

  it('waits for the others, which are done when it is over', async () => {
    const node = Promise.withResolvers<boolean>()
    const asked = Promise.withResolvers<void>()
    const found = () => {
      asked.resolve()
      return node.promise
    }
    const other = await start(peersConfig(ca, []), { found })
    const gate = await start(peersConfig(ca, [at(other.port)]))
    const told = { yet: false }
    const cancelled = gate.cancel(KEY, '192.0.2.1').then(() => {
      told.yet = true
    })
    await asked.promise
    expect(told.yet).toBe(false)
    node.resolve(true)
    await cancelled
    expect(other.counted).toEqual([])
  })

  it('told by a gate to itself is one more that it does not know', async () => {
    const port = await freePort()
    const gate = await start(peersConfig(ca, [at(port)], { port }))
    await gate.cancel(KEY, '192.0.2.1')
    expect(gate.counted).toEqual(['cancel passed_on', 'cancel unknown', 'peer_told ok'])
  })

  it('is one of at most 32 at a time that one gate is told, and waits', async () => {
    const node = Promise.withResolvers<boolean>()
    const other = await start(peersConfig(ca, []), { found: () => node.promise })
    const gate = await start(peersConfig(ca, [at(other.port)]))
    const cancels = Array.from({ length: 100 }, () => gate.cancel(KEY, '192.0.2.1'))
    await expect.poll(() => other.heard.length).toBe(32)
    node.resolve(true)
    await Promise.all(cancels)
    expect(other.heard).toHaveLength(100)
    expect(gate.counted.filter((each) => each === 'peer_told ok')).toHaveLength(100)
  })

  it('is not lost with a connection that was kept, and closed over there', async () => {
    const sockets = new Set<Socket>()
    let [heard, lost] = [0, 0]
    const server = createHttps(await leafOf(ca, 'gate'), ({ socket }, response) => {
      // The next request on it finds it closed.
      if (sockets.has(socket)) {
        lost++
        return void socket.destroy()
      }
      sockets.add(socket)
      heard++
      response.writeHead(PEERS_SAY.heard).end()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    const gate = await start(peersConfig(ca, [at((server.address() as AddressInfo).port)]))
    await expect
      .poll(async () => {
        await gate.cancel(KEY, '192.0.2.1')
        return lost
      })
      .toBe(1)
    expect(gate.log).toEqual([])
    expect(gate.counted.filter((each) => each === 'peer_told ok')).toHaveLength(heard)
  })

  it.each([
    ['local', ''],
    ['192.0.2.1', '192.0.2.1'],
    ['2001:db8::1', '2001:db8::1'],
    ['not an address', ''],
  ])(
    'from %j is one from %j over there: no machine has another one’s unix sockets',
    async (from, told) => {
      const other = await start(peersConfig(ca, []))
      const gate = await start(peersConfig(ca, [at(other.port)]))
      await gate.cancel(KEY, from)
      expect(other.heard).toEqual([[KEY.toString('base64url'), told]])
    },
  )
})

describe('a gate that is not told', () => {
  it('is in the log once a minute, and is counted', async () => {
    const port = await freePort()
    const clock = { ms: Date.now() }
    const gate = await start(peersConfig(ca, [at(port)]), { now: () => clock.ms })
    for (const later of [0, 1_000, 58_000, 2_000]) {
      clock.ms += later
      await gate.cancel(KEY, '192.0.2.1')
    }
    expect(gate.counted.filter((each) => each === 'peer_told failed')).toHaveLength(4)
    expect(gate.log).toEqual(
      Array.from({ length: 2 }, () => ({
        level: 'warn',
        gate: `127.0.0.1:${port}`,
        what: expect.stringContaining(
          'another gate was not told of a cancel: connect ECONNREFUSED',
        ),
      })),
    )
  })

  it('does not keep the others from theirs: it has two seconds', async () => {
    const { port } = await startMute()
    const other = await start(peersConfig(ca, []))
    const gate = await start(peersConfig(ca, [at(port), at(other.port)]))
    const cancelled = gate.cancel(KEY, '192.0.2.1')
    await expect.poll(() => other.heard).toEqual([TOLD])
    await cancelled
    expect(gate.log.map(({ what }) => what)).toEqual([
      'another gate was not told of a cancel: no answer in time',
    ])
  })

  it('because it is silent is left out for five seconds, whoever has cancels', async () => {
    const clock = { ms: Date.now() }
    const { port, sockets } = await startMute()
    const other = await start(peersConfig(ca, []))
    const gate = await start(peersConfig(ca, [at(port), at(other.port)]), { now: () => clock.ms })
    await Promise.all(Array.from({ length: 200 }, () => gate.cancel(KEY, '192.0.2.1')))
    expect(other.heard).toHaveLength(200)
    expect(sockets.size).toBeLessThanOrEqual(64)
    const before = sockets.size
    clock.ms += 4_000
    await gate.cancel(KEY, '192.0.2.1')
    expect([other.heard.length, sockets.size]).toEqual([201, before])
    clock.ms += 4_000
    await gate.cancel(KEY, '192.0.2.1')
    expect([other.heard.length, sockets.size]).toEqual([202, before + 1])
    expect(gate.log).toHaveLength(1)
  })

  const impostors: [name: string, make: () => Promise<object>, why: string | RegExp][] = [
    [
      'has a gate’s certificate of another authority',
      async () => await leafOf(await makeClientCa(), 'gate'),
      /self-signed certificate|unable to verify/,
    ],
    [
      'has a role’s certificate of this authority',
      () => leafOf(ca, 'role'),
      /unsuitable certificate purpose/,
    ],
    [
      'has a server’s certificate of this authority',
      async () => {
        const sans = ['127.0.0.1']
        const { certPem: cert, keyPem: key } = await issue(ca, { cn: 'urn:postern:peer', sans })
        return { cert, key }
      },
      "its certificate is not a gate's",
    ],
    [
      'speaks TLS 1.2',
      async () => ({ ...(await leafOf(ca, 'gate')), maxVersion: 'TLSv1.2' }),
      /protocol version/,
    ],
  ]
  it.each(impostors)('%s', async (_name, make, why) => {
    const heard: unknown[] = []
    const server = createHttps(await make(), (request, response) => {
      heard.push(request.url)
      response.end()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    const gate = await start(peersConfig(ca, [at((server.address() as AddressInfo).port)]))
    await gate.cancel(KEY, '192.0.2.1')
    expect(heard).toEqual([])
    expect(gate.log.map(({ what }) => what)).toEqual([expect.stringMatching(why)])
  })

  it('answers something else', async () => {
    const server = createHttps(await leafOf(ca, 'gate'), (_request, response) => {
      response.writeHead(404).end('x'.repeat(100_000))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    const gate = await start(peersConfig(ca, [at((server.address() as AddressInfo).port)]))
    await gate.cancel(KEY, '192.0.2.1')
    expect(gate.log.map(({ what }) => what)).toEqual([
      "another gate was not told of a cancel: it answered 404: is it a gate's peers.listen?",
    ])
  })
})

describe('gates under a name', () => {
  it('are all of its addresses, and those of its SRV records, once each', async () => {
    const dns = await startDnsServer()
    closing.push(() => dns.close())
    const other = await start(peersConfig(ca, []))
    dns.zone.set('gates.test', [{ type: 'A', address: '127.0.0.1', ttl: 60 }])
    dns.zone.set('_peers._tcp.gates.test', [
      { type: 'SRV', host: '127.0.0.1', port: other.port, priority: 0, weight: 1, ttl: 60 },
    ])
    const names = openNames([dns.address])
    const gates = [
      { host: 'gates.test', port: other.port },
      { srv: '_peers._tcp.gates.test' },
      at(other.port),
    ]
    const gate = await start(peersConfig(ca, gates), { names })
    const once = async () => {
      gate.counted.splice(0)
      await gate.cancel(KEY, '192.0.2.1')
      return gate.counted
    }
    await expect.poll(once).toEqual(['cancel passed_on', 'peer_told ok'])
    expect(other.heard.at(-1)).toEqual(TOLD)
    // Those that are known stay known when the same names are read again.
    gate.renew(peersConfig(ca, structuredClone(gates)))
    expect(await once()).toEqual(['cancel passed_on', 'peer_told ok'])
  })

  it('are 64 at most: that there are more is in the log, once', async () => {
    const dns = await startDnsServer()
    closing.push(() => dns.close())
    const records = (many: number) =>
      Array.from({ length: many }, (_, at) => ({
        type: 'A' as const,
        address: `127.0.1.${at}`,
        ttl: 60,
      }))
    dns.zone.set('gates.test', records(70))
    const port = await freePort()
    const gates = [{ host: 'gates.test', port }]
    const gate = await start(peersConfig(ca, gates), { names: openNames([dns.address]) })
    const cancelled = async () => {
      gate.counted.splice(0)
      await gate.cancel(KEY, '192.0.2.1')
      return gate.counted.length
    }
    await expect.poll(cancelled).toBe(65)
    await cancelled()
    expect(gate.log.map(({ what }) => what).filter((what) => what.startsWith('peers:'))).toEqual([
      'peers: there are 70 gates; 64 of them are told of cancels',
    ])
  })

  it('that nobody knows are asked for as they are', async () => {
    const dns = await startDnsServer()
    closing.push(() => dns.close())
    const other = await start(peersConfig(ca, []))
    const gates = [{ host: 'localhost', port: other.port }]
    const gate = await start(peersConfig(ca, gates), { names: openNames([dns.address]) })
    await expect
      .poll(() => gate.log.map(({ what }) => what))
      .toEqual(['peers: localhost has no records; those that are known are kept'])
    await gate.cancel(KEY, '192.0.2.1')
    expect(other.heard).toEqual([TOLD])
  })
})

describe('certificates', () => {
  it('are renewed in time, on both sides', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    const clock = { ms: Date.now() - 6 * 3_600_000 }
    const now = () => clock.ms
    const other = await start(peersConfig(ca, []), { now })
    const gate = await start(peersConfig(ca, [at(other.port)]), { now })
    const before = await numberOf(other.port)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(await numberOf(other.port)).toBe(before)
    clock.ms += 6 * 3_600_000
    await vi.advanceTimersByTimeAsync(60_000)
    await expect.poll(() => numberOf(other.port)).not.toBe(before)
    await gate.cancel(KEY, '192.0.2.1')
    expect(other.heard).toEqual([TOLD])
  })

  it('of an old and a new authority are believed through a rotation', async () => {
    const next = await makeClientCa('The next one')
    const other = await start(peersConfig(next, [], { trustedPem: ca.certPem }))
    const gate = await start(peersConfig(ca, [at(other.port)], { trustedPem: next.certPem }))
    await gate.cancel(KEY, '192.0.2.1')
    expect([other.heard, gate.log]).toEqual([[TOLD], []])
    // The last one goes over to the new authority alone, and then the other one does.
    gate.renew(peersConfig(next, [at(other.port)]))
    other.renew(peersConfig(next, []))
    await expect
      .poll(async () => {
        await gate.cancel(KEY, '192.0.2.1')
        return other.heard.length
      })
      .toBeGreaterThan(1)
    const old = await start(peersConfig(ca, [at(other.port)], { trustedPem: next.certPem }))
    await expect
      .poll(async () => {
        await old.cancel(KEY, '192.0.2.1')
        return old.counted.at(-1)
      })
      .toBe('peer_told failed')
  })

  it('can’t be had of an authority that has ended: the log says so, and others go on', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    const clock = { ms: Date.now() }
    const gate = await start(peersConfig(ca, []), { now: () => clock.ms })
    clock.ms += 40 * 365 * 86_400_000
    await vi.advanceTimersByTimeAsync(60_000)
    await expect
      .poll(() => gate.log)
      .toEqual([
        {
          level: 'error',
          what: expect.stringContaining('no certificate for other gates: the authority expired on'),
        },
      ])
  })
})

it('says where it can’t listen', async () => {
  const other = await start(peersConfig(ca, []))
  const { code, message } = await start(peersConfig(ca, [], { port: other.port })).catch(
    (thrown) => thrown,
  )
  expect(code).toBe('cannot_listen')
  expect(message).toContain(
    FAILURES.cannot_listen.say.replace('{address}: {problem}', `127.0.0.1:${other.port}: `),
  )
})

/** Takes connections, and never says a word. */
async function startMute() {
  const sockets = new Set<Socket>()
  const mute = createServer((socket) => void sockets.add(socket.on('error', () => undefined)))
  mute.listen(0, '127.0.0.1')
  await once(mute, 'listening')
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    mute.close()
  })
  return { port: (mute.address() as AddressInfo).port, sockets }
}

/** Of the certificate that a gate shows, to whoever it lets in. */
async function numberOf(port: number): Promise<string> {
  const socket = connect({ ...at(port), rejectUnauthorized: false })
  socket.on('error', () => undefined)
  await once(socket, 'secureConnect')
  const { serialNumber = '' } = socket.getPeerX509Certificate() ?? {}
  socket.destroy()
  return serialNumber
}
