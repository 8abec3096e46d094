/** How long a document is good, who fetches it before it is stale, and what a failed fetch leads to. */
import { afterEach, describe, expect, test } from 'vitest'
import {
  A,
  B,
  cacheBoth,
  closeServers,
  type FetchedKeys,
  fetchedKeys,
  UNAVAILABLE,
  unknownKey,
} from '../support/fetched_keys.ts'

afterEach(closeServers)

describe('after a failed fetch', () => {
  test('nobody asks for a while, and all are told the same', async () => {
    const world = await fetchedKeys()
    world.server.discovery.status = 503
    const logs = new Set<string | undefined>()
    for (const waitSeconds of [1, 2, 4, 8, 16, 30, 30]) {
      const before = world.server.hits.discovery
      expect(await world.login(A)).toBe(UNAVAILABLE)
      logs.add(world.log())
      world.later(waitSeconds - 0.001)
      expect(await world.login(A)).toBe(UNAVAILABLE)
      logs.add(world.log())
      expect(world.server.hits.discovery).toBe(before + 1)
      world.later(0.001)
    }
    expect([...logs]).toEqual([expect.stringMatching(/^unable to fetch jwks: .* returned 503/)])
    expect(world.issuer.status().fetches).toEqual({ ok: 0, failed: 7 })
  })

  test('one that succeeds ends the pauses', async () => {
    const world = await fetchedKeys({ cache: 'max-age=0' })
    const { jwks } = world.server
    const failing = async () => {
      jwks.status = 500
      const before = world.server.hits.jwks
      await world.login(A)
      world.later(0.9)
      await world.login(A)
      jwks.status = 200
      world.later(0.1)
      return [await world.login(A), world.server.hits.jwks - before]
    }
    expect(await failing()).toEqual(['in', 2])
    expect(await failing()).toEqual(['in', 2])
  })

  test('those who came together wait for one', async () => {
    const world = await fetchedKeys()
    world.server.discovery.status = 500
    const logins = await Promise.all(Array.from({ length: 20 }, () => world.login(A)))
    expect(logins).toEqual(Array(20).fill(UNAVAILABLE))
    expect(world.server.hits.discovery).toBe(1)
  })

  test('what is stale is not used', async () => {
    const world = await fetchedKeys({ cache: 'max-age=10' })
    expect(await world.login(A)).toBe('in')
    world.server.discovery.status = 500
    world.later(9.999)
    expect(await world.login(A)).toBe('in')
    world.later(0.001)
    expect(await world.login(A)).toBe(UNAVAILABLE)
  })

  test('a clock that is set back ends the pause', async () => {
    const world = await fetchedKeys()
    world.server.discovery.status = 500
    await world.login(A)
    world.server.discovery.status = 200
    world.later(-60)
    expect(await world.login(A)).toBe('in')
  })
})

describe('with a grace', () => {
  const grace = { cache: 'max-age=10', staleGraceMs: 60_000 }

  test.each(['discovery', 'jwks'] as const)('%s is used while fetches fail', async (page) => {
    const world = await fetchedKeys(grace)
    await world.login(A)
    world.server[page].status = 500
    world.later(69.999)
    expect(await world.login(A)).toBe('in')
    world.later(0.001)
    expect(await world.login(A)).toBe(UNAVAILABLE)
    world.later(30)
    world.server[page].status = 200
    expect(await world.login(A)).toBe('in')
  })

  test('what may never be fresh is used as well', async () => {
    const world = await fetchedKeys({ ...grace, cache: 'no-cache' })
    await world.login(A)
    world.server.discovery.status = 500
    world.later(30)
    expect(await world.login(A)).toBe('in')
  })

  test('only in an outage: a fetch that failed while the keys were fresh is none', async () => {
    const world = await fetchedKeys(grace)
    await world.login(A)
    world.server.jwks.status = 500
    expect(await world.login(B)).toBe(UNAVAILABLE)
    world.server.jwks.status = 200
    world.server.publish(B)
    world.later(40)
    expect(await world.login(A)).toContain('failed to find key')
  })

  test('but not what may not be stored', async () => {
    const world = await fetchedKeys({ ...grace, cache: 'no-store' })
    await world.login(A)
    world.server.jwks.status = 500
    expect(await world.login(A)).toBe(UNAVAILABLE)
  })

  test('nobody waits again for an issuer that did not answer', async () => {
    const world = await fetchedKeys({ ...grace, timeoutMs: 100 })
    await world.login(A)
    world.server.discovery.hang = true
    world.later(11)
    expect(await world.login(A)).toBe('in')
    expect(world.issuer.status().lastError).toMatch(/Client.Timeout exceeded/)
    const before = world.server.hits.discovery
    world.later(1)
    expect(await world.login(A)).toBe('in')
    await expect.poll(() => world.server.hits.discovery).toBe(before + 1)
  })

  test('keys that are back are used after the next fetch', async () => {
    const world = await fetchedKeys(grace)
    await world.login(A)
    world.server.jwks.status = 500
    world.later(11)
    expect(await world.login(A)).toBe('in')
    world.server.jwks.status = 200
    world.server.publish(B)
    world.later(1)
    world.issuer.refreshAhead()
    await expect.poll(() => world.issuer.status().lastError).toBeUndefined()
    expect(await world.login(A)).toBe(unknownKey('a'))
    // The next outage is ridden out with the new keys, and the old ones stay away.
    world.server.jwks.status = 500
    world.later(11)
    expect([await world.login(B), await world.login(A)]).toEqual(['in', unknownKey('a')])
  })

  test('keys whose address changed are gone', async () => {
    const world = await fetchedKeys(grace)
    await world.login(A)
    world.server.discovery.body.jwks_uri = `${world.server.issuer}/moved`
    world.later(11)
    expect(await world.login(A)).toBe(UNAVAILABLE)
    expect(world.log()).toMatch(/returned 404/)
  })
})

describe('ahead of time', () => {
  const hits = ({ server }: FetchedKeys) => `${server.hits.discovery}/${server.hits.jwks}`

  /** A request that was begun in the background is there before the second of two that follow it. */
  const settle = async ({ get, server }: FetchedKeys) => {
    await get(`${server.issuer}/nothing`).catch(() => undefined)
    await get(`${server.issuer}/nothing`).catch(() => undefined)
  }

  test('at the start, once', async () => {
    const world = await fetchedKeys()
    world.issuer.refreshAhead()
    world.issuer.refreshAhead()
    await expect.poll(() => world.issuer.status().keys).toBe(1)
    world.issuer.refreshAhead()
    expect(await world.login(A)).toBe('in')
    expect(hits(world)).toBe('1/1')
  })

  test('where the keys are configured, them alone', async () => {
    const server = await (await fetchedKeys()).server
    const world = await fetchedKeys({ server, jwksUri: `${server.issuer}/jwks` })
    world.issuer.refreshAhead()
    await expect.poll(() => world.issuer.status().keys).toBe(1)
    world.issuer.refreshAhead()
    expect(await world.login(A)).toBe('in')
    expect(hits(world)).toBe('0/1')
  })

  test('an issuer that is away at the start is asked again, also when nobody signs in', async () => {
    const world = await fetchedKeys()
    world.server.discovery.status = 500
    world.issuer.refreshAhead()
    await expect.poll(() => world.issuer.status().fetches.failed).toBe(1)
    world.issuer.refreshAhead()
    await settle(world)
    expect(hits(world)).toBe('1/0')
    world.server.discovery.status = 200
    world.later(60)
    world.issuer.refreshAhead()
    await expect.poll(() => world.issuer.status().keys).toBe(1)
    expect(hits(world)).toBe('2/1')
    expect(await world.login(A)).toBe('in')
    expect(hits(world)).toBe('2/1')
  })

  test('by a login, a document that lives too short for anybody else to care', async () => {
    const world = await fetchedKeys({ cache: 'max-age=30' })
    await world.login(A)
    world.later(26)
    world.issuer.refreshAhead()
    expect(await world.login(A)).toBe('in')
    await expect.poll(() => world.issuer.status().fetches.ok).toBe(4)
    world.later(10)
    expect(await world.login(A)).toBe('in')
    expect(hits(world)).toBe('2/2')
  })

  test('when less than a fifth is left', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    world.later(240)
    world.issuer.refreshAhead()
    expect(world.issuer.status().fetches.ok).toBe(2)
    world.later(0.001)
    world.issuer.refreshAhead()
    await expect.poll(() => world.issuer.status().fetches.ok).toBe(4)
    world.later(200)
    expect(await world.login(A)).toBe('in')
    expect(hits(world)).toBe('2/2')
  })

  test('by a login, which does not wait for it', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    world.server.discovery.hang = true
    world.server.jwks.hang = true
    world.later(299)
    expect([await world.login(A), await world.login(A)]).toEqual(['in', 'in'])
    await expect.poll(() => hits(world)).toBe('2/2')
  })

  test('one that fails leaves what is fresh', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    cacheBoth(world.server, 'max-age=10')
    world.server.jwks.status = 500
    world.later(299)
    world.issuer.refreshAhead()
    await expect.poll(() => world.issuer.status().fetches.failed).toBe(1)
    expect(await world.login(A)).toBe('in')
    world.later(1)
    world.server.jwks.status = 200
    expect(await world.login(A)).toBe('in')
  })

  test('until it succeeds, also when nobody asks', async () => {
    const world = await fetchedKeys()
    await world.login(A)
    world.server.discovery.status = 500
    world.later(300)
    world.issuer.refreshAhead()
    await expect.poll(() => world.issuer.status().fetches.failed).toBe(1)
    world.issuer.refreshAhead()
    await settle(world)
    expect(hits(world)).toBe('2/1')
    world.later(30)
    world.server.discovery.status = 200
    world.issuer.refreshAhead()
    await expect.poll(() => world.issuer.status().fetches.ok).toBe(4)
    expect(await world.login(A)).toBe('in')
    expect(hits(world)).toBe('3/2')
  })

  test('an issuer whose documents are short-lived is left alone', async () => {
    const world = await fetchedKeys({ cache: 'max-age=59' })
    await world.login(A)
    for (const seconds of [58, 1, 60]) {
      world.later(seconds)
      world.issuer.refreshAhead()
      await settle(world)
    }
    expect(hits(world)).toBe('1/1')
  })

  test('only the document that needs it', async () => {
    const world = await fetchedKeys()
    world.server.jwks.headers['cache-control'] = 'max-age=3000'
    await world.login(A)
    world.later(299)
    world.issuer.refreshAhead()
    await expect.poll(() => world.issuer.status().fetches.ok).toBe(3)
    await settle(world)
    expect(hits(world)).toBe('2/1')
  })
})

test.each(['no-store', 'no-cache', 'max-age=0', 'max-age=1', ''])(
  'is fresh for as long as the operator says, at least: %j',
  async (cache) => {
    const world = await fetchedKeys({ cache, minFreshMs: 300_000 })
    if (cache === '') {
      delete world.server.discovery.headers['cache-control']
      delete world.server.jwks.headers['cache-control']
    }
    await world.login(A)
    world.later(200)
    await world.login(A)
    expect(world.server.hits).toMatchObject({ discovery: 1, jwks: 1 })
    world.later(100)
    await world.login(A)
    expect(world.server.hits).toMatchObject({ discovery: 2, jwks: 2 })
  },
)

test('is fresh for longer where its headers say so', async () => {
  const world = await fetchedKeys({ minFreshMs: 10_000 })
  await world.login(A)
  world.later(200)
  await world.login(A)
  expect(world.server.hits).toMatchObject({ discovery: 1, jwks: 1 })
})
