/** TLS at the client's side: from the first byte, by name, with a certificate, and renewed. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
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
