/** TLS at the client's side: from the first byte, by name, with a certificate, and renewed. */

import type { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { issue, localCertificates, makeCa } from '../../src/dev/certificates.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import {
  fields,
  gssencRequest,
  openDirectTls,
  refusalOf,
  signIn,
  sslRequest,
} from '../support/wire_client.ts'

let node: ScriptedNode
let gate: TestGate
beforeAll(async () => {
  node = await startScriptedNode()
  gate = await startGate({ node: node.address })
})
afterAll(async () => {
  await gate.close()
  await node.close()
})

describe('direct TLS', () => {
  it('signs in', async () => {
    const client = await openDirectTls(gate.port, gate.caPem)
    const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    expect(refusalOf(said)).toBeUndefined()
    expect(await gate.event('client_authentication_ok')).toMatchObject({ Transport: 'hostssl' })
    client.close()
  })

  it.each([
    ['without ALPN', {}],
    ['for another protocol', { ALPNProtocols: ['http/1.1'] }],
  ])('is refused %s', async (_name, options) => {
    const opened = openDirectTls(gate.port, gate.caPem, options).then((client) => client.next())
    expect(await opened.catch(() => undefined)).toBeUndefined()
    await expect
      .poll(() => gate.log.some(({ failure }) => failure === 'tls_handshake_failed'))
      .toBe(true)
  })

  it.each([
    ['SSLRequest', sslRequest(), '1234.5679'],
    ['GSSENCRequest', gssencRequest(), '1234.5680'],
  ])('takes no %s inside', async (_name, request, version) => {
    const client = await openDirectTls(gate.port, gate.caPem)
    client.write(request)
    expect(fields((await client.next())?.body ?? Buffer.alloc(0))).toMatchObject({
      C: '0A000',
      M: `unsupported frontend protocol ${version}: server supports 3.0 to 3.2`,
    })
    client.close()
  })

  it('is not taken by a listener without TLS', async () => {
    const plain = await startGate({
      node: node.address,
      listener: { tls: undefined, allow_plaintext: true },
    })
    await expect(openDirectTls(plain.port, plain.caPem)).rejects.toThrow()
    await plain.close()
  })
})

describe('certificates', () => {
  const shown = async (port: number, ca: string, servername: string) => {
    const options = {
      ALPNProtocols: ['postgresql'],
      servername,
      checkServerIdentity: () => undefined,
    }
    const client = await openDirectTls(port, ca, options)
    const { subject } = (client.socket as TLSSocket).getPeerCertificate()
    client.close()
    return subject.CN
  }

  it('are chosen by the name that the client asks for', async () => {
    const ca = await makeCa()
    const [one, two, wild] = await Promise.all([
      issue(ca, { cn: 'one', sans: ['one.example', '127.0.0.1'] }),
      issue(ca, { cn: 'two', sans: ['two.example', 'zwei.example'] }),
      issue(ca, { cn: 'wild', sans: ['*.wild.example'] }),
    ])
    const files: Record<string, string> = {}
    for (const [name, pair] of Object.entries({ one, two, wild })) {
      files[`/etc/postern/${name}.crt`] = pair.certPem
      files[`/etc/postern/${name}.key`] = pair.keyPem
    }
    const pair = (name: string) => ({ cert_file: `${name}.crt`, key_file: `${name}.key` })
    const named = await startGate({
      node: node.address,
      listener: { tls: { ...pair('one'), certificates: [pair('two'), pair('wild')] } },
      files,
    })
    const names = [
      'one.example',
      'TWO.example',
      'zwei.example',
      'a.wild.example',
      'other.example',
      'a.b.wild.example',
    ]
    const seen = await Promise.all(names.map((name) => shown(named.port, ca.certPem, name)))
    expect(seen).toEqual(['one', 'two', 'two', 'wild', 'one', 'one'])
    await named.close()
  })

  it('are read again when their files change, and kept when the new ones are bad', async () => {
    const ca = await makeCa()
    const make = (cn: string) => issue(ca, { cn, sans: ['127.0.0.1'] })
    const files: Record<string, string> = {}
    const put = ({ certPem, keyPem }: { certPem: string; keyPem: string }) =>
      Object.assign(files, {
        '/etc/postern/server.crt': certPem,
        '/etc/postern/server.key': keyPem,
      })
    put(await make('first'))
    let changed: () => void = () => undefined
    const renewed = await startGate({
      node: node.address,
      files,
      watch(_files, callback) {
        changed = callback
        return () => undefined
      },
    })
    const seen = async () => await shown(renewed.port, ca.certPem, 'localhost')
    expect(await seen()).toBe('first')
    put(await make('second'))
    changed()
    expect(await seen()).toBe('second')
    files['/etc/postern/server.crt'] = (await make('third')).certPem
    changed()
    expect(await seen()).toBe('second')
    expect(renewed.log.at(-1)?.msg).toContain('the certificates in use are kept')
    await renewed.close()
  })

  it('of clients are verified where one is shown, and not asked for otherwise', async () => {
    const ca = await makeCa('clients')
    const stranger = await makeCa('strangers')
    const asks = await startGate({
      node: node.address,
      listener: {
        tls: { cert_file: 'server.crt', key_file: 'server.key', client_ca_file: 'clients.crt' },
      },
      files: { '/etc/postern/clients.crt': ca.certPem },
    })
    const present = async (cert: { certPem: string; keyPem: string } | undefined) => {
      const shown = cert && { cert: cert.certPem, key: cert.keyPem }
      const options = { ALPNProtocols: ['postgresql'], ...shown }
      const client = await openDirectTls(asks.port, asks.caPem, options)
      return (
        refusalOf(await signIn(client, { user: 'maxroach' }, await asks.token('maxroach'))) ??
        client.next
      )
    }
    const client = { cn: 'app', use: 'client' } as const
    const signedIn = async (cert?: { certPem: string; keyPem: string }) => {
      const before = asks.audit.length
      await present(cert).catch(() => undefined)
      return asks.audit
        .slice(before)
        .some(({ EventType }) => EventType === 'client_authentication_ok')
    }
    const { expired } = await localCertificates(ca)
    expect(await signedIn()).toBe(true)
    expect(await signedIn(await issue(ca, client))).toBe(true)
    expect(await signedIn(await issue(stranger, client))).toBe(false)
    expect(await signedIn(expired)).toBe(false)
    expect(asks.log.filter(({ failure }) => failure === 'tls_handshake_failed')).toHaveLength(2)
    await asks.close()
  })
})
