/**
 * Clients that don't say that they bring a token, and are asked for a password (`non_jwt_logins: detect`):
 * a token counts, and anything else ends here.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { letIn, type Script, startScriptedNode } from '../support/scripted_node.ts'
import {
  openPlain,
  openTls,
  password,
  refusalOf,
  startup,
  type WireClient,
} from '../support/wire_client.ts'

const closing: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

const PASSWORD = 'my.own.password of the database'

async function open(
  cluster: Record<string, unknown> = {},
  script: Script = {},
  nodeCa?: string,
  listener: Record<string, unknown> = {},
) {
  const node = await startScriptedNode(script)
  const gate = await startGate({
    node: node.address,
    ...(nodeCa !== undefined && {
      nodeTls: { ca_file: 'node-ca.crt' },
      files: { '/etc/postern/node-ca.crt': nodeCa },
    }),
    listener,
    cluster: { non_jwt_logins: 'detect', ...cluster },
  })
  closing.push(node.close, async () => {
    await gate.close()
    expect(JSON.stringify([gate.audit, gate.log])).not.toContain(PASSWORD)
  })
  return { node, gate }
}

async function ask(gate: TestGate, more: Record<string, string> = {}): Promise<WireClient> {
  const client = await openTls(gate.port, gate.caPem)
  closing.push(client.close)
  client.write(startup({ user: 'maxroach', ...more }))
  const asked = await client.next()
  expect([asked?.type, asked?.body.readInt32BE(0)]).toEqual(['R', 3])
  return client
}

async function answer(client: WireClient, text: string) {
  client.write(password(text))
  const said = []
  for (;;) {
    const message = await client.next()
    if (message === undefined) return refusalOf(said)
    said.push(message)
    if (message.type === 'Z' || message.type === 'E') return refusalOf(said)
  }
}

describe('a password that is', () => {
  it('a good token lets its holder in', async () => {
    const { gate, node } = await open()
    expect(await answer(await ask(gate), await gate.token('maxroach'))).toBeUndefined()
    expect(node.startups).toMatchObject([{ user: 'maxroach' }])
    const event = await gate.event('client_authentication_ok')
    expect(event).toMatchObject({ Method: 'jwt_token', SystemIdentity: 'maxroach' })
  })

  it("somebody else's token is refused as one", async () => {
    const { gate } = await open()
    const told = await answer(await ask(gate), await gate.token('carl'))
    expect(told).toMatchObject({ C: '28000', M: 'JWT authentication: invalid principal' })
  })

  it('a spoiled token is told what is wrong with it', async () => {
    const { gate } = await open()
    const [header, , signature] = (await gate.token('maxroach')).split('.')
    const told = await answer(await ask(gate), `${header}.e30.${signature}`)
    expect(told).toMatchObject({ C: '28000', M: 'JWT authentication: invalid issuer' })
  })

  it.each<[string, string]>([
    ['a password', PASSWORD],
    ['two parts of a token', 'eyJhbGciOiJSUzI1NiJ9.e30'],
    ['nothing', ''],
  ])('%s is refused, and goes nowhere', async (_name, text) => {
    const { gate, node } = await open()
    const told = await answer(await ask(gate), text)
    expect(told).toMatchObject({
      C: '28P01',
      M: 'password authentication failed for user maxroach',
    })
    if (text !== '')
      expect(told?.['H']).toMatch(/^this gate takes tokens: give one as the password\n/)
    expect(node.startups).toEqual([])
  })
})

it('with the switch, a password is what it always was', async () => {
  const { gate } = await open()
  const client = await ask(gate, { options: '--crdb:jwt_auth_enabled=true' })
  expect(await answer(client, 'hunter2')).toMatchObject({
    C: '28000',
    M: 'JWT authentication: invalid token',
  })
})

it('in clear nobody is asked, on loopback either, but for who says that a token comes', async () => {
  const { gate } = await open({}, {}, undefined, { allow_plaintext: true })
  const come = async (more: Record<string, string>) => {
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    closing.push(client.close)
    client.write(startup({ user: 'maxroach', ...more }))
    return client
  }
  const said = await (await come({})).until('E')
  expect(said.map(({ type }) => type)).toEqual(['E'])
  expect(refusalOf(said)).toMatchObject({ C: '08C00', M: 'server requires encryption' })
  const client = await come({ options: '--crdb:jwt_auth_enabled=true' })
  await client.next()
  expect(await answer(client, await gate.token('maxroach'))).toBeUndefined()
})

it('by default nobody is asked', async () => {
  const { gate } = await open({ non_jwt_logins: 'reject' })
  const client = await openTls(gate.port, gate.caPem)
  closing.push(client.close)
  client.write(startup({ user: 'maxroach' }))
  const said = await client.until('E')
  expect(refusalOf(said)).toMatchObject({ C: '28P01' })
  expect(said.map(({ type }) => type)).toEqual(['E'])
})

it('a CockroachDB node that judges the token again is told that one comes', async () => {
  const ca = await makeCa('the CA of the nodes')
  const { gate, node } = await open(
    { kind: 'cockroachdb', sign_in: 'forward' },
    {
      tls: await issue(ca, { cn: 'node', sans: ['127.0.0.1'] }),
      greet: (conversation) => conversation.askPassword(() => letIn(conversation)),
    },
    ca.certPem,
  )
  const token = await gate.token('maxroach')
  expect(await answer(await ask(gate), token)).toBeUndefined()
  expect(node.startups).toMatchObject([{ options: '--crdb:jwt_auth_enabled=true' }])
  expect(node.passwords).toEqual([token])
})
