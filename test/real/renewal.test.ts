/**
 * Certificates of listeners that are open go on being renewed, whatever the file says of other things that
 * take a new start: in one process and with workers in processes of their own.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterEach, expect, inject, it } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { pidsOf } from '../support/on_workers.ts'
import { type Served, startServe } from '../support/serve.ts'
import { openTls } from '../support/wire_client.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
const WAITS = 'stays as it is until the gate is started again'

type Configuration = { listeners: Record<string, unknown>[]; workers: number }

let gate: Served
afterEach(async () => {
  gate.child.kill('SIGTERM')
  expect((await gate.ended).code).toBe(0)
})

it.each([
  [1, 'another address', { address: '127.0.0.1:1' }],
  [2, 'another address', { address: '127.0.0.1:1' }],
  [1, 'no certificates', { address: '127.0.0.1:1', tls: undefined, allow_plaintext: true }],
  [2, 'no certificates', { address: '127.0.0.1:1', tls: undefined, allow_plaintext: true }],
])(
  'of %i workers, of which the file says another number, and %s',
  {
    timeout: 60_000,
  },
  async (workers, _, listener) => {
    gate = await startServe({ node }, { workers })
    const file: Configuration = JSON.parse(await readFile(gate.configFile, 'utf8'))
    Object.assign(file.listeners[0] ?? {}, listener)
    file.workers = 3 - workers
    await writeFile(gate.configFile, JSON.stringify(file))
    gate.child.kill('SIGHUP')
    await gate.until('the configuration was read again')
    for (const what of ['listeners', 'workers']) expect(gate.said()).toContain(`${what} ${WAITS}`)
    const fresh = await renew()
    await expect.poll(isServed(fresh, workers), { timeout: 15_000 }).toBe(true)
    if (workers === 1) return
    // Those that come later open what is open, with what is in force.
    gate.child.kill('SIGUSR2')
    await gate.until('the workers are fresh ones')
    expect(await isServed(fresh, workers)()).toBe(true)
    expect(pidsOf(gate).size).toBe(2 * workers)
    const renewed = await renew()
    await expect.poll(isServed(renewed, workers), { timeout: 15_000 }).toBe(true)
  },
)

/** A new CA, and a certificate of its own, in the place of what the gate has. @returns the CA. */
async function renew(): Promise<string> {
  const ca = await makeCa('Another CA')
  const { certPem, keyPem } = await issue(ca, { cn: 'localhost', sans: ['127.0.0.1'] })
  const at = (name: string) => join(dirname(gate.configFile), name)
  await writeFile(at('server.crt'), certPem)
  await writeFile(at('server.key'), keyPem)
  return ca.certPem
}

/** By all of them, as far as so many connections can say. */
function isServed(caPem: string, workers: number): () => Promise<boolean> {
  return async () => {
    const connections = Array.from({ length: 4 * workers }, () => openTls(gate.port, caPem))
    const opened = await Promise.allSettled(connections)
    for (const each of opened) if (each.status === 'fulfilled') each.value.close()
    return opened.every(
      (each) => each.status === 'fulfilled' && (each.value.socket as TLSSocket).authorized,
    )
  }
}
