/** `postern audit verify` as who has to prove something meets it: files, keys and heads, words and exit codes. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import { anchorFile } from '../../src/telemetry/anchor.ts'
import type { Head } from '../../src/telemetry/seal.ts'
import { KEY_TEXT, openSealed, say, textOf } from '../support/sealed.ts'
import { runIn } from '../support/world.ts'

const dir = mkdtempSync(join(tmpdir(), 'postern-verify-'))
afterAll(() => rmSync(dir, { recursive: true }))
const at = (name: string) => join(dir, name)

let head: Head
let lines: string[]
beforeAll(async () => {
  writeFileSync(at('audit.key'), `${KEY_TEXT}\n`)
  writeFileSync(at('other.key'), 'f'.repeat(32))
  writeFileSync(at('no.key'), 'short')
  const anchor = anchorFile(at('heads'), () => 1_700_000_000_000)
  const audit = openSealed(at('audit.log'))
  const keep = async () => {
    head = audit.head() as Head
    await anchor.keep(head)
  }
  say(audit, 'a', 'b')
  await keep()
  renameSync(at('audit.log'), at('audit.log.1'))
  audit.reopen()
  say(audit, 'c', 'd')
  await keep()
  lines = textOf(at('audit.log')).split(/(?<=\n)/)
  writeFileSync(at('removed.log'), lines.toSpliced(1, 1).join(''))
  writeFileSync(at('changed.log'), lines.join('').replace('"d"', '"e"'))
  writeFileSync(at('cut.log'), lines.slice(0, 2).join(''))
  writeFileSync(at('torn.log'), lines.join('').slice(0, -20))
})

const verify = (...args: string[]) => runIn(dir, ['audit', 'verify', ...args])
const KEY = ['--key-file', 'audit.key']
const HEADS = ['--head', 'heads']

describe('a stream that is whole', () => {
  it('is what the gate wrote: exit 0', async () => {
    expect(await verify('audit.log.1', 'audit.log', ...KEY, ...HEADS)).toEqual({
      code: 0,
      stdout:
        '6 lines, 6 sealed, in 2 chains; 2 heads found\n✓ this is what the gate wrote, from 2023-11-14T22:13:20.000Z on\n',
      stderr: '',
    })
  })

  it('may be its last file alone, with a head as the log or a screen has it', async () => {
    const one = `${head.chain}:${head.seq}:${head.mac}`
    const { code, stdout } = await verify('audit.log', ...KEY, '--head', one)
    expect([code, stdout]).toEqual([
      0,
      '· audit.log:1: what was written before this line was not given, and not looked at\n3 lines, 3 sealed, in 1 chain; 1 head found\n✓ this is what the gate wrote, from 2023-11-14T22:13:20.000Z on\n',
    ])
  })

  it('may be without its first files, which have heads, from a time on that is told', async () => {
    const args = ['audit.log', ...KEY, ...HEADS]
    const { code, stdout } = await verify(...args)
    expect([code, stdout]).toEqual([
      1,
      expect.stringContaining('✗ cut: 1 head, kept at 2023-11-14T22:13:20.000Z, is of chains'),
    ])
    const since = await verify(...args, '--since', '2023-11-15')
    expect(since).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^· 1 head, kept at 2023.*\n(?:.*\n)*✓ this is what the gate wrote, from 2023-11-15T00:00:00.000Z on\n$/,
      ),
    })
    expect(await verify(...args, '--since', 'now')).toMatchObject({ code: 64 })
  })

  it('has heads that count, and lines beside them that don’t, such as torn ones, are told', async () => {
    writeFileSync(at('torn.heads'), `{"At":"20\n${textOf(at('heads'))}{"Ch`)
    const { code, stdout } = await verify(
      'audit.log.1',
      'audit.log',
      ...KEY,
      '--head',
      'torn.heads',
    )
    expect([code, stdout]).toEqual([
      0,
      '· no head is in 2 lines of torn.heads\n6 lines, 6 sealed, in 2 chains; 2 heads found\n✓ this is what the gate wrote, from 2023-11-14T22:13:20.000Z on\n',
    ])
  })

  it('may come from standard input, and have an older key as well', async () => {
    const stdin = () => Readable.from([Buffer.from(lines.join(''))])
    const keys = ['--key-file', 'other.key', ...KEY]
    const { code } = await runIn(dir, ['audit', 'verify', '-', ...keys], { stdin })
    expect(code).toBe(0)
  })
})

describe('what is wrong: exit 1', () => {
  it.each<[string[], string, string]>([
    [['removed.log'], '✗ removed: removed.log:2: Seq 1 is missing before this line', ''],
    [
      ['changed.log'],
      '✗ changed: changed.log:3: Seq 2 was changed, or is not the one that was here',
      '',
    ],
    [
      ['audit.log', 'audit.log.1'],
      '✗ reordered: audit.log.1:3: this line belongs before the first one that was given',
      '',
    ],
    [
      ['cut.log', ...HEADS],
      '✗ cut: cut.log:2: the end is missing behind Seq 1: chain CHAIN, Seq 2, kept at 2023-11-14T22:13:20.000Z',
      '',
    ],
    [
      ['audit.log.1', ...HEADS],
      '✗ cut: a whole chain is missing: chain CHAIN, Seq 2, kept at ',
      '',
    ],
    [
      ['torn.log', ...HEADS],
      '✗ cut: torn.log:2: ',
      '· torn.log:3: this line is torn: the gate or its machine stopped',
    ],
    [['audit.key'], '✗ unsealed: no line is sealed: nothing can be said', ''],
  ])('%j', async (args, says, also) => {
    const { code, stdout, stderr } = await verify(...args, ...KEY)
    expect(code).toBe(FAILURES.audit_broken.exit)
    expect(stdout.replaceAll(head.chain, 'CHAIN')).toContain(says)
    expect(stdout).toContain(also)
    expect(stdout).not.toContain('✓')
    expect(stderr).toMatch(
      /^postern: this is not what the gate wrote: \d+ things? (?:is|are) wrong\n$/,
    )
  })

  it('another key', async () => {
    const { code, stdout } = await verify('audit.log', '--key-file', 'other.key')
    expect([code, stdout]).toEqual([
      1,
      expect.stringContaining('✗ unknown_key: audit.log:1: sealed with a key that was not given: '),
    ])
  })

  it('for machines', async () => {
    const { code, stdout } = await verify('removed.log', ...KEY, '--json')
    expect([code, JSON.parse(stdout)]).toEqual([
      1,
      {
        lines: 2,
        sealed: 2,
        chains: [{ chain: head.chain, keyId: expect.any(String), from: 0, to: 2 }],
        findings: [
          {
            kind: 'removed',
            place: { file: 'removed.log', line: 2 },
            says: 'Seq 1 is missing before this line',
          },
        ],
        more: 0,
        notes: expect.any(Array),
        moreNotes: 0,
        heads: 0,
        from: '2023-11-14T22:13:20.000Z',
      },
    ])
  })
})

describe('what can’t be looked at', () => {
  it.each<[string[], number, string]>([
    [['none.log', ...KEY], 2, 'postern: cannot read none.log: ENOENT'],
    [['audit.log', '--key-file', 'none.key'], 2, 'postern: cannot read none.key: ENOENT'],
    [
      ['audit.log', '--key-file', 'no.key'],
      2,
      'postern: cannot read no.key: it holds no key of a seal',
    ],
    [['audit.log', ...KEY, '--head', 'none'], 2, 'postern: cannot read none: ENOENT'],
    [
      ['audit.log', ...KEY, '--head', 'audit.key'],
      2,
      'postern: cannot read audit.key: it holds no head',
    ],
    [
      ['audit.log', ...KEY, ...HEADS, '--since', '2123-11-15'],
      64,
      'postern: --since: write a time that is over',
    ],
    [['audit.log'], 64, "required option '--key-file <file>' not specified"],
    [[...KEY], 64, "missing required argument 'file'"],
  ])('%j: exit %i', async (args, exit, says) => {
    const { code, stderr } = await verify(...args)
    expect([code, stderr]).toEqual([exit, expect.stringContaining(says)])
  })
})
