/** What an issuer is asked about a token's holder, and which answers are believed. */
import { afterEach, describe, expect, test } from 'vitest'
import { Failure } from '../../src/failure.ts'
import { Secret } from '../../src/secret.ts'
import { closeServers, type FetchedKeys, fetchedKeys, openServer } from '../support/fetched_keys.ts'
import type { IssuerServer } from '../support/issuer_server.ts'

afterEach(closeServers)

const TOKEN = 'aaaa.bbbb.the-holders-own-token'

/** The answer, or the failure's code, sentence and log. */
async function ask({ issuer }: FetchedKeys, subject?: string): Promise<unknown> {
  try {
    return await issuer.userinfo(new Secret(TOKEN), subject)
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown
    expect(thrown.detail).toBeUndefined()
    expect(JSON.stringify([thrown.log, thrown.message, thrown.cause])).not.toContain(TOKEN)
    return [thrown.code, thrown.message, thrown.log]
  }
}

test('is asked with the token, at the endpoint that discovery names', async () => {
  const world = await fetchedKeys()
  world.server.userinfo.body = { sub: 'ann', groups: ['ops'] }
  expect(await ask(world, 'ann')).toEqual({ sub: 'ann', groups: ['ops'] })
  expect(await ask(world)).toEqual({ sub: 'ann', groups: ['ops'] })
  expect(world.server.hits).toEqual({ discovery: 1, jwks: 0, userinfo: 2 })
  expect(world.server.requests[0]?.headers.authorization).toBeUndefined()
  expect(world.server.requests[1]?.headers.authorization).toBe(`Bearer ${TOKEN}`)
})

test('an answer that names nobody is about the token it was asked with', async () => {
  const world = await fetchedKeys()
  world.server.userinfo.body = { groups: ['ops'] }
  expect(await ask(world, 'ann')).toEqual({ groups: ['ops'] })
})

test('an issuer whose keys are configured is asked as well, though it names no keys', async () => {
  const server = await openServer()
  const world = await fetchedKeys({ server, jwksUri: `${server.issuer}/jwks` })
  delete server.discovery.body.jwks_uri
  server.userinfo.body = { groups: [] }
  expect(await ask(world)).toEqual({ groups: [] })
})

test('without an endpoint there is nobody to ask', async () => {
  const world = await fetchedKeys()
  delete world.server.discovery.body.userinfo_endpoint
  expect(await ask(world)).toEqual([
    'no_userinfo_endpoint',
    'JWT authorization: No userinfo endpoint',
    undefined,
  ])
})

describe('the log says why an answer is not believed', () => {
  const answer = (change: object) => (server: IssuerServer) => {
    Object.assign(server.userinfo, change)
  }
  const jwt = { 'content-type': 'application/jwt; charset=utf-8' }

  test.each<[string, (server: IssuerServer) => void, RegExp]>([
    [
      'another subject',
      answer({ body: { sub: 'bob' } }),
      /^userinfo is about another subject than the token$/,
    ],
    [
      'a subject that is a number',
      answer({ body: { sub: 5 } }),
      /^userinfo is about another subject/,
    ],
    ['a list', answer({ body: [] }), /^userinfo is not a JSON object$/],
    ['null', answer({ body: 'null' }), /^userinfo is not a JSON object$/],
    ['a page', answer({ body: '<html>' }), /^userinfo is not a JSON object$/],
    [
      'a signed answer',
      answer({ headers: jwt, body: 'e30.e30.' }),
      /^signed userinfo \(application\/jwt\) is not supported$/,
    ],
    ['a refusal', answer({ status: 401, body: `no: ${TOKEN}` }), /\/userinfo returned 401/],
    ['silence', answer({ hang: true }), /Client\.Timeout exceeded/],
    [
      'an odd endpoint',
      ({ discovery }) => Object.assign(discovery.body, { userinfo_endpoint: '/userinfo' }),
      /^invalid userinfo endpoint in OpenID configuration$/,
    ],
    [
      'no discovery',
      ({ discovery }) => Object.assign(discovery, { status: 500 }),
      /openid-configuration returned 500/,
    ],
    [
      'discovery of somebody else',
      ({ discovery }) => Object.assign(discovery.body, { issuer: 'https://evil.example' }),
      /^issuer did not match: /,
    ],
  ])('%s', async (_name, spoil, expected) => {
    const world = await fetchedKeys({ timeoutMs: 500 })
    spoil(world.server)
    expect(await ask(world, 'ann')).toEqual([
      'userinfo_lookup_failed',
      'JWT authorization: userinfo lookup failed',
      expect.stringMatching(expected),
    ])
  })
})

test('the bearer token of the gate is not shown there', async () => {
  const world = await fetchedKeys({ bearerToken: () => new Secret('of the gate') })
  world.server.userinfo.body = {}
  await ask(world)
  expect(world.server.requests.map(({ headers }) => headers.authorization)).toEqual([
    'Bearer of the gate',
    `Bearer ${TOKEN}`,
  ])
})
