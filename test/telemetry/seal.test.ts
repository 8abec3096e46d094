/** The seal of the audit stream: whatever is done to one that was written shows, and what a crash does doesn't. */
import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Secret } from '../../src/secret.ts'
import type { KnownHead } from '../../src/telemetry/heads_to_find.ts'
import type { Head } from '../../src/telemetry/seal.ts'
import { keyIn, sealKey } from '../../src/telemetry/seal.ts'
import { KEY, NOW, openSealed, say, textOf, verify } from '../support/sealed.ts'

const dir = mkdtempSync(join(tmpdir(), 'postern-seal-'))
afterAll(() => rmSync(dir, { recursive: true }))
let files = 0
const newFile = () => join(dir, `audit-${files++}.log`)

let whole = ''
let lines: string[] = []
let head: Head | undefined
beforeAll(() => {
  const path = newFile()
  const audit = openSealed(path)
  say(audit, 'a', 'b', 'c', 'd', 'e')
  whole = textOf(path)
  lines = whole.split(/(?<=\n)/)
  head = audit.head()
})

describe('a line', () => {
  it('has its number and its code behind what it says; the first one names the chain', () => {
    const [begin, first] = lines.map((line) => JSON.parse(line))
    expect(begin).toEqual({
      channel: 'SESSIONS',
      Timestamp: NOW * 1e6,
      InstanceID: 0,
      EventType: 'seal_begin',
      Version: 1,
      Chain: expect.stringMatching(/^[0-9a-f]{16}$/),
      KeyID: KEY.id,
      Why: 'start',
      Previous: null,
      Seq: 0,
      Mac: expect.stringMatching(/^[\w-]{43}$/),
    })
    expect(first).toMatchObject({ EventType: 'client_session_end', SessionID: 'a', Seq: 1 })
    expect(Object.keys(first).slice(-2)).toEqual(['Seq', 'Mac'])
    expect(head).toEqual({ chain: begin.Chain, seq: 5, mac: JSON.parse(lines[5] ?? '').Mac })
  })

  it('is sealed as it is shown', async () => {
    const path = newFile()
    const audit = openSealed(path)
    say(audit, 'a\u202eb', `ey${Buffer.from('{"a":1}').toString('base64url')}.e30.c2ln`, '\ud800é')
    expect((await verify(textOf(path))).wrong).toEqual([])
    expect(textOf(path)).toContain('a\\u202eb')
  })
})

describe('a stream as it was written', () => {
  it('is whole, and its end by its head', async () => {
    const found = await verify(whole, [head])
    expect(found).toMatchObject({ wrong: [], notes: [], lines: 6, sealed: 6, heads: 1, more: 0 })
    expect(found.chains).toEqual([{ chain: head?.chain, keyId: KEY.id, from: 0, to: 5 }])
  })

  it('without a head says that its end was not looked at', async () => {
    const { wrong, notes } = await verify(whole)
    expect([wrong, notes.map(({ says }) => says)]).toEqual([
      [],
      ['no head was given: an end that was cut off does not show'],
    ])
  })

  it('goes on in another chain after a new start, which names the line before', async () => {
    const path = newFile()
    say(openSealed(path), 'a', 'b')
    const again = openSealed(path)
    say(again, 'c')
    const text = textOf(path)
    expect(await verify(text, [again.head()])).toMatchObject({ wrong: [], notes: [], sealed: 5 })
    const begin = JSON.parse(text.split('\n')[3] ?? '')
    expect(begin).toMatchObject({ Why: 'start', Previous: { Seq: 2 } })
    // And without a line of the first one's end.
    const cut = text.split('\n').toSpliced(2, 1).join('\n')
    expect((await verify(cut)).wrong).toEqual(['removed 0:3'])
  })

  it('may have lines from before the seal was set', async () => {
    const path = newFile()
    say(openSealed(path, {}), 'a', 'b')
    say(openSealed(path), 'c')
    const { wrong, notes } = await verify(textOf(path))
    expect(wrong).toEqual([])
    expect(notes.at(-1)?.says).toBe(
      'from here to 0:2 2 lines are not sealed: the seal was set later',
    )
  })

  it('may be in several files', async () => {
    const [one, other] = [newFile(), newFile()]
    const audit = openSealed(one)
    say(audit, 'a')
    writeFileSync(other, '')
    const first = textOf(one)
    const begun = await verify([first.slice(0, 300), first.slice(300)])
    // Cut in the middle of a line, which is one in neither file.
    expect(begun.wrong).not.toEqual([])
    const at = first.indexOf('\n') + 1
    expect((await verify([first.slice(0, at), first.slice(at)], [audit.head()])).wrong).toEqual([])
  })
})

describe('what was done to it shows', () => {
  const swapped = (text: string[], one: number, other: number) => {
    const copy = [...text]
    ;[copy[one], copy[other]] = [copy[other] ?? '', copy[one] ?? '']
    return copy
  }
  it.each<[string, (all: string[]) => string[], string[]]>([
    ['a removed line', (all) => all.toSpliced(2, 1), ['removed 0:3']],
    ['several', (all) => all.toSpliced(2, 3), ['removed 0:3']],
    [
      'some here and some there',
      (all) => [0, 2, 4, 5].map((at) => all[at] ?? ''),
      ['removed 0:2', 'removed 0:3'],
    ],
    ['the first line', (all) => all.slice(1), ['removed 0:1']],
    ['a changed line', (all) => all.with(3, (all[3] ?? '').replace('"c"', '"x"')), ['changed 0:4']],
    [
      'a changed number',
      (all) => all.with(3, (all[3] ?? '').replace('"Seq":3', '"Seq":9')),
      ['reordered 0:5', 'removed 0:4', 'reordered 0:6', 'removed 0:4'],
    ],
    [
      'a changed beginning',
      (all) => all.with(0, (all[0] ?? '').replace('start', 'stort')),
      ['changed 0:1'],
    ],
    ['two that were swapped', (all) => swapped(all, 2, 3), ['reordered 0:4']],
    ['two that are apart', (all) => swapped(all, 2, 4), ['reordered 0:4', 'reordered 0:5']],
    ['one that is there twice', (all) => all.toSpliced(3, 0, all[2] ?? ''), ['repeated 0:4']],
    ['all of it, twice', (all) => [...all, ...all], ['repeated 0:7']],
    [
      'a line of somebody else’s',
      (all) => all.toSpliced(3, 0, '{"EventType":"x"}\n'),
      ['unsealed 0:4'],
    ],
    [
      'one without its code',
      (all) => all.with(3, (all[3] ?? '').replace(/,"Seq".*/, '}')),
      ['unsealed 0:4', 'removed 0:5'],
    ],
    [
      'no codes at all',
      (all) => all.map((line) => line.replace(/,"Seq".*/, '}')),
      ['unsealed 0:1', 'unsealed'],
    ],
    ['an empty line', (all) => all.toSpliced(3, 0, '\n'), ['unsealed 0:4']],
    [
      'a line that never ends',
      (all) => all.toSpliced(3, 0, `${'x'.repeat(1_100_000)}\n`),
      ['unsealed 0:4'],
    ],
    ['nothing left of it', () => [], ['unsealed']],
  ])('%s', async (_what, change, wrong) => {
    expect((await verify(change(lines).join(''))).wrong).toEqual(wrong)
  })

  it('an end that was cut off, by the head', async () => {
    for (const left of [1, 3, 5]) {
      const cut = lines.slice(0, left).join('')
      expect((await verify(cut)).wrong).toEqual([])
      const found = await verify(cut, [head])
      expect(found.wrong).toEqual([`cut 0:${left}`])
      expect(found.findings[0]?.says).toBe(
        `the end is missing behind Seq ${left - 1}: chain ${head?.chain}, Seq 5`,
      )
    }
    expect((await verify('', [head])).wrong).toEqual(['unsealed'])
  })

  it('a stream written anew by somebody who has the key, by a head of before', async () => {
    const path = newFile()
    const audit = openSealed(path)
    say(audit, 'a', 'b', 'c')
    const other = { ...audit.head(), mac: 'A'.repeat(43) } as Head
    expect((await verify(textOf(path), [other])).wrong).toEqual(['changed 0:4'])
    expect((await verify(textOf(path), [other, audit.head()])).wrong).toEqual([
      'changed',
      'changed 0:4',
    ])
  })

  it('one that was made longer by then, by any head of before', async () => {
    const [path, again] = [newFile(), newFile()]
    const audit = openSealed(path)
    say(audit, 'a', 'b')
    const before = audit.head() as Head
    const forged = openSealed(again)
    say(forged, 'a', 'x', 'c', 'd')
    const rewritten = forged.head() as Head
    const known = [{ ...before, chain: rewritten.chain }, rewritten]
    expect(await verify(textOf(again), known)).toMatchObject({ wrong: ['changed 0:3'], heads: 2 })
    expect((await verify(textOf(again), known.toReversed())).wrong).toEqual(['changed 0:3'])
  })

  it('another key', async () => {
    const stranger = sealKey(new Secret('f'.repeat(32)))
    const { wrong } = await verify(whole, [], new Map([[stranger.id, stranger.key]]))
    expect(wrong).toEqual(['unknown_key 0:1'])
    // Under the id of the right one.
    const forged = await verify(whole, [], new Map([[KEY.id, stranger.key]]))
    expect(forged.wrong.every((each) => each.startsWith('changed'))).toBe(true)
    expect(forged.wrong).toHaveLength(6)
  })

  it('whatever byte is another one, whatever line is gone', async () => {
    const all = fc.integer({ min: 0, max: Buffer.byteLength(whole) - 2 })
    await fc.assert(
      fc.asyncProperty(all, fc.integer({ min: 1, max: 255 }), async (at, by) => {
        const bytes = Buffer.from(whole)
        bytes[at] = ((bytes[at] ?? 0) + by) % 256
        const { wrong } = await verify(bytes.toString('latin1'), [head])
        expect(wrong).not.toEqual([])
      }),
      { numRuns: 300 },
    )
  })
})

describe('lines in any order, any of them left out, or there twice', () => {
  it('show, but for whole chains that were not given from the beginning', async () => {
    const path = newFile()
    say(openSealed(path), 'a', 'b')
    const again = openSealed(path)
    say(again, 'c', 'd')
    const all = textOf(path).split(/(?<=\n)/)
    const asItIs = ['0,1,2,3,4,5', '3,4,5']
    const some = fc.array(fc.integer({ min: 0, max: all.length - 1 }), { maxLength: 8 })
    const shuffled = fc.shuffledSubarray(all.map((_, at) => at))
    await fc.assert(
      fc.asyncProperty(fc.oneof(some, shuffled), async (order) => {
        const { wrong } = await verify(order.map((at) => all[at]).join(''), [again.head()])
        expect(wrong.length === 0).toBe(asItIs.includes(order.join(',')))
      }),
      {
        numRuns: 500,
        examples: [
          [0, 1, 2, 3, 4, 5],
          [3, 4, 5],
          [3, 4, 5, 0],
          [3, 4, 5, 0, 1, 2],
        ].map((each) => [each]),
      },
    )
  })
})

describe('chains that are missing', () => {
  it('show by their heads, from the first one on that is here', async () => {
    const path = newFile()
    const heads: (Head | undefined)[] = []
    for (const name of ['a', 'b', 'c']) {
      const audit = openSealed(path)
      say(audit, name)
      heads.push(audit.head())
    }
    const all = textOf(path).split(/(?<=\n)/)
    expect((await verify(all.join(''), heads)).wrong).toEqual([])
    expect((await verify(all.slice(2).join(''), heads)).wrong).toEqual(['cut'])
    expect((await verify(all.slice(0, 4).join(''), heads)).wrong).toEqual(['cut'])
    expect((await verify(all.toSpliced(2, 2).join(''), heads)).wrong).toEqual([
      'removed 0:3',
      'cut',
    ])
    expect((await verify(all.slice(0, 2).join(''), heads.slice(1))).wrong).toEqual(['cut'])
    // Behind the first one that is here they are asked for, whenever their heads were kept.
    const old = heads.map((each) => each && { ...each, at: '2023-11-01T00:00:00.000Z' })
    const since = async (text: string[]) =>
      (await verify(text.join(''), old, undefined, Date.parse('2023-11-02'))).wrong
    expect(await since(all.slice(2))).toEqual([])
    expect(await since(all.slice(0, 4))).toEqual(['cut'])
    expect(await since(all.toSpliced(2, 2))).toEqual(['removed 0:3', 'cut'])
  })
})

describe('heads of chains that are older than what is given', () => {
  it('are not asked for from before a time that is told, if all of theirs are', async () => {
    const path = newFile()
    const [old, young] = [openSealed(path), openSealed(newFile())]
    say(old, 'a', 'b')
    say(young, 'c')
    const first = { ...old.head(), at: '2023-11-01T00:00:00.000Z' } as KnownHead
    const heads = [first, { ...first, seq: 1 }, young.head()]
    const since = (time: string, more: KnownHead[] = []) =>
      verify(youngText, [...heads, ...more], undefined, Date.parse(time))
    const youngText = textOf(join(dir, `audit-${files - 1}.log`))
    const found = await since('2023-11-02')
    expect([found.wrong, found.from, found.notes.map(({ says }) => says)]).toEqual([
      [],
      '2023-11-02T00:00:00.000Z',
      [
        '2 heads, kept at 2023-11-01T00:00:00.000Z, are of chains that are not asked for: from before --since',
      ],
    ])
    expect((await since('2023-10-31')).wrong).toEqual(['cut'])
    // Of no time, and one that was kept later, whatever others say.
    const [timeless, later] = [{ ...first, at: undefined }, '2023-11-03T00:00:00.000Z']
    expect((await since('2023-11-02', [{ ...timeless, seq: 3 }])).wrong).toEqual(['cut'])
    expect((await since('2023-11-02', [{ ...first, seq: 0, at: later }])).wrong).toEqual(['cut'])
    // All of them are, and none is of what is given.
    expect((await verify(whole, [first], undefined, Date.parse('2024-01-01'))).wrong).toEqual([
      'cut',
    ])
  })
})

describe('a chain that says that nothing came before it, behind another one', () => {
  it('is somebody else’s, where heads are given and none is of it', async () => {
    const stranger = openSealed(newFile())
    say(stranger, 'x')
    const path = newFile()
    say(openSealed(path), 'y')
    const text = whole + textOf(path)
    const { wrong, findings } = await verify(text, [head])
    expect([wrong, findings[0]?.says]).toEqual([
      ['unlinked 0:7'],
      'the chain that begins here does not know what came before it, and no head is of it',
    ])
    expect((await verify(text)).wrong).toEqual([])
  })

  it('is the gate’s own, where a head is of it', async () => {
    const path = newFile()
    const other = openSealed(path)
    say(other, 'y')
    const { wrong, notes } = await verify(whole + textOf(path), [head, other.head()])
    expect(wrong).toEqual([])
    expect(notes[0]?.says).toMatch('what was cut off there shows by a head alone')
  })
})

const FORGED =
  '{"channel":"SESSIONS","Timestamp":1,"InstanceID":0,"EventType":"client_authentication_ok","User":"root"}'

describe('what somebody passes off as torn shows', () => {
  it.each<[string, string, string[]]>([
    ['two events on one line', `${FORGED} ${FORGED}\n`, ['unsealed 0:4']],
    ['an event that has something behind it', `${FORGED},\n`, ['unsealed 0:4']],
    [
      'one that is in another',
      `{"channel":"SESSIONS","Timestamp":1,"a":${FORGED}\n`,
      ['unsealed 0:4'],
    ],
    ['one with a brace in a text', `${FORGED.replace('root', '{\\"{')},\n`, ['unsealed 0:4']],
    ['one that is too long', `${FORGED.slice(0, -1)}${' '.repeat(1_100_000)}}\n`, ['unsealed 0:4']],
    ['words', 'nothing\n', ['unsealed 0:4']],
    ['more torn ones than a crash leaves', '{"ch\n'.repeat(4), ['unsealed 0:4']],
    [
      'a torn one that has its words in a text',
      `${FORGED.replace('root"}', '\\"channel\\":\\"')}\n`,
      [],
    ],
    ['a line that is torn', `${FORGED.slice(0, -1)}\n`, []],
    ['one that is torn in a text', `${FORGED.replace('root"}', '{}}\\')}\n`, []],
    ['one that is torn at once', '{"ch\n', []],
    ['a blank line, and one of nothing', '\n\0\0\n', []],
  ])('%s, before a new start', async (_what, put, wrong) => {
    const path = newFile()
    say(openSealed(path), 'a', 'b')
    const first = textOf(path)
    say(openSealed(path), 'c')
    const text = `${first}${put}${textOf(path).slice(first.length)}`
    expect((await verify(text)).wrong).toEqual(wrong)
  })

  it.each<[string, string, string[]]>([
    ['whole events', `${FORGED},\n`.repeat(50), ['unsealed 0:7']],
    ['one, without a line feed', `${FORGED},`, ['unsealed 0:7']],
    ['a torn one, and the next line’s line feed', `${FORGED.slice(0, -1)}\n`, []],
    ['three, as of a full disk', `${FORGED.slice(0, -1)}\n`.repeat(3), []],
    ['four', `${FORGED.slice(0, -1)}\n`.repeat(4), ['unsealed 0:7']],
    ['a torn one, and words', `${FORGED.slice(0, -1)}\nnothing`, ['unsealed 0:7']],
    ['a torn one', FORGED.slice(0, -1), []],
    ['zeros', '\0'.repeat(4096), []],
  ])('%s, at the end', async (_what, put, wrong) => {
    expect((await verify(whole + put, [head])).wrong).toEqual(wrong)
  })
})

describe('what a crash leaves', () => {
  it('a torn line, at the end and before the next start: no proof against it', async () => {
    const path = newFile()
    const audit = openSealed(path)
    say(audit, 'a', 'b')
    truncateSync(path, textOf(path).length - 20)
    const torn = await verify(textOf(path))
    expect([torn.wrong, torn.notes.at(-1)?.says]).toEqual([
      [],
      'this line is torn: the gate or its machine stopped, or its disk was full, in the middle of a line',
    ])
    // A head that was kept for the whole line is believed, and not the file.
    expect((await verify(textOf(path), [audit.head()])).wrong).toEqual(['cut 0:2'])
    const again = openSealed(path)
    expect(again.foundTorn).toBe(true)
    say(again, 'c')
    const { wrong, notes } = await verify(textOf(path))
    expect([wrong, notes.at(-1)]).toEqual([
      [],
      {
        place: { file: '0', line: 3 },
        says: expect.stringContaining('this line is torn: the gate stopped'),
      },
    ])
    expect(openSealed(path).foundTorn).toBe(false)
  })

  it('a last line that the next chain does not know: but not where a head is of it', async () => {
    const path = newFile()
    const audit = openSealed(path)
    say(audit, 'a', 'b')
    const all = textOf(path)
    const without = all
      .split(/(?<=\n)/)
      .slice(0, 2)
      .join('')
    writeFileSync(path, without)
    say(openSealed(path), 'c')
    const put = all + textOf(path).slice(without.length)
    const { wrong, notes } = await verify(put)
    expect([wrong, notes.at(-1)?.says]).toEqual([
      [],
      'the line before this one was written whole, and the chain that begins here does not know of it: it may not have been acknowledged',
    ])
    expect((await verify(put, [audit.head()])).wrong).toContain('unlinked 0:4')
  })

  it('nothing of use: then the chain does not know what came before it', async () => {
    const path = newFile()
    appendFileSync(path, '\0\0\0\0')
    say(openSealed(path), 'a')
    expect((await verify(textOf(path))).wrong).toEqual([])
    expect(JSON.parse(textOf(path).split('\n')[1] ?? '').Previous).toBeNull()
  })
})

describe('a key', () => {
  it.each([
    ['0123456789abcdef0123456789abcdef', true],
    ['0123456789abcdef0123456789abcdef\n', true],
    ['0123456789abcdef0123456789abcde', false],
    ['0123456789abcdef 0123456789abcdef', false],
    ['0123456789abcdef0123456789abcdef\n\n', false],
    ['0123456789abcdef\n0123456789abcdef', false],
    ['é'.repeat(40), false],
    ['', false],
  ])('%j: %s', (text, isOne) => {
    expect(keyIn(text) !== undefined).toBe(isOne)
  })
})
