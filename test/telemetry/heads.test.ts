/** The head of the audit stream, kept elsewhere: when, what is said where it can't be, and the last one. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import type { Metric } from '../../src/peers/messages.ts'
import { anchorFile, openHeads } from '../../src/telemetry/heads.ts'
import type { Head } from '../../src/telemetry/seal.ts'

const dir = mkdtempSync(join(tmpdir(), 'postern-heads-'))
afterAll(() => rmSync(dir, { recursive: true }))

const head = (seq: number): Head => ({ chain: 'c', seq, mac: `${seq}` })

function start(keep: (head: Head) => Promise<void>, sync = async (): Promise<void> => undefined) {
  const lines: string[] = []
  const counted: Metric[] = []
  const tell = (line: unknown) => void lines.push(String(line))
  const now: { head: Head | undefined } = { head: undefined }
  const places = [{ name: 'audit.anchor', keep }]
  const log = { info: tell, error: tell } as never
  const count = (metric: Metric) => void counted.push(metric)
  const heads = openHeads({ head: () => now.head, sync, places, log, count }, 2)
  return { heads, lines, now, counted }
}

it('is kept once for each that is another one, and the last one at the end', async () => {
  const kept: number[] = []
  const { heads, now, lines, counted } = start(async ({ seq }) => void kept.push(seq))
  now.head = head(1)
  await expect.poll(() => kept, { interval: 1 }).toEqual([1])
  now.head = head(2)
  await expect.poll(() => kept, { interval: 1 }).toEqual([1, 2])
  now.head = head(3)
  await heads.close()
  expect(kept).toEqual([1, 2, 3])
  now.head = head(4)
  await heads.close()
  const one = { name: 'audit_head', place: 'audit.anchor', result: 'kept' }
  expect(counted).toEqual([one, one, one, one])
  expect(lines).toEqual([])
})

it('is not kept before all of it is durable', async () => {
  const kept: number[] = []
  let durable = false
  const sync = async () => {
    if (!durable) throw new Error('EIO')
  }
  const { heads, now, lines } = start(async ({ seq }) => void kept.push(seq), sync)
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
  const { heads, now, lines } = start(async () => {
    tries++
    if (fails) throw new Error('EROFS')
  })
  now.head = head(1)
  await expect.poll(() => tries, { interval: 1 }).toBeGreaterThan(3)
  expect(lines).toEqual(["audit.anchor: the head of the audit stream can't be kept: EROFS"])
  fails = false
  await expect.poll(() => lines.length, { interval: 1 }).toBe(2)
  expect(lines[1]).toBe('audit.anchor: the head of the audit stream is kept again')
  await heads.close()
})

it('is a line of a file that its owner alone can read', async () => {
  const path = join(dir, 'heads')
  const place = anchorFile(path, () => 1_700_000_000_000)
  await place.keep(head(1))
  await place.keep(head(2))
  expect(
    readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    { At: '2023-11-14T22:13:20.000Z', Chain: 'c', Seq: 1, Mac: '1' },
    { At: '2023-11-14T22:13:20.000Z', Chain: 'c', Seq: 2, Mac: '2' },
  ])
  expect(statSync(path).mode & 0o777).toBe(0o600)
  await expect(anchorFile(join(dir, 'no', 'where'), Date.now).keep(head(1))).rejects.toThrow(
    'ENOENT',
  )
})
