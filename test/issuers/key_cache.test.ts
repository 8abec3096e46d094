/**
 * The documented behaviour of the keys' cache, row by row as the reference numbers them, and what
 * made-up key names may cost an issuer.
 */
import { generateKeyPairSync } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import {
  A,
  B,
  closeServers,
  type FetchedKeys,
  fetchedKeys,
  UNAVAILABLE,
  unknownKey,
  WRONG_SIGNATURE,
} from '../support/fetched_keys.ts'
import { ec, jwk } from '../support/forge.ts'
import { makeKey, type SigningKey } from '../support/tokens.ts'

afterEach(closeServers)

/** Requests for discovery and for the keys so far, as the reference writes them. */
function hits({ server }: FetchedKeys): string {
  return `${server.hits.discovery}/${server.hits.jwks}`
}

describe('the documented cases', () => {
  test('107: many logins cost one request for each document', async () => {
    const world = await fetchedKeys()
    const parallel = await Promise.all(Array.from({ length: 8 }, () => world.login(A)))
    const serial = [await world.login(A), await world.login(A), await world.login(A)]
    expect([...parallel, ...serial]).toEqual(Array(11).fill('in'))
    expect(hits(world)).toBe('1/1')
  })

  test.each<[string, string, string, string]>([
    ['both', 'max-age=0', 'max-age=0', '2/2'],
    ['discovery', 'max-age=0', 'max-age=300', '2/1'],
    ['the keys', 'max-age=300', 'max-age=0', '1/2'],
    ['both, never stored', 'no-store', 'no-store', '2/2'],
    ['both, always asked for', 'no-cache', 'no-cache', '2/2'],
    ['neither', 'max-age=300', 'max-age=300', '1/1'],
  ])('108: stale at once: %s', async (_name, discovery, keys, expected) => {
    const world = await fetchedKeys()
    world.server.discovery.headers['cache-control'] = discovery
    world.server.jwks.headers['cache-control'] = keys
    expect([await world.login(A), await world.login(A)]).toEqual(['in', 'in'])
    expect(hits(world)).toBe(expected)
  })

  test('108: without headers every login fetches', async () => {
    const world = await fetchedKeys()
    delete world.server.discovery.headers['cache-control']
    delete world.server.jwks.headers['cache-control']
    await world.login(A)
    await world.login(A)
    expect(hits(world)).toBe('2/2')
  })

  test('109: an unknown kid costs one request, past all caches, and the next one none', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    expect(await world.login(B)).toBe(unknownKey('b'))
    expect(await world.login(B)).toBe(unknownKey('b'))
    expect(hits(world)).toBe('1/2')
    const asked = world.server.requests.filter(({ path }) => path === '/jwks')
    expect(asked.map(({ headers }) => headers['cache-control'])).toEqual([undefined, 'no-cache'])
  })

  test('110: a key that came is found by one request, thirty seconds after the last', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    await world.login(A, 'made-up')
    world.server.publish(A, B)
    world.later(29)
    expect(await world.login(B)).toBe(unknownKey('b'))
    expect(hits(world)).toBe('1/2')
    world.later(2)
    expect(await Promise.all([world.login(B), world.login(B), world.login(A)])).toEqual(
      Array(3).fill('in'),
    )
    expect(hits(world)).toBe('1/3')
  })

  test('111: a known kid with a wrong signature costs nothing', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    world.later(31)
    expect(await world.login(B, 'a')).toBe(WRONG_SIGNATURE)
    expect(hits(world)).toBe('1/1')
  })

  test('113: keys that moved are other keys, and the old address is not asked again', async () => {
    const world = await fetchedKeys({ cache: 'max-age=10' })
    const { server } = world
    server.jwks.headers['cache-control'] = 'max-age=3000'
    expect(await world.login(A)).toBe('in')
    server.pages.set('/moved', { ...server.jwks, body: { keys: [B.jwk] } })
    server.discovery.body.jwks_uri = `${server.issuer}/moved`
    world.later(11)
    expect(await world.login(A)).toBe(unknownKey('a'))
    expect(await world.login(B)).toBe('in')
    expect(server.hits.jwks).toBe(1)
    // Should it move back, what was kept of the old address does not come to life again.
    server.discovery.body.jwks_uri = `${server.issuer}/jwks`
    server.publish()
    world.later(11)
    expect(await world.login(A)).toBe(unknownKey('a'))
    expect(server.hits.jwks).toBe(2)
  })

  const point = jwk(ec('P-256'), { kid: 'c' })
  const short = { kty: 'OKP', crv: 'Ed25519', kid: 'c', x: 'AAAA' }
  test.each<[string, object, string]>([
    [
      'a zero modulus',
      { kty: 'RSA', kid: 'c', n: 'AA', e: 'AQAB' },
      'an RSA key whose modulus is zero',
    ],
    [
      'a point off its curve',
      { ...point, x: point.y, y: point.x },
      'the key is not a valid public key',
    ],
    ['Ed25519 cut short', short, 'the key is not a valid public key'],
  ])('115: a set with %s is not used, and not kept', async (_name, broken, problem) => {
    const world = await fetchedKeys()
    world.server.jwks.body = { keys: [A.jwk, broken] }
    expect(await world.login(A)).toBe(UNAVAILABLE)
    expect(world.log()).toBe(`unable to fetch jwks: unusable JWKS: key 2: ${problem}`)
    world.server.publish(A)
    world.later(1)
    expect(await world.login(A)).toBe('in')
    expect(hits(world)).toBe('1/2')
  })

  test('116: an empty set withdraws all keys', async () => {
    const world = await fetchedKeys({ cache: 'max-age=10', staleGraceMs: 3_600_000 })
    expect(await world.login(A)).toBe('in')
    world.server.publish()
    world.later(11)
    expect(await world.login(A)).toBe(unknownKey('a'))
    expect(hits(world)).toBe('2/2')
  })

  test('119: a set of more than a mebibyte is not read', async () => {
    const world = await fetchedKeys()
    world.server.jwks.body = { keys: [A.jwk], filling: 'x'.repeat(1024 * 1024) }
    expect(await world.login(A)).toBe(UNAVAILABLE)
    expect(world.log()).toMatch(/^unable to fetch jwks: .*response body exceeds 1048576 bytes/)
  })

  test('120: a key of a kind that we do not have does not spoil its set', async () => {
    const world = await fetchedKeys()
    const ed = await makeKey('ed', 'EdDSA')
    const ed448 = jwk(generateKeyPairSync('ed448'), { kid: 'ed448', alg: 'EdDSA', use: 'sig' })
    world.server.jwks.body = { keys: [ed448, { ...ed448, kid: 'ed' }, ed.jwk] }
    expect(await world.login(ed)).toBe('in')
  })
})

describe('made-up names', () => {
  const madeUp = (from: number) => Array.from({ length: 10_000 }, (_, n) => `kid-${from + n}`)

  test('ten thousand cost one request in thirty seconds', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    const ask = async (kids: string[]) => {
      const found = await Promise.all(kids.map((kid) => world.issuer.find(kid)))
      return found.filter(({ keys }) => keys.length > 0).length
    }
    expect([await ask(madeUp(0)), await ask(madeUp(10_000))]).toEqual([0, 0])
    expect(hits(world)).toBe('1/2')
    world.later(30)
    expect(await ask(madeUp(20_000))).toBe(0)
    expect(hits(world)).toBe('1/3')
  })

  test('nobody else waits for the request that they cause', async () => {
    const world = await fetchedKeys({ timeoutMs: 30_000 })
    await world.login(A)
    world.server.jwks.hang = true
    const waiting = world.login(A, 'made-up')
    await expect.poll(() => world.server.hits.jwks).toBe(2)
    expect(await world.login(A)).toBe('in')
    await closeServers()
    expect(await waiting).toBe(UNAVAILABLE)
  })

  test('a login with a key that came meanwhile waits for the request under way', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    world.server.publish(A, B)
    const logins = await Promise.all([world.login(A, 'made-up'), world.login(B), world.login(B)])
    expect(logins).toEqual([unknownKey('made-up'), 'in', 'in'])
    expect(hits(world)).toBe('1/2')
  })

  test('a request that failed counts as well, and leaves what is fresh', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    world.server.jwks.status = 500
    expect(await world.login(B)).toBe(UNAVAILABLE)
    expect(await world.login(B)).toBe(unknownKey('b'))
    expect(await world.login(A)).toBe('in')
    expect(hits(world)).toBe('1/2')
    world.server.jwks.status = 200
    world.server.publish(A, B)
    world.later(30)
    expect(await world.login(B)).toBe('in')
  })

  test('the thirty seconds survive an ordinary refresh', async () => {
    const world = await fetchedKeys({ cache: 'max-age=20' })
    await world.login(A)
    await world.login(A, 'made-up')
    world.later(21)
    await world.login(A)
    expect(hits(world)).toBe('2/3')
    await world.login(A, 'made-up too')
    expect(hits(world)).toBe('2/3')
  })

  test('a set that was fetched for this very login is not fetched twice', async () => {
    const world = await fetchedKeys()
    expect(await world.login(B)).toBe(unknownKey('b'))
    expect(hits(world)).toBe('1/1')
    world.server.publish(A, B)
    expect(await world.login(B)).toBe('in')
  })

  test('one that was looked for in vain is not looked for again for a minute', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    await world.login(A, 'made-up')
    world.later(59)
    expect(await world.login(A, 'made-up')).toBe(unknownKey('made-up'))
    expect(hits(world)).toBe('1/2')
    world.later(1)
    await world.login(A, 'made-up')
    expect(hits(world)).toBe('1/3')
  })

  test('unless the set is another one', async () => {
    const world = await fetchedKeys({ cache: 'max-age=20' })
    await world.login(A)
    await world.login(B)
    world.server.publish(A, await makeKey('c'))
    world.later(21)
    await world.login(A)
    world.server.publish(A, B)
    world.later(10)
    expect(await world.login(B)).toBe('in')
    expect(hits(world)).toBe('2/4')
  })

  test.each(['', '../jwks', '__proto__', 'constructor', 'x'.repeat(60_000), '\u0000'])(
    'are only looked up: %j',
    async (kid) => {
      const world = await fetchedKeys()
      await world.login(A)
      expect((await world.issuer.find(kid)).keys).toEqual([])
      expect(world.server.requests.map(({ path }) => path)).toEqual([
        '/.well-known/openid-configuration',
        '/jwks',
        '/jwks',
      ])
    },
  )
})

test('a clock that is set back keeps neither documents nor pauses alive', async () => {
  const world = await fetchedKeys()
  await world.login(A)
  await world.login(A, 'made-up')
  world.later(-3600)
  expect(await world.login(A)).toBe('in')
  expect(hits(world)).toBe('2/3')
  await world.login(A, 'made-up too')
  expect(hits(world)).toBe('2/4')
})

test('keys rotate under many logins, and none of a valid token fails', async () => {
  const world = await fetchedKeys({ cache: 'max-age=60' })
  const keys: SigningKey[] = [A]
  const failed: string[] = []
  for (let minute = 0; minute < 10; minute += 1) {
    keys.push(await makeKey(`rotated-${minute}`))
    world.server.publish(...keys.slice(-2))
    const logins = await Promise.all(
      keys.slice(-2).flatMap((key) => [0, 1, 2].map(() => world.login(key))),
    )
    failed.push(...logins.filter((outcome) => outcome !== 'in'))
    world.later(31)
  }
  expect(failed).toEqual([])
})

describe('a key that is published while the older set is under way', () => {
  /** The next answer is what is published now, and comes when the test says so. */
  function hold({ server }: FetchedKeys): () => void {
    const { jwks } = server
    const old = JSON.stringify(jwks.body)
    let release: () => void = () => undefined
    jwks.answer = (_request, response) => {
      delete jwks.answer
      release = () => response.writeHead(200, jwks.headers).end(old)
    }
    return () => release()
  }

  test('is found by a login that waited for it', async () => {
    const world = await fetchedKeys()
    const release = hold(world)
    const first = world.login(A)
    await expect.poll(() => world.server.hits.jwks).toBe(1)
    world.server.publish(A, B)
    const second = world.issuer.find('b')
    await setImmediate()
    release()
    expect([await first, (await second).keys.length]).toEqual(['in', 1])
    expect(hits(world)).toBe('1/2')
  })

  test('is found although it is fetched ahead of time', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    const release = hold(world)
    world.later(250)
    world.issuer.refreshAhead()
    await expect.poll(() => world.server.hits.jwks).toBe(2)
    world.server.publish(A, B)
    const found = world.issuer.find('b')
    await setImmediate()
    release()
    expect((await found).keys).toHaveLength(1)
    expect(world.server.hits.jwks).toBe(3)
  })
})

test('says where a key came from, and when', async () => {
  const world = await fetchedKeys()
  const { keys, from, fetchedMs } = await world.issuer.find('a')
  expect(keys.map(({ kid }) => kid)).toEqual(['a'])
  expect({ from, fetchedMs }).toEqual({
    from: `${world.server.issuer}/jwks`,
    fetchedMs: world.now(),
  })
})
