/** The head of the audit stream, kept elsewhere: when, what is said where it can't be, and the last one. */
import { describe, expect, it } from 'vitest'
import type { Metric } from '../../src/peers/messages.ts'
import { type HeadPlace, lastKept, openHeads } from '../../src/telemetry/heads.ts'
import type { KnownHead } from '../../src/telemetry/heads_to_find.ts'
import type { Head } from '../../src/telemetry/seal.ts'

const head = (seq: number): Head => ({ chain: 'c', seq, mac: `${seq}` })
const never = new Promise<never>(() => undefined)

function placeOf(keep: (head: Head) => Promise<void>, name = 'audit.anchor'): HeadPlace {
  return { name, keep, last: async () => undefined }
}

function start(
  places: HeadPlace[],
  sync = async (): Promise<void> => undefined,
  givenMs: number | undefined = undefined,
) {
  const lines: string[] = []
  const counted: Metric[] = []
  const tell = (line: unknown) => void lines.push(String(line))
  const now: { head: Head | undefined } = { head: undefined }
  const log = { info: tell, error: tell } as never
  const count = (metric: Metric) => void counted.push(metric)
  const heads = openHeads({ head: () => now.head, sync, places, log, count }, 2, givenMs)
  return { heads, lines, now, counted }
}

it('is kept once for each that is another one, and the last one at the end', async () => {
  const kept: number[] = []
  const { heads, now, lines, counted } = start([placeOf(async ({ seq }) => void kept.push(seq))])
  now.head = head(1)
  await expect.poll(() => kept, { interval: 1 }).toEqual([1])
  now.head = head(2)
  await expect.poll(() => kept, { interval: 1 }).toEqual([1, 2])
  now.head = head(3)
  await heads.close()
  expect(kept).toEqual([1, 2, 3])
  now.head = head(4)
  await heads.close()
  const of = { name: 'audit_head', place: 'audit.anchor' }
  const one = { ...of, result: 'kept' }
  // From the beginning on a metric is there that an alert can compare with.
  expect(counted).toEqual([{ ...of, result: 'failed', heads: 0 }, one, one, one, one])
  expect(lines).toEqual([])
})

it('is not kept before all of it is durable', async () => {
  const kept: number[] = []
  let durable = false
  const sync = async () => {
    if (!durable) throw new Error('EIO')
  }
  const { heads, now, lines } = start([placeOf(async ({ seq }) => void kept.push(seq))], sync)
  now.head = head(1)
  await heads.close()
  expect(kept).toEqual([])
  expect(lines).toEqual(["audit.anchor: the head of the audit stream can't be kept: EIO"])
  durable = true
  await heads.close()
  expect(kept).toEqual([1])
})

it('that can’t be kept is told once, and when it can be again', async () => {
  let fails = true
  let tries = 0
  const keep = async () => {
    tries++
    if (fails) throw new Error('EROFS')
  }
  const { heads, now, lines } = start([placeOf(keep)])
  now.head = head(1)
  await expect.poll(() => tries, { interval: 1 }).toBeGreaterThan(3)
  expect(lines).toEqual(["audit.anchor: the head of the audit stream can't be kept: EROFS"])
  fails = false
  await expect.poll(() => lines.length, { interval: 1 }).toBe(2)
  expect(lines[1]).toBe('audit.anchor: the head of the audit stream is kept again')
  await heads.close()
})

it('a place that hangs keeps no other one waiting, is told, and is asked for nothing more meanwhile', async () => {
  const kept: number[] = []
  const stuck: PromiseWithResolvers<void>[] = []
  const hanging = () => {
    const one = Promise.withResolvers<void>()
    stuck.push(one)
    return one.promise
  }
  const places = [placeOf(hanging), placeOf(async ({ seq }) => void kept.push(seq), 'state')]
  const { heads, now, lines, counted } = start(places, undefined, 5)
  const failed = () => counted.filter((each) => 'heads' in each === false && isFailed(each))
  const isFailed = (each: Metric) => each.name === 'audit_head' && each.result === 'failed'
  now.head = head(1)
  await expect.poll(() => kept, { interval: 1 }).toEqual([1])
  now.head = head(2)
  await expect.poll(() => kept, { interval: 1 }).toEqual([1, 2])
  await expect.poll(() => failed().length, { interval: 1 }).toBeGreaterThan(3)
  expect(stuck).toHaveLength(1)
  const says = "audit.anchor: the head of the audit stream can't be kept: it took more than 0.005 s"
  expect(lines).toEqual([says])
  stuck[0]?.resolve()
  await expect.poll(() => stuck.length, { interval: 1 }).toBe(2)
  stuck[1]?.resolve()
  await expect.poll(() => lines.slice(1), { interval: 1 }).not.toEqual([])
  expect(lines[1]).toBe('audit.anchor: the head of the audit stream is kept again')
  now.head = head(3)
  await heads.close()
  expect(kept).toEqual([1, 2, 3])
})

describe('the last one that was kept', () => {
  const at = (name: string, last: () => Promise<KnownHead | undefined>): HeadPlace => ({
    name,
    keep: async () => undefined,
    last,
  })
  const nothing = at('one', async () => undefined)

  it.each<[string, HeadPlace[], Head | undefined, string[]]>([
    ['of no place', [], undefined, []],
    ['of one that has none', [nothing], undefined, []],
    ['of the one that has one', [nothing, at('other', async () => head(7))], head(7), []],
    [
      'the newest of all places',
      ['02', '04', '03'].map((day) =>
        at(day, async () => ({ ...head(Number(day)), at: `2026-01-${day}T00:00:00.000Z` })),
      ),
      head(4),
      [],
    ],
    [
      'the first, where no time is known',
      [at('one', async () => head(7)), at('other', async () => head(8))],
      head(7),
      [],
    ],
    [
      'behind one that hangs',
      [at('slow', () => never), at('other', async () => head(7))],
      head(7),
      ["slow: the last head of the audit stream can't be read: it took more than 0.005 s"],
    ],
    [
      'behind one that fails',
      [at('gone', () => Promise.reject(new Error('EIO')))],
      undefined,
      ["gone: the last head of the audit stream can't be read: EIO"],
    ],
  ])('%s', async (_what, places, expected, says) => {
    const lines: string[] = []
    const log = { warn: (line: unknown) => void lines.push(String(line)) } as never
    expect(await lastKept(places, log, 5)).toEqual(expected)
    expect(lines).toEqual(says)
  })
})
