/**
 * Clients without a token that the node itself judges (`non_jwt_logins: passthrough`), message by message
 * against a scripted node: what is passed on, what is refused, and what is written down.
 */
import { TLSSocket } from 'node:tls'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { type GateOptions, startGate, type TestGate } from '../support/gate.ts'
import { saslOffer } from '../support/scram_node.ts'
import {
  authenticationOk,
  type Conversation,
  error,
  letIn,
  type Script,
  startScriptedNode,
} from '../support/scripted_node.ts'
import { scriptedSql } from '../support/scripted_sql.ts'
import {
  JWT_OPTION,
  message,
  openPlain,
  openTls,
  password,
  refusalOf,
  startup,
  uint32,
  type WireClient,
} from '../support/wire_client.ts'

const closing: (() => Promise<void> | void)[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const close of closing.splice(0).reverse()) await close()
})

const PASSWORD = 'the password of the database'
const shared = makeCa('the CA of the nodes').then(async (ca) => ({
  ca,
  certificate: await issue(ca, { cn: 'node', sans: ['127.0.0.1'] }),
}))

interface Opened {
  gate: TestGate
  node: Awaited<ReturnType<typeof startScriptedNode>>
}

interface Options extends Partial<GateOptions> {
  plain?: true
  /** The node asks for a certificate. */
  clientCaPem?: string
}

/** The node is reached over TLS; clients come over TLS, too, unless `plain`. */
async function open(script: Script, options: Options = {}): Promise<Opened> {
  const { ca, certificate } = await shared
  const { plain, clientCaPem, ...more } = options
  const tls = { ...certificate, ...(clientCaPem !== undefined && { clientCaPem }) }
  const node = await startScriptedNode({ ...script, tls })
  const gate = await startGate({
    node: node.address,
    nodeTls: { ca_file: 'node-ca.crt' },
    files: { '/etc/postern/node-ca.crt': ca.certPem },
    ...(plain && { listener: { tls: undefined, allow_plaintext: true } }),
    ...more,
    cluster: {
      non_jwt_logins: 'passthrough',
      passthrough_scram: 'no_channel_binding',
      ...more.cluster,
    },
  })
  closing.push(node.close, async () => {
    await gate.close()
    expect(JSON.stringify([gate.audit, gate.log])).not.toContain(PASSWORD)
  })
  return { gate, node }
}

async function come(gate: TestGate, parameters: Record<string, string> = {}, plain = false) {
  const client = plain
    ? await openPlain({ host: '127.0.0.1', port: gate.port })
    : await openTls(gate.port, gate.caPem)
  closing.push(client.close)
  client.write(startup({ user: 'maxroach', ...parameters }))
  return client
}

/** Up to the end of a sign-in. */
async function end(client: WireClient) {
  const said = []
  for (;;) {
    const next = await client.next()
    if (next === undefined) return said
    said.push(next)
    if (next.type === 'Z' || next.type === 'E') return said
  }
}

const authentication = (code: number, text: string) =>
  message('R', Buffer.concat([uint32(code), Buffer.from(text)]))
const initial = (mechanism: string, response: string) =>
  message(
    'p',
    Buffer.concat([Buffer.from(`${mechanism}\0`), uint32(response.length), Buffer.from(response)]),
  )

/** Says the words of SCRAM, and keeps what it hears. */
function scram(offer = ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'], answers?: Buffer[]) {
  const heard: string[] = []
  const script: Script = {
    greet: ({ send }) => send(saslOffer(offer)),
    session(chunk, conversation) {
      heard.push(chunk.toString('latin1', 5))
      const answer = answers?.shift()
      if (answer !== undefined) conversation.send(answer)
      else if (heard.length === 1) conversation.send(authentication(11, 'server first'))
      else if (heard.length === 2) {
        conversation.send(authentication(12, 'server final'))
        letIn(conversation)
      }
    },
  }
  return { script, heard }
}

describe('a password in clear', () => {
  it('goes to the node, and the session is the node’s', async () => {
    const { gate, node } = await open({
      greet: (conversation) => conversation.askPassword(() => letIn(conversation)),
    })
    const client = await come(gate, { database: 'shop' })
    const asked = await client.next()
    expect(asked?.body.readInt32BE(0)).toBe(3)
    client.write(password(PASSWORD))
    expect(refusalOf(await end(client))).toBeUndefined()
    expect(node.passwords).toEqual([PASSWORD])
    expect(node.startups).toEqual([{ user: 'maxroach', database: 'shop' }])
    const decision = await gate.event('login_decision')
    expect(decision).toMatchObject({ Method: 'passthrough', Result: 'granted', Role: 'maxroach' })
    const ok = await gate.event('client_authentication_ok')
    expect(ok).toMatchObject({ Method: 'passthrough', SystemIdentity: 'maxroach', Issuer: '' })
    client.close()
    expect(await gate.event('client_session_end')).toMatchObject({ Method: 'passthrough' })
  })

  it('that is no text reaches the node byte for byte', async () => {
    const heard: Buffer[] = []
    const { gate } = await open({
      greet: ({ send }) => send(authentication(3, '')),
      session(chunk, conversation) {
        heard.push(chunk)
        letIn(conversation)
      },
    })
    const client = await come(gate)
    await client.next()
    const odd = message('p', Buffer.from([0xff, 0xfe, 0x70, 0xe9, 0xc3, 0x28, 0x80, 0]))
    client.write(odd)
    expect(refusalOf(await end(client))).toBeUndefined()
    expect(Buffer.concat(heard)).toEqual(odd)
  })

  it('is not asked for in clear, on loopback either', async () => {
    const greet: Script['greet'] = (conversation) =>
      conversation.askPassword(() => letIn(conversation))
    const { gate, node } = await open({ greet }, { plain: true })
    const said = await end(await come(gate, {}, true))
    expect(said.map(({ type }) => type)).toEqual(['E'])
    expect(refusalOf(said)).toMatchObject({ C: '08C00', M: 'server requires encryption' })
    // A token may be: allow_plaintext says so.
    const client = await come(gate, JWT_OPTION, true)
    expect((await client.next())?.body.readInt32BE(0)).toBe(3)
    expect(node.passwords).toEqual([])
  })

  it('that is wrong is refused as the node refuses it', async () => {
    const { gate } = await open({
      greet: ({ askPassword, send }) => askPassword(() => send(error('28P01', 'no, not this'))),
    })
    const client = await come(gate)
    await client.next()
    client.write(password('wrong'))
    expect(refusalOf(await end(client))).toMatchObject({
      C: '28P01',
      M: 'password authentication failed for user maxroach',
    })
    expect(await gate.event('client_authentication_failed')).toMatchObject({
      Method: 'passthrough',
      Failure: 'role_refused',
    })
  })
})

describe('SCRAM', () => {
  it('is passed on, both ways, without channel binding', async () => {
    const { script, heard } = scram()
    const { gate } = await open(script)
    const client = await come(gate)
    const offer = await client.next()
    expect(offer?.body.toString('latin1', 4)).toBe('SCRAM-SHA-256\0\0')
    client.write(initial('SCRAM-SHA-256', 'n,,n=,r=abc'))
    const first = await client.next()
    expect([first?.body.readInt32BE(0), first?.body.toString('latin1', 4)]).toEqual([
      11,
      'server first',
    ])
    client.write(message('p', 'c=biws,r=abcdef,p=xyz'))
    const final = await client.next()
    expect([final?.body.readInt32BE(0), final?.body.toString('latin1', 4)]).toEqual([
      12,
      'server final',
    ])
    expect(refusalOf(await end(client))).toBeUndefined()
    expect(heard).toEqual([`SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc`, 'c=biws,r=abcdef,p=xyz'])
  })

  it.each<[string, Buffer, string, string]>([
    [
      'could bind the channel',
      initial('SCRAM-SHA-256', 'y,,n=,r=abc'),
      '28000',
      'SCRAM channel binding negotiation error',
    ],
    [
      'chooses what was not offered',
      initial('SCRAM-SHA-256-PLUS', 'p=tls-server-end-point,,n=,r=abc'),
      '08P01',
      'invalid message: the client selected a SASL mechanism that was not offered',
    ],
    [
      'waits for the server to begin',
      message('p', Buffer.concat([Buffer.from('SCRAM-SHA-256\0'), uint32(-1)])),
      '08P01',
      'invalid message: the client selected a SASL mechanism that was not offered',
    ],
    [
      'says too much',
      initial('SCRAM-SHA-256', `n,,n=,r=${'a'.repeat(2_000)}`),
      '08P01',
      'invalid message: message size 2026 out of bounds (0..1020)',
    ],
    [
      'gives its password',
      password(PASSWORD),
      '08P01',
      'invalid message: SASLInitialResponse is cut short',
    ],
    [
      'asks a question',
      message('Q', 'SELECT 1\0'),
      '08P01',
      "client didn't send required auth data",
    ],
  ])('a client that %s is refused', async (_name, answer, sqlstate, says) => {
    const { script, heard } = scram()
    const { gate } = await open(script)
    const client = await come(gate)
    await client.next()
    client.write(answer)
    expect(refusalOf(await end(client))).toMatchObject({ C: sqlstate, M: says })
    expect(heard).toEqual([])
  })

  it('a client that binds nothing because it has no TLS may say so', async () => {
    const { script, heard } = scram()
    const { gate } = await open(script, { plain: true, cluster: { passthrough_scram: undefined } })
    const client = await come(gate, {}, true)
    await client.next()
    client.write(initial('SCRAM-SHA-256', 'n,,n=,r=abc'))
    expect((await client.next())?.body.readInt32BE(0)).toBe(11)
    expect(heard).toHaveLength(1)
  })

  it('a client that goes away in the middle is no fault of the node’s', async () => {
    const { script } = scram()
    const { gate } = await open(script)
    const client = await come(gate)
    await client.next()
    client.close()
    expect(await gate.event('client_authentication_failed')).toMatchObject({
      Failure: 'client_gone',
    })
  })
})

const COULD_NOT = 'the gate could not sign in to the database; '
const md5 = message('R', Buffer.concat([uint32(5), uint32(1)]))

describe('a node that', () => {
  it.each<[string, Script, string]>([
    [
      'asks for nothing',
      {},
      `${COULD_NOT}the node let the role in and asks for no secret (trust, or peer)`,
    ],
    [
      'asks for MD5',
      { greet: ({ send }) => send(md5) },
      `${COULD_NOT}the node asks for MD5Password, which this sign-in doesn't have`,
    ],
    [
      'asks for Kerberos',
      { greet: ({ send }) => send(message('R', uint32(7))) },
      `${COULD_NOT}the node asks for type 7, which this sign-in doesn't have`,
    ],
    [
      'offers other mechanisms alone',
      scram(['SCRAM-SHA-256-PLUS', 'OAUTHBEARER']).script,
      `${COULD_NOT}the node asks for SASL by ["SCRAM-SHA-256-PLUS","OAUTHBEARER"], without SCRAM-SHA-256`,
    ],
    [
      'refuses at once',
      { greet: ({ send }) => send(error('28000', 'no pg_hba.conf entry')) },
      'password authentication failed for user maxroach; node ',
    ],
  ])('%s: nobody is let in', async (_name, script, log) => {
    const { gate } = await open(script)
    const client = await come(gate)
    expect(refusalOf(await end(client))).toBeDefined()
    const { Detail } = await gate.event('client_authentication_failed')
    expect(String(Detail).slice(0, log.length)).toBe(log)
  })

  it.each<[string, Buffer[]]>([
    ['lets the client in before it has proven anything', [authenticationOk]],
    ['asks for a password instead', [authentication(3, '')]],
    ['asks again', [authentication(11, 'server first'), saslOffer(['SCRAM-SHA-256'])]],
  ])('%s, in the middle: nobody is let in', async (_name, answers) => {
    const { script } = scram(undefined, answers)
    const { gate } = await open(script)
    const client = await come(gate)
    await client.next()
    client.write(initial('SCRAM-SHA-256', 'n,,n=,r=abc'))
    const next = await client.next()
    if (next?.type === 'R') client.write(message('p', 'proof'))
    const said = next?.type === 'E' ? [next] : await end(client)
    expect(refusalOf(said)).toMatchObject({ C: '08006', M: 'the database broke the protocol' })
  })

  it('asks twice', async () => {
    const { gate } = await open({
      greet: ({ askPassword, send }) => askPassword(() => send(authentication(3, ''))),
    })
    const client = await come(gate)
    await client.next()
    client.write(password('one'))
    expect(refusalOf(await end(client))).toMatchObject({ C: '08006' })
  })
})

/** What the log has against the nodes. */
const blamed = ({ log }: TestGate) =>
  log.filter(({ node, msg }) => node !== undefined && msg !== 'a node to go to')

describe('once the client was asked, no other node is, and none is blamed, for one that', () => {
  it.each<[string, (conversation: Conversation) => void, Record<string, string>]>([
    [
      'closes behind the password',
      ({ socket }) => void socket.end(),
      { C: '08006', M: 'the gate could not sign in to the database' },
    ],
    [
      'says no to it',
      ({ send }) => send(error('28P01', 'no')),
      { C: '28P01', M: 'password authentication failed for user maxroach' },
    ],
    [
      'ends then',
      ({ send }) => send(error('57P01', 'terminating connection')),
      { C: '57P01', M: 'terminating connection' },
    ],
    ['breaks the protocol', ({ send }) => send(message('Q', 'SELECT 1\0')), { C: '08006' }],
  ])('%s', async (_name, answer, told) => {
    const { gate, node } = await open({
      greet: (conversation) => conversation.askPassword(() => answer(conversation)),
    })
    const client = await come(gate)
    await client.next()
    client.write(password(PASSWORD))
    const said = await end(client)
    expect(refusalOf(said)).toMatchObject(told)
    expect(said.map(({ type }) => type)).toEqual(['E'])
    expect(node.passwords).toEqual([PASSWORD])
    expect(node.startups).toHaveLength(1)
    expect(blamed(gate)).toEqual([])
  })

  it.each<[string, (client: WireClient) => void, string]>([
    ['waits for a client that has gone', (client) => client.close(), 'client_gone'],
    ['waits for a client that takes its time', () => undefined, 'login_timeout'],
  ])('%s', async (_name, leave, failure) => {
    const { gate, node } = await open(
      { greet: (conversation) => conversation.askPassword(() => letIn(conversation)) },
      { limits: { authentication_timeout: '700ms' } },
    )
    const client = await come(gate)
    await client.next()
    leave(client)
    await gate.event('client_authentication_failed', { Failure: failure })
    expect(node.startups).toHaveLength(1)
    expect(blamed(gate)).toEqual([])
  })
})

describe('before the client was asked, a node that says nothing over TLS', () => {
  const silent: Script = { greet: () => undefined }

  it('is late, and counts as one that failed', async () => {
    const { gate } = await open(silent, { cluster: { connect_timeout: '400ms' } })
    expect(refusalOf(await end(await come(gate)))).toMatchObject({ C: '08006' })
    const { Detail } = await gate.event('client_authentication_failed')
    expect(Detail).toContain('gave no answer within connect_timeout')
    expect(blamed(gate)).toHaveLength(1)
  })

  it('costs nobody a login: another one is tried', async () => {
    const { ca, certificate } = await shared
    const well = await startScriptedNode({
      greet: (conversation) => conversation.askPassword(() => letIn(conversation)),
      tls: certificate,
    })
    const ill = await startScriptedNode({ ...silent, tls: certificate })
    closing.push(well.close, ill.close)
    const tls = { ca_file: 'node-ca.crt' }
    const { gate } = await open(silent, {
      files: { '/etc/postern/node-ca.crt': ca.certPem },
      cluster: {
        nodes: [
          { address: well.address, tls },
          { address: ill.address, tls, locality: 'here' },
        ],
        prefer: { locality: 'here' },
        connect_timeout: '1s',
      },
    })
    const client = await come(gate)
    expect((await client.next())?.body.readInt32BE(0)).toBe(3)
    client.write(password(PASSWORD))
    expect(refusalOf(await end(client))).toBeUndefined()
    expect([ill.startups.length, well.passwords]).toEqual([1, [PASSWORD]])
  })

  it('is one thing, and a client that thinks for longer than connect_timeout another', async () => {
    const { gate } = await open(
      { greet: (conversation) => conversation.askPassword(() => letIn(conversation)) },
      { cluster: { connect_timeout: '5s' } },
    )
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const client = await come(gate)
    await client.next()
    vi.advanceTimersByTime(6_000)
    vi.useRealTimers()
    client.write(password(PASSWORD))
    expect(refusalOf(await end(client))).toBeUndefined()
  })

  it('is waited for no longer than the client stays', async () => {
    const { gate, node } = await open(silent, { cluster: { connect_timeout: '1m' } })
    const client = await come(gate)
    await expect.poll(() => node.startups.length).toBe(1)
    client.close()
    await gate.event('client_authentication_failed', { Failure: 'client_gone' })
    expect(blamed(gate)).toEqual([])
  })
})

describe('a role that is more than a user', () => {
  const MANAGEMENT = 'postern_management'
  const { script: looks } = scriptedSql(() => [{ itself: 'maxroach', superuser: 't' }])

  /** A node where the management role finds a superuser, and others are asked as the script says. */
  function guarded({ greet, session }: Script) {
    const script: Script = {
      greet: (conversation) =>
        conversation.parameters['user'] === MANAGEMENT
          ? letIn(conversation)
          : greet?.(conversation),
      session: (chunk, conversation) =>
        conversation.parameters['user'] === MANAGEMENT
          ? looks.session?.(chunk, conversation)
          : session?.(chunk, conversation),
    }
    return open(script, { cluster: { management: { role: MANAGEMENT } } })
  }

  const told = (refusal: Record<string, string> | undefined) => ({
    ...refusal,
    H: refusal?.['H']?.replace(/request id: \w+$/, ''),
  })

  it('is asked for its password, and refused in the words for a wrong one', async () => {
    const { gate, node } = await guarded({
      greet: (conversation) =>
        conversation.askPassword((text) =>
          text === PASSWORD ? letIn(conversation) : conversation.send(error('28P01', 'no')),
        ),
    })
    const refusals = []
    for (const text of ['wrong', PASSWORD]) {
      const client = await come(gate)
      expect((await client.next())?.body.readInt32BE(0)).toBe(3)
      client.write(password(text))
      const said = await end(client)
      expect(said.map(({ type }) => type)).toEqual(['E'])
      refusals.push(told(refusalOf(said)))
    }
    expect(refusals[1]).toEqual(refusals[0])
    expect(refusals[0]).toMatchObject({
      C: '28P01',
      M: 'password authentication failed for user maxroach',
    })
    await gate.event('client_authentication_failed')
    const { Detail } = await gate.event('client_authentication_failed')
    expect(Detail).toContain('the role has superuser, and is not named in allow_roles')
    expect(node.passwords).toEqual(['wrong', PASSWORD])
  })

  it('does not hear by SCRAM either that its password was right', async () => {
    const { script } = scram()
    const { gate } = await guarded(script)
    const client = await come(gate)
    await client.next()
    client.write(initial('SCRAM-SHA-256', 'n,,n=,r=abc'))
    await client.next()
    client.write(message('p', 'c=biws,r=abcdef,p=xyz'))
    const said = await end(client)
    expect(said.map(({ type }) => type)).toEqual(['E'])
    expect(refusalOf(said)).toMatchObject({ C: '28P01' })
  })
})

it('is not there: nobody is told of a token that was accepted', async () => {
  const { gate, node } = await open({})
  await node.close()
  const refused = refusalOf(await end(await come(gate)))
  expect(refused?.['H']).toMatch(
    /^try again, then give the request id to who runs this gate\nrequest id: /,
  )
  const client = await come(gate, JWT_OPTION)
  await client.next()
  client.write(password(await gate.token('maxroach')))
  expect(refusalOf(await end(client))?.['H']).toMatch(/^the token was accepted; try again/)
})

describe('who is not passed on', () => {
  it.each<[string, Record<string, string>, string]>([
    ['postgres', { user: 'postgres' }, '28P01'],
    ["the gate's own role", { user: 'Postern_Management' }, '28P01'],
    ['a replication', { user: 'maxroach', replication: 'true' }, '42501'],
  ])('%s', async (_name, parameters, sqlstate) => {
    const cluster = { management: { role: 'postern_management' } }
    const { gate, node } = await open({}, { cluster })
    const refused = refusalOf(await end(await come(gate, parameters)))
    expect(refused).toMatchObject({ C: sqlstate })
    expect(node.startups.filter(({ user }) => user !== 'postern_management')).toEqual([])
    expect(await gate.event('login_decision')).toMatchObject({
      Method: 'passthrough',
      Result: 'refused',
    })
  })

  it('one with the switch: it brings a token', async () => {
    const { gate, node } = await open({})
    const client = await come(gate, JWT_OPTION)
    await client.next()
    client.write(password(await gate.token('maxroach')))
    expect(refusalOf(await end(client))).toBeUndefined()
    expect(node.startups).toMatchObject([{ user: 'maxroach' }])
    expect(await gate.event('client_authentication_ok')).toMatchObject({ Method: 'jwt_token' })
  })
})

it('signs in by certificate: a client without a token gets none of the gate’s', async () => {
  const { ca } = await shared
  const shown: boolean[] = []
  const { gate } = await open(
    {
      greet(conversation) {
        const { socket } = conversation
        const certificate =
          socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined
        shown.push(certificate !== undefined)
        conversation.askPassword(() => letIn(conversation))
      },
    },
    {
      clientCaPem: ca.certPem,
      cluster: { sign_in: 'certificate', certificate: { ca_cert: 'ca.crt', ca_key: 'ca.key' } },
      files: {
        '/etc/postern/node-ca.crt': ca.certPem,
        '/etc/postern/ca.crt': ca.certPem,
        '/etc/postern/ca.key': ca.keyPem,
      },
    },
  )
  const client = await come(gate)
  await client.next()
  client.write(password(PASSWORD))
  expect(refusalOf(await end(client))).toBeUndefined()
  // The same node sees one of a client with a token, and asks for what the gate doesn't have.
  const other = await come(gate, JWT_OPTION)
  await other.next()
  other.write(password(await gate.token('maxroach')))
  expect(refusalOf(await end(other))).toMatchObject({ C: '08006' })
  expect(shown).toEqual([false, true])
})

it('forwards tokens: a password is not announced as one', async () => {
  const { gate, node } = await open(
    { greet: (conversation) => conversation.askPassword(() => letIn(conversation)) },
    { cluster: { kind: 'cockroachdb', sign_in: 'forward' } },
  )
  const client = await come(gate)
  await client.next()
  client.write(password(PASSWORD))
  expect(refusalOf(await end(client))).toBeUndefined()
  expect(node.startups).toEqual([{ user: 'maxroach', database: 'defaultdb' }])
})
