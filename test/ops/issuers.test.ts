/** What operators see of issuers and tokens: how old the keys are, whether the last fetch had success. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { parse } from 'yaml'
import { startGate, type TestGate } from '../support/gate.ts'
import { type IssuerServer, openIssuerServer } from '../support/issuer_server.ts'
import { makeKey, mint, type SigningKey } from '../support/tokens.ts'
import { openTls, refusalOf, signIn } from '../support/wire_client.ts'

const { socketDir, port } = inject('postgres')
const JWT = 'server.jwt_authentication'
const LIFE_S = 40
const ALERTS = new URL('../../deploy/prometheus/alerts.yaml', import.meta.url)

let issuer: IssuerServer
let gate: TestGate
let key: SigningKey
let nowMs = Date.now()
const startWithIssuer = () =>
  startGate({
    node: `${socketDir}/.s.PGSQL.${port}`,
    now: () => nowMs,
    cluster: {
      [`${JWT}.issuers.configuration`]: [issuer.issuer, 'https://static.test'],
      [`${JWT}.issuers.custom_ca`]: issuer.caPem,
      [`${JWT}.jwks_auto_fetch.enabled`]: true,
      issuer_options: { 'https://static.test': { jwks: { keys: [key.jwk] } } },
    },
  })
beforeAll(async () => {
  issuer = await openIssuerServer()
  key = await makeKey('published')
  issuer.publish(key)
  for (const page of [issuer.discovery, issuer.jwks])
    page.headers['cache-control'] = `max-age=${LIFE_S}`
  gate = await startWithIssuer()
})
afterAll(async () => {
  await gate.close()
  await issuer.close()
})

function tokenOf(): Promise<string> {
  const claims = { iss: issuer.issuer, aud: 'postern-test', sub: 'maxroach', exp: 4_000_000_000 }
  return mint(key, { claims })
}

async function login(token?: string): Promise<string | undefined> {
  const client = await openTls(gate.port, gate.caPem)
  const who = { user: 'maxroach', database: 'defaultdb' }
  const said = await signIn(client, who, token ?? (await tokenOf()))
  client.close()
  return refusalOf(said)?.['M']
}

/** Of this issuer, or of the whole gate; undefined where there is none. */
async function metric(name: string, labels = `issuer="${issuer.issuer}"`, of = gate) {
  const text = await (await fetch(`${of.opsUrl}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith(`${name}{${labels}} `))
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ')))
}

it('keys are fetched before anybody signs in, and their age is shown', async () => {
  await expect.poll(() => issuer.hits.jwks).toBe(1)
  await expect.poll(() => metric('postern_issuer_keys')).toBe(1)
  expect(await metric('postern_issuer_keys_fetched_timestamp_seconds')).toBe(nowMs / 1000)
  expect(await metric('postern_issuer_last_fetch_timestamp_seconds')).toBe(nowMs / 1000)
  expect(await metric('postern_issuer_last_fetch_failed')).toBe(0)
  expect(await metric('postern_issuer_fetches')).toBe(2)
  expect(await login()).toBeUndefined()
  expect(issuer.hits).toMatchObject({ discovery: 1, jwks: 1 })
})

it('an issuer whose keys are configured has none of it', async () => {
  expect(await metric('postern_issuer_keys', 'issuer="https://static.test"')).toBeUndefined()
})

it('a fetch without success shows, and is in the log with its reason', async () => {
  issuer.discovery.status = 503
  const fetchedS = nowMs / 1000
  nowMs += (LIFE_S + 1) * 1000
  expect(await login()).toBe('JWT authentication: unable to validate token')
  expect(await metric('postern_issuer_last_fetch_failed')).toBe(1)
  expect(await metric('postern_issuer_fetches_failed')).toBe(1)
  expect(await metric('postern_issuer_keys_fetched_timestamp_seconds')).toBe(fetchedS)
  const [line] = gate.log.filter(({ failure }) => failure === 'jwks_unavailable')
  expect(line?.['msg']).toMatch(
    /unable to validate token; unable to fetch jwks: GET https:.* returned 503/,
  )
})

it('of an issuer that was away when the gate was started there is no time: the alert of stale keys asks for that', async () => {
  issuer.discovery.status = 503
  const late = await startWithIssuer()
  const labels = `issuer="${issuer.issuer}"`
  await expect.poll(() => metric('postern_issuer_last_fetch_failed', labels, late)).toBe(1)
  const times = ['fetched', 'fresh_until'].map(
    (of) => `postern_issuer_keys_${of}_timestamp_seconds`,
  )
  for (const name of times) expect(await metric(name, labels, late)).toBeUndefined()
  await late.close()
  const { groups } = parse(readFileSync(ALERTS, 'utf8'))
  const { expr } = groups[0].rules.find(
    (rule: { alert: string }) => rule.alert === 'PosternKeysStale',
  )
  expect(expr).toContain(`unless on (job, instance, issuer) ${times[0]}`)
})

it('tokens are counted, those that were known apart', async () => {
  issuer.discovery.status = 200
  nowMs += 60_000
  const counted = () =>
    Promise.all(
      ['verified', 'remembered'].map((result) =>
        metric('postern_tokens_total', `result="${result}"`),
      ),
    )
  const [before = 0] = await counted()
  const token = await tokenOf()
  for (let at = 0; at < 3; at++) expect(await login(token)).toBeUndefined()
  expect(await counted()).toEqual([before + 1, 2])
})
