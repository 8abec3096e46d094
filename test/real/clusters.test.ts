/**
 * Two clusters behind one gate: a client names its own in three ways, and a token for one of them opens
 * the other by none of them, remembered or not. What names a cluster never reaches its node.
 */
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { goodClaims, makeKey, mint, type SigningKey } from '../support/tokens.ts'
import { type Message, openDirectTls, query, refusalOf, signIn } from '../support/wire_client.ts'

const { socketDir, port } = inject('postgres')
const JWT = 'server.jwt_authentication'
const OPTION = '--crdb:jwt_auth_enabled=true'

let gate: TestGate
let keys: Record<'test' | 'red', SigningKey>
beforeAll(async () => {
  keys = { test: await makeKey('same-kid'), red: await makeKey('same-kid') }
  gate = await startGate({
    node: `${socketDir}/.s.PGSQL.${port}`,
    cluster: { [`${JWT}.jwks`]: { keys: [keys.test.jwk] } },
    clusters: {
      red: { [`${JWT}.jwks`]: { keys: [keys.red.jwk] }, [`${JWT}.audience`]: 'red' },
      // Believes the same issuer and key as `test`, and wants another audience.
      twin: { [`${JWT}.jwks`]: { keys: [keys.test.jwk] }, [`${JWT}.audience`]: 'twin' },
    },
  })
})
afterAll(async () => await gate.close())

type Way = 'host' | 'option' | 'database'
const WAYS: Way[] = ['host', 'option', 'database']

interface Attempt {
  host?: string
  options?: string
  database?: string
}

function named(cluster: string, way: Way): Attempt {
  if (way === 'host') return { host: `${cluster}.gate.test` }
  if (way === 'option') return { options: `--cluster=${cluster}` }
  return { database: `${cluster}.defaultdb` }
}

async function attempt(
  { host = 'gate.test', options = '', database = 'defaultdb' }: Attempt,
  token: string,
) {
  const client = await openDirectTls(gate.port, gate.caPem, {
    ALPNProtocols: ['postgresql'],
    servername: host,
    checkServerIdentity: () => undefined,
  })
  const parameters = { user: 'maxroach', database, options: `${OPTION} ${options}`.trim() }
  const said = await signIn(client, parameters, token)
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

describe('a client that names', () => {
  it.each<[string, Attempt, string]>([
    ['no cluster', {}, 'missing cluster identifier'],
    ['one that is not there', { options: '--cluster=blue' }, 'cluster blue not found'],
    [
      'two by host and option',
      { host: 'red.gate.test', options: '--cluster=test' },
      'multiple different cluster identifiers provided',
    ],
    [
      'two by host and database',
      { host: 'red.gate.test', database: 'test.defaultdb' },
      'multiple different cluster identifiers provided',
    ],
    [
      'two by option and database',
      { options: '--cluster=red', database: 'test.defaultdb' },
      'multiple different cluster identifiers provided',
    ],
  ])('%s is asked for no token', async (_what, said, message) => {
    const refusal = await attempt(said, 'not-a-token')
    expect(refusal).toMatchObject({ C: '08C00', M: message })
    const event = await gate.event('client_authentication_failed', { Sqlstate: '08C00' })
    expect(event).toMatchObject({ Cluster: '', Reason: 'PRE_HOOK_ERROR' })
  })

  it('one in three ways that agree gets in', async () => {
    const said = { host: 'red.gate.test', options: '--cluster=red', database: 'red.defaultdb' }
    expect(await attempt(said, await tokenFor('red'))).toEqual(['maxroach', 'defaultdb'])
  })
})
