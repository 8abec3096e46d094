/** Where discovery is, and which documents are believed. What is refused is not kept either. */
import { afterEach, describe, expect, test } from 'vitest'
import {
  discoveryUrl,
  jwksUri,
  parseDiscovery,
  userinfoEndpoint,
} from '../../src/issuers/discovery.ts'
import { A, closeServers, fetchedKeys, openServer, UNAVAILABLE } from '../support/fetched_keys.ts'

afterEach(closeServers)

const ISSUER = 'https://issuer.example'
const URI = 'https://keys.example/jwks'

test.each([
  ['https://issuer.example', 'https://issuer.example/.well-known/openid-configuration'],
  ['https://issuer.example/', 'https://issuer.example/.well-known/openid-configuration'],
  ['https://issuer.example//', 'https://issuer.example//.well-known/openid-configuration'],
  ['https://a.example/oauth2/b', 'https://a.example/oauth2/b/.well-known/openid-configuration'],
  ['issuer1', 'issuer1/.well-known/openid-configuration'],
])('%s has its configuration at %s', (issuer, url) => {
  expect(discoveryUrl(issuer)).toBe(url)
})

function read(members: Record<string, unknown>, issuer = ISSUER): unknown {
  try {
    const document = parseDiscovery(JSON.stringify({ issuer, ...members }), issuer)
    return [jwksUri(document), userinfoEndpoint(document)]
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : thrown
  }
}

describe('a document', () => {
  const missing = 'no JWKS URI found in OpenID configuration'
  const invalid = 'invalid JWKS URI in OpenID configuration'
  const mismatch = (named: string) => `issuer did not match: ${ISSUER} was asked for, got ${named}`

  test.each<[string, Record<string, unknown>, unknown]>([
    ['of the keys alone', { jwks_uri: URI }, [URI, undefined]],
    ['with userinfo', { jwks_uri: URI, userinfo_endpoint: URI }, [URI, URI]],
    ['with a null userinfo', { jwks_uri: URI, userinfo_endpoint: null }, [URI, undefined]],
    ['in capitals', { jwks_uri: 'HTTPS://keys.example' }, ['HTTPS://keys.example', undefined]],
    ['without keys', {}, missing],
    ['with null for keys', { jwks_uri: null }, missing],
    ['with nothing for keys', { jwks_uri: '' }, missing],
    ['with a number', { jwks_uri: 5 }, invalid],
    ['with a path', { jwks_uri: '/jwks' }, invalid],
    ['with no scheme', { jwks_uri: '//keys.example/jwks' }, invalid],
    ['with no host', { jwks_uri: 'https:///jwks' }, invalid],
    ['with no slashes', { jwks_uri: 'https:keys.example' }, invalid],
    ['with backslashes', { jwks_uri: 'https:\\\\keys.example' }, invalid],
    ['with a space in front', { jwks_uri: ` ${URI}` }, invalid],
    ['with http', { jwks_uri: 'http://keys.example/jwks' }, invalid],
    ['with a file', { jwks_uri: 'file:///etc/passwd' }, invalid],
    ['with data', { jwks_uri: 'data:application/json,{"keys":[]}' }, invalid],
    [
      'with userinfo by http',
      { jwks_uri: URI, userinfo_endpoint: 'http://keys.example/' },
      'invalid userinfo endpoint in OpenID configuration',
    ],
    ['of somebody else', { issuer: 'https://evil.example' }, mismatch('https://evil.example')],
    ['of nearly the same', { issuer: `${ISSUER}/` }, mismatch(`${ISSUER}/`)],
    ['of nobody', { issuer: undefined }, mismatch('')],
    ['of a list', { issuer: [ISSUER] }, mismatch('')],
    ['of a terminal', { issuer: '\u001b[2J' }, mismatch('\ufffd[2J')],
  ])('%s', (_name, members, expected) => {
    expect(read(members)).toEqual(expected)
  })

  test('of an issuer that is reached by http may say http', () => {
    const uri = 'http://localhost:8080/jwks'
    expect(read({ jwks_uri: uri }, 'http://localhost:8080')).toEqual([uri, undefined])
  })

  test.each(['', '<html>', 'null', '[]', '"text"', '{'])('is a JSON object, and not %j', (body) => {
    expect(() => parseDiscovery(body, ISSUER)).toThrow(
      'the OpenID configuration is not a JSON object',
    )
  })
})

describe('what is refused is not kept', () => {
  test.each<[string, unknown, string | RegExp]>([
    ['somebody else', { issuer: 'https://evil.example' }, /^issuer did not match: /],
    ['no keys', { jwks_uri: undefined }, 'no JWKS URI found in OpenID configuration'],
    ['odd keys', { jwks_uri: '/jwks' }, 'invalid JWKS URI in OpenID configuration'],
    ['a page', '<html>busy</html>', 'the OpenID configuration is not a JSON object'],
  ])('%s', async (_name, change, problem) => {
    const world = await fetchedKeys()
    const { discovery } = world.server
    const page = { ...discovery }
    const body = typeof change === 'string' ? change : { ...page.body, ...(change as object) }
    Object.assign(discovery, { body })
    expect(await world.login(A)).toBe(UNAVAILABLE)
    const log = world.log() ?? ''
    expect(log).toMatch(/^unable to fetch jwks: /)
    expect(log.replace('unable to fetch jwks: ', '')).toMatch(problem)
    Object.assign(discovery, page)
    world.later(1)
    expect(await world.login(A)).toBe('in')
    expect(world.server.hits).toMatchObject({ discovery: 2, jwks: 1 })
  })
})

test('an issuer below a path, and one with a slash at its end', async () => {
  const server = await openServer({ prefix: '/oauth2/default/' })
  expect(server.issuer).toMatch(/\/$/)
  const world = await fetchedKeys({ server })
  server.discovery.body.jwks_uri = server.issuer.replace(/\/$/, '/jwks')
  expect(await world.login(A)).toBe('in')
})
