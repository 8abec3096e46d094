/**
 * A token that was verified before costs no signature, and is worth no more for it: every way in which
 * it would be refused now is tried with the memory warm.
 */
import { describe, expect, test } from 'vitest'
import { asFailure } from '../../src/failure.ts'
import type { Findings } from '../../src/identity/findings.ts'
import { authenticate } from '../../src/identity/jwt.ts'
import type { KeySource } from '../../src/identity/key_source.ts'
import { parseKeySet } from '../../src/identity/keys.ts'
import type { Trust } from '../../src/identity/trust.ts'
import { Secret } from '../../src/secret.ts'
import { ec, forge, jwk } from '../support/forge.ts'
import { claims, clusterOf, es256, ISS, NOW, P256, trusting } from '../support/log_in.ts'

interface Judged {
  in?: readonly string[]
  refused?: string
  remembered: boolean
}

async function judge(token: string, trust: Trust, nowS = NOW): Promise<Judged> {
  const found: Findings = {}
  const who = await authenticate(new Secret(token), trust, () => nowS * 1000, found).catch(
    asFailure,
  )
  const remembered = found.remembered === true
  return 'users' in who
    ? { in: who.users, remembered }
    : { refused: who.detail ?? who.message, remembered }
}

/** A trust whose issuer has the keys that the set holds at the time. */
function trustIn(published: { keys: unknown[] | 'unreachable' }): Trust {
  const { trust } = clusterOf(trusting)
  const source: KeySource = {
    async find(kid) {
      if (published.keys === 'unreachable') throw new Error('no answer')
      const read = parseKeySet({ keys: published.keys })
      return {
        keys: read.ok ? read.keys.find(kid) : [],
        from: 'https://issuer.test/jwks',
        fetchedMs: 7,
      }
    },
  }
  return { ...trust, keySources: new Map([[ISS, source]]) }
}

const unknownKey =
  'unable to parse token: key provider 0 failed: failed to find key with key ID "p256" in key set'
const unverified =
  'unable to parse token: could not verify message using any of the signatures or keys'

test('the second time nothing is verified, and everything is known', async () => {
  const trust = trustIn({ keys: [P256] })
  const token = new Secret(es256({ jti: 'x' }))
  const [first, second]: Findings[] = [{}, {}]
  const one = await authenticate(token, trust, () => NOW * 1000, first)
  const two = await authenticate(token, trust, () => NOW * 1000, second)
  expect(two).toEqual(one)
  expect(second).toEqual({ ...first, remembered: true })
  expect(second).toMatchObject({ verified: true, names: ['maxroach'], keysFetched: 7 })
})

describe('a token that was good', () => {
  const cases: [string, (published: { keys: unknown[] | 'unreachable' }) => void, Judged][] = [
    ['is good again', () => undefined, { in: ['maxroach'], remembered: true }],
    [
      'is good where its key was published anew',
      (published) => Object.assign(published, { keys: [{ ...P256 }] }),
      { in: ['maxroach'], remembered: true },
    ],
    [
      'is refused when its key was withdrawn',
      (published) => Object.assign(published, { keys: [] }),
      { refused: unknownKey, remembered: false },
    ],
    [
      'is refused when its key id stands for another key',
      (published) =>
        Object.assign(published, { keys: [jwk(ec('P-256'), { kid: 'p256', alg: 'ES256' })] }),
      { refused: unverified, remembered: false },
    ],
    [
      'is refused when its key may no longer sign',
      (published) => Object.assign(published, { keys: [{ ...P256, use: 'enc' }] }),
      { refused: unverified, remembered: false },
    ],
    [
      'is refused while nobody knows the keys',
      (published) => Object.assign(published, { keys: 'unreachable' }),
      { refused: 'internal error', remembered: false },
    ],
  ]
  test.each(cases)('%s', async (_name, change, expected) => {
    const published: { keys: unknown[] | 'unreachable' } = { keys: [P256] }
    const trust = trustIn(published)
    const token = es256({})
    expect(await judge(token, trust)).toEqual({ in: ['maxroach'], remembered: false })
    change(published)
    expect(await judge(token, trust)).toEqual(expected)
  })

  test('expires like any other, and comes no earlier than it may', async () => {
    const trust = trustIn({ keys: [P256] })
    const token = es256({ nbf: NOW, exp: NOW + 10 })
    expect(await judge(token, trust)).toMatchObject({ in: ['maxroach'] })
    expect(await judge(token, trust, NOW + 9)).toMatchObject({ in: ['maxroach'], remembered: true })
    expect(await judge(token, trust, NOW + 10)).toMatchObject({
      refused: 'unable to parse token: "exp" not satisfied',
    })
    expect(await judge(token, trust, NOW - 1)).toMatchObject({
      refused: 'unable to parse token: "nbf" not satisfied',
    })
  })

  test('says nothing for the same claims under another signature', async () => {
    const trust = trustIn({ keys: [P256] })
    const token = es256({})
    await judge(token, trust)
    const stranger = forge({ alg: 'ES256', kid: 'p256' }, claims, 'ES256', ec('P-256'))
    const [head, payload] = token.split('.')
    const swapped = [head, payload, stranger.split('.')[2]].join('.')
    expect(await judge(swapped, trust)).toEqual({ refused: unverified, remembered: false })
  })

  test('says nothing to another cluster', async () => {
    const token = es256({})
    await judge(token, trustIn({ keys: [P256] }))
    expect(await judge(token, trustIn({ keys: [P256] }))).toMatchObject({ remembered: false })
  })

  test('is not remembered when it was refused', async () => {
    const trust = trustIn({ keys: [P256] })
    await judge(es256({ exp: NOW - 5 }), trust)
    expect(trust.verified.size).toBe(0)
  })

  test('is forgotten before the memory grows beyond its bound', async () => {
    const trust = trustIn({ keys: [P256] })
    const groups = Array.from({ length: 4_000 }, (_, at) => `group-${at}-of-somebody`)
    const token = es256({ groups })
    await judge(token, trust)
    for (let at = 0; at < 400; at++) trust.verified.set(`${at}`, known(trust), { size: 90_000 })
    expect(trust.verified.calculatedSize).toBeLessThanOrEqual(16 * 1024 * 1024)
    expect(await judge(token, trust)).toMatchObject({ remembered: false })
  })
})

function known(trust: Trust) {
  const [first] = trust.verified.values()
  if (first === undefined) throw new Error('nothing is remembered')
  return first
}
