/** What a listener says of where its connections come from, whoever made its socket. */
import { once } from 'node:events'
import net from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { bindSockets } from '../../src/sql/bound_sockets.ts'
import type { Origin } from '../../src/sql/handshake.ts'
import { type Bind, listen } from '../../src/sql/listener.ts'
import { openLog } from '../../src/telemetry/log.ts'
import { sendAndReset } from '../support/reset.ts'
import { makeDirectory } from '../support/tools.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

const now = () => 0
const parts = { log: openLog({ write: () => true }, 'info', now), now }
const tcp = () => ({ host: '127.0.0.1', port: 0 })
const unix = async () => ({ path: join(await makeDirectory(), '.s.PGSQL.5432'), mode: 0o700 })

/** @returns where the connections come from, as they are accepted. */
async function origins(bind: Bind, descriptor?: number) {
  const accepted: Origin[] = []
  const sockets: net.Socket[] = []
  const listener = await listen(
    { bind, descriptor, proxies: () => undefined, keepAliveMs: 0 },
    (socket, origin) => {
      accepted.push(origin)
      sockets.push(socket)
    },
    parts,
  )
  closing.push(async () => {
    for (const socket of sockets) socket.destroy()
    await listener.close()
  })
  return { accepted, bound: listener.bound }
}

/** Bound by somebody else, as systemd does it; `named`: whoever listens is told what it is. */
async function inherited(bind: Bind, isNamed: boolean) {
  const sockets = await bindSockets([bind])
  const [fd = -1] = sockets.descriptors
  const listening = await origins(isNamed ? bind : { fd }, fd)
  await sockets.publish()
  closing.push(sockets.close)
  return listening
}

async function come(at: net.NetConnectOpts): Promise<net.Socket> {
  const client = net.connect(at)
  closing.push(() => client.destroy())
  await once(client, 'connect')
  return client
}

describe('a connection', () => {
  it.each<[string, () => ReturnType<typeof origins>]>([
    ['an address of its own', () => origins(tcp())],
    ['a descriptor', () => inherited(tcp(), false)],
    ['a descriptor, with the address', () => inherited(tcp(), true)],
  ])('by TCP comes from an address: %s', async (_name, open) => {
    const { accepted, bound } = await open()
    const client = await come({ host: '127.0.0.1', port: 'port' in bound ? bound.port : 0 })
    await expect.poll(() => accepted).toEqual([{ address: '127.0.0.1', port: client.localPort }])
  })

  it.each<[string, (bind: Bind) => ReturnType<typeof origins>]>([
    ['a path of its own', origins],
    ['a descriptor', (bind) => inherited(bind, false)],
    ['a descriptor, with the path', (bind) => inherited(bind, true)],
  ])('by a unix socket comes from there: %s', async (_name, open) => {
    const where = await unix()
    const { accepted } = await open(where)
    await come(where)
    await expect.poll(() => accepted).toEqual(['unix'])
  })

  it.each<[string, () => ReturnType<typeof origins>]>([
    ['an address of its own', () => origins(tcp())],
    ['a descriptor', () => inherited(tcp(), false)],
    ['a descriptor, with the address', () => inherited(tcp(), true)],
  ])('that was reset before it was accepted is nobody’s: %s', async (_name, open) => {
    const { accepted, bound } = await open()
    const port = 'port' in bound ? bound.port : 0
    sendAndReset(port, Buffer.from('hello'))
    // Accepted behind it.
    const client = await come({ host: '127.0.0.1', port })
    await expect.poll(() => accepted).toEqual([{ address: '127.0.0.1', port: client.localPort }])
  })
})
