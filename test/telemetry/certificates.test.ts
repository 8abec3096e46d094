/** When certificates end, as operators read it; and a line of the audit stream that can't be written. */
import { X509Certificate } from 'node:crypto'
import { afterEach, expect, it } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { type GateOptions, startGate, type TestGate } from '../support/gate.ts'
import { startScriptedNode } from '../support/scripted_node.ts'
import { openTls, refusalOf, signIn } from '../support/wire_client.ts'

const DAY_MS = 86_400_000

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function open(options: Partial<GateOptions>): Promise<TestGate> {
  const node = await startScriptedNode()
  closing.push(() => node.close())
  const gate = await startGate({ node: node.address, ...options })
  closing.push(() => gate.close())
  return gate
}

async function read(gate: TestGate, name: string): Promise<[string, number][]> {
  const text = await (await fetch(`${gate.opsUrl}/metrics`)).text()
  return [...text.matchAll(new RegExp(`^${name}(\\S*) (.*)$`, 'gm'))].map(([, labels, value]) => [
    labels ?? '',
    Number(value),
  ])
}

const END = 'postern_certificate_end_timestamp_seconds'
const SERVER = '{key="listeners[0].tls.cert_file",file="server.crt"}'

async function certificate(days: number) {
  const ca = await makeCa()
  const notAfter = new Date(Date.now() + days * DAY_MS)
  const { certPem, keyPem } = await issue(ca, { cn: 'localhost', sans: ['localhost'], notAfter })
  const endS = Date.parse(new X509Certificate(certPem).validTo) / 1000
  return { certPem, keyPem, ca, endS }
}

it('each certificate of the configuration is there, as its file is now', async () => {
  const [first, second] = [await certificate(30), await certificate(60)]
  const files: Record<string, string> = {
    '/etc/postern/server.crt': first.certPem,
    '/etc/postern/server.key': first.keyPem,
    '/etc/postern/clients.crt': first.ca.certPem,
  }
  const tls = { cert_file: 'server.crt', key_file: 'server.key', client_ca_file: 'clients.crt' }
  const gate = await open({ files, listener: { tls } })
  const [server, clients] = await read(gate, END)
  expect(server).toEqual([SERVER, first.endS])
  expect(clients?.[0]).toBe('{key="listeners[0].tls.client_ca_file",file="clients.crt"}')
  files['/etc/postern/server.crt'] = second.certPem
  expect((await read(gate, END)).find(([labels]) => labels === SERVER)?.[1]).toBe(second.endS)
  // The one in use is kept, and so it is what counts.
  for (const broken of ['', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n']) {
    files['/etc/postern/server.crt'] = broken
    expect((await read(gate, END)).find(([labels]) => labels === SERVER)?.[1]).toBe(first.endS)
  }
})

it('a line of the audit stream that could not be written is counted', async () => {
  const gate = await open({
    auditTo: {
      write() {
        throw new Error('no space left on device')
      },
    },
  })
  expect(await read(gate, 'postern_audit_failures_total')).toEqual([['', 0]])
  const client = await openTls(gate.port, gate.caPem)
  const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
  client.close()
  expect(refusalOf(said)).toBeDefined()
  const [counted] = await read(gate, 'postern_audit_failures_total')
  expect(counted?.[1]).toBeGreaterThan(0)
})
