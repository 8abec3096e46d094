/** The audit stream of a running gate: what is kept of it elsewhere, and what is said of what is lost. */
import { appendFileSync, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Metric } from '../../src/peers/messages.ts'
import { anchorFile, headIn } from '../../src/telemetry/anchor.ts'
import { type AuditSink, openAuditStream } from '../../src/telemetry/audit_file.ts'
import type { Head } from '../../src/telemetry/seal.ts'
import { openTrail, type StateForHeads } from '../../src/telemetry/trail.ts'
import { KEY, NOW, say, textOf, verify } from '../support/sealed.ts'

const dir = mkdtempSync(join(tmpdir(), 'postern-trail-'))
afterAll(() => rmSync(dir, { recursive: true }))
let files = 0

function newPlace() {
  const name = join(dir, `${files++}`)
  return { path: `${name}.log`, anchor: `${name}.heads` }
}

function open(anchor: string | undefined, to: AuditSink) {
  const lines: string[] = []
  const counted: Metric[] = []
  const tell = (line: unknown) => void lines.push(String(line))
  const log = { info: tell, warn: tell, error: tell } as never
  const count = (metric: Metric) => void counted.push(metric)
  const plan = { to: { kind: 'stdout' } as const, required: false, seal: KEY, anchor }
  const trail = openTrail(plan, to, { hostName: 'gate-1', log, count, now: () => NOW })
  return { trail, lines, counted }
}

/** A gate that is started, writes, and is stopped. @returns its last head */
async function run(place: { path: string; anchor: string }, ...sessions: string[]): Promise<Head> {
  const { trail } = open(place.anchor, openAuditStream(place.path))
  await trail.keepHeads(undefined)
  say(trail, ...sessions)
  await trail.close()
  return (await anchorFile(place.anchor, () => NOW).last()) as Head
}

describe('what was removed before the gate was started again', () => {
  it('is named by what comes then', async () => {
    const place = newPlace()
    const heads = [await run(place, 'a', 'b'), await run(place, 'c')]
    rmSync(place.path)
    heads.push(await run(place, 'd'))
    const text = textOf(place.path)
    expect(JSON.parse(text.split('\n')[0] ?? '')).toMatchObject({
      Why: 'start',
      Previous: { Chain: heads[1]?.chain, Seq: 1, Mac: heads[1]?.mac },
    })
    const { wrong, findings, notes } = await verify(text, heads)
    expect([wrong, notes.map(({ says }) => says)]).toEqual([
      ['cut'],
      ['what was written before this line was not given, and not looked at'],
    ])
    expect(findings[0]?.says).toBe(
      '2 heads, kept at 2023-11-14T22:13:20.000Z, are of chains from before these files: give the files before them too, or say --since TIME where these begin',
    )
  })

  it('shows while the gate runs: moved, begun anew by a SIGHUP, and removed', async () => {
    const place = newPlace()
    const { trail } = open(place.anchor, openAuditStream(place.path))
    await trail.keepHeads(undefined)
    say(trail, 'a')
    renameSync(place.path, `${place.path}.1`)
    trail.reopen()
    say(trail, 'b')
    await trail.close()
    const heads = textOf(place.anchor).split('\n').map(headIn)
    expect(heads.filter((head) => head !== undefined)).toHaveLength(2)
    expect((await verify(textOf(place.path), heads)).wrong).toEqual(['cut'])
    const both = [textOf(`${place.path}.1`), textOf(place.path)]
    expect(await verify(both, heads)).toMatchObject({ wrong: [], heads: 2 })
  })

  it('shows where its place was taken by a stream that knows of nothing', async () => {
    const place = newPlace()
    const heads = [await run(place, 'a', 'b')]
    const another = newPlace()
    heads.push(await run(another, 'c'))
    const found = await verify(textOf(another.path), heads)
    expect(found.wrong).toEqual(['cut'])
    expect(found.findings[0]?.says).toMatch(
      /^the first chain says that nothing came before it, but 1 head, kept at .*, is of chains from before /,
    )
  })

  it('is not missing where the file was only moved, even if more came than was kept', async () => {
    const place = newPlace()
    const heads = [await run(place, 'a', 'b')]
    const moved = `${place.path}.1`
    renameSync(place.path, moved)
    // The last line is one that no head was kept of.
    const anchor = textOf(place.anchor)
    writeFileSync(place.path, '')
    heads.push(await run(place, 'c'))
    expect(await verify([textOf(moved), textOf(place.path)], heads)).toMatchObject({ wrong: [] })
    writeFileSync(place.anchor, anchor)
    rmSync(place.path)
    const { trail } = open(undefined, openAuditStream(moved))
    say(trail, 'd')
    heads[1] = await run(place, 'e')
    const both = [textOf(moved), textOf(place.path)]
    expect(JSON.parse(both[1]?.split('\n')[0] ?? '').Previous).toMatchObject({ Seq: 2 })
    const { wrong, notes } = await verify(both, heads)
    expect([wrong, notes[0]?.says]).toEqual([[], expect.stringContaining('names a head of before')])
    // And without the chain that it names.
    const [first = ''] = both
    const begun = first.split(/(?<=\n)/)
    expect((await verify([begun.slice(3).join(''), both[1] ?? ''], heads)).wrong).toContain(
      'removed 1:1',
    )
  })

  it('is named behind a line that the disk lost', async () => {
    const place = newPlace()
    const heads = [await run(place, 'a', 'b')]
    appendFileSync(place.path, '\0'.repeat(100))
    heads.push(await run(place, 'c'))
    const { wrong } = await verify(textOf(place.path), heads)
    expect(wrong).toEqual([])
  })
})

describe('heads that gates share', () => {
  const shared = (last: StateForHeads['lastHead']): StateForHeads => ({
    keepHead: async () => undefined,
    lastHead: last,
  })

  it('are named where there is no file of them, each gate’s by itself', async () => {
    const { path } = newPlace()
    const { trail } = open(undefined, openAuditStream(path))
    const asked: string[] = []
    const state = shared(async (gate) => {
      asked.push(gate)
      return { chain: 'c', seq: 3, mac: 'm' }
    })
    await trail.keepHeads(state)
    say(trail, 'a')
    await trail.close()
    expect(asked).toEqual(['gate-1'])
    expect(JSON.parse(textOf(path).split('\n')[0] ?? '').Previous).toEqual({
      Chain: 'c',
      Seq: 3,
      Mac: 'm',
    })
  })

  it('that can’t be read keep no gate from opening', async () => {
    const { path } = newPlace()
    const { trail, lines } = open(undefined, openAuditStream(path))
    await trail.keepHeads(shared(() => Promise.reject(new Error('nobody there'))))
    say(trail, 'a')
    await trail.close()
    expect(existsSync(path)).toBe(true)
    expect(lines).toEqual(["state: the last head of the audit stream can't be read: nobody there"])
  })
})

it('lines that are lost at the end are told and counted', async () => {
  const { trail, lines, counted } = open(undefined, {
    write: () => undefined,
    close: async () => 7,
  })
  await trail.close()
  expect(lines).toEqual(['the audit stream is closed, and its last 7 lines were not taken'])
  expect(counted).toEqual([{ name: 'audit_failed', lines: 7 }])
})
