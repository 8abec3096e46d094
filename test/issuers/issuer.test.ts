/** What an issuer is told and shown, what it says when it can't be had, and that it is alone. */
import { afterEach, describe, expect, test } from 'vitest'
import { Failure } from '../../src/failure.ts'
import { openIssuer } from '../../src/issuers/issuer.ts'
import { Secret } from '../../src/secret.ts'
import {
  A,
  B,
  closeServers,
  fetchedKeys,
  openServer,
  UNAVAILABLE,
} from '../support/fetched_keys.ts'
import type { IssuerServer } from '../support/issuer_server.ts'

afterEach(closeServers)

test('one that does not answer delays no other', async () => {
  const mute = await fetchedKeys({ timeoutMs: 30_000 })
  const other = await fetchedKeys()
  mute.server.discovery.hang = true
  const waiting = [mute.login(A), mute.login(A)]
  await expect.poll(() => mute.server.hits.discovery).toBe(1)
  expect(await other.login(A)).toBe('in')
  await closeServers()
  expect(await Promise.all(waiting)).toEqual([UNAVAILABLE, UNAVAILABLE])
})

describe('the log says why the keys can not be had', () => {
  const body = (page: 'discovery' | 'jwks', text: string) => (server: IssuerServer) =>
    Object.assign(server[page], { body: text })

  test.each<[string, (server: IssuerServer) => void, RegExp]>([
    ['an error', ({ jwks }) => Object.assign(jwks, { status: 500 }), /\/jwks returned 500: /],
    ['a page', body('jwks', '<html>busy</html>'), /unusable JWKS: not JSON$/],
    ['nothing', body('jwks', ''), /unusable JWKS: not JSON$/],
    ['a list', body('jwks', '[]'), /unusable JWKS: neither a key nor a set of keys$/],
    [
      'discovery that is a page',
      body('discovery', '<html>'),
      /configuration is not a JSON object$/,
    ],
    [
      'a slow one',
      ({ discovery }) => Object.assign(discovery, { hang: true }),
      /\(Client\.Timeout exceeded while awaiting headers\)$/,
    ],
  ])('%s', async (_name, spoil, expected) => {
    const world = await fetchedKeys({ timeoutMs: 500 })
    spoil(world.server)
    expect(await world.login(A)).toBe(UNAVAILABLE)
    expect(world.log()).toMatch(/^unable to fetch jwks: /)
    expect(world.log()).toMatch(expected)
  })

  test('an issuer that is no address', async () => {
    const { get, now } = await fetchedKeys()
    const settings = {
      issuer: 'issuer1',
      jwksUri: undefined,
      minFreshMs: 0,
      staleGraceMs: 0,
      bearerToken: undefined,
    }
    const thrown = await openIssuer(settings, get, now)
      .find('a')
      .catch((reason) => reason)
    expect(thrown).toMatchObject({
      code: 'jwks_unavailable',
      detail: undefined,
      log: 'unable to fetch jwks: Get "issuer1/.well-known/openid-configuration": unsupported protocol scheme ""',
    })
  })
})

test('keys at a configured address need no discovery', async () => {
  const server = await openServer()
  const world = await fetchedKeys({ server, jwksUri: `${server.issuer}/jwks` })
  server.discovery.status = 500
  expect([await world.login(A), await world.login(A)]).toEqual(['in', 'in'])
  expect(server.hits).toEqual({ discovery: 0, jwks: 1, userinfo: 0 })
})

describe('a bearer token', () => {
  const shown = (server: IssuerServer) =>
    server.requests.map(({ path, headers }) => [path, headers.authorization])
  const DISCOVERY = '/.well-known/openid-configuration'

  test('is read before every fetch, and shown to the issuer', async () => {
    let times = 0
    const bearerToken = () => {
      times += 1
      return new Secret(`token-${times}\n`)
    }
    const world = await fetchedKeys({ bearerToken })
    expect([await world.login(A), await world.login(A)]).toEqual(['in', 'in'])
    expect(shown(world.server)).toEqual([
      [DISCOVERY, 'Bearer token-1'],
      ['/jwks', 'Bearer token-2'],
    ])
  })

  test('is not shown to another host that discovery names', async () => {
    const other = await openServer()
    const bearerToken = () => new Secret('for the issuer alone')
    const server = await openServer({ ca: other.ca })
    server.discovery.body.jwks_uri = `${other.issuer}/jwks`
    other.publish(A)
    const world = await fetchedKeys({ server, bearerToken })
    expect(await world.login(A)).toBe('in')
    expect(shown(server)).toEqual([[DISCOVERY, 'Bearer for the issuer alone']])
    expect(shown(other)).toEqual([['/jwks', undefined]])
  })

  test('is shown to the host of keys that are configured', async () => {
    const other = await openServer()
    const server = await openServer({ ca: other.ca })
    const bearerToken = () => new Secret('for both')
    other.publish(A)
    const world = await fetchedKeys({ server, jwksUri: `${other.issuer}/jwks`, bearerToken })
    expect(await world.login(A)).toBe('in')
    expect(shown(other)).toEqual([['/jwks', 'Bearer for both']])
  })

  test('that can not be read is a fetch that failed', async () => {
    const bearerToken = () => {
      throw new Error('cannot read token.txt: no such file')
    }
    const world = await fetchedKeys({ bearerToken })
    expect(await world.login(A)).toBe(UNAVAILABLE)
    expect(world.log()).toBe('unable to fetch jwks: cannot read token.txt: no such file')
    expect(world.server.requests).toEqual([])
    expect(world.issuer.status()).toMatchObject({ fetches: { ok: 0, failed: 1 } })
  })

  test('whose reading failed with a Failure is told in its own words', async () => {
    const bearerToken = () => {
      throw new Failure('internal_error', { log: 'the file is empty' })
    }
    const world = await fetchedKeys({ bearerToken })
    expect(await world.login(A)).toBe(UNAVAILABLE)
    expect(world.log()).toBe('unable to fetch jwks: the file is empty')
  })

  test('is in no text', async () => {
    const bearerToken = () => new Secret('do-not-print')
    const world = await fetchedKeys({ bearerToken })
    Object.assign(world.server.jwks, { status: 403, body: 'you sent Bearer do-not-print' })
    expect(await world.login(A)).toBe(UNAVAILABLE)
    expect(world.log()).toMatch(/returned 403/)
    expect(JSON.stringify([world.log(), world.issuer.status()])).not.toContain('do-not-print')
  })
})

test('its status says how old the keys are, and what went wrong', async () => {
  const world = await fetchedKeys()
  const { issuer, server } = world
  const started = world.now()
  expect(issuer.status()).toEqual({
    issuer: server.issuer,
    keys: 0,
    fetchedMs: undefined,
    freshUntilMs: undefined,
    lastFetchMs: undefined,
    lastError: undefined,
    fetches: { ok: 0, failed: 0 },
  })
  server.publish(A, B)
  await world.login(A)
  const good = {
    issuer: server.issuer,
    keys: 2,
    fetchedMs: started,
    freshUntilMs: started + 300_000,
    lastFetchMs: started,
    lastTookMs: 0,
    lastError: undefined,
    fetches: { ok: 2, failed: 0 },
  }
  expect(issuer.status()).toEqual(good)
  server.jwks.status = 500
  world.later(300)
  await world.login(A)
  expect(issuer.status()).toEqual({
    ...good,
    lastFetchMs: started + 300_000,
    lastError: expect.stringMatching(/\/jwks returned 500: /),
    fetches: { ok: 3, failed: 1 },
  })
  server.jwks.status = 200
  world.later(1)
  await world.login(A)
  expect(issuer.status()).toMatchObject({ lastError: undefined, fetches: { ok: 4, failed: 1 } })
})

describe('a credential that the issuer says again', () => {
  const SECRET = 'eyJGate.Own.Bearer-of-the-gate'
  const bearerToken = () => new Secret(SECRET)

  test.each<[string, (server: IssuerServer) => void, RegExp]>([
    [
      'in its document',
      (server) => Object.assign(server.discovery.body, { issuer: `https://${SECRET}` }),
      /issuer did not match: .* got https:\/\/\[secret\]/,
    ],
    [
      'in a redirect to another host',
      (server) =>
        Object.assign(server.discovery, {
          status: 302,
          headers: { location: `https://${SECRET}.test/` },
        }),
      /redirect to another host refused: \[secret\]\.test/,
    ],
    [
      'in a redirect',
      (server) =>
        Object.assign(server.discovery, { status: 302, headers: { location: `/?t=${SECRET}` } }),
      /t=\[secret\] returned 404/,
    ],
    [
      'in a header',
      (server) =>
        Object.assign(server.discovery.headers, { 'content-encoding': `Bearer ${SECRET}` }),
      /content-encoding "Bearer \[secret\]" is refused/,
    ],
  ])('%s is in no text', async (_how, spoil, told) => {
    const world = await fetchedKeys({ bearerToken })
    spoil(world.server)
    expect(await world.login(A)).toBe('JWT authentication: unable to validate token')
    const { lastError } = world.issuer.status()
    expect([world.log(), lastError]).toEqual([
      expect.stringMatching(told),
      expect.stringMatching(told),
    ])
    expect(`${world.log()} ${lastError}`.toLowerCase()).not.toContain(SECRET.toLowerCase())
  })

  test("in the answer to a user's own token is in no text either", async () => {
    const world = await fetchedKeys()
    world.server.userinfo.status = 302
    world.server.userinfo.headers = { location: `/again?access_token=${SECRET}` }
    const asked = world.issuer.userinfo(bearerToken())
    await expect(asked).rejects.toMatchObject({
      log: expect.stringMatching(/access_token=\[secret\] returned 404/),
    })
  })
})

test('the last error is that of the last fetch', async () => {
  const world = await fetchedKeys({ cache: 'max-age=10' })
  world.server.jwks.status = 500
  await world.login(A)
  expect(world.issuer.status().lastError).toMatch(/jwks returned 500/)
  world.server.discovery.status = 503
  world.later(60)
  await world.login(A)
  expect(world.issuer.status().lastError).toMatch(/openid-configuration returned 503/)
})

test('a token that expires while its keys are fetched is refused', async () => {
  const world = await fetchedKeys()
  world.server.jwks.answer = (_request, response) => {
    world.later(4_000_000_000)
    response.writeHead(200, { 'cache-control': 'max-age=4000000000' })
    response.end(JSON.stringify(world.server.jwks.body))
  }
  expect(await world.login(A)).toBe(
    'JWT authentication: invalid token / unable to parse token: "exp" not satisfied',
  )
})
