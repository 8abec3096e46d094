/** The audit stream at a syslog server: what it hears, over TCP and TLS, and what happens while it is away. */
import { once } from 'node:events'
import { type AddressInfo, createServer as createTcp, type Server, type Socket } from 'node:net'
import { createServer as createTls } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { openAudit } from '../../src/telemetry/audit.ts'
import { openSyslog } from '../../src/telemetry/syslog.ts'
import { KEY, NOW, say, verify } from '../support/sealed.ts'

const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

/** A server that takes messages with their lengths, and can be away for a while. */
async function startServer(port = 0, tls?: { key: string; cert: string }) {
  const messages: string[] = []
  let came = 0
  const sockets = new Set<Socket>()
  const hear = (socket: Socket) => {
    let waiting = Buffer.alloc(0)
    came++
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      waiting = Buffer.concat([waiting, chunk])
      for (;;) {
        const space = waiting.indexOf(' ')
        const end = space + 1 + Number(waiting.toString('latin1', 0, space))
        if (space < 0 || waiting.length < end) return
        messages.push(waiting.toString('utf8', space + 1, end))
        waiting = waiting.subarray(end)
      }
    })
  }
  const server: Server = tls ? createTls(tls, hear) : createTcp(hear)
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const stop = () => {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
  ends.push(stop)
  return { port: (server.address() as AddressInfo).port, messages, sockets, stop, came: () => came }
}

function open(port: number, tls?: { ca: string | undefined }, takenMs = 5_000, lastsMs = 20) {
  const parts = { hostName: 'gate-1', now: () => NOW, takenMs, lastsMs }
  const sink = openSyslog({ host: '127.0.0.1', port, tls }, parts)
  const troubles: (string | undefined)[] = []
  sink.onTrouble?.((problem) => troubles.push(problem))
  ends.push(() => void sink.close?.())
  return { sink, troubles }
}

const lines = (messages: string[]) => messages.map((each) => `${each.slice(each.indexOf('{'))}\n`)

describe('a syslog server', () => {
  it('hears each line as a message of RFC 5424, with its length before it', async () => {
    const server = await startServer()
    const { sink } = open(server.port)
    sink.write('{"User":"é"}\n')
    await expect
      .poll(() => server.messages)
      .toEqual(['<86>1 2023-11-14T22:13:20.000Z gate-1 postern - audit - {"User":"é"}'])
    await sink.sync?.()
  })

  it('is waited for at the beginning, until its connection has lasted', async () => {
    const server = await startServer()
    const { sink } = open(server.port)
    sink.write('{}\n')
    await sink.sync?.()
    await expect.poll(() => server.messages).toHaveLength(1)
  })

  it('can be one with a certificate, and no other', async () => {
    const ca = await makeCa()
    const { certPem: cert, keyPem: key } = await issue(ca, { cn: 'logs', sans: ['127.0.0.1'] })
    const server = await startServer(0, { cert, key })
    const { sink } = open(server.port, { ca: ca.certPem })
    sink.write('{}\n')
    await expect.poll(() => server.messages).toHaveLength(1)
    const stranger = open(server.port, { ca: (await makeCa()).certPem })
    stranger.sink.write('{"secret":1}\n')
    await expect.poll(() => stranger.troubles.length).toBeGreaterThan(0)
    expect(stranger.troubles[0]).toMatch(/self-signed certificate|unable to/)
    expect(server.messages).toHaveLength(1)
  })

  it('that was away gets every line when it is back, in order, and the chain is whole', async () => {
    const port = await freePort()
    const { sink, troubles } = open(port)
    const audit = openAudit(sink, () => NOW, { seal: KEY })
    say(audit, 'a', 'b')
    await expect.poll(() => troubles[0]).toMatch('ECONNREFUSED')
    await expect(audit.sync()).rejects.toThrow('the syslog server is not connected')
    const server = await startServer(port)
    await expect.poll(() => troubles.at(-1)).toBeUndefined()
    say(audit, 'c')
    const sizes = () => server.messages.length
    await expect.poll(sizes).toBeGreaterThan(3)
    server.stop()
    await expect.poll(() => troubles.at(-1)).toBeDefined()
    say(audit, 'd', 'e')
    const again = await startServer(port)
    await expect.poll(() => again.messages.at(-1)).toContain('"e"')
    const all = [...lines(server.messages), ...lines(again.messages)]
    expect((await verify([...new Set(all)].join(''))).wrong).toEqual([])
  })

  it('that is stuck and keeps the connection is given up: the next connection gets all of it', async () => {
    const server = await startServer()
    const { sink, troubles } = open(server.port, undefined, 100)
    await expect.poll(() => server.sockets.size).toBe(1)
    for (const socket of server.sockets) socket.pause()
    const many = 10_000
    for (let count = 0; count < many; count++)
      sink.write(`${JSON.stringify({ count, of: 'x'.repeat(1_000) })}\n`)
    await expect.poll(() => troubles[0]).toBe('it took nothing for 0.1 s')
    const last = () => server.messages.at(-1)?.includes(`"count":${many - 1},`)
    await expect.poll(last, { timeout: 10_000 }).toBe(true)
    expect(troubles.at(-1)).toBeUndefined()
    await sink.sync?.()
  })

  it('that closes each connection, as a balancer with nobody behind it does, gets no line', async () => {
    const server = await startServer()
    const { sink, troubles } = open(server.port, undefined, undefined, 1_000)
    const close = setInterval(() => {
      for (const socket of server.sockets) socket.destroy()
    }, 1)
    ends.push(() => clearInterval(close))
    sink.write('{}\n')
    await expect.poll(server.came, { timeout: 10_000 }).toBeGreaterThan(2)
    await expect(sink.sync?.()).rejects.toThrow('it closed the connection')
    expect([server.messages, troubles.length]).toEqual([[], new Set(troubles).size])
    expect(troubles).not.toContain(undefined)
    clearInterval(close)
    await expect.poll(() => server.messages, { timeout: 15_000 }).toHaveLength(1)
    expect(troubles.at(-1)).toBeUndefined()
  })

  it('that ends a connection is waited for once there is the next one, until it has lasted', async () => {
    const server = await startServer()
    const { sink, troubles } = open(server.port, undefined, undefined, 500)
    await expect.poll(() => server.sockets.size).toBe(1)
    for (const socket of server.sockets) socket.end()
    const isThere = () => sink.sync?.().then(() => true, String)
    const seen = async () => [await isThere(), ...troubles]
    // It is there, and has not lasted yet.
    await expect.poll(seen, { interval: 1 }).toEqual([true, 'it closed the connection'])
    sink.write('{}\n')
    await sink.sync?.()
    expect(troubles).toEqual(['it closed the connection', undefined])
    await expect.poll(() => server.messages).toHaveLength(1)
  })

  it('that is away at the end: says how many lines are lost', async () => {
    const { sink } = open(await freePort())
    for (let count = 0; count < 3; count++) sink.write('{}\n')
    expect(await sink.close?.()).toBe(3)
    const server = await startServer()
    const taken = open(server.port).sink
    taken.write('{}\n')
    await expect.poll(() => server.messages).toHaveLength(1)
    expect(await taken.close?.()).toBe(0)
  })

  it('that takes nothing holds nobody for ever: required logins are refused, and others when all is full', async () => {
    const { sink } = open(await freePort())
    const required = openAudit(sink, () => NOW, { required: true })
    const granted = { EventType: 'login_decision' } as never
    await expect(required.write(1, granted)).rejects.toThrow('ECONNREFUSED')
    await expect(required.write(1, granted)).rejects.toThrow('not connected')
    const line = `${JSON.stringify({ of: 'x'.repeat(1_000_000) })}\n`
    expect(() => {
      for (let count = 0; count < 17; count++) sink.write(line)
    }).toThrow(/the syslog server has not taken \d+ bytes of lines/)
  })
})
