/** A real haproxy in front of the gate: psql through it is known by its own address. */
import { afterEach, expect, inject, it } from 'vitest'
import { freePort } from '../../src/dev/free_port.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { describeWith, HAPROXY, keepFile, psql, start, url } from '../support/tools.ts'

let gate: TestGate
afterEach(() => gate.close())

describeWith('haproxy', 'haproxy', () => {
  it.each(['send-proxy', 'send-proxy-v2', 'send-proxy-v2 proxy-v2-options crc32c,unique-id'])(
    '%s',
    async (how) => {
      const { host, port } = inject('postgres')
      gate = await startGate({
        node: `${host}:${port}`,
        listener: { proxy_protocol: { from: ['127.0.0.9'] } },
      })
      const front = await freePort()
      const config = await keepFile(
        'haproxy.cfg',
        `defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend sql
  bind 127.0.0.1:${front}
  unique-id-format %{+X}o%ci%cp
  default_backend gate
backend gate
  server gate 127.0.0.1:${gate.port} ${how} source 127.0.0.9
`,
      )
      const haproxy = start(HAPROXY, ['-db', '-f', config])
      const ca = await keepFile('ca.crt', gate.caPem)
      const more = { database: 'trustdb', sslrootcert: ca }
      const env = { PGPASSWORD: await gate.token('maxroach') }
      const ask = () => psql([url(front, 'maxroach', more), '-c', 'select 1'], { env })
      await expect.poll(async () => (await ask()).stdout, { timeout: 20_000 }).toBe('1\n')
      const event = await gate.event('client_authentication_ok')
      expect(event.RemoteAddress).toMatch(/^127\.0\.0\.1:\d+$/)
      haproxy.child.kill('SIGTERM')
      await haproxy.ended
    },
  )
})
