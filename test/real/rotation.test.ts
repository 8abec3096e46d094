/**
 * What an issuer does, seen by people who sign in: it changes its keys under load, it is flooded with
 * keys that nobody has, it hangs. On the real PostgreSQL.
 */
import { randomUUID } from 'node:crypto'
import { afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Ca, makeCa } from '../../src/dev/certificates.ts'
import { type GateOptions, startGate, type TestGate } from '../support/gate.ts'
import { type IssuerServer, openIssuerServer } from '../support/issuer_server.ts'
import { goodClaims, makeKey, mint, type SigningKey } from '../support/tokens.ts'
import { openPlain, openTls, refusalOf, signIn, type WireClient } from '../support/wire_client.ts'

const { socketDir, port } = inject('postgres')
const node = `${socketDir}/.s.PGSQL.${port}`
const USER = { user: 'maxroach', database: 'defaultdb' }
const JWT = 'server.jwt_authentication'

let ca: Ca
const closing: { close(): Promise<void> }[] = []
beforeAll(async () => {
  ca = await makeCa('The CA of the issuers')
})
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each.close()
})

/** @param maxAge - of its keys, in seconds */
async function openIssuer(maxAge: number): Promise<IssuerServer> {
  const issuer = await openIssuerServer({ ca })
  closing.push(issuer)
  issuer.discovery.headers = { 'cache-control': 'max-age=3600' }
  issuer.jwks.headers = { 'cache-control': `max-age=${maxAge}` }
  return issuer
}

async function openGate(
  issuers: IssuerServer[],
  { cluster, ...more }: Partial<GateOptions> = {},
): Promise<TestGate> {
  const gate = await startGate({
    node,
    cluster: {
      [`${JWT}.issuers.configuration`]: issuers.map(({ issuer }) => issuer),
      [`${JWT}.jwks_auto_fetch.enabled`]: true,
      [`${JWT}.issuers.custom_ca`]: ca.certPem,
      ...cluster,
    },
    ...more,
  })
  closing.push(gate)
  return gate
}

function tokenOf({ issuer }: IssuerServer, key: SigningKey): Promise<string> {
  return mint(key, { claims: { ...goodClaims('maxroach'), iss: issuer, jti: randomUUID() } })
}

/** The refusal's text, or undefined for somebody who came in. */
async function told(client: WireClient, token: string): Promise<string | undefined> {
  try {
    return refusalOf(await signIn(client, USER, token))?.['M']
  } finally {
    client.close()
  }
}

describe('an issuer that changes its keys', () => {
  const ROTATIONS = 3
  const CLIENTS = 8

  it('refuses no valid token meanwhile, and those of a withdrawn key soon', {
    timeout: 60_000,
  }, async () => {
    const issuer = await openIssuer(1)
    const first = await makeKey('key-0')
    issuer.publish(first)
    const gate = await openGate([issuer])
    const load = startLoad(gate, issuer, first)
    /** The gate has the set that is published now: a fetch began after it, and the next one as well. */
    const isKnown = async () => {
      const { jwks } = issuer.hits
      await expect
        .poll(() => issuer.hits.jwks - jwks, { timeout: 20_000, interval: 10 })
        .toBeGreaterThan(1)
    }
    let last = first
    for (let rotation = 1; rotation <= ROTATIONS; rotation++) {
      const next = await makeKey(`key-${rotation}`)
      issuer.publish(last, next)
      await isKnown()
      await load.signWith(next)
      issuer.publish(next)
      await isKnown()
      expect(await told(await openTls(gate.port, gate.caPem), await tokenOf(issuer, last))).toMatch(
        /^JWT authentication: /,
      )
      last = next
    }
    const { logins, refusals } = await load.stop()
    expect(refusals).toEqual([])
    expect(logins).toBeGreaterThan(ROTATIONS * CLIENTS)
  })

  it('refuses none either where it signs with a key as soon as that is published', async () => {
    const issuer = await openIssuer(3600)
    const [old, next] = await Promise.all([makeKey('key-0'), makeKey('key-1')])
    issuer.publish(old)
    const gate = await openGate([issuer])
    const comeIn = async (key: SigningKey) =>
      told(await openTls(gate.port, gate.caPem), await tokenOf(issuer, key))
    expect(await comeIn(old)).toBeUndefined()
    issuer.publish(old, next)
    const all = Array.from({ length: 2 * CLIENTS }, (_, at) => comeIn(at % 2 === 0 ? next : old))
    expect((await Promise.all(all)).filter((refusal) => refusal !== undefined)).toEqual([])
    expect(issuer.hits).toMatchObject({ discovery: 1, jwks: 2 })
  })

  /** As many sign-ins as the machine does, each with a token of its own. */
  function startLoad(gate: TestGate, issuer: IssuerServer, first: SigningKey) {
    const refusals: string[] = []
    let key = first
    let logins = 0
    let stopped = false
    const under = new Map<number, { key: SigningKey; done: Promise<void> }>()
    const one = async (signer: SigningKey) => {
      const token = await tokenOf(issuer, signer)
      const refusal = await told(await openTls(gate.port, gate.caPem), token)
      logins++
      if (refusal !== undefined) refusals.push(`${signer.jwk.kid}: ${refusal}`)
    }
    const client = async (number: number) => {
      while (!stopped) {
        const done = one(key)
        under.set(number, { key, done })
        await done
      }
    }
    const clients = Array.from({ length: CLIENTS }, (_, number) => client(number))
    return {
      /** From here on; waits for the sign-ins with older tokens. */
      async signWith(next: SigningKey) {
        key = next
        await Promise.all([...under.values()].map(({ done }) => done))
      },
      async stop() {
        stopped = true
        await Promise.all(clients)
        return { logins, refusals }
      },
    }
  }
})

describe('tokens with keys that nobody has', () => {
  const TOKENS = 10_000
  const AT_ONCE = 50

  it(`${TOKENS} of them cause one fetch in 30 s`, { timeout: 120_000 }, async () => {
    const issuer = await openIssuer(3600)
    const key = await makeKey('the-key')
    issuer.publish(key)
    let nowMs = Date.now()
    const gate = await openGate([issuer], {
      now: () => nowMs,
      listeners: [{ address: '127.0.0.1:0', allow_plaintext: true }],
    })
    const plain = plainPort(gate)
    const good = await tokenOf(issuer, key)
    const comeIn = async () => told(await openPlain({ host: '127.0.0.1', port: plain }), good)
    expect(await comeIn()).toBeUndefined()
    const before = issuer.hits.jwks

    const [, payload, signature] = good.split('.')
    const flood = async (count: number) => {
      for (let at = 0; at < count; at++) {
        const header = JSON.stringify({ alg: 'ES256', kid: randomUUID() })
        const token = `${Buffer.from(header).toString('base64url')}.${payload}.${signature}`
        const client = await openPlain({ host: '127.0.0.1', port: plain })
        expect(await told(client, token)).toMatch(/^JWT authentication: /)
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, () => flood(TOKENS / AT_ONCE)))
    expect(issuer.hits.jwks - before).toBe(1)

    nowMs += 30_001
    await flood(AT_ONCE)
    expect(issuer.hits.jwks - before).toBe(2)
    expect(issuer.hits.discovery).toBe(1)
    expect(await comeIn()).toBeUndefined()
  })

  /** Of the listener without TLS: the second one. */
  function plainPort({ log }: TestGate): number {
    const opened = log.find(({ msg }) => msg === 'the gate is open')
    const [, second] = (opened?.['listening'] ?? []) as { port: number }[]
    return second?.port ?? 0
  }
})

describe('an issuer that hangs', () => {
  it("delays nobody who comes with another issuer's token", async () => {
    const [hanging, well] = await Promise.all([openIssuer(0), openIssuer(0)])
    const key = await makeKey('the-key')
    for (const issuer of [hanging, well]) issuer.publish(key)
    hanging.jwks.hang = true
    const gate = await openGate([hanging, well], { cluster: { [`${JWT}.client.timeout`]: '4s' } })
    const attempt = async (issuer: IssuerServer) =>
      told(await openTls(gate.port, gate.caPem), await tokenOf(issuer, key))
    let ended = 0
    const waiting = Array.from({ length: 5 }, () => attempt(hanging).finally(() => ended++))
    await expect.poll(() => hanging.hits.jwks, { interval: 10 }).toBeGreaterThan(0)
    for (let login = 0; login < 10; login++) expect(await attempt(well)).toBeUndefined()
    expect(ended).toBe(0)
    for (const refusal of await Promise.all(waiting))
      expect(refusal).toMatch(/^JWT authentication: /)
  })
})
