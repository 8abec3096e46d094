/**
 * OAUTHBEARER as a client lives it, message by message, against a scripted node: what is offered, taken
 * and refused, and how a refusal is told.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import {
  fields,
  type Message,
  message,
  openTls,
  password,
  query,
  refusalOf,
  signIn,
  startup,
  uint32,
  type WireClient,
} from '../support/wire_client.ts'

const LEAVE_TO_FAIL = message('p', '\x01')
const CONFIGURATION = 'https://issuer.test/.well-known/openid-configuration'
const OFFER = 10
const CHALLENGE = 11

/** What libpq sends for a token, and for none. */
const bearer = (token: string) => `n,,\x01auth=${token && `Bearer ${token}`}\x01\x01`

function initial(response: string, mechanism = 'OAUTHBEARER'): Buffer {
  const bytes = Buffer.from(response)
  return message('p', Buffer.concat([Buffer.from(`${mechanism}\0`), uint32(bytes.length), bytes]))
}

/** Up to the offer of SASL. */
async function ask(gate: TestGate, parameters: Record<string, string> = {}): Promise<WireClient> {
  const client = await openTls(gate.port, gate.caPem)
  client.write(startup({ user: 'maxroach', ...parameters }))
  const offer = await client.next()
  expect([offer?.type, offer?.body.readInt32BE(0)]).toEqual(['R', OFFER])
  return client
}

/** Everything up to ReadyForQuery, a challenge or the refusal. */
async function answer(client: WireClient, bytes: Buffer): Promise<Message[]> {
  client.write(bytes)
  const said: Message[] = []
  for (;;) {
    const next = await client.next()
    if (next === undefined) return said
    said.push(next)
    if ('ZE'.includes(next.type) || codeOf(next) === CHALLENGE) return said
  }
}

function codeOf({ type, body }: Message): number | undefined {
  return type === 'R' ? body.readInt32BE(0) : undefined
}

/** The JSON of a challenge that is all that was said. */
function challengeIn(said: Message[]): unknown {
  const [challenge] = said
  expect(said.map(codeOf)).toEqual([CHALLENGE])
  return JSON.parse(challenge?.body.toString('utf8', 4) ?? '')
}

const refused = (status: string) => ({
  status,
  'openid-configuration': CONFIGURATION,
  scope: 'openid email',
})

let node: ScriptedNode
beforeAll(async () => {
  node = await startScriptedNode()
})
afterAll(() => node.close())

describe('where it is offered', () => {
  let gate: TestGate
  beforeAll(async () => {
    gate = await startGate({
      node: node.address,
      cluster: {
        'server.oauthbearer_authentication.enabled': true,
        'server.oauthbearer_authentication.scope': 'openid email',
      },
    })
  })
  afterAll(() => gate.close())
  const scoped = (sub: string, claims: Record<string, unknown> = {}) =>
    gate.token(sub, { scope: 'email profile openid', ...claims })

  it('is the only mechanism', async () => {
    const client = await openTls(gate.port, gate.caPem)
    client.write(startup({ user: 'maxroach' }))
    expect((await client.next())?.body.toString('latin1')).toBe('\0\0\0\x0aOAUTHBEARER\0\0')
    client.close()
  })

  it('signs in, and needs no last word of SASL', async () => {
    const client = await ask(gate, { database: 'd' })
    const said = await answer(client, initial(bearer(await scoped('maxroach'))))
    expect(said.map(({ type }) => type).join('')).toBe('RSKZ')
    expect(said.map(codeOf)[0]).toBe(0)
    expect(node.startups.at(-1)).toEqual({ user: 'maxroach', database: 'd' })
    await gate.event('client_authentication_ok', { Method: 'oauthbearer' })
    client.close()
  })

  it('takes the token in a message of its own', async () => {
    const client = await ask(gate)
    client.write(message('p', Buffer.concat([Buffer.from('OAUTHBEARER\0'), uint32(-1)])))
    expect((await client.next())?.body).toEqual(uint32(CHALLENGE))
    const said = await answer(client, message('p', bearer(await scoped('maxroach'))))
    expect(said.map(({ type }) => type).join('')).toBe('RSKZ')
    client.close()
  })

  it('leaves clients alone that ask to give a password', async () => {
    const client = await openTls(gate.port, gate.caPem)
    const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    expect(said[0]?.body).toEqual(uint32(3))
    expect(refusalOf(said)).toBeUndefined()
    await gate.event('client_authentication_ok', { Method: 'jwt_token' })
    client.close()
  })

  it('tells a client without a token where to get one', async () => {
    const client = await ask(gate)
    expect(challengeIn(await answer(client, initial(bearer(''))))).toEqual(refused('invalid_token'))
    const said = await answer(client, LEAVE_TO_FAIL)
    expect(refusalOf(said)).toMatchObject({
      S: 'FATAL',
      C: '28000',
      M: 'OAuth bearer authentication failed for user "maxroach"',
    })
    expect(await client.next()).toBeUndefined()
  })

  it.each<[string, string, Record<string, unknown>, string, string, string]>([
    [
      'for somebody else',
      'carl',
      {},
      'invalid_token',
      'JWT authentication: invalid principal',
      'token issued for [carl] and login was for maxroach',
    ],
    [
      'of another issuer',
      'maxroach',
      { iss: 'https://other.test' },
      'invalid_token',
      'JWT authentication: invalid issuer',
      'token issued by https://other.test',
    ],
    [
      'for another audience',
      'maxroach',
      { aud: 'other' },
      'invalid_token',
      'JWT authentication: invalid audience',
      'token issued with an audience of [other]',
    ],
    [
      'that has expired',
      'maxroach',
      { exp: 1_700_000_000 },
      'invalid_token',
      'JWT authentication: invalid token',
      'unable to parse token: "exp" not satisfied',
    ],
    [
      'of too small a scope',
      'maxroach',
      { scope: 'openid' },
      'insufficient_scope',
      'OAuth bearer authentication: insufficient scope',
      'token issued with a scope of [openid]',
    ],
    [
      'of no scope',
      'maxroach',
      { scope: undefined },
      'insufficient_scope',
      'OAuth bearer authentication: insufficient scope',
      'token issued with a scope of []',
    ],
  ])('refuses a token %s in JSON, and then in words', async (_name, sub, claims, status, M, D) => {
    const client = await ask(gate)
    const token = await scoped(sub, claims)
    expect(challengeIn(await answer(client, initial(bearer(token))))).toEqual(refused(status))
    const said = await answer(client, LEAVE_TO_FAIL)
    expect(refusalOf(said)).toMatchObject({ S: 'FATAL', C: '28000', M, D })
    expect(await client.next()).toBeUndefined()
    const SessionID = /request id: (\w+)$/.exec(refusalOf(said)?.H ?? '')?.[1]
    const failed = await gate.event('client_authentication_failed', { SessionID })
    expect(failed).toMatchObject({ Method: 'oauthbearer', Reason: 'CREDENTIALS_INVALID' })
    expect(failed.Detail).toContain(`${M}; ${D}`)
  })

  it.each<[string, Buffer]>([
    ['a query', query('SELECT 1')],
    ['Terminate', message('X', '')],
    ['nothing in a message', message('p', '')],
    ['another token', message('p', bearer('eyJh.eyJz.c2ln'))],
    ['16 MiB', Buffer.from('7001000004', 'hex')],
    ['no message', Buffer.from('\0\0\0\0\0')],
  ])('says why to a client whose answer to the JSON is %s', async (_name, bytes) => {
    const client = await ask(gate)
    challengeIn(await answer(client, initial(bearer(await scoped('carl')))))
    const said = await answer(client, bytes)
    expect(refusalOf(said)).toMatchObject({
      C: '28000',
      M: 'JWT authentication: invalid principal',
    })
  })

  it('says why to a client that reads on, but says no more', async () => {
    const client = await ask(gate)
    challengeIn(await answer(client, initial(bearer(await scoped('carl')))))
    client.socket.end()
    expect(refusalOf(await client.until('E'))).toMatchObject({ C: '28000' })
  })

  it('writes the refusal down of a client that goes without a word', async () => {
    const client = await ask(gate)
    challengeIn(await answer(client, initial(bearer(await scoped('dora')))))
    client.close()
    const written = () =>
      gate.audit
        .filter(({ EventType }) => EventType === 'client_authentication_failed')
        .filter(({ Detail }) => String(Detail).includes('token issued for [dora]'))
    await expect.poll(written).toHaveLength(1)
  })

  const notOffered = 'invalid message: the client selected a SASL mechanism that was not offered'
  const problem = 'invalid message: malformed OAUTHBEARER response'
  it.each<[string, (token: string) => Buffer, string, string]>([
    [
      'a mechanism of another name',
      (t) => initial(bearer(t), 'SCRAM-SHA-256'),
      '08P01',
      notOffered,
    ],
    ['it in another case', (t) => initial(bearer(t), 'oauthbearer'), '08P01', notOffered],
    [
      'a password',
      (t) => password(t),
      '08P01',
      'invalid message: SASLInitialResponse is cut short',
    ],
    ['a query', () => query('SELECT 1'), '08P01', "client didn't send required auth data"],
    ['no header', (t) => initial(t), '08P01', `${problem}: it does not begin with a GS2 header`],
    [
      'an authorization identity',
      (t) => initial(bearer(t).replace('n,,', 'n,a=root,')),
      '08P01',
      `${problem}: an authorization identity is not supported`,
    ],
    [
      'two tokens',
      (t) => initial(bearer(t).replace('auth', `auth=Bearer ${t}\x01auth`)),
      '08P01',
      `${problem}: it has more than one auth value`,
    ],
    [
      'more than there may be',
      () => Buffer.from('7000020005', 'hex'),
      '08P01',
      'message size 131073 out of bounds (0..131072)',
    ],
  ])('refuses %s at once, and says nothing of what came', async (_name, bytes, C, M) => {
    const client = await ask(gate)
    const token = await scoped('maxroach')
    const said = await answer(client, bytes(token))
    expect(said.map(({ type }) => type)).toEqual(['E'])
    expect(fields(said[0]?.body ?? Buffer.alloc(0))).toMatchObject({ C, M })
    expect(said[0]?.body.toString()).not.toContain(token)
    expect(await client.next()).toBeUndefined()
  })

  it('another scheme is refused like a bad token, and nothing is said of what came', async () => {
    const client = await ask(gate)
    const token = await scoped('maxroach')
    const said = await answer(client, initial(bearer(token).replace('Bearer', 'Basic')))
    expect(challengeIn(said)).toMatchObject({ status: 'invalid_token' })
    client.write(LEAVE_TO_FAIL)
    const refused = await client.until('E')
    expect(refusalOf(refused)).toMatchObject({ C: '28000', M: 'JWT authentication: invalid token' })
    expect(JSON.stringify(refusalOf(refused))).not.toContain(token)
  })

  it('keys that can not be had are no fault of the token: there is no better one to get', async () => {
    const away = await startGate({
      node: node.address,
      cluster: {
        'server.oauthbearer_authentication.enabled': true,
        'server.jwt_authentication.jwks_auto_fetch.enabled': true,
        'server.jwt_authentication.issuers.configuration': 'https://127.0.0.1:1',
      },
    })
    const client = await ask(away)
    const token = await away.token('maxroach', { iss: 'https://127.0.0.1:1' })
    const said = await answer(client, initial(bearer(token)))
    expect(refusalOf(said)).toMatchObject({
      C: '28000',
      M: 'JWT authentication: unable to validate token',
    })
    await away.close()
  })
})

it('waits for nobody longer than for a password, and tells and writes down the refusal there was', async () => {
  const gate = await startGate({
    node: node.address,
    cluster: { 'server.oauthbearer_authentication.enabled': true },
    limits: { authentication_timeout: '500ms' },
  })
  const silent = await ask(gate)
  expect(refusalOf(await silent.until('E'))).toMatchObject({ C: '57014' })
  const stubborn = await ask(gate)
  await answer(stubborn, initial(bearer(await gate.token('carl'))))
  expect(refusalOf(await stubborn.until('E'))).toMatchObject({ C: '28000' })
  const failed = await gate.event('client_authentication_failed', { Reason: 'CREDENTIALS_INVALID' })
  expect(failed.Detail).toContain('token issued for [carl]')
  await gate.close()
})

it('has an issuer, an audience and a claim of its own', async () => {
  const gate = await startGate({
    node: node.address,
    cluster: {
      'server.oauthbearer_authentication.enabled': true,
      'server.oauthbearer_authentication.issuers.configuration': 'https://people.test/realm',
      'server.oauthbearer_authentication.audience': 'people',
      'server.oauthbearer_authentication.claim': 'username',
    },
  })
  const claims = { iss: 'https://people.test/realm', aud: 'people', username: 'maxroach' }
  const theirs = await gate.token('00u1', claims)
  const ours = await gate.token('maxroach')
  const byBearer = async (token: string) => {
    const client = await ask(gate)
    const said = await answer(client, initial(bearer(token)))
    client.close()
    return said
  }
  const byPassword = async (token: string) => {
    const client = await openTls(gate.port, gate.caPem)
    const said = await signIn(client, { user: 'maxroach' }, token)
    client.close()
    return refusalOf(said)?.M
  }
  expect((await byBearer(theirs)).map(({ type }) => type).join('')).toBe('RSKZ')
  expect(challengeIn(await byBearer(ours))).toEqual({
    status: 'invalid_token',
    'openid-configuration': 'https://people.test/realm/.well-known/openid-configuration',
  })
  expect(await byPassword(ours)).toBeUndefined()
  expect(await byPassword(theirs)).toBe('JWT authentication: invalid issuer')
  await gate.close()
})
