/** What stays of an issuer when the configuration is read again: case 118 of the reference. */
import { afterEach, expect, test, vi } from 'vitest'
import { type IssuerPlan, openIssuers } from '../../src/issuers/issuers.ts'
import { Secret } from '../../src/secret.ts'
import { A, B, cacheBoth, closeServers, getSettings, openServer } from '../support/fetched_keys.ts'
import { openIssuerServer } from '../support/issuer_server.ts'

afterEach(closeServers)

const parts = { now: () => Date.UTC(2023, 10, 15), readSecret: (file: string) => new Secret(file) }

async function twoPlanned() {
  const server = await openServer()
  server.publish(A)
  cacheBoth(server, 'max-age=300')
  const plan: IssuerPlan = {
    issuer: server.issuer,
    jwksUri: undefined,
    minFreshMs: 0,
    staleGraceMs: 0,
    bearerTokenFile: undefined,
    get: getSettings(server),
  }
  const other = { ...plan, issuer: 'https://other.example' }
  const issuers = openIssuers([plan, other], parts)
  await issuers.get(plan.issuer)?.find('a')
  return { server, plan, other, issuers }
}

test('one that is closed ends what it was fetching', async () => {
  const { server, plan, issuers } = await twoPlanned()
  server.jwks.hang = true
  const fresh = openIssuers([plan], parts).get(plan.issuer)
  const asked = fresh?.find('a')
  await vi.waitFor(() => expect(server.hits.jwks).toBe(2))
  fresh?.close()
  await expect(asked).rejects.toMatchObject({ log: expect.stringMatching(/jwks": stopped$/) })
  issuers.get(plan.issuer)?.close()
})

test('118: what was fetched is kept where nothing changed', async () => {
  const { server, plan, other, issuers } = await twoPlanned()
  // As it is read again: equal, not the same. An audience is no part of it.
  const again = openIssuers(structuredClone([{ ...other, minFreshMs: 5 }, plan]), parts, issuers)
  expect([...again.keys()]).toEqual([other.issuer, plan.issuer])
  expect(again.get(plan.issuer)).toBe(issuers.get(plan.issuer))
  expect(again.get(other.issuer)).not.toBe(issuers.get(other.issuer))
  expect((await again.get(plan.issuer)?.find('a'))?.keys).toHaveLength(1)
  expect(server.hits).toEqual({ discovery: 1, jwks: 1, userinfo: 0 })
})

test.each<[string, (plan: IssuerPlan) => IssuerPlan]>([
  ['the address of the keys', (plan) => ({ ...plan, jwksUri: `${plan.issuer}/jwks` })],
  ['how long it is fresh', (plan) => ({ ...plan, minFreshMs: 1 })],
  ['how long it may be stale', (plan) => ({ ...plan, staleGraceMs: 1 })],
  ['the bearer token', (plan) => ({ ...plan, bearerTokenFile: 'token' })],
  ['the time allowed', (plan) => ({ ...plan, get: { ...plan.get, timeoutMs: 5_000 } })],
])('118: what was fetched is dropped with %s', async (_name, change) => {
  const { server, plan, issuers } = await twoPlanned()
  const again = openIssuers([change(plan)], parts, issuers).get(plan.issuer)
  expect(again?.status().keys).toBe(0)
  expect((await again?.find('a'))?.keys).toHaveLength(1)
  expect(server.hits.jwks).toBe(2)
})

test('118: under another CA an issuer is believed no longer', async () => {
  const { plan, issuers } = await twoPlanned()
  const stranger = await openIssuerServer()
  await stranger.close()
  const changed = { ...plan, get: { ...plan.get, caPem: stranger.caPem } }
  const again = openIssuers([changed], parts, issuers).get(plan.issuer)
  await expect(again?.find('a')).rejects.toMatchObject({ code: 'jwks_unavailable' })
})

test('118: what was switched off begins anew', async () => {
  const { server, plan, issuers } = await twoPlanned()
  server.publish(B)
  const off = openIssuers([], parts, issuers)
  const on = openIssuers([plan], parts, off).get(plan.issuer)
  expect((await on?.find('a'))?.keys).toEqual([])
  expect((await on?.find('b'))?.keys).toHaveLength(1)
})

test('a bearer token comes from its file', async () => {
  const { server, plan } = await twoPlanned()
  const planned = openIssuers([{ ...plan, bearerTokenFile: 'token.txt' }], parts)
  await planned.get(plan.issuer)?.find('a')
  expect(server.requests.at(-1)?.headers.authorization).toBe('Bearer token.txt')
})
