import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Failure } from '../../src/failure.ts'
import { Headers } from '../../src/wire/headers.ts'

type Side = 'client' | 'node'

/** A message of `bytes` 0x5a: were a body read as a header, it would be noticed. */
function message(type: string, bytes: number | string, length?: number): Buffer {
  const body = typeof bytes === 'string' ? Buffer.from(bytes) : Buffer.alloc(bytes, 'Z')
  const header = Buffer.alloc(5)
  header.write(type, 'latin1')
  header.writeInt32BE(length ?? 4 + body.length, 1)
  return Buffer.concat([header, body])
}

/** What is told of the chunks, and where each one may be cut in two without cutting a message. */
function walk(side: Side, chunks: Uint8Array[]) {
  const told: string[] = []
  const header = (type: number, status: number) => {
    told.push(String.fromCharCode(type) + (status === 0 ? '' : String.fromCharCode(status)))
  }
  const headers = new Headers(side, { header })
  const boundaries: number[] = []
  const between: boolean[] = []
  for (const chunk of chunks) {
    headers.push(chunk)
    boundaries.push(headers.lastBoundary)
    between.push(headers.atBoundary)
  }
  return { told: told.join(' '), boundaries, between }
}

function cut(bytes: Buffer, at: number[]): Buffer[] {
  const places = [0, ...at.toSorted((a, b) => a - b), bytes.length]
  return places.slice(1).map((end, i) => bytes.subarray(places[i] ?? 0, end))
}

const STREAMS: [name: string, side: Side, bytes: Buffer[], told: string][] = [
  ['nothing', 'client', [], ''],
  ['a query', 'client', [message('Q', 9)], 'Q'],
  [
    'a pipeline',
    'client',
    ['P', 'B', 'D', 'E', 'H', 'S'].map((t) => message(t, t < 'H' || t === 'P' ? 7 : 0)),
    'P B D E H S',
  ],
  [
    'a copy in',
    'client',
    [message('Q', 3), message('d', 70), message('d', 0), message('c', 0)],
    'Q c',
  ],
  ['a client has no ReadyForQuery', 'client', [message('Z', 0), message('Z', 6)], 'Z Z'],
  [
    'an answer',
    'node',
    [message('T', 9), message('D', 9), message('D', 1), message('C', 5), message('Z', 'I')],
    'T C ZI',
  ],
  ['every status', 'node', [message('Z', 'I'), message('Z', 'T'), message('Z', 'E')], 'ZI ZT ZE'],
  [
    'a copy out',
    'node',
    [message('H', 7), message('d', 80), message('c', 0), message('C', 7), message('Z', 'T')],
    'H c C ZT',
  ],
  ['a ParameterStatus has a body', 'node', [message('S', 20), message('1', 0)], 'S 1'],
]

describe.each(STREAMS)('%s', (_name, side, messages, told) => {
  const bytes = Buffer.concat(messages)

  test('in one chunk', () => {
    expect(walk(side, [bytes])).toEqual({ told, boundaries: [bytes.length], between: [true] })
  })

  test('byte by byte', () => {
    expect(walk(side, cut(bytes, [...bytes.keys()])).told).toBe(told)
  })

  test('cut in two anywhere', () => {
    for (let at = 0; at <= bytes.length; at++) expect(walk(side, cut(bytes, [at])).told).toBe(told)
  })
})

test('the last boundary of a chunk is its last place between two messages', () => {
  const bytes = Buffer.concat([message('T', 5), message('C', 3), message('Z', 'I')])
  const rows: [cuts: number[], boundaries: number[], between: boolean[]][] = [
    [[], [24], [true]],
    [[3], [0, 21], [false, true]],
    [[10], [10, 14], [true, true]],
    [
      [12, 14],
      [10, -1, 10],
      [false, false, true],
    ],
    [[18], [18, 6], [true, true]],
    [
      [20, 22],
      [18, -1, 2],
      [false, false, true],
    ],
    [[23], [18, 1], [false, true]],
    [[24], [24, 0], [true, true]],
    [
      [5, 5],
      [0, -1, 19],
      [false, false, true],
    ],
  ]
  for (const [cuts, boundaries, between] of rows) {
    const { boundaries: found, between: at } = walk('node', cut(bytes, cuts))
    expect({ cuts, found, at }).toEqual({ cuts, found: boundaries, at: between })
  }
})

const REFUSED: [name: string, side: Side, bytes: Buffer, problem: string][] = [
  ['a length that leaves no room for itself', 'client', message('Q', 0, 3), '0x51 has length 3'],
  ['a length that is negative', 'node', message('D', 0, -1), '0x44 has length -1'],
  ['a length of 2^31', 'client', message('d', 0, -(2 ** 31)), '0x64 has length -2147483648'],
  ['ReadyForQuery without a status', 'node', message('Z', ''), '0x5a has length 4'],
  ['ReadyForQuery with more than a status', 'node', message('Z', 'II'), '0x5a has length 6'],
  ['a Sync with a body', 'client', message('S', 1), '0x53 has length 5'],
  ['a Flush with a body', 'client', message('H', 1), '0x48 has length 5'],
]

test.each(REFUSED)('%s breaks the protocol', (_name, side, bytes, problem) => {
  for (const chunks of [[bytes], cut(bytes, [...bytes.keys()])]) {
    expect(() => walk(side, chunks)).toThrow(
      new Failure('protocol_violation', { values: { problem: `message type ${problem}` } }),
    )
  }
})

test('however a stream is cut, the same is told of it', () => {
  const aMessage = fc.tuple(fc.constantFrom(...'TDCEZNdGH12'), fc.nat(40)).map(([type, bytes]) => {
    return message(type, type === 'Z' ? 'T' : bytes)
  })
  const cuts = fc.array(fc.nat(400), { maxLength: 12 })
  fc.assert(
    fc.property(fc.array(aMessage, { maxLength: 12 }), cuts, (messages, at) => {
      const bytes = Buffer.concat(messages)
      const chunks = cut(
        bytes,
        at.filter((place) => place <= bytes.length),
      )
      const ends = new Set([0])
      for (const each of messages) ends.add(Math.max(...ends) + each.length)
      const { told, boundaries, between } = walk('node', chunks)
      expect(told).toBe(walk('node', [bytes]).told)
      let start = 0
      for (const [i, chunk] of chunks.entries()) {
        const inside = [...ends].filter((end) => end >= start && end <= start + chunk.length)
        expect(boundaries[i]).toBe(Math.max(-1, ...inside.map((end) => end - start)))
        start += chunk.length
        expect(between[i]).toBe(ends.has(start))
      }
    }),
  )
})
