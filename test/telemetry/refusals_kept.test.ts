/** Who was refused within the last hour: the newest one by one, and how many a minute. */
import { expect, it } from 'vitest'
import { KEPT_MAX, openRefusalsKept } from '../../src/telemetry/refusals_kept.ts'
import { failed, IDENTITY, ok } from '../support/audit_events.ts'

const HOUR = 3_600_000
const MINUTE = 60_000

it('has who, from where, why, and the way to the log; the newest first', () => {
  const kept = openRefusalsKept()
  kept.note(failed(), 10 * HOUR)
  kept.note(failed({ ...IDENTITY, SessionID: 'b2', Failure: 'invalid_audience' }), 10 * HOUR + 1)
  kept.note(ok(), 10 * HOUR + 2)
  expect(kept.list(10 * HOUR + 3)).toEqual([
    expect.objectContaining({
      request: 'b2',
      issuer: IDENTITY.Issuer,
      failure: 'invalid_audience',
    }),
    {
      atMs: 10 * HOUR,
      request: 'a1',
      cluster: 'main',
      user: 'carl',
      database: 'bank',
      address: '192.0.2.7:5000',
      issuer: '',
      principal: '',
      method: 'jwt_token',
      failure: 'invalid_token',
      sqlstate: '28000',
      detail: 'JWT authentication: invalid token; expired',
    },
  ])
})

it('forgets what is an hour old, and what is one too many', () => {
  const kept = openRefusalsKept()
  kept.note(failed({ SessionID: 'first' }), 0)
  expect(kept.list(HOUR - 1)).toHaveLength(1)
  expect(kept.list(HOUR)).toEqual([])
  for (let at = 0; at <= KEPT_MAX; at++) kept.note(failed({ SessionID: `s${at}` }), HOUR)
  const list = kept.list(HOUR)
  expect(list).toHaveLength(KEPT_MAX)
  expect([list[0]?.request, list.at(-1)?.request]).toEqual([`s${KEPT_MAX}`, 's1'])
  expect(kept.counts(HOUR)).toMatchObject([{ failure: 'invalid_token', count: KEPT_MAX + 1 }])
})

it('cuts what is too long', () => {
  const kept = openRefusalsKept()
  kept.note(failed({ Detail: 'x'.repeat(100_000) }), 0)
  expect(kept.list(1)[0]?.detail).toHaveLength(512)
})

it('counts each minute of the last sixty, the most frequent failure first', () => {
  const kept = openRefusalsKept()
  const at = 100 * HOUR
  kept.note(failed(), at)
  kept.note(failed({ Failure: 'token_revoked' }), at + MINUTE)
  kept.note(failed({ Failure: 'token_revoked' }), at + 3 * MINUTE)
  const counts = kept.counts(at + 3 * MINUTE)
  expect(counts.map(({ failure, count }) => [failure, count])).toEqual([
    ['token_revoked', 2],
    ['invalid_token', 1],
  ])
  expect(counts[0]?.perMinute).toHaveLength(60)
  expect(counts[0]?.perMinute.slice(-4)).toEqual([0, 1, 0, 1])
  expect(counts[1]?.perMinute.slice(-4)).toEqual([1, 0, 0, 0])
  expect(kept.counts(at + 61 * MINUTE).map(({ failure }) => failure)).toEqual(['token_revoked'])
  expect(kept.counts(at + 200 * MINUTE)).toEqual([])
})

it('a clock that is set back loses nothing', () => {
  const kept = openRefusalsKept()
  kept.note(failed(), 100 * HOUR)
  kept.note(failed(), 99 * HOUR)
  expect(kept.counts(100 * HOUR)).toMatchObject([{ count: 2 }])
})
