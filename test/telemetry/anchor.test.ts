/** The file of heads: for its owner alone, and of use whatever was torn in it. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { anchorFile } from '../../src/telemetry/anchor.ts'
import type { Head } from '../../src/telemetry/seal.ts'

const dir = mkdtempSync(join(tmpdir(), 'postern-anchor-'))
afterAll(() => rmSync(dir, { recursive: true }))

const at = '2023-11-14T22:13:20.000Z'
const head = (seq: number): Head => ({ chain: 'c', seq, mac: `${seq}` })
const open = (path: string) => anchorFile(path, () => 1_700_000_000_000)

it('is a line of a file that its owner alone can read', async () => {
  const path = join(dir, 'heads')
  const place = open(path)
  expect(await place.last()).toBeUndefined()
  await place.keep(head(1))
  await place.keep(head(2))
  expect(
    readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    { At: at, Chain: 'c', Seq: 1, Mac: '1' },
    { At: at, Chain: 'c', Seq: 2, Mac: '2' },
  ])
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(await place.last()).toEqual({ ...head(2), at })
  await expect(open(join(dir, 'no', 'where')).keep(head(1))).rejects.toThrow('ENOENT')
})

it('one that is torn takes none with it, before or behind', async () => {
  const path = join(dir, 'torn')
  const place = open(path)
  await place.keep(head(1))
  appendFileSync(path, '{"At":"2023-11-14T22:1')
  expect(await place.last()).toEqual({ ...head(1), at })
  await place.keep(head(2))
  expect(await place.last()).toEqual({ ...head(2), at })
  expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(4)
})

it('the last one is found behind many, within a bound', async () => {
  const path = join(dir, 'many')
  const place = open(path)
  writeFileSync(path, `${JSON.stringify({ Chain: 'c', Seq: 1, Mac: 'm' })}\n`.repeat(5_000))
  await place.keep(head(9))
  expect(await place.last()).toEqual({ ...head(9), at })
  writeFileSync(path, 'x'.repeat(200_000))
  expect(await place.last()).toBeUndefined()
})
