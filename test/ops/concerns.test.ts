/** What somebody on call is told to look at: each trouble once, the worst first, and nothing where all is well. */
import { describe, expect, it } from 'vitest'
import { concerns } from '../../src/ops/concerns.ts'
import type { IssuerKeys, NodeStatus, Status } from '../../src/telemetry/status.ts'
import { calm, NOW_MS, refused, troubled } from '../support/status.ts'

const S = 1_000
const DAY = 86_400 * S

const told = (changes: Partial<Status>) =>
  concerns(calm(changes)).map(({ level, section, says }) => [level, section, says])

it('is nothing where all is well', () => {
  expect(told({})).toEqual([])
})

it('the worst comes first', () => {
  const levels = concerns(troubled()).map(({ level }) => level)
  expect(new Set(levels)).toEqual(new Set(['bad', 'warn']))
  expect(levels).toEqual(levels.toSorted())
})

it.each<[Partial<Status>, ...string[]]>([
  [{ notReady: 'closing' }, 'bad', 'gate', 'No sign-ins are taken: closing.'],
  [{ workers: { open: 3, wanted: 4 } }, 'warn', 'gate', '3 of 4 workers are open.'],
])('of the gate: %j', (changes, ...expected) => {
  expect(told(changes)).toEqual([expected])
})

it.each<[Partial<Status['evidence']>, ...string[][]]>([
  [
    { unwrittenMs: NOW_MS - 14 * 60 * S },
    [
      'bad',
      'gate',
      'The audit stream could not be written (last: 14 min ago): nobody is let in without it.',
    ],
  ],
  [{ unwrittenMs: NOW_MS - 15 * 60 * S }],
  [
    { unkept: [{ place: 'state', sinceMs: NOW_MS - 90 * S }] },
    ['bad', 'gate', "The audit stream's head can't be kept in state for 1 min 30 s."],
  ],
])('of the audit stream: %j', (changes, ...expected) => {
  expect(told({ evidence: { unwrittenMs: undefined, unkept: [], ...changes } })).toEqual(expected)
})

it('more workers than wanted are some that leave', () => {
  expect(told({ workers: { open: 6, wanted: 4 } })).toEqual([])
})

const [NODE] = calm().nodes as [NodeStatus, ...NodeStatus[]]
const seen = (node: string, up: number, draining: number, down: number, cluster = 'main') => ({
  ...NODE,
  node,
  cluster,
  up,
  draining,
  down,
})

it.each<[NodeStatus[], ...string[][]]>([
  [
    [seen('a', 4, 0, 0), seen('b', 3, 0, 1)],
    ['warn', 'nodes', 'Node b of cluster main is down.'],
  ],
  [
    [seen('a', 4, 0, 0), seen('b', 0, 0, 4), seen('c', 0, 0, 4)],
    ['warn', 'nodes', '2 of 3 nodes of cluster main are down.'],
  ],
  [
    [seen('a', 4, 0, 0), seen('b', 0, 4, 0)],
    ['warn', 'nodes', 'Node b of cluster main is draining.'],
  ],
  [
    [seen('a', 0, 4, 0), seen('b', 0, 0, 4), seen('a', 4, 0, 0, 'other')],
    ['bad', 'nodes', 'No node of cluster main takes sessions.'],
  ],
])('of nodes', (nodes, ...expected) => {
  expect(told({ nodes })).toEqual(expected)
})

const [ISSUER] = calm().issuers as [IssuerKeys, ...IssuerKeys[]]
const name = ISSUER.issuer

it.each<[Partial<IssuerKeys>, ...string[][]]>([
  [{ freshUntilMs: NOW_MS - S }],
  [{ fetchedMs: undefined, freshUntilMs: undefined }],
  [
    { lastError: 'it returned 503', freshUntilMs: NOW_MS + 90 * S },
    [
      'warn',
      'issuers',
      `The last fetch from ${name} failed; its keys are good for another 1 min 30 s.`,
    ],
  ],
  [
    { lastError: 'it returned 503', freshUntilMs: NOW_MS - S },
    ['bad', 'issuers', `The keys of ${name} can't be fetched, and those that were are stale.`],
  ],
  [
    { from: 'nowhere', ids: [] },
    ['warn', 'issuers', `There are no keys for ${name} in cluster main.`],
  ],
])('of an issuer: %j', (changes, ...expected) => {
  expect(told({ issuers: [{ ...ISSUER, ...changes }] })).toEqual(expected)
})

describe('of certificates', () => {
  it.each<[number, ...string[][]]>([
    [31 * DAY],
    [
      20 * DAY,
      ['warn', 'certificates', 'The certificate cn (key) ends on 2026-12-13, in 20 days.'],
    ],
    [6 * DAY, ['bad', 'certificates', 'The certificate cn (key) ends on 2026-11-29, in 6 days.']],
    [-DAY, ['bad', 'certificates', 'The certificate cn (key) ended on 2026-11-22, 1 day ago.']],
  ])('with %d ms to go', (left, ...expected) => {
    const certificate = { key: 'key', file: '', subject: 'cn', endsMs: NOW_MS + left }
    expect(told({ certificates: [certificate] })).toEqual(expected)
  })
})

describe('of the shared state', () => {
  const shared = { number: '1', maxAgeMs: 60 * S, revocations: 0, entries: 0, settings: 0 }

  it.each<[number, ...string[][]]>([
    [30 * S],
    [
      31 * S,
      [
        'warn',
        'state',
        'The shared state was last heard of 31 s ago; at 1 min nobody new is let in.',
      ],
    ],
    [
      61 * S,
      [
        'bad',
        'state',
        'Nobody new is let in: the shared state was last heard of 1 min 1 s ago, and 1 min is allowed.',
      ],
    ],
    [
      Number.POSITIVE_INFINITY,
      [
        'bad',
        'state',
        'Nobody new is let in: the shared state has not been read yet, and 1 min is allowed.',
      ],
    ],
  ])('%d ms old', (ageMs, ...expected) => {
    expect(told({ shared: { ...shared, ageMs } })).toEqual(expected)
  })
})

it('of refusals: those of late that are no fault of a user', () => {
  const long = new Array<number>(15).fill(0)
  const refusals = [
    refused('invalid_token', 100),
    refused('node_unreachable', 2, 0, 1),
    refused('jwks_unavailable', 1),
    refused('internal_error', 5, ...long),
    refused('of another version', 3),
    refused('constructor', 3),
  ]
  expect(told({ refusals })).toEqual([
    [
      'warn',
      'sign-ins',
      '4 sign-ins in the last 15 minutes failed by no fault of the user: node_unreachable, jwks_unavailable.',
    ],
  ])
})
