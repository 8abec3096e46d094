import { describe, expect, it } from 'vitest'
import { freshness } from '../../src/issuers/freshness.ts'

const REQUESTED_MS = Date.UTC(2026, 0, 2, 3, 4, 5)
const NOW = 'Fri, 02 Jan 2026 03:04:05 GMT'
const LATER = 'Fri, 02 Jan 2026 03:14:05 GMT'
const EARLIER = 'Fri, 02 Jan 2026 03:03:05 GMT'
const TWO_TO_31 = 2 ** 31

type Row = [what: string, headers: [string, string][], seconds: number | 'stale' | 'not kept']

const cc = (...values: string[]): [string, string][] =>
  values.map((value) => ['cache-control', value])

const ROWS: Row[] = [
  ['no headers', [], 'stale'],
  ['other headers', [['content-type', 'application/json']], 'stale'],

  ['max-age', cc('max-age=300'), 300],
  ['max-age among others', cc('public, max-age=300, must-revalidate'), 300],
  ['max-age on a second line', cc('public', 'max-age=300'), 300],
  ['max-age in capitals', cc('Max-Age=300'), 300],
  ['max-age in quotes', cc('max-age="300"'), 300],
  ['max-age with white space', cc(' public ,\t max-age=300 '), 300],
  ['max-age of zero', cc('max-age=0'), 'stale'],
  ['an empty element', cc('max-age=300,,'), 300],
  ['max-age beside s-maxage', cc('s-maxage=10, max-age=300'), 300],
  ['s-maxage alone', cc('s-maxage=300'), 'stale'],
  ['a max-age that is too large', cc('max-age=4294967296'), TWO_TO_31],
  ['a max-age that no number holds', cc(`max-age=${'9'.repeat(400)}`), TWO_TO_31],

  ['max-age twice', cc('max-age=300, max-age=300'), 'stale'],
  ['max-age twice on two lines', cc('max-age=300', 'max-age=600'), 'stale'],
  ['max-age below zero', cc('max-age=-1'), 'stale'],
  ['max-age with a sign', cc('max-age=+300'), 'stale'],
  ['max-age with a fraction', cc('max-age=1.5'), 'stale'],
  ['max-age in words', cc('max-age=soon'), 'stale'],
  ['max-age in half a quote', cc('max-age=300"'), 'not kept'],
  ['max-age without a value', cc('max-age'), 'stale'],
  ['max-age with an empty value', cc('max-age='), 'stale'],
  ['a bad max-age before Expires', [...cc('max-age=x'), ['expires', LATER]], 'stale'],

  ['no-cache', cc('no-cache'), 'stale'],
  ['no-cache with max-age', cc('max-age=300, no-cache'), 'stale'],
  ['no-cache for a header', cc('max-age=300, no-cache="set-cookie, date"'), 'stale'],
  ['no-store', cc('no-store'), 'not kept'],
  ['no-store with max-age', cc('max-age=300', 'No-Store'), 'not kept'],
  ['no-store inside of quotes', cc('max-age=300, x="a, no-store"'), 300],
  ['max-age inside of quotes', cc('x="a, max-age=300"'), 'stale'],
  ['an escaped quote', cc('x="a\\", no-store, b", max-age=300'), 300],
  ['quotes that do not end', cc('max-age=300, x="no'), 'not kept'],
  ['quotes that end in an escape', cc('max-age=300, x="no\\"'), 'not kept'],

  ['Vary on everything', [...cc('max-age=300'), ['vary', '*']], 'not kept'],
  ['Vary on everything too', [...cc('max-age=300'), ['vary', 'accept, *']], 'not kept'],
  ['Vary on a header', [...cc('max-age=300'), ['vary', 'accept-encoding']], 300],

  ['an Age', [...cc('max-age=300'), ['age', '100']], 200],
  ['an Age beyond max-age', [...cc('max-age=300'), ['age', '301']], 'stale'],
  ['an Age that is none', [...cc('max-age=300'), ['age', 'old']], 300],
  ['an Age that no number holds', [...cc('max-age=300'), ['age', '9'.repeat(400)]], 'stale'],
  ['a Date of now', [...cc('max-age=300'), ['date', NOW]], 300],
  ['a Date of a minute ago', [...cc('max-age=300'), ['date', EARLIER]], 240],
  ['a Date to come', [...cc('max-age=300'), ['date', LATER]], 300],
  ['a Date and a larger Age', [...cc('max-age=300'), ['date', EARLIER], ['age', '90']], 210],
  ['a Date and a smaller Age', [...cc('max-age=300'), ['date', EARLIER], ['age', '30']], 240],

  // Expires.
  ['Expires alone', [['expires', LATER]], 600],
  [
    'Expires and Date',
    [
      ['expires', LATER],
      ['date', NOW],
    ],
    600,
  ],
  [
    'Expires and a Date of a minute ago',
    [
      ['expires', LATER],
      ['date', EARLIER],
    ],
    600,
  ],
  ['Expires in the past', [['expires', EARLIER]], 'stale'],
  [
    'Expires now',
    [
      ['expires', NOW],
      ['date', NOW],
    ],
    'stale',
  ],
  ['Expires of zero', [['expires', '0']], 'stale'],
  ['Expires that is a year', [['expires', '9999']], 'stale'],
  ['Expires in a form of another standard', [['expires', '2026-01-02T03:14:05Z']], 'stale'],
  ['Expires on a day that is none', [['expires', 'Fri, 99 Jan 2026 03:14:05 GMT']], 'stale'],
  [
    'Expires twice',
    [
      ['expires', LATER],
      ['expires', NOW],
    ],
    'stale',
  ],
  ['Expires by RFC 850', [['expires', 'Friday, 02-Jan-26 03:14:05 GMT']], 600],
  ['Expires by asctime', [['expires', 'Fri Jan  2 03:14:05 2026']], 600],
  ['Expires in a far future', [['expires', 'Fri, 31 Dec 9999 23:59:59 GMT']], TWO_TO_31],
  ['max-age before Expires', [...cc('max-age=300'), ['expires', LATER]], 300],
  ['Expires with no-cache', [...cc('no-cache'), ['expires', LATER]], 'stale'],
]

describe('how long a document is fresh', () => {
  it.each(ROWS)('%s', (_, headers, wanted) => {
    const told = freshness({ headers, requestedMs: REQUESTED_MS, receivedMs: REQUESTED_MS })
    const seconds = (told.freshUntilMs - REQUESTED_MS) / 1000
    expect(told.kept).toBe(wanted !== 'not kept')
    expect(seconds).toBe(typeof wanted === 'number' ? wanted : 0)
  })

  it('takes off the time under way, and counts from when the answer came', () => {
    const receivedMs = REQUESTED_MS + 2_000
    const headers = [...cc('max-age=300'), ['age', '10'] as [string, string]]
    const { freshUntilMs } = freshness({ headers, requestedMs: REQUESTED_MS, receivedMs })
    expect(freshUntilMs - receivedMs).toBe(288_000)
  })

  it('does not grow where the clock was set back meanwhile', () => {
    const receivedMs = REQUESTED_MS - 60_000
    const headers = cc('max-age=300')
    const { freshUntilMs } = freshness({ headers, requestedMs: REQUESTED_MS, receivedMs })
    expect(freshUntilMs - receivedMs).toBe(300_000)
  })
})
