/**
 * Nodes that a gate must not trust, or that don't do as they should, before and after they have seen
 * its certificate: what the user is told, and what who runs the gate reads. And a CockroachDB that
 * judges by the certificate's name.
 */
import { X509Certificate } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  type Ca,
  type CertificateAndKey,
  issue,
  localCertificates,
  makeCa,
} from '../../src/dev/certificates.ts'
import { FAILURES, type FailureCode } from '../../src/failure.ts'
import {
  makeClientCa,
  type Negotiation,
  reasonOf,
  startCertificateGate,
  toldBy,
} from '../support/certificate_gate.ts'
import type { TestGate } from '../support/gate.ts'
import { ODD_ROLES } from '../support/odd_roles.ts'
import {
  type Conversation,
  error,
  letIn,
  type Script,
  type ScriptedNode,
  startScriptedNode,
} from '../support/scripted_node.ts'
import { message, uint32 } from '../support/wire_client.ts'

let nodeCa: Ca
let clientCa: CertificateAndKey
let certificates: Record<
  'good' | 'expired' | 'otherName' | 'otherCa' | 'forClients',
  CertificateAndKey
>
const closing: (() => unknown)[] = []

beforeAll(async () => {
  nodeCa = await makeCa('node CA')
  clientCa = await makeClientCa()
  const here = { cn: 'localhost', sans: ['localhost', '127.0.0.1'] }
  certificates = {
    ...(await localCertificates(nodeCa)),
    otherCa: await issue(await makeCa('another CA'), here),
    forClients: await issue(nodeCa, { ...here, use: 'client' }),
  }
})
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function gateBefore(
  node: { address: string },
  sslnegotiation: Negotiation,
  cluster: Record<string, unknown> = {},
): Promise<TestGate> {
  const parts = { authority: clientCa, nodeCaPem: nodeCa.certPem, sslnegotiation, cluster }
  const gate = await startCertificateGate({ node: node.address, ...parts })
  closing.push(() => gate.close())
  return gate
}

async function startNode(script: Script): Promise<ScriptedNode> {
  const node = await startScriptedNode(script)
  closing.push(() => node.close())
  return node
}

/** A node that is not even that. */
async function listen(
  answer: (socket: Socket, first: Buffer) => void,
): Promise<{ address: string }> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined))
    socket.once('data', (first: Buffer) => answer(socket, first))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const bound = server.address()
  return { address: `127.0.0.1:${typeof bound === 'object' && bound ? bound.port : 0}` }
}

async function expectRefused(gate: TestGate, code: FailureCode, why: string | RegExp) {
  const { sqlstate, say } = FAILURES[code]
  expect(sqlstate).toBe('08006')
  expect(await toldBy(gate, 'maxroach')).toEqual({ sqlstate, says: say })
  const reason = await reasonOf(gate)
  if (typeof why === 'string') expect(reason).toContain(why)
  else expect(reason).toMatch(why)
}

const both = (['postgres', 'direct'] as const).map((negotiation) => ({ negotiation }))

describe.each(both)('a node, sslnegotiation: $negotiation', ({ negotiation }) => {
  const direct = negotiation === 'direct'
  const tls = (pair: CertificateAndKey, more: Partial<Script['tls']> = {}) => {
    return { ...pair, clientCaPem: clientCa.certPem, direct, alpn: ['postgresql'], ...more }
  }

  it.each([
    ['otherName', /ERR_TLS_CERT_ALTNAME_INVALID|does not match certificate's altnames/],
    ['expired', /CERT_HAS_EXPIRED|certificate has expired/],
    ['otherCa', /UNABLE_TO_VERIFY_LEAF_SIGNATURE|unable to verify the first certificate/],
    ['forClients', /INVALID_PURPOSE|unsuitable certificate purpose/],
  ] as const)('whose certificate is not the one: %s', async (which, why) => {
    const node = await startNode({ tls: tls(certificates[which]) })
    await expectRefused(await gateBefore(node, negotiation), 'node_unreachable', why)
    expect(node.startups).toEqual([])
  })

  it.each([
    ['GSS', 7, "the node asks for type 7, which this sign-in doesn't have"],
    ['SSPI', 9, "the node asks for type 9, which this sign-in doesn't have"],
    ['an MD5 password', 5, "the node asks for MD5Password, which this sign-in doesn't have"],
    ['a password in clear', 3, "the node asks for a password, which this sign-in doesn't have"],
    ['SCRAM', 10, "the node asks for SASL, which this sign-in doesn't have"],
    ['something new', 99, 'the node asks for type 99'],
  ])('that asks for %s after the certificate', async (_name, code, why) => {
    const more = code === 10 ? Buffer.from('SCRAM-SHA-256\0\0') : Buffer.alloc(code === 5 ? 4 : 0)
    const ask = message('R', Buffer.concat([uint32(code), more]))
    const node = await startNode({
      tls: tls(certificates.good),
      greet: ({ send }) => send(ask),
    })
    await expectRefused(await gateBefore(node, negotiation), 'node_signin_failed', why)
    expect(node.passwords).toEqual([])
  })

  it('that closes after the certificate', async () => {
    const node = await startNode({
      tls: tls(certificates.good),
      greet: ({ socket }) => socket.end(),
    })
    const gate = await gateBefore(node, negotiation)
    await expectRefused(gate, 'node_signin_failed', 'the node closed the connection')
  })

  it('that breaks off at the first byte', async () => {
    const gate = await gateBefore(await listen((socket) => socket.destroy()), negotiation)
    await expectRefused(
      gate,
      'node_unreachable',
      direct
        ? 'sslnegotiation: direct needs PostgreSQL 17 or newer, with TLS on'
        : 'the node closed the connection',
    )
  })

  it('that sends a TLS alert', async () => {
    const alert = Buffer.from([21, 3, 1, 0, 2, 2, 40])
    const node = await listen((socket) => {
      if (direct) return socket.end(alert)
      socket.write('S')
      return socket.once('data', () => socket.end(alert))
    })
    const gate = await gateBefore(node, negotiation)
    await expectRefused(gate, 'node_unreachable', /alert handshake failure|ALERT_HANDSHAKE_FAILURE/)
  })

  it('that says nothing', async () => {
    const gate = await gateBefore(await listen(() => undefined), negotiation, {
      connect_timeout: '100ms',
    })
    await expectRefused(gate, 'node_unreachable', 'no connection within connect_timeout')
  })

  it('that begins TLS and says no more', async () => {
    const node = await listen((socket) => {
      if (!direct) socket.write('S')
    })
    const gate = await gateBefore(node, negotiation, { connect_timeout: '100ms' })
    await expectRefused(gate, 'node_unreachable', 'no connection within connect_timeout')
  })

  it('that is not there', async () => {
    const node = await startScriptedNode()
    await node.close()
    const gate = await gateBefore(node, negotiation)
    await expectRefused(gate, 'node_unreachable', /node 127\.0\.0\.1:\d+: connect ECONNREFUSED/)
  })

  it('that is CockroachDB, and lets in whom the certificate names', async () => {
    const node = await startNode({ tls: tls(certificates.good), greet: cockroach })
    const gate = await gateBefore(node, negotiation, { kind: 'cockroachdb' })
    const folded = ODD_ROLES.filter((role) => role === role.toLowerCase().normalize('NFC'))
    for (const role of folded) expect([role, await toldBy(gate, role)]).toEqual([role, undefined])
    expect(node.startups.map(({ user }) => user)).toEqual(folded)
    expect(node.startups[0]).toMatchObject({
      database: 'defaultdb',
    })
    expect(node.passwords).toEqual([])
  })

  it("that is CockroachDB, and doesn't trust the authority", async () => {
    const other = await makeClientCa('another')
    const node = await startNode({
      tls: tls(certificates.good, { clientCaPem: other.certPem }),
      greet: (conversation) => cockroach(conversation, other),
    })
    const gate = await gateBefore(node, negotiation, { kind: 'cockroachdb' })
    expect(await toldBy(gate, 'maxroach')).toEqual({
      sqlstate: FAILURES.role_refused.sqlstate,
      says: 'password authentication failed for user maxroach',
    })
    expect(await reasonOf(gate)).toContain('refused "maxroach": 28000: certificate authentication')
  })
})

/** As CockroachDB: the name in a certificate of its client CA is the user, or nobody comes in. */
function cockroach(conversation: Conversation, by = clientCa): void {
  const { socket, parameters, send } = conversation
  const shown = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined
  const names = shown?.toLegacyObject().subject.CN
  const signed = shown?.verify(new X509Certificate(by.certPem).publicKey)
  if (signed && shown?.keyUsage?.join() === '1.3.6.1.5.5.7.3.2' && names === parameters['user'])
    letIn(conversation)
  else send(error('28000', 'certificate authentication failed for user'))
}

describe('TLS after SSLRequest', () => {
  it.each([
    ['N', 'node_signin_failed', 'the node refused TLS'],
    ['E', 'node_signin_failed', 'the node refused TLS'],
    ['Sx', 'node_protocol', 'bytes before the TLS handshake'],
  ] as const)('is not begun where the node says %s', async (says, code, why) => {
    const node = await listen((socket) => socket.write(says))
    await expectRefused(await gateBefore(node, 'postgres'), code, why)
  })
})

describe('TLS from the first byte', () => {
  it.each([
    ['no ALPN', undefined],
    ['another protocol', ['h2']],
  ])('is not gone on with where the node chose %s', async (_name, alpn) => {
    const node = await startNode({
      tls: { ...certificates.good, direct: true, ...(alpn && { alpn }) },
    })
    const gate = await gateBefore(node, 'direct')
    const refused =
      /the node did not choose ALPN "postgresql"|NO_APPLICATION_PROTOCOL|no application protocol/i
    await expectRefused(gate, alpn ? 'node_unreachable' : 'node_signin_failed', refused)
    expect(node.startups).toEqual([])
  })

  it('is not answered in clear', async () => {
    const node = await listen((socket) =>
      socket.end(error('08P01', 'unsupported frontend protocol')),
    )
    await expectRefused(
      await gateBefore(node, 'direct'),
      'node_unreachable',
      'sslnegotiation: direct needs PostgreSQL 17 or newer, with TLS on',
    )
  })
})
