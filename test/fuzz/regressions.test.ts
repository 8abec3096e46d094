/** What the fuzzing found, as it found it, and what became of it. */
import { describe, expect, it, test } from 'vitest'
import { readAccess } from '../../src/config/access.ts'
import { parseConfig } from '../../src/config/config.ts'
import { Failure } from '../../src/failure.ts'
import { parseKeySet, parsePublishedKeySet } from '../../src/identity/keys.ts'
import { freshness } from '../../src/issuers/freshness.ts'
import { revocationOf } from '../../src/state/tables.ts'
import { shownTo } from '../../src/telemetry/line.ts'

/** The mistakes of a file that is not more than this. */
function mistakes(text: string): string[] {
  try {
    parseConfig('/etc/postern.yaml', text, {
      env: () => undefined,
      readFile: () => 'hunter2',
      fileMode: () => 0o600,
      now: () => 0,
    })
    return []
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown
    return thrown.message.split('\n').map((line) => line.replace('/etc/postern.yaml:', ''))
  }
}

const BELOW = 'a:\n  secrets:\n    ann: '

test.each([
  // config/yaml: the parser's words for a file that is no YAML held what stands there.
  ['listeners\n:\n  ann: hunter2', ['2:1: Unexpected map-value-ind token in YAML stream']],
  [`${BELOW}|hunter2`, ['3:11: Block scalar header includes extra characters']],
  [
    `${BELOW}!hunter2`,
    ['3:10: a tag that means nothing here; put text that begins with ! in quotes'],
  ],
  [`${BELOW}"hunter2\\q"`, ['3:18: no escape that YAML has; write \\\\ for a backslash']],
  [
    `${BELOW}*hunter2`,
    ['3:10: no anchor of this name comes before it; put text that begins with * in quotes'],
  ],
  // config/yaml: a key that is no text was shown as one, and the parser warned of it on stderr.
  ['a:\n  ? ann: hunter2\n  : 1', ['2:8: a key is text, and here it is something else']],
  ['? [hunter2]\n: 1', ['1:3: a key is text, and here it is something else']],
  ['? !!binary aHVudGVyMg==\n: 1', ['1:12: a key is text, and here it is something else']],
  ['? {file: secret}\n: 1', ['1:3: a key is text, and here it is something else']],
  ['a: &a {file: secret}\n*a : 1', ['1:7: a key is text, and here it is something else']],
])('no secret is shown of %j', (text, expected) => {
  const told = mistakes(text)
  expect(told).toEqual(expect.arrayContaining(expected))
  expect(told.join()).not.toContain('hunter2')
})

test('issuer/jwks: a curve that is no text makes a key for others', () => {
  const odd = { kty: 'EC', crv: { toString: 0 }, kid: 'a', x: 'AA', y: 'AA' }
  expect(parsePublishedKeySet({ keys: [odd] })).toMatchObject({ ok: true, keys: { size: 0 } })
})

test('issuer/jwks: a long type or name of a key is shortened where it is shown', () => {
  const { kty, kid } = { kty: 'x'.repeat(100_000), kid: 'y'.repeat(100_000) }
  const long = { kty: 'RSA', n: `_${'w'.repeat(341)}`, e: 'AQAB', kid }
  for (const keys of [[{ kty, kid }], Array<object>(5).fill(long)]) {
    const read = parseKeySet({ keys })
    expect(read).toMatchObject({ ok: false })
    expect(JSON.stringify(read).length).toBeLessThan(500)
  }
})

test('issuer/freshness: a quote that does not end in one line is not ended by the next one', () => {
  const headers = ['"', 'no-store', '"', 'max-age=60'].map(
    (value) => ['cache-control', value] as const,
  )
  expect(freshness({ headers, requestedMs: 1, receivedMs: 2 })).toEqual({
    kept: false,
    freshUntilMs: 2,
  })
})

describe('telemetry/line', () => {
  const TOKEN = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.c2ln'
  const shown = (text: string) => {
    let line = ''
    const to = {
      write(said: string) {
        line = said
      },
    }
    shownTo(to).write(`${JSON.stringify({ text })}\n`)
    return (JSON.parse(line) as { text: string }).text
  }

  it.each([
    '\n',
    '\t',
    '\0',
    '\u001f',
    '\ud800',
    '\\',
    '"',
    '--',
    'a.',
    'é',
    'y',
    '_',
    '%3D',
    'JWT_',
  ])('hides a token behind %j, escaped by JSON or glued to it', (before) => {
    expect(shown(`x${before}${TOKEN} y`)).toBe(`x${before}[token] y`)
  })

  it('leaves an escape whole that ends like the beginning of a token', () => {
    const text = `\u000e${TOKEN.slice(1)}`
    expect(shown(text)).toBe(text)
  })

  it('hides one whose header begins with a line break, and all parts of an encrypted one', () => {
    const header = Buffer.from('{\n  "alg": "ES256"\n}').toString('base64url')
    expect(shown(`${header}.e30.c2ln`)).toBe('[token]')
    expect(shown(`${TOKEN}.ciphertext.tag, and`)).toBe('[token], and')
    expect(shown('eyJhbGciOiJkaXIifQ..iv.ciphertext.tag')).toBe('[token]')
    expect(shown(`${TOKEN}${TOKEN}`)).toBe('[token]')
  })

  it.each(['eyeglasses.example', 'keyserver12.example.com', '192.0.2.1', 'ey.ey.ey', '...'])(
    'shows %s, which is none',
    (text) => {
      expect(shown(text)).toBe(text)
    },
  )
})

test('access/list_text: a list that is inside of itself is a mistake, and not the end of the gate', () => {
  const said: string[] = []
  const text = 'SequenceNumber: &a [*a]'
  const complain = (_path: PropertyKey[], what: string) => void said.push(what)
  const reading = { text: () => text, resolve: (path: string) => path, complain }
  const sections = { access_lists: { denylist_file: 'deny.yaml' }, clusters: {} }
  readAccess(sections, reading as never, () => '', undefined)
  expect(said).toEqual(['deny.yaml: Alias resolution is disabled'])
})

test.each(['soon', '', '1e3', 'Infinity'])(
  'state/revocation: one until %j is not one that has ended',
  (until) => {
    const read = () => revocationOf({ kind: 'all', until })
    expect(read).toThrow(`the shared state has a time that is none: "${until}"`)
  },
)
