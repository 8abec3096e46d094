/**
 * Two clusters behind one gate: a client names its own in three ways, and a token for one of them opens
 * the other by none of them, remembered or not. What names a cluster never reaches its node.
 */
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { error, type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import { goodClaims, makeKey, mint, type SigningKey } from '../support/tokens.ts'
import {
  type Message,
  openDirectTls,
  openPlain,
  query,
  refusalOf,
  signIn,
} from '../support/wire_client.ts'

const { socketDir, port } = inject('postgres')
const JWT = 'server.jwt_authentication'
const OPTION = '--crdb:jwt_auth_enabled=true'

let gate: TestGate
/** Its node takes nobody. */
let full: ScriptedNode
let keys: Record<'test' | 'red', SigningKey>
beforeAll(async () => {
  keys = { test: await makeKey('same-kid'), red: await makeKey('same-kid') }
  const sorry = error(FAILURES.too_many_connections.sqlstate, 'sorry, too many clients already')
  full = await startScriptedNode({ greet: ({ send }) => send(sorry) })
  gate = await startGate({
    node: `${socketDir}/.s.PGSQL.${port}`,
    cluster: { [`${JWT}.jwks`]: { keys: [keys.test.jwk] } },
    clusters: {
      red: { [`${JWT}.jwks`]: { keys: [keys.red.jwk] }, [`${JWT}.audience`]: 'red' },
      full: {
        nodes: [{ address: full.address }],
        sign_in: 'trust',
        [`${JWT}.jwks`]: { keys: [keys.test.jwk] },
      },
      // Believes the same issuer and key as `test`, and wants another audience.
      twin: { [`${JWT}.jwks`]: { keys: [keys.test.jwk] }, [`${JWT}.audience`]: 'twin' },
    },
  })
})
afterAll(async () => {
  await gate.close()
  await full.close()
})

type Way = 'host' | 'option' | 'database'
const WAYS: Way[] = ['host', 'option', 'database']

interface Attempt {
  host?: string
  options?: string
  database?: string
  parameters?: Record<string, string>
}

function named(cluster: string, way: Way): Attempt {
  if (way === 'host') return { host: `${cluster}.gate.test` }
  if (way === 'option') return { options: `--cluster=${cluster}` }
  return { database: `${cluster}.defaultdb` }
}

async function attempt(
  { host = 'gate.test', options = '', database = 'defaultdb', parameters = {} }: Attempt,
  token: string,
) {
  const client = await openDirectTls(gate.port, gate.caPem, {
    ALPNProtocols: ['postgresql'],
    servername: host,
    checkServerIdentity: () => undefined,
  })
  const own = { user: 'maxroach', database, options: `${OPTION} ${options}`.trim() }
  const said = await signIn(client, { ...parameters, ...own }, token)
  if (refusalOf(said) !== undefined) return refusalOf(said)
  client.write(query('select current_user, current_database()'))
  const row = (await client.until('D')).at(-1)
  client.close()
  return row && texts(row)
}

function texts(row: Message): string[] {
  const found: string[] = []
  for (let at = 2; at < row.body.length; ) {
    const size = row.body.readInt32BE(at)
    found.push(row.body.subarray(at + 4, at + 4 + size).toString())
    at += 4 + size
  }
  return found
}

const tokenFor = (cluster: 'test' | 'red', claims = {}) =>
  mint(keys[cluster], {
    claims: { ...goodClaims('maxroach'), ...(cluster === 'red' && { aud: 'red' }), ...claims },
  })

describe.each(WAYS)('a cluster named by %s', (way) => {
  it.each(['test', 'red'] as const)('lets in who has a token for it: %s', async (cluster) => {
    expect(await attempt(named(cluster, way), await tokenFor(cluster))).toEqual([
      'maxroach',
      'defaultdb',
    ])
    expect(
      await gate.event('login_decision', { Cluster: cluster, Result: 'granted' }),
    ).toMatchObject({
      Result: 'granted',
    })
  })

  it.each([
    [
      'red',
      'test',
      'unable to parse token: could not verify message using any of the signatures or keys',
    ],
    [
      'test',
      'red',
      'unable to parse token: could not verify message using any of the signatures or keys',
    ],
    ['twin', 'test', 'token issued with an audience of [postern-test]'],
  ] as const)(
    '%s is not opened by a token for %s, not even one that was good there',
    async (cluster, owner, why) => {
      const token = await tokenFor(owner)
      expect(await attempt(named(owner, way), token)).toEqual(['maxroach', 'defaultdb'])
      expect(await attempt(named(cluster, way), token)).toMatchObject({ C: '28000', D: why })
      expect(await attempt(named(owner, way), token)).toEqual(['maxroach', 'defaultdb'])
    },
  )
})

const WHO = ['maxroach', 'defaultdb']
const MISSING = 'missing cluster identifier'
const DIFFERENT = 'multiple different cluster identifiers provided'
const TWICE = 'multiple cluster flags provided'
const NO_FLAG = 'invalid cluster flag'
const NO_DATABASE = 'invalid database param'

/** The rows of the reference's section 7.8, before clusters that are real. */
describe('a client that names', () => {
  it.each<[row: number, what: string, said: Attempt]>([
    [123, 'one in two ways that agree', { options: '--cluster=red', database: 'red.defaultdb' }],
    [127, 'one by a host of many labels', { host: 'red.abc.gcp-us-central1.gate.test' }],
    [129, 'one with spaces behind -c', { options: '-c   cluster=red' }],
    [129, 'one with nothing behind -c', { options: '-ccluster=red' }],
  ])('row %i: %s gets in, and its node hears none of it', async (_row, _what, said) => {
    expect(await attempt(said, await tokenFor('red'))).toEqual(WHO)
  })

  it('one in three ways that agree gets in', async () => {
    const said = { host: 'red.gate.test', options: '--cluster=red', database: 'red.defaultdb' }
    expect(await attempt(said, await tokenFor('red'))).toEqual(WHO)
  })

  it.each<[row: number, what: string, said: Attempt, message: string]>([
    [121, 'none', {}, MISSING],
    [122, 'two', { options: '--cluster=red', database: 'test.defaultdb' }, DIFFERENT],
    [122, 'two, by host', { host: 'red.gate.test', options: '--cluster=test' }, DIFFERENT],
    [122, 'another, by host', { host: 'red.gate.test', database: 'test.defaultdb' }, DIFFERENT],
    [124, 'nothing but a dot', { database: '.' }, NO_DATABASE],
    [124, 'one and no database', { database: 'red.' }, NO_DATABASE],
    [124, 'a database of none', { database: '.defaultdb' }, NO_DATABASE],
    [124, 'too many parts', { database: 'red.defaultdb.test' }, NO_DATABASE],
    [125, 'one by three flags', { options: '--cluster=red '.repeat(3) }, TWICE],
    [125, 'one by an empty flag', { options: '--cluster=' }, NO_FLAG],
    [127, 'none that a host is', { host: 'blue.gate.test' }, MISSING],
  ])('row %i: %s, is asked for no token', async (_row, _what, said, message) => {
    const refusal = await attempt(said, 'not-a-token')
    expect(refusal).toMatchObject({ C: '08C00', M: message })
    if (message === MISSING) expect(refusal).toHaveProperty('H')
    const event = await gate.event('client_authentication_failed', { Sqlstate: '08C00' })
    expect(event).toMatchObject({ Cluster: '', Reason: 'PRE_HOOK_ERROR' })
  })

  it('one that is not there is told so', async () => {
    const refusal = await attempt({ options: '--cluster=blue' }, 'not-a-token')
    expect(refusal).toMatchObject({ C: '08C00', M: 'cluster blue not found' })
  })

  it('row 130: one in clear has to use TLS', async () => {
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    const said = await signIn(client, { user: 'maxroach', options: '--cluster=red' }, 'not-a-token')
    expect(said).toHaveLength(1)
    expect(refusalOf(said)).toMatchObject({ C: '08C00', M: 'server requires encryption' })
    client.close()
  })

  it.each(['red', 'test'])('row 131: %s, with a revival token, is refused', async (cluster) => {
    const token = 'crdb:session_revival_token_base64'
    const refused = { C: '08P01', M: `parameter ${token} is not allowed` }
    const options = `--cluster=${cluster}`
    expect(await attempt({ options, parameters: { [token]: 'x' } }, 'x')).toMatchObject(refused)
    expect(await attempt({ options: `${options} --${token}=x` }, 'x')).toMatchObject(refused)
  })

  it('row 133: one that is full hears so in its node’s words, which is no fault of anybody', async () => {
    const said = { options: '--cluster=full' }
    for (let at = 0; at < 4; at++)
      expect(await attempt(said, await tokenFor('test'))).toEqual({
        S: 'FATAL',
        V: 'FATAL',
        C: '53300',
        M: 'sorry, too many clients already',
      })
    expect(full.startups).toHaveLength(4)
    expect(await attempt(named('test', 'option'), await tokenFor('test'))).toEqual(WHO)
    const metrics = await (await fetch(`${gate.opsUrl}/metrics`)).text()
    const up = `postern_nodes{cluster="full",node="${full.address}",state="up"} 1`
    expect(metrics).toContain(up)
    expect(metrics).not.toContain('postern_node_failures_total{')
  })
})
