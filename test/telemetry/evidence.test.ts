/** What a page is told of the audit stream: when a line was lost, where its head can't be kept; and who was refused meanwhile. */
import { expect, it } from 'vitest'
import { openEvidence } from '../../src/telemetry/evidence.ts'
import { openKnown } from '../../src/telemetry/known.ts'

it('a line that was lost is told with its time, of the last one; a place until it has a head again', () => {
  let nowMs = 1_000
  const { count, evidence } = openEvidence(() => nowMs)
  const head = (place: string, result: 'kept' | 'failed') =>
    count({ name: 'audit_head', place, result })
  expect(evidence()).toEqual({ unwrittenMs: undefined, unkept: [] })
  count({ name: 'audit_head', place: 'state', result: 'failed', heads: 0 })
  head('state', 'kept')
  expect(evidence().unkept).toEqual([])
  head('state', 'failed')
  count({ name: 'audit_failed' })
  nowMs = 2_000
  head('state', 'failed')
  head('audit.anchor', 'failed')
  count({ name: 'audit_failed', lines: 3 })
  const anchor = { place: 'audit.anchor', sinceMs: 2_000 }
  expect(evidence()).toEqual({
    unwrittenMs: 2_000,
    unkept: [{ place: 'state', sinceMs: 1_000 }, anchor],
  })
  head('state', 'kept')
  expect(evidence().unkept).toEqual([anchor])
})

it('whoever is refused is known of where nothing can be written', () => {
  const known = openKnown(() => 1_000)
  const write = known.audited(() => {
    throw new Error('ENOSPC')
  })
  const refused = { EventType: 'client_authentication_failed', Failure: 'internal_error' }
  expect(() => write(0, { ...refused, Detail: '' } as never)).toThrow('ENOSPC')
  expect(known.refusals.counts(1_000)).toMatchObject([{ failure: 'internal_error', count: 1 }])
})
