/** `access_lists` in the configuration: a later file, another file, and clusters that there are not. */
import { beforeAll, describe, expect, it } from 'vitest'
import { type Config, inspectConfig, parseConfig } from '../../src/config/config.ts'
import type { Outside } from '../../src/config/document.ts'
import { warningsOf } from '../../src/config/warnings.ts'
import { asFailure } from '../../src/failure.ts'
import { FILES, good, makeFiles } from '../support/config_text.ts'

beforeAll(makeFiles)

const NAME = '/etc/postern/postern.yaml'

function outside(more: Record<string, string>): Outside {
  return {
    env: () => undefined,
    fileMode: () => 0o600,
    now: () => Date.UTC(2026, 10, 23),
    readFile(path) {
      const found = more[path.slice('/etc/postern/'.length)] ?? FILES[path]
      if (found === undefined) throw new Error(`no such file: ${path}`)
      return found
    },
  }
}

const numbered = (sequence: number) => `SequenceNumber: ${sequence}\n`

describe('a list that is read again', () => {
  const read = (files: Record<string, string>, lists: string, previous?: Config) => {
    try {
      return parseConfig(NAME, good(`access_lists: {${lists}}`), outside(files), previous)
    } catch (thrown) {
      return asFailure(thrown).message
    }
  }

  it.each<[string, string, string, string, boolean]>([
    ['a later one', 'denylist_file: a.yaml', 'denylist_file: a.yaml', 'later', true],
    ['the same', 'denylist_file: a.yaml', 'denylist_file: a.yaml', 'same', true],
    ['an older one', 'denylist_file: a.yaml', 'denylist_file: a.yaml', 'older', false],
    [
      'an older one by another path to it',
      'denylist_file: a.yaml',
      'denylist_file: ./x/../a.yaml',
      'older',
      false,
    ],
    ['another file', 'denylist_file: a.yaml', 'denylist_file: b.yaml', 'older', true],
    ['a file of the other kind', 'denylist_file: a.yaml', 'allowlist_file: a.yaml', 'older', true],
    ['an older allowlist', 'allowlist_file: a.yaml', 'allowlist_file: a.yaml', 'older', false],
  ])('%s', (_, lists, again, which, taken) => {
    const before = read({ 'a.yaml': numbered(5) }, lists)
    if (typeof before === 'string') return expect.unreachable(before)
    const text = numbered({ later: 6, same: 5, older: 4 }[which] ?? 0)
    const next = read({ 'a.yaml': text, 'b.yaml': text }, again, before)
    if (taken) expect(next).toMatchObject({ access: { files: expect.anything() } })
    else expect(next).toContain('SequenceNumber 4 is lower than 5, which is in use')
  })

  it('is the one that there was, unless the file or the clusters are others', () => {
    const more = 'denylist_file: a.yaml'
    const text = `${numbered(5)}denylist: [{entity: {item: two, type: cluster}}]\n`
    const first = read({ 'a.yaml': text }, more)
    if (typeof first === 'string') return expect.unreachable(first)
    expect(first.access.strays).toHaveLength(1)
    const reread = (text: string, yaml = good(`access_lists: {${more}}`)) =>
      parseConfig(NAME, yaml, outside({ 'a.yaml': text }), first).access
    expect(reread(text).lists).toBe(first.access.lists)
    expect(reread(text.replace('5', '6')).lists).not.toBe(first.access.lists)
    const two = good(`access_lists: {${more}}`).replace(
      / {2}main:[\s\S]*(?=access_lists)/,
      (main) => {
        return `${main}${main.replace('main', 'two')}`
      },
    )
    expect(reread(text, two).strays).toEqual([])
  })
})

describe('a list that names a cluster which there is not', () => {
  const ALLOW = `${numbered(1)}allowlist:\n  main: {ips: []}\n  mian:\n    ips: [10.0.0.0/8]\n`
  const DENY = `${numbered(1)}denylist:
- {entity: {item: main, type: cluster}}
- {entity: {item: 10.0.0.1, type: ip}}
- entity:
    type: cluster
    item: old
- {entity: {item: old, type: cluster}}
- {entity: {item: 61, type: cluster}}
`
  it('is warned of, where it is', () => {
    const text = good('access_lists:\n  allowlist_file: allow.yaml\n  denylist_file: deny.yaml')
    const files = outside({ 'allow.yaml': ALLOW, 'deny.yaml': DENY })
    const inspected = inspectConfig(NAME, text, files)
    const warned = warningsOf(inspected, files).map(
      ({ offset, what }) => `${inspected.document.place(offset).slice(NAME.length)} ${what}`,
    )
    expect(warned.filter((each) => each.includes('cluster'))).toEqual([
      ':10:19 allow.yaml:5: there is no cluster "mian": this is about nobody',
      ':11:18 deny.yaml:7: there is no cluster "old": this is about nobody',
      ':11:18 deny.yaml:9: there is no cluster "61": this is about nobody',
    ])
  })

  it('says so in a few lines, however many they are', () => {
    const many = Array.from({ length: 50 }, (_, at) => `- {entity: {item: c${at}, type: cluster}}`)
    const files = outside({ 'deny.yaml': `${numbered(1)}denylist:\n${many.join('\n')}\n` })
    const { config } = inspectConfig(NAME, good('access_lists: {denylist_file: deny.yaml}'), files)
    expect(config.access.strays).toHaveLength(10)
  })
})
