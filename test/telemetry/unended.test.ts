/** What is left of a worker's books when it is lost, in the metrics and in the audit stream. */
import { expect, it } from 'vitest'
import type { Metric } from '../../src/peers/messages.ts'
import type { AuditEvent } from '../../src/telemetry/events.ts'
import { openUnended } from '../../src/telemetry/unended.ts'

const event = (EventType: AuditEvent['EventType'], SessionID: string) =>
  ({ EventType, SessionID, User: 'maxroach', Node: 'n1', Duration: 7 }) as AuditEvent

const seen = (before: string, state: string) =>
  ({ name: 'node_state', cluster: 'c', node: 'n1', before, state }) as Metric

it('ends what has no end, once', () => {
  const unended = openUnended()
  const metrics: Metric[] = [
    { name: 'connection_opened' },
    { name: 'connection_opened' },
    { name: 'connection_opened' },
    { name: 'connection_closed' },
    { name: 'session_opened' },
    { name: 'worker_opened' },
    seen('gone', 'up'),
    seen('up', 'down'),
  ]
  for (const metric of metrics) unended.count(metric)
  expect(unended.connections).toBe(2)
  unended.line(event('login_decision', 'a'), 1_000)
  unended.line(event('client_authentication_ok', 'a'), 1_000)
  unended.line(event('client_authentication_ok', 'b'), 2_000)
  unended.line(event('client_session_end', 'a'), 2_500)
  unended.line(event('client_authentication_failed', 'c'), 2_500)
  expect(unended.endAll(3_500.4)).toEqual({
    metrics: [
      seen('down', 'gone'),
      { name: 'session_closed', by: 'gate', failure: 'worker_lost' },
      { name: 'connection_closed' },
      { name: 'connection_closed' },
    ],
    lines: [
      {
        EventType: 'client_session_end',
        SessionID: 'b',
        User: 'maxroach',
        Duration: 1_500,
        Ended: 'the worker process was lost',
        BytesToClient: null,
        BytesToNode: null,
      },
    ],
  })
  expect(unended.endAll(4_000)).toEqual({ metrics: [], lines: [] })
})
