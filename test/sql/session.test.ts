/**
 * Sessions as a client lives them, against a scripted node: what is asked, what is answered, and
 * what reaches the node. Every refusal here is a row of src/failure.ts.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import {
  authenticationOk,
  error,
  keyData,
  letIn,
  parameterStatus,
  readyForQuery,
  type Script,
  type ScriptedNode,
  startScriptedNode,
} from '../support/scripted_node.ts'
import {
  fields,
  gssencRequest,
  JWT_OPTION,
  message,
  openPlain,
  openTls,
  password,
  refusalOf,
  signIn,
  sslRequest,
  startup,
  uint32,
} from '../support/wire_client.ts'

const HINT = /request id: [0-9a-f]{16}$/

describe('with a node that lets everybody in', () => {
  let node: ScriptedNode
  let gate: TestGate
  beforeAll(async () => {
    node = await startScriptedNode()
    gate = await startGate({ node: node.address, cluster: { replication_roles: ['replicator'] } })
  })
  afterAll(async () => {
    await gate.close()
    await node.close()
  })

  it('signs in and passes on what the node said, but not its cancel key', async () => {
    const client = await openTls(gate.port, gate.caPem)
    const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    expect(said.map(({ type }) => type).join('')).toBe('RRSKZ')
    expect(said[2]?.body.toString()).toBe('server_version\x0018.4 (scripted)\0')
    expect(said[3]?.body).toHaveLength(8)
    expect(said[3]?.body.readUInt32BE(0)).not.toBe(4711)
    expect(said[4]?.body.toString()).toBe('I')
    client.close()
  })

  it.each<[string, Record<string, string>, Record<string, string>]>([
    ['the default database is the user', {}, { user: 'maxroach', database: 'maxroach' }],
    [
      'parameters go on as they came',
      { database: 'd', application_name: 'my app', client_encoding: 'LATIN1' },
      { user: 'maxroach', database: 'd', application_name: 'my app', client_encoding: 'LATIN1' },
    ],
    [
      'options go on without our switch',
      { options: '-c geqo=off --crdb:jwt_auth_enabled=true -c work_mem=8MB' },
      { user: 'maxroach', database: 'maxroach', options: '-c geqo=off -c work_mem=8MB' },
    ],
    [
      'a client has no say in its address',
      { 'crdb:remote_addr': '10.0.0.1:1' },
      { user: 'maxroach', database: 'maxroach' },
    ],
    [
      'replication that is off needs no leave',
      { replication: 'off' },
      { user: 'maxroach', database: 'maxroach', replication: 'off' },
    ],
  ])('%s', async (_name, parameters, startupSeen) => {
    const client = await openTls(gate.port, gate.caPem)
    const said = await signIn(
      client,
      { user: 'maxroach', ...parameters },
      await gate.token('maxroach'),
    )
    expect(refusalOf(said)).toBeUndefined()
    expect(node.startups.at(-1)).toEqual(startupSeen)
    client.close()
  })

  it('lets a role ask for replication that may', async () => {
    const client = await openTls(gate.port, gate.caPem)
    const asked = { user: 'replicator', replication: 'database' }
    expect(refusalOf(await signIn(client, asked, await gate.token('replicator')))).toBeUndefined()
    client.close()
  })

  it.each<[string, Record<string, string>, string, string, string | undefined]>([
    [
      'without the switch',
      { options: '' },
      '28P01',
      'password authentication failed for user maxroach',
      undefined,
    ],
    [
      'with the switch off',
      { options: '--crdb:jwt_auth_enabled=false' },
      '28P01',
      'password authentication failed for user maxroach',
      undefined,
    ],
    [
      'with the switch as a parameter of its own',
      { options: '', 'crdb:jwt_auth_enabled': 'true' },
      '28P01',
      'password authentication failed for user maxroach',
      undefined,
    ],
    [
      'a switch that is no boolean',
      { options: '--crdb:jwt_auth_enabled=yes' },
      '22023',
      'invalid value for parameter "crdb:jwt_auth_enabled": "yes"',
      undefined,
    ],
    [
      'a revival token',
      { 'crdb:session_revival_token_base64': 'x' },
      '08P01',
      'parameter crdb:session_revival_token_base64 is not allowed',
      undefined,
    ],
    [
      'a revival token in options',
      { options: '--crdb:jwt_auth_enabled=true --crdb:session_revival_token_base64=x' },
      '08P01',
      'parameter crdb:session_revival_token_base64 is not allowed',
      undefined,
    ],
    [
      'replication',
      { replication: 'true' },
      '42501',
      'permission denied to start WAL sender',
      undefined,
    ],
    [
      'replication, written otherwise',
      { replication: 'YE' },
      '42501',
      'permission denied to start WAL sender',
      undefined,
    ],
    [
      'replication that means nothing',
      { replication: 'o' },
      '22023',
      'invalid value for parameter "replication": "o"',
      undefined,
    ],
    [
      'another user',
      { user: 'carl' },
      '28000',
      'JWT authentication: invalid principal',
      'token issued for [maxroach] and login was for carl',
    ],
    [
      'no user',
      { user: '' },
      '28000',
      'no PostgreSQL user name specified in startup packet',
      undefined,
    ],
  ])('refuses %s', async (_name, parameters, sqlstate, text, detail) => {
    const startups = node.startups.length
    const client = await openTls(gate.port, gate.caPem)
    const said = await signIn(
      client,
      { user: 'maxroach', ...parameters },
      await gate.token('maxroach'),
    )
    const refusal = refusalOf(said)
    expect(refusal).toMatchObject({ S: 'FATAL', V: 'FATAL', C: sqlstate, M: text })
    expect(refusal?.D).toBe(detail)
    expect(refusal?.H).toMatch(HINT)
    expect(await client.next()).toBeUndefined()
    expect(node.startups).toHaveLength(startups)
  })

  it.each([
    ['user', { user: 'u'.repeat(64) }],
    ['database', { database: 'é'.repeat(32) }],
  ])('refuses a %s name that the node would cut', async (what, parameters) => {
    const client = await openTls(gate.port, gate.caPem)
    const said = await signIn(
      client,
      { user: 'maxroach', ...parameters },
      await gate.token('maxroach'),
    )
    expect(refusalOf(said)).toMatchObject({
      C: '42622',
      M: `the ${what} name is longer than 63 bytes`,
    })
  })

  it('writes no token that came in the wrong place', async () => {
    const token = await gate.token('maxroach')
    for (const where of ['user', 'database', 'application_name']) {
      const client = await openTls(gate.port, gate.caPem)
      await signIn(client, { user: 'maxroach', [where]: token }, token)
      client.close()
    }
    // The gate's end asserts that no line has a token in it.
    expect(gate.audit.some(({ ApplicationName }) => String(ApplicationName).endsWith('…'))).toBe(
      true,
    )
  })

  it('names the request in the log and in the audit stream as it did to the client', async () => {
    const client = await openTls(gate.port, gate.caPem)
    const said = await signIn(client, { user: 'carl' }, await gate.token('maxroach'))
    const id = refusalOf(said)?.H?.slice(-16)
    expect(gate.log.filter(({ request }) => request === id)).toHaveLength(1)
    expect(gate.audit.filter(({ SessionID }) => SessionID === id)).toMatchObject([
      {
        EventType: 'login_decision',
        Result: 'refused',
        Failure: 'invalid_principal',
        Tls: { version: 'TLSv1.3' },
        Token: {
          issuer: 'https://issuer.test',
          verified: true,
          names: ['maxroach'],
          users: ['maxroach'],
        },
        AcceptedAudiences: ['postern-test'],
      },
      {
        EventType: 'client_authentication_failed',
        Method: 'jwt_token',
        Transport: 'hostssl',
        User: 'carl',
        SystemIdentity: 'maxroach',
        Reason: 'CREDENTIALS_INVALID',
        Failure: 'invalid_principal',
      },
    ])
  })

  it('writes the grant before a byte goes to the node, then the sign-in, then the end', async () => {
    const client = await openTls(gate.port, gate.caPem)
    await signIn(client, { user: 'maxroach' }, await gate.token('maxroach', { jti: 'token-1' }))
    client.write(message('X', ''))
    client.socket.end()
    const { SessionID } = await gate.event('client_session_end', { TokenID: 'token-1' })
    const events = gate.audit.filter((event) => event.SessionID === SessionID)
    expect(events.map(({ EventType }) => EventType)).toEqual([
      'login_decision',
      'client_authentication_ok',
      'client_session_end',
    ])
    expect(events[2]).toMatchObject({ Ended: 'the client closed the connection', BytesToNode: 5 })
  })

  it('asks nobody for a token in clear', async () => {
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(startup({ user: 'maxroach', ...JWT_OPTION }))
    const said = await client.next()
    expect(said?.type).toBe('E')
    expect(fields(said?.body ?? Buffer.alloc(0))).toMatchObject({
      C: '08C00',
      M: 'server requires encryption',
    })
    client.close()
  })

  it.each<[string, Buffer[], string, string]>([
    [
      'GSSENCRequest twice',
      [gssencRequest(), gssencRequest()],
      '0A000',
      'unsupported frontend protocol 1234.5680: server supports 3.0 to 3.2',
    ],
    [
      'bytes glued to SSLRequest',
      [Buffer.concat([sslRequest(), startup({ user: 'root' })])],
      '08P01',
      'received unencrypted data after SSL request',
    ],
    [
      'bytes glued to GSSENCRequest',
      [Buffer.concat([gssencRequest(), sslRequest()])],
      '08P01',
      'received unencrypted data after GSSAPI encryption request',
    ],
    [
      'protocol 2',
      [startup({ user: 'a' }, 2 << 16)],
      '0A000',
      'unsupported frontend protocol 2.0: server supports 3.0 to 3.2',
    ],
    [
      'a startup packet that ends early',
      [Buffer.concat([uint32(12), uint32(196608), Buffer.from('user')])],
      '08P01',
      'invalid startup packet layout: expected terminator as last byte',
    ],
    [
      'a parameter given twice',
      [Buffer.concat([uint32(27), uint32(196608), Buffer.from('user\0a\0user\0root\0\0\0')])],
      '08P01',
      'invalid startup packet layout: a parameter was given twice',
    ],
  ])('answers %s', async (_name, packets, sqlstate, text) => {
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    for (const [index, packet] of packets.entries()) {
      client.write(packet)
      if (index < packets.length - 1) expect((await client.bytes(1)).toString()).toBe('N')
    }
    const said = await client.next()
    expect(fields(said?.body ?? Buffer.alloc(0))).toMatchObject({ C: sqlstate, M: text })
    expect(await client.next()).toBeUndefined()
    client.close()
  })

  it.each<[string, Buffer]>([
    ['length 0', uint32(0)],
    ['length 3', uint32(3)],
    ['length 2^31-1', uint32(0x7fffffff)],
    ['length 10,005', Buffer.concat([uint32(10_005), Buffer.alloc(10_001)])],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    ['garbage', Buffer.from('ff00ee11dd22cc33', 'hex')],
  ])('closes without a word on %s', async (_name, bytes) => {
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(bytes)
    expect(await client.next()).toBeUndefined()
    client.close()
  })

  it('refuses what is no TLS after its S', async () => {
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    client.write(sslRequest())
    expect((await client.bytes(1)).toString()).toBe('S')
    client.write(startup({ user: 'maxroach' }))
    await client.until('never').catch(() => undefined)
    await expect
      .poll(() => gate.log.some(({ failure }) => failure === 'tls_handshake_failed'))
      .toBe(true)
    client.close()
  })

  it.each<[string, number, Record<string, string>, string | undefined, number]>([
    ['3.0', 0, {}, undefined, 8],
    ['3.1, which never was', 1, {}, undefined, 8],
    ['3.2', 2, {}, undefined, 36],
    ['3.3', 3, {}, '\0\x03\0\x02\0\0\0\0', 36],
    [
      '3.9999, to see who minds',
      9999,
      { '_pq_.test_protocol_negotiation': '' },
      '\0\x03\0\x02\0\0\0\x01_pq_.test_protocol_negotiation\0',
      36,
    ],
    [
      '3.0 with options of the protocol',
      0,
      { '_pq_.x': '1', '_pq_.y': '' },
      '\0\x03\0\0\0\0\0\x02_pq_.x\0_pq_.y\0',
      8,
    ],
    [
      '3.2 with an option of the protocol',
      2,
      { '_pq_.x': '1' },
      '\0\x03\0\x02\0\0\0\x01_pq_.x\0',
      36,
    ],
  ])('speaks to a client that asks for %s', async (_name, minor, options, told, keyBytes) => {
    const client = await openTls(gate.port, gate.caPem)
    client.write(startup({ user: 'maxroach', ...JWT_OPTION, ...options }, (3 << 16) | minor))
    if (told !== undefined) {
      const said = await client.next()
      expect(said?.type).toBe('v')
      expect(said?.body.toString('latin1')).toBe(told)
    }
    expect((await client.next())?.type).toBe('R')
    client.write(password(await gate.token('maxroach')))
    const said = await client.until('Z')
    expect(said.map(({ type }) => type).join('')).toBe('RSKZ')
    expect(said.at(-2)?.body).toHaveLength(keyBytes)
    expect(Object.keys(node.startups.at(-1) ?? {})).toEqual(['user', 'database'])
    client.close()
  })

  it.each<[string, Buffer, string, string]>([
    [
      'an empty password',
      password(''),
      '28P01',
      'password authentication failed for user maxroach',
    ],
    ['a NUL inside the token', message('p', 'a\0b\0'), '08P01', 'expected 0-terminated byte array'],
    [
      'a Query instead of a token',
      message('Q', 'select 1\0'),
      '08P01',
      "client didn't send required auth data",
    ],
    ['a token without end', message('p', 'abc'), '08P01', 'expected 0-terminated byte array'],
    ['what is no token', password('hunter2'), '28000', 'JWT authentication: invalid token'],
    [
      'a token that is too long',
      Buffer.concat([Buffer.from('p'), uint32(5 + 131_073)]),
      '08P01',
      'message size 131074 out of bounds (0..131072)',
    ],
    [
      'a message of impossible length',
      Buffer.concat([Buffer.from('p'), uint32(3)]),
      '08P01',
      'message size -1 out of bounds (0..131072)',
    ],
  ])('refuses %s', async (_name, answer, sqlstate, text) => {
    const client = await openTls(gate.port, gate.caPem)
    client.write(startup({ user: 'maxroach', ...JWT_OPTION }))
    expect((await client.next())?.type).toBe('R')
    client.write(answer)
    const said = await client.next()
    expect(fields(said?.body ?? Buffer.alloc(0))).toMatchObject({ C: sqlstate, M: text })
    expect(await client.next()).toBeUndefined()
  })

  it.each([1, 4, 16, 64])('takes a token of %i KiB', async (kib) => {
    const client = await openTls(gate.port, gate.caPem)
    const bare = (await gate.token('maxroach', { pad: '' })).length
    const pad = 'x'.repeat(Math.floor(((kib * 1024 - bare) * 3) / 4))
    const token = await gate.token('maxroach', { pad })
    expect(Math.abs(token.length - kib * 1024)).toBeLessThan(4)
    expect(refusalOf(await signIn(client, { user: 'maxroach' }, token))).toBeUndefined()
    client.close()
  })
})

it("a startup packet that the gate makes too long is the client's, and no fault of the node", async () => {
  const node = await startScriptedNode()
  const gate = await startGate({ node: node.address })
  const user = 'u'.repeat(60)
  const said = { user, ...JWT_OPTION, application_name: '' }
  said.application_name = 'a'.repeat(10_004 - startup(said).length)
  const client = await openTls(gate.port, gate.caPem)
  const refusal = refusalOf(await signIn(client, said, await gate.token(user)))
  expect(refusal).toMatchObject({
    C: '08P01',
    M: 'invalid startup packet layout: more than 10004 bytes for the database',
  })
  await gate.close()
  await node.close()
})

describe('with a node that', () => {
  const clients = async (
    script: Script,
    check: (gate: TestGate, node: ScriptedNode) => Promise<void>,
  ) => {
    const node = await startScriptedNode(script)
    const gate = await startGate({ node: node.address, cluster: { connect_timeout: '1s' } })
    try {
      await check(gate, node)
    } finally {
      await gate.close()
      await node.close()
    }
  }
  const notes = (count: number) =>
    Array.from({ length: count }, () => message('N', `SNOTICE\0Mnote\0\0`))

  it.each<[string, Script, string, string]>([
    [
      'has no such role',
      { greet: ({ send }) => send(error('28000', 'role "maxroach" does not exist')) },
      '28P01',
      'password authentication failed for user maxroach',
    ],
    [
      'has the role without LOGIN',
      { greet: ({ send }) => send(error('28000', 'role "maxroach" is not permitted to log in')) },
      '28P01',
      'password authentication failed for user maxroach',
    ],
    [
      'is full',
      { greet: ({ send }) => send(error('53300', 'sorry, too many clients already')) },
      '53300',
      'sorry, too many clients already',
    ],
    [
      'has no such database',
      {
        greet: ({ send }) => send(authenticationOk, error('3D000', 'database "x" does not exist')),
      },
      '3D000',
      'database "x" does not exist',
    ],
    [
      'says an error without SQLSTATE',
      { greet: ({ send }) => send(error('', 'no')) },
      '08006',
      'the database broke the protocol',
    ],
    [
      'asks for MD5',
      { greet: ({ send }) => send(message('R', Buffer.concat([uint32(5), uint32(1)]))) },
      '08006',
      'the gate could not sign in to the database',
    ],
    [
      'asks for SCRAM',
      {
        greet: ({ send }) =>
          send(message('R', Buffer.concat([uint32(10), Buffer.from('SCRAM-SHA-256\0\0')]))),
      },
      '08006',
      'the gate could not sign in to the database',
    ],
    [
      'asks for GSS',
      { greet: ({ send }) => send(message('R', uint32(7))) },
      '08006',
      'the gate could not sign in to the database',
    ],
    [
      'asks for a password',
      { greet: ({ askPassword }) => askPassword(() => undefined) },
      '08006',
      'the gate could not sign in to the database',
    ],
    [
      'closes in the middle',
      { greet: ({ socket }) => socket.end('R') },
      '08006',
      'the gate could not sign in to the database',
    ],
    [
      'floods notices',
      { greet: ({ send }) => send(authenticationOk, ...notes(600)) },
      '08006',
      'the database broke the protocol',
    ],
    [
      'announces 1 GB',
      { greet: ({ send }) => send(authenticationOk, Buffer.from('S'), uint32(1 << 30)) },
      '08006',
      'the database broke the protocol',
    ],
    [
      'sends rows before anybody asked',
      { greet: ({ send }) => send(authenticationOk, message('D', '\0\0')) },
      '08006',
      'the database broke the protocol',
    ],
    [
      'sends an error that has no end',
      { greet: ({ send }) => send(message('E', 'Soops')) },
      '08006',
      'the database broke the protocol',
    ],
  ])('%s', async (_name, script, sqlstate, text) => {
    await clients(script, async (gate) => {
      const client = await openTls(gate.port, gate.caPem)
      const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
      expect(refusalOf(said)).toMatchObject({ C: sqlstate, M: text })
      expect(await client.next()).toBeUndefined()
    })
  })

  it('cannot be reached is told of after the token was judged', async () => {
    const gone = await startScriptedNode()
    await gone.close()
    const gate = await startGate({ node: gone.address })
    const client = await openTls(gate.port, gate.caPem)
    const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    expect(refusalOf(said)).toMatchObject({ C: '08006', M: 'the database could not be reached' })
    expect(refusalOf(said)?.H).toMatch(HINT)
    const other = await openTls(gate.port, gate.caPem)
    const refused = await signIn(other, { user: 'maxroach' }, await gate.token('carl'))
    expect(refusalOf(refused)).toMatchObject({ C: '28000' })
    await gate.close()
  })

  it('sends notices and settings is passed on in order', async () => {
    const greet: Script['greet'] = ({ send }) =>
      send(
        authenticationOk,
        parameterStatus('a', '1'),
        message('N', 'SWARNING\0Mcollation\0\0'),
        keyData(1, 2),
        parameterStatus('b', '2'),
        readyForQuery(),
      )
    await clients({ greet }, async (gate) => {
      const client = await openTls(gate.port, gate.caPem)
      const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
      expect(said.map(({ type }) => type).join('')).toBe('RRSNSKZ')
      client.close()
    })
  })

  it('gives no cancel key leaves the client without one', async () => {
    await clients(
      { greet: ({ send }) => send(authenticationOk, readyForQuery()) },
      async (gate) => {
        const client = await openTls(gate.port, gate.caPem)
        const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
        expect(said.map(({ type }) => type).join('')).toBe('RRZ')
        client.close()
      },
    )
  })

  it('dies in a quiet session is told of in the session', async () => {
    await clients({ greet: letIn }, async (gate, node) => {
      const client = await openTls(gate.port, gate.caPem)
      await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
      node.sockets[0]?.destroy()
      const said = await client.next()
      expect(fields(said?.body ?? Buffer.alloc(0))).toMatchObject({
        C: '08006',
        M: 'the connection to the database was lost',
      })
      expect(await client.next()).toBeUndefined()
      expect(await gate.event('client_session_end')).toMatchObject({
        Ended: 'the node closed the connection',
      })
    })
  })

  it('gives its own reason to end is not talked over', async () => {
    await clients({ greet: letIn }, async (gate, node) => {
      const client = await openTls(gate.port, gate.caPem)
      await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
      node.sockets[0]?.end(error('57P01', 'terminating connection due to administrator command'))
      expect(fields((await client.next())?.body ?? Buffer.alloc(0))).toMatchObject({ C: '57P01' })
      expect(await client.next()).toBeUndefined()
    })
  })

  it('breaks the framing ends the session', async () => {
    await clients({ greet: letIn }, async (gate, node) => {
      const client = await openTls(gate.port, gate.caPem)
      await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
      node.sockets[0]?.write(Buffer.concat([Buffer.from('D'), uint32(1)]))
      expect(fields((await client.next())?.body ?? Buffer.alloc(0))).toMatchObject({
        C: '08006',
        M: 'the database broke the protocol',
      })
      expect(await client.next()).toBeUndefined()
      const { Ended } = await gate.event('client_session_end')
      expect(Ended).toContain('the node broke the protocol')
    })
  })
})
