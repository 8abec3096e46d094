/**
 * Sign-in by `forward`: the node judges the token again, so it gets it, but only a node whose name
 * was verified under TLS does. PostgreSQL has the token as the role's password here.
 */
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Ca, issue, localCertificates, makeCa } from '../../src/dev/certificates.ts'
import { type GateOptions, startGate, type TestGate } from '../support/gate.ts'
import {
  type Conversation,
  letIn,
  type Script,
  type ScriptedNode,
  startScriptedNode,
} from '../support/scripted_node.ts'
import { expectNoToken, JWT_SWITCH, pgConfig } from '../support/tools.ts'
import { message, uint32 } from '../support/wire_client.ts'

const postgres = inject('postgres')
const admin = new pg.Client({ host: postgres.socketDir, port: postgres.port, user: 'postgres' })
const ROLE = 'forward_role'
const HERE = { cn: 'localhost', sans: ['localhost', '127.0.0.1'] }

const gates: TestGate[] = []
const nodes: ScriptedNode[] = []
let ca: Ca
let certificates: Awaited<ReturnType<typeof localCertificates>>

beforeAll(async () => {
  await admin.connect()
  await admin.query(`create role ${ROLE} login in role postern_users`)
  ca = await makeCa('the CA of the nodes')
  certificates = await localCertificates(ca)
})
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.close()))
})
afterAll(async () => {
  await Promise.all(gates.map((gate) => gate.close()))
  await admin.query(`drop role ${ROLE}`)
  await admin.end()
  const tokens = gates.flatMap(({ minted }) => minted)
  expectNoToken(tokens, ...gates.flatMap(({ log, audit }) => [log, audit]))
})

async function open(node: string, caPem: string, options: Partial<GateOptions> = {}) {
  const { nodeTls, cluster, ...rest } = options
  const gate = await startGate({
    node,
    nodeTls: { ca_file: 'node-ca.crt', ...nodeTls },
    files: { '/etc/postern/node-ca.crt': caPem },
    cluster: { sign_in: 'forward', ...cluster },
    ...rest,
  })
  gates.push(gate)
  return gate
}

async function scripted(script: Script): Promise<ScriptedNode> {
  const node = await startScriptedNode(script)
  nodes.push(node)
  return node
}

/** What the node saw and sees of a session, or the client's refusal. */
async function signIn(gate: TestGate, token: string, more: pg.ClientConfig = {}) {
  const client = new pg.Client(pgConfig(gate, ROLE, token, { database: 'forwarddb', ...more }))
  client.on('error', () => undefined)
  try {
    await client.connect()
    return { client, refusal: undefined }
  } catch (refusal) {
    return { client, refusal: refusal as pg.DatabaseError }
  }
}

describe('PostgreSQL, where the token is the password', () => {
  const address = `${postgres.host}:${postgres.port}`
  const seen = `select current_user || ' ' || ssl as seen from pg_stat_ssl where pid = pg_backend_pid()`

  it('gets it over TLS that the gate verified', async () => {
    const gate = await open(address, postgres.caPem)
    const token = await gate.token(ROLE)
    await admin.query(`alter role ${ROLE} password '${token}'`)
    const { client } = await signIn(gate, token)
    expect((await client.query(seen)).rows).toEqual([{ seen: `${ROLE} true` }])
    await client.end()
  })

  it('judges it by itself', async () => {
    const gate = await open(address, postgres.caPem)
    await admin.query(`alter role ${ROLE} password 'another one'`)
    const { refusal } = await signIn(gate, await gate.token(ROLE))
    expect(refusal).toMatchObject({
      code: '28P01',
      message: `password authentication failed for user ${ROLE}`,
    })
    const matching = { Failure: 'role_refused', Reason: 'USER_NOT_FOUND' }
    expect(await gate.event('client_authentication_failed', matching)).toMatchObject({
      SystemIdentity: ROLE,
      Detail: expect.stringContaining('28P01: password authentication failed'),
    })
  })

  const otherCa = makeCa('another CA')
  it.each([
    { name: 'a CA that did not sign', caPem: async () => (await otherCa).certPem, nodeTls: {} },
    {
      name: 'a wrong name',
      caPem: async () => postgres.caPem,
      nodeTls: { server_name: 'other.example' },
    },
  ])('$name: 08006', async ({ caPem, nodeTls }) => {
    const gate = await open(address, await caPem(), { nodeTls })
    await expectUnreachable(gate)
  })
})

describe('a node that may be anybody', () => {
  const asksForIt = ({ askPassword, ...conversation }: Conversation) =>
    askPassword(() => letIn({ askPassword, ...conversation }))

  it.each([
    {
      name: 'another CA',
      make: async () => await issue(await makeCa(), HERE),
      code: 'node_unreachable',
    },
    { name: 'another name', make: async () => certificates.otherName, code: 'node_unreachable' },
    {
      name: 'an expired certificate',
      make: async () => certificates.expired,
      code: 'node_unreachable',
    },
    { name: 'no TLS', make: async () => undefined, code: 'node_signin_failed' },
  ])('$name: it gets neither a startup packet nor the token', async ({ make, code }) => {
    const tls = await make()
    const node = await scripted({ greet: asksForIt, ...(tls && { tls }) })
    const gate = await open(node.address, ca.certPem)
    await expectUnreachable(gate, code)
    expect(node.sockets).toHaveLength(1)
    expect({ startups: node.startups, passwords: node.passwords }).toEqual({
      startups: [],
      passwords: [],
    })
  })

  it.each([
    { name: 'MD5', asks: message('R', Buffer.concat([uint32(5), Buffer.from('salt')])) },
    {
      name: 'SCRAM',
      asks: message('R', Buffer.concat([uint32(10), Buffer.from('SCRAM-SHA-256\0\0')])),
    },
    { name: 'Kerberos', asks: message('R', uint32(2)) },
  ])('a proof by $name: it does not get one', async ({ asks }) => {
    const node = await scripted({ tls: certificates.good, greet: ({ send }) => send(asks) })
    const gate = await open(node.address, ca.certPem)
    const { refusal } = await signIn(gate, await gate.token(ROLE))
    expect(refusal).toMatchObject({
      code: '08006',
      message: 'the gate could not sign in to the database',
    })
    expect(node.passwords).toEqual([])
  })

  it('asks twice: it gets the token once', async () => {
    const greet = (conversation: Conversation) =>
      conversation.askPassword(() => conversation.askPassword(() => letIn(conversation)))
    const node = await scripted({ tls: certificates.good, greet })
    const gate = await open(node.address, ca.certPem)
    const token = await gate.token(ROLE)
    const { client, refusal } = await signIn(gate, token)
    expect([refusal?.code, node.passwords]).toEqual(['08006', [token]])
    await client.end()
  })
})

describe('CockroachDB', () => {
  it('sees the switch, the token and where the client is', async () => {
    const greet = (conversation: Conversation) =>
      conversation.askPassword(() => letIn(conversation))
    const node = await scripted({ tls: certificates.good, greet })
    const gate = await open(node.address, ca.certPem, {
      cluster: { kind: 'cockroachdb', send_remote_addr: true },
    })
    const token = await gate.token(ROLE)
    const options = `${JWT_SWITCH} -c search_path=a`
    const { client, refusal } = await signIn(gate, token, { user: ROLE.toUpperCase(), options })
    expect(refusal).toBeUndefined()
    const event = await gate.event('client_authentication_ok')
    expect(node.passwords).toEqual([token])
    expect(node.startups).toMatchObject([
      {
        user: ROLE,
        database: 'forwarddb',
        options: expect.stringContaining(JWT_SWITCH),
        'crdb:remote_addr': event['RemoteAddress'],
      },
    ])
    expect(node.startups[0]?.['options']).toContain('search_path=a')
    await client.end()
  })

  it('by trust is not told of the switch, nor of the token', async () => {
    const node = await scripted({ tls: certificates.good })
    const cluster = { kind: 'cockroachdb', sign_in: 'trust' }
    const gate = await open(node.address, ca.certPem, { cluster })
    const { client, refusal } = await signIn(gate, await gate.token(ROLE))
    expect([refusal, node.passwords, node.startups[0]?.['options']]).toEqual([
      undefined,
      [],
      undefined,
    ])
    await client.end()
  })
})

async function expectUnreachable(gate: TestGate, failure = 'node_unreachable'): Promise<void> {
  const { refusal } = await signIn(gate, await gate.token(ROLE))
  expect(refusal).toMatchObject({ severity: 'FATAL', code: '08006' })
  expect(refusal?.hint).toContain('the token was accepted')
  const matching = { Failure: failure, Reason: 'UNKNOWN' }
  expect(await gate.event('client_authentication_failed', matching)).toMatchObject({ User: ROLE })
}
