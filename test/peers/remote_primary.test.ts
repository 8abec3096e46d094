/** The primary as a worker sees it over a channel: answers find who asked, failures stay what they are. */
import { describe, expect, it } from 'vitest'
import { Failure } from '../../src/failure.ts'
import { configuredKeys } from '../../src/identity/key_source.ts'
import { parseKeySet } from '../../src/identity/keys.ts'
import { packKeys } from '../../src/identity/portable_keys.ts'
import type { Answer, ToPrimary, ToWorker } from '../../src/peers/messages.ts'
import type { Link } from '../../src/peers/processes.ts'
import { openRemotePrimary } from '../../src/peers/remote_primary.ts'
import { ec, jwk, rsa } from '../support/forge.ts'

function open() {
  const sent: ToPrimary[] = []
  const channel = { waiting: 0 }
  const link: Link<ToPrimary, ToWorker> = {
    get waiting() {
      return channel.waiting
    },
    pid: undefined,
    // As the channel does: what arrives is a copy.
    send: (message) => void sent.push(structuredClone(message)),
    onMessage: () => undefined,
    onGone: () => undefined,
    close: () => undefined,
    kill: () => undefined,
  }
  const primary = openRemotePrimary(link)
  const asked = () => sent.filter((message) => message.kind === 'ask')
  const answer = (at: number, given: Answer) =>
    primary.answered(asked()[at]?.id ?? 0, structuredClone(given))
  return { primary, sent, asked, answer, channel }
}

describe('a question', () => {
  it('is answered to who asked it, in whatever order', async () => {
    const { primary, asked, answer } = open()
    const written: number[] = []
    const lines = [0, 1, 2].map((line) =>
      primary.audit({ EventType: 'create_role' } as never).then(() => written.push(line)),
    )
    expect(asked()).toHaveLength(3)
    for (const at of [2, 0, 1]) answer(at, { kind: 'written' })
    await Promise.all(lines)
    expect(written).toEqual([2, 0, 1])
  })

  it('fails as it did over there', async () => {
    const { primary, answer } = open()
    const keys = primary.issuer('main', 'https://iss.test').find('k')
    answer(0, { kind: 'failed', code: 'jwks_unavailable', log: 'it hangs' })
    await expect(keys).rejects.toThrow(new Failure('jwks_unavailable', { log: 'it hangs' }))
    await keys.catch((thrown: Failure) => expect(thrown.log).toBe('it hangs'))
  })

  it('that is answered twice, or was not asked, does nothing', async () => {
    const { primary, answer } = open()
    const line = primary.audit({ EventType: 'create_role' } as never)
    answer(0, { kind: 'written' })
    await line
    answer(0, { kind: 'failed', code: 'internal_error', log: '' })
    primary.answered(77, { kind: 'written' })
  })
})

it('brings keys over as they are, each made once', async () => {
  const { primary, asked, answer } = open()
  const set = parseKeySet({
    keys: [jwk(ec('P-256'), { kid: 'one' }), jwk(rsa(2048), { kid: 'two', alg: 'PS256' })],
  })
  if (!set.ok) throw new Error(set.problem)
  const source = configuredKeys(set.keys)
  const issuer = primary.issuer('main', 'https://iss.test')
  const found = []
  for (const [at, kid] of ['one', 'two', 'one', 'none'].entries()) {
    const there = await source.find(kid)
    const here = issuer.find(kid)
    expect(asked()[at]?.ask).toEqual({
      kind: 'keys',
      cluster: 'main',
      issuer: 'https://iss.test',
      kid,
    })
    answer(at, { kind: 'keys', found: packKeys(there) })
    const { keys, ...about } = await here
    expect(about).toEqual({ from: there.from, fetchedMs: there.fetchedMs })
    expect(keys.map(({ key, ...rest }) => [rest, key.export({ format: 'jwk' })])).toEqual(
      there.keys.map(({ key, ...rest }) => [rest, key.export({ format: 'jwk' })]),
    )
    found.push(keys[0]?.key)
  }
  expect(found[2]).toBe(found[0])
  expect(found[3]).toBeUndefined()
})

it('counts some at a time', () => {
  const { primary, sent } = open()
  for (let at = 0; at < 1_001; at++) primary.count({ name: 'connection_opened' })
  primary.flush()
  primary.flush()
  const batches = sent.map((message) => (message.kind === 'count' ? message.metrics.length : 0))
  expect(batches).toEqual([1_000, 1])
})

it('drops lines that the channel does not take, and nothing else', () => {
  const { primary, sent, channel } = open()
  channel.waiting = 10_000
  primary.log('line\n')
  void primary.cancel(Buffer.alloc(8), '192.0.2.1')
  channel.waiting = 0
  primary.log('another\n')
  expect(sent.map(({ kind }) => kind)).toEqual(['ask', 'log'])
})

it('a cancel is over when the primary says so, and never fails', async () => {
  const { primary, asked, answer } = open()
  const [one, other] = ['192.0.2.1', '192.0.2.2'].map((from) =>
    primary.cancel(Buffer.alloc(8), from),
  )
  expect(asked().map(({ ask }) => ask)).toMatchObject([
    { kind: 'cancel', from: '192.0.2.1' },
    { kind: 'cancel', from: '192.0.2.2' },
  ])
  answer(1, { kind: 'failed', code: 'internal_error', log: 'it is gone' })
  await other
  answer(0, { kind: 'cancelled' })
  await one
})
