/** What the throttle of failed logins hears of an attempt, and what becomes of one that doesn't count. */
import { expect, it } from 'vitest'
import { asFailure, Failure, type FailureCode } from '../../src/failure.ts'
import type { Metric } from '../../src/peers/messages.ts'
import { openThrottle } from '../../src/policy/throttle.ts'
import { attempting, type Proof } from '../../src/sql/attempt.ts'

const carl = { proof: 'password' as const, cluster: 'main', user: 'carl', address: '192.0.2.1' }

function open() {
  const throttle = openThrottle({ firstMs: 1_000, maxMs: 3_600_000 })
  const clock = { ms: 0 }
  const metrics: Metric[] = []
  const primary = {
    mayTry: async () => ({ waitMs: throttle.waitMs(carl, clock.ms), beganMs: clock.ms }),
    settle: async (...[who, beganMs, outcome]: Parameters<typeof throttle.settle>) =>
      throttle.settle(who, beganMs, outcome, clock.ms),
    count: (metric: Metric) => void metrics.push(metric),
  }
  /** @returns what the work returned, or the code that the client is told. */
  const attempt = (work: (proof: Proof) => Promise<string>) =>
    attempting(carl, primary as never, work).catch((thrown: unknown) => asFailure(thrown).code)
  const fail = (code: FailureCode) =>
    attempt(async (proof) => {
      proof.given()
      throw new Failure(code)
    })
  const waitMs = () => throttle.waitMs(carl, clock.ms)
  return { attempt, fail, waitMs, clock, metrics }
}

it.each<[FailureCode, number]>([
  ['invalid_token', 1_000],
  ['role_refused', 1_000],
  ['token_revoked', 1_000],
  ['jwks_unavailable', 0],
  ['access_denied', 0],
  ['replication_refused', 0],
  ['node_unreachable', 0],
  ['login_timeout', 0],
])('after %s the next one waits %i ms', async (code, ms) => {
  const { fail, waitMs } = open()
  expect(await fail(code)).toBe(code)
  expect(waitMs()).toBe(ms)
})

it('nothing is held against who was asked for nothing, or proved who he is', async () => {
  const { attempt, waitMs } = open()
  const asked = await attempt(async () => {
    throw new Failure('token_required')
  })
  const proved = await attempt(async (proof) => {
    proof.given()
    await proof.proved()
    await proof.proved()
    throw new Failure('role_refused')
  })
  expect([asked, proved, waitMs()]).toEqual(['token_required', 'role_refused', 0])
})

it('a failure is told once, before the client hears of it', async () => {
  const { attempt, waitMs } = open()
  const waits: number[] = []
  const said = await attempt(async (proof) => {
    proof.given()
    const wrong = new Failure('invalid_token')
    await proof.ended(wrong)
    waits.push(waitMs())
    throw wrong
  })
  expect([said, waits, waitMs()]).toEqual(['invalid_token', [1_000], 1_000])
})

it('who comes in a wait is asked for nothing', async () => {
  const { attempt, fail, clock, metrics } = open()
  await fail('invalid_token')
  clock.ms += 999
  expect(await attempt(async () => expect.unreachable())).toBe('too_many_failures')
  expect(metrics).toEqual([{ name: 'throttled', reason: 'wait' }])
  clock.ms += 1
  expect(await attempt(async () => 'in')).toBe('in')
})

it('who began before another one failed hears the same, whatever would have come of it', async () => {
  const { attempt, fail, metrics } = open()
  const failed = Promise.withResolvers<void>()
  const under = (end: (proof: Proof) => Promise<string>) =>
    attempt(async (proof) => {
      proof.given()
      await failed.promise
      return await end(proof)
    })
  const ends: ((proof: Proof) => Promise<string>)[] = [
    async (proof) => proof.proved().then(() => 'in'),
    ...(['invalid_token', 'access_denied', 'replication_refused', 'jwks_unavailable'] as const).map(
      (code) => async () => {
        throw new Failure(code)
      },
    ),
  ]
  const said = ends.map(under)
  await fail('invalid_token')
  failed.resolve()
  expect(await Promise.all(said)).toEqual(ends.map(() => 'too_many_failures'))
  expect(metrics).toHaveLength(ends.length)
})

it('what is no answer of ours ends an attempt as it is', async () => {
  const { attempt, waitMs } = open()
  const gone = new Error('the client has gone')
  const said = attempt(async (proof) => {
    proof.given()
    throw gone
  })
  expect([await said, waitMs()]).toEqual(['internal_error', 0])
})
