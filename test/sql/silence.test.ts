/** Ten thousand sockets that say nothing, against a gate in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { freePort } from '../../src/dev/free_port.ts'

const SOCKETS = 10_000
const MIB = 1024

let gate: ChildProcess
let port: number
const dir = mkdtempSync(join(tmpdir(), 'postern-silence-'))

beforeAll(async () => {
  port = await freePort()
  const config = {
    listeners: [{ address: `127.0.0.1:${port}`, allow_plaintext: true }],
    clusters: {
      test: { kind: 'postgresql', nodes: [{ address: '127.0.0.1:1' }], sign_in: 'trust' },
    },
    limits: { authentication_timeout: '4s' },
    log: { level: 'info' },
  }
  const file = join(dir, 'postern.json')
  writeFileSync(file, JSON.stringify(config))
  gate = spawn('node', ['src/main.ts', 'serve', '--config', file], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  await once(gate.stderr as NodeJS.ReadableStream, 'data')
})
afterAll(async () => {
  gate.kill('SIGTERM')
  await once(gate, 'exit')
  rmSync(dir, { recursive: true })
})

it('are closed within the deadline, in bounded memory, and the gate goes on', async () => {
  const before = residentKiB()
  const sockets: Socket[] = []
  for (let round = 0; round < SOCKETS / 500; round++)
    sockets.push(...(await Promise.all(Array.from({ length: 500 }, () => dial(port)))))
  const grown = residentKiB() - before
  await expect
    .poll(() => sockets.filter(({ destroyed }) => destroyed).length, { timeout: 15_000 })
    .toBe(SOCKETS)
  expect(grown / SOCKETS).toBeLessThan(40)
  expect(residentKiB()).toBeLessThan(before + 500 * MIB)
  const late = await dial(port)
  late.write('GET / HTTP/1.1\r\n\r\n')
  await once(late, 'close')
})

function residentKiB(): number {
  const status = readFileSync(`/proc/${gate.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1])
}

async function dial(to: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: to })
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.resume()
  return socket
}
