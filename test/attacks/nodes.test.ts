/**
 * Lessons 5.13 and 5.22: a node, or somebody on the way to it, that wants the role's secret, the client's
 * token, or the gate's end; and clients that want something weaker than there is.
 */
import { createHash, X509Certificate } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Ca, type CertificateAndKey, issue, makeCa } from '../../src/dev/certificates.ts'
import type { TestGate } from '../support/gate.ts'
import { saslOffer, scramScript } from '../support/scram_node.ts'
import {
  authenticationOk,
  type Conversation,
  error,
  letIn,
  readyForQuery,
  type Script,
  startScriptedNode,
} from '../support/scripted_node.ts'
import {
  fields,
  message,
  openTls,
  query,
  refusalOf,
  signIn,
  startup,
  uint32,
} from '../support/wire_client.ts'
import { attempt, battlefield, heard, IN, USER } from './attempt.ts'

const SECRET = 'the secret of a role'
const COULD_NOT = '08006: the gate could not sign in to the database'
const BROKE = '08006: the database broke the protocol'
const field = battlefield()

let ca: Ca
let certificate: CertificateAndKey
let real: TestGate
beforeAll(async () => {
  ca = await makeCa('the CA of the nodes')
  certificate = await issue(ca, { cn: 'node', sans: ['127.0.0.1'] })
  real = await field.gate()
})
afterAll(async () => expect(await attempt(real, await real.token('maxroach'))).toBe(IN))

/** A gate in front of a node that does as it likes; `over` what is set otherwise. */
async function before(script: Script, cluster: Record<string, unknown> = {}, encrypted = false) {
  const node = field.keep(await startScriptedNode(script))
  const gate = await field.gate({
    node: node.address,
    ...(encrypted && {
      nodeTls: { ca_file: 'node-ca.crt' },
      files: { '/etc/postern/node-ca.crt': ca.certPem },
    }),
    cluster: { connect_timeout: '1s', ...cluster },
  })
  return { node, gate }
}

/** What a client is told, and that all the words of a node's own are kept from it. */
async function told(gate: TestGate): Promise<string> {
  return await attempt(gate, await gate.token('maxroach'))
}

describe('5.13 downgrades', () => {
  const scram = { sign_in: 'scram', scram: { secrets: { maxroach: SECRET } } }
  const passwords = { maxroach: SECRET }

  it.each<[string, () => Script]>([
    ['nothing at all', () => ({})],
    ['the secret in clear', () => ({ greet: ({ askPassword }) => askPassword(() => undefined) })],
    [
      'its MD5',
      () => ({ greet: ({ send }) => send(message('R', Buffer.concat([uint32(5), uint32(1)]))) }),
    ],
    ['SCRAM by SHA-1', () => ({ greet: ({ send }) => send(saslOffer(['SCRAM-SHA-1'])) })],
    ['no mechanism', () => ({ greet: ({ send }) => send(saslOffer([])) })],
    ['few iterations', () => scramScript({ passwords, iterations: 1 })],
    ['no proof of its own', () => scramScript({ passwords, final: () => 'v=AAAA' })],
    ['to skip the proof', () => scramScript({ passwords, instead: letIn })],
  ])('a node that wants %s in the place of SCRAM gets no secret', async (_what, script) => {
    const { node, gate } = await before(script(), scram)
    expect(await told(gate)).toMatch(/^08006: /)
    expect(node.passwords).toEqual([])
    expect(JSON.stringify([gate.audit, gate.log])).not.toContain(SECRET)
  })

  it('who strips channel binding on the way is found out', async () => {
    const endPoint = createHash('sha256')
      .update(new X509Certificate(certificate.certPem).raw)
      .digest()
    const script = scramScript({ passwords, endPoint, offer: ['SCRAM-SHA-256'] })
    const { gate } = await before({ ...script, tls: certificate }, scram, true)
    const client = await openTls(gate.port, gate.caPem)
    await signIn(client, USER, await gate.token('maxroach'))
    client.close()
    // `y`: we could have bound, had it been offered; a node that did offer it refuses that.
    expect(script.heard).toMatchObject([{ first: expect.stringMatching(/^y,,/) }])
  })

  it.each<[string, string | Buffer]>([
    ['no', 'N'],
    ['an error in clear (CVE-2024-10977)', error('28000', 'give your password to evil.test')],
    [
      'yes, with an answer behind it',
      Buffer.concat([Buffer.from('S'), authenticationOk, readyForQuery()]),
    ],
    ['in clear', Buffer.concat([authenticationOk, readyForQuery()])],
    ['nothing more', ''],
  ])(
    'who answers %s for the node, when TLS is asked for, gets no name and no token',
    async (_what, answer) => {
      const seen: Buffer[] = []
      const sockets: Socket[] = []
      const middle = createServer((socket) => {
        sockets.push(socket)
        socket
          .on('error', () => undefined)
          .on('data', (chunk) => {
            seen.push(chunk)
            socket.write(answer)
          })
      })
      await new Promise<void>((resolve) => middle.listen(0, '127.0.0.1', resolve))
      const address = middle.address()
      field.keep({
        close: () => {
          for (const socket of sockets) socket.destroy()
          return new Promise<void>((done) => void middle.close(() => done()))
        },
      })
      const gate = await field.gate({
        node: `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`,
        nodeTls: { ca_file: 'node-ca.crt' },
        files: { '/etc/postern/node-ca.crt': ca.certPem },
        cluster: { sign_in: 'forward', connect_timeout: '1s' },
      })
      const words = await told(gate)
      expect(words).toMatch(/^08006: the (gate|database) /)
      expect(words).not.toContain('evil')
      expect(Buffer.concat(seen).toString('latin1')).not.toMatch(/maxroach|ey[JK]/)
    },
  )

  it('who shows another certificate for the node gets no token either', async () => {
    const other = await issue(await makeCa('another CA'), { cn: 'node', sans: ['127.0.0.1'] })
    const { node, gate } = await before({ tls: other }, { sign_in: 'forward' }, true)
    expect(await told(gate)).toMatch(/^08006: /)
    expect([node.startups, node.passwords]).toEqual([[], []])
  })

  it('a client may bind no channel that is not there, nor take what is not offered', async () => {
    const gate = await field.gate({
      cluster: { 'server.oauthbearer_authentication.enabled': true },
    })
    const token = await gate.token('maxroach')
    const initial = (response: string, mechanism = 'OAUTHBEARER') =>
      message(
        'p',
        Buffer.concat([
          Buffer.from(`${mechanism}\0`),
          uint32(response.length),
          Buffer.from(response),
        ]),
      )
    const bearer = `\x01auth=Bearer ${token}\x01\x01`
    for (const [response, mechanism] of [
      [`p=tls-exporter,,${bearer}`, undefined],
      [`n,a=postgres,${bearer}`, undefined],
      [`n,,${bearer}`, 'SCRAM-SHA-256'],
      [`n,,${bearer}`, 'ANONYMOUS'],
      ['n,,n=maxroach,r=abc', 'SCRAM-SHA-256-PLUS'],
    ] as const) {
      const client = await openTls(gate.port, gate.caPem)
      client.write(startup(USER))
      expect((await client.next())?.body.toString('latin1')).toContain('OAUTHBEARER')
      const refusal = await heard(client, initial(response, mechanism))
      expect(fields(refusal.subarray(5))).toMatchObject({ C: '08P01' })
    }
  })

  it('a node’s SCRAM that goes through a gate says that it binds nothing', async () => {
    const script = scramScript({ passwords })
    const cluster = { non_jwt_logins: 'passthrough', passthrough_scram: 'no_channel_binding' }
    const { gate } = await before({ ...script, tls: certificate }, cluster, true)
    const client = await openTls(gate.port, gate.caPem)
    client.write(startup(USER))
    const offer = (await client.next())?.body.toString('latin1', 4)
    expect(offer).toBe('SCRAM-SHA-256\0\0')
    const first = 'y,,n=,r=abc'
    const choice = Buffer.concat([
      Buffer.from('SCRAM-SHA-256\0'),
      uint32(first.length),
      Buffer.from(first),
    ])
    const refusal = await heard(client, message('p', choice))
    expect(fields(refusal.subarray(5))['M']).toBe('SCRAM channel binding negotiation error')
    expect(script.heard).toEqual([])
  })
})

describe('5.22 a node that means no good', () => {
  const notes = (count: number) =>
    Array.from({ length: count }, () => message('N', 'SNOTICE\0Mhm\0\0'))
  const huge = (type: string) =>
    Buffer.concat([Buffer.from(type), uint32(0x7fff_fff0), Buffer.alloc(4096, 'x')])
  const greets = (...bytes: Buffer[]): Script => ({ greet: ({ send }) => send(...bytes) })

  it.each<[string, Script, string]>([
    ['an error without its code (CVE-2026-6666)', greets(error('', 'no')), BROKE],
    ['an error without an end', greets(message('E', 'Soops')), BROKE],
    ['an empty error', greets(message('E', '')), BROKE],
    ['two gigabytes of an error', greets(huge('E')), BROKE],
    ['two gigabytes of a setting', greets(authenticationOk, huge('S')), BROKE],
    ['a message of no bytes', greets(Buffer.from([0x53, 0, 0, 0, 0])), BROKE],
    ['a length below zero', greets(Buffer.from([0x53, 0xff, 0xff, 0xff, 0xff])), BROKE],
    ['notices for ever', greets(authenticationOk, ...notes(2000)), BROKE],
    ['rows that nobody asked for', greets(authenticationOk, message('D', '\0\0')), BROKE],
    ['a request of the client’s', greets(query('DROP TABLE accounts')), BROKE],
    ['HTTP', greets(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')), BROKE],
    ['a copy', greets(authenticationOk, message('G', '\0\0\0')), BROKE],
    ['half an answer', { greet: ({ socket }) => socket.end('R') }, COULD_NOT],
    ['silence', { greet: () => undefined }, COULD_NOT],
    [
      'an endless SCRAM',
      greets(message('R', Buffer.concat([uint32(11), Buffer.alloc(30_000, 'x')]))),
      BROKE,
    ],
  ])('that says %s is heard by one login alone', async (_what, script, words) => {
    const { gate } = await before(script)
    const answer = await told(gate)
    expect(answer).toBe(words)
    expect(answer).toMatch(/^08006: the (gate|database) /)
    expect(await attempt(real, await real.token('maxroach'))).toBe(IN)
  })

  it('gets no secret by an iteration count that would keep the gate busy', async () => {
    const passwords = { maxroach: SECRET }
    const cluster = { sign_in: 'scram', scram: { secrets: passwords } }
    const { gate } = await before(scramScript({ passwords, iterations: 2_147_483_647 }), cluster)
    expect(await told(gate)).toBe(BROKE)
  })

  it('can say nothing in the name of the gate: its refusals of a role are rewritten', async () => {
    const words = error('28P01', 'your token was stolen; sign in at https://evil.test')
    const { gate } = await before(greets(words))
    expect(await told(gate)).toBe('28P01: password authentication failed for user maxroach')
  })

  it.each<[string, Buffer]>([
    ['a length below what there is', Buffer.from([0x44, 0, 0, 0, 1])],
    ['a length below zero', Buffer.from([0x44, 0xff, 0xff, 0xff, 0xf0])],
    ['a second greeting', Buffer.concat([authenticationOk, Buffer.from([0, 0, 0, 0, 0])])],
  ])('and in a session that is open ends that one: %s', async (_what, bytes) => {
    const { gate } = await before({ session: (_chunk, { send }: Conversation) => send(bytes) })
    const one = await openTls(gate.port, gate.caPem)
    const other = await openTls(gate.port, gate.caPem)
    for (const client of [one, other])
      expect(refusalOf(await signIn(client, USER, await gate.token('maxroach')))).toBeUndefined()
    await heard(one, query('SELECT 1'))
    expect(other.socket.destroyed).toBe(false)
    other.close()
  })
})
