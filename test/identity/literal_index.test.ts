import fc from 'fast-check'
import { RE2JS } from 're2js'
import { describe, expect, test } from 'vitest'
import { parseIdentityMap } from '../../src/identity/identity_map.ts'
import { indexByLiterals, requiredLiterals } from '../../src/identity/literal_index.ts'

describe('what a pattern requires of the whole principal', () => {
  // pattern, prefix, suffix, inner
  test.each([
    ['^(.*)@team17\\.example\\.com$', '', '@team17.example.com', '@team17.example.com'],
    ['^system:sa:(.*)$', 'system:sa:', '', 'system:sa:'],
    ['^(.*)-ops-(.*)$', '', '', '-ops-'],
    ['^(.*)$', '', '', ''],
    ['^alice$', 'alice', 'alice', 'alice'],
    ['^(svc-[a-z]+)@(?:ex)(?P<rest>ample)$', 'svc-', '@example', '@example'],
    ['^()ab$', 'ab', 'ab', 'ab'],
    ['^ab\\b-cd$', 'ab-cd', 'ab-cd', 'ab-cd'],
    ['^\\A\\(a\\_b\\z$', '(a_b', '(a_b', '(a_b'],
    // One of several, or perhaps none: not required.
    ['^ab|cd$', '', '', ''],
    ['^(ab|cd)-x$', '', '-x', '-x'],
    ['^x-((a|b)c)$', 'x-', 'c', 'x-'],
    ['^abc*d$', 'ab', 'd', 'ab'],
    ['^abc+?d{2}e$', 'ab', 'e', 'ab'],
    ['^ab(cd)?e{0,3}f$', 'ab', 'f', 'ab'],
    ['^ab😀*c$', 'ab', 'c', 'ab'],
    ['^ab^*c$', 'ab', 'c', 'ab'],
    ['^*ab$', '', 'ab', 'ab'],
    // Braces that are no repetition.
    ['^ab{x}$', 'ab', 'x}', 'ab'],
    ['^ab{,2}c$', 'ab', ',2}c', ',2}c'],
    ['^ab{02}c$', 'a', 'c', 'a'],
    // Classes.
    ['^a.b\\dc\\pLd\\p{Greek}e$', 'a', 'e', 'a'],
    ['^ab[]c]d[^]e]f[[:alpha:]x]g[\\]h]i$', 'ab', 'i', 'ab'],
    // Not read at all.
    ['^(?i)ab$', '', '', ''],
    ['^ab(?i:c)d$', '', '', ''],
    ['^ab(?s).*$', '', '', ''],
    ['^ab\\Q.*\\E$', '', '', ''],
    ['^ab\\x41$', '', '', ''],
    ['^ab\\101$', '', '', ''],
    ['^ab\\x{41}$', '', '', ''],
  ])('%s', (pattern, prefix, suffix, inner) => {
    expect(() => RE2JS.compile(pattern)).not.toThrow()
    expect(requiredLiterals(pattern, true)).toEqual({ prefix, suffix, inner })
    expect(requiredLiterals(pattern, false)).toEqual({ prefix: '', suffix: '', inner })
  })
})

describe('the items that may match', () => {
  const patterns = [
    '^(.*)@a\\.org$',
    '^(.*)@a\\.org$',
    '^(.*)@b\\.org$',
    '^svc-(.*)$',
    '^(.*)-ops-(.*)$',
    '^x(.*)$',
    '^(.*)$',
  ]
  const candidates = indexByLiterals(
    patterns.map((pattern) => ({ pattern, required: requiredLiterals(pattern, true) })),
  )
  test.each([
    ['carl@a.org', ['^(.*)$', '^(.*)@a\\.org$', '^(.*)@a\\.org$']],
    ['svc-ops-@a.org@b.org', ['^(.*)$', '^(.*)-ops-(.*)$', '^(.*)@b\\.org$', '^svc-(.*)$']],
    ['x', ['^(.*)$', '^x(.*)$']],
    ['', ['^(.*)$']],
    ['org.org.org', ['^(.*)$']],
  ])('%j', (principal, expected) => {
    expect(
      candidates(principal)
        .map((item) => item.pattern)
        .sort(),
    ).toEqual(expected)
  })
})

/** A pattern, and a text made along with it that it mostly matches. */
type Sample = [pattern: string, text: string]

/** Written as pattern, text, pattern, text … between blanks. */
function samples(written: string): fc.Arbitrary<Sample> {
  const words = written.trim().split(/\s+/)
  const pairs = words.flatMap((pattern, at): Sample[] =>
    at % 2 === 0 ? [[pattern, words[at + 1] ?? '']] : [],
  )
  return fc.constantFrom(...pairs)
}

const letter = samples(String.raw`
  a a  b b  A A  1 1  é é  - -  @ @  ] ]  } }  _ _  😀 😀  😀 😀
  \. .  \@ @  \- -  \( (  \| |  \$ $  \^ ^  \* *  \{ {  \[ [  \] ]  \\ \  \_ _
`)
const oneOf = samples(String.raw`
  . b  [ab] a  [^a] 😀  []a] ]  [^]a] b  [a\]b] ]  [[:alpha:]-] a  [a(|] (  [$^] $  [a-b1] 1
  \d 1  \w a  \W @  \pL é  \p{L} a  \PL 1  \x61 a  \x{1F600} 😀  \141 a  [\x61-b] b
`)
const bracesOfNoRepetition = samples('{ {  a{ a{  a{,2} a{,2}  a{02} a{02}  {1 {1')
const quoted = samples(String.raw`\Qa.b\E a.b  \Q(a\E (a  \Q\\E \  \Qa|\E a|  \Q\E*a *a`)
const empty = fc
  .constantFrom(
    '',
    '^',
    '$',
    '\\b',
    '\\B',
    '\\A',
    '\\z',
    '^*',
    '()',
    '(?s)',
    '(?m)',
    '(?U)',
    '(?-s)',
  )
  .map((pattern): Sample => [pattern, ''])
const letters = fc.array(letter, { maxLength: 4 }).map(inOrder)

const quantifier = samples('* 0  * 2  + 1  + 3  ? 0  ? 1  *? 1  +? 2  ?? 0').map(times)
const counted = samples('{0} 0  {2} 2  {1,} 1  {0,2} 0  {0,2} 2  {1,2}? 1').map(times)

const { sequence } = fc.letrec<{ sequence: Sample; group: Sample; repeated: Sample }>((tie) => ({
  sequence: fc
    .array(
      fc.oneof(
        { maxDepth: 4, depthIdentifier: 'pattern' },
        { weight: 6, arbitrary: letters },
        { weight: 2, arbitrary: oneOf },
        { weight: 1, arbitrary: fc.oneof(bracesOfNoRepetition, quoted, empty) },
        { weight: 3, arbitrary: tie('repeated') },
        { weight: 3, arbitrary: tie('group') },
      ),
      { maxLength: 5 },
    )
    .map(inOrder),
  group: fc
    .tuple(
      fc.oneof(
        fc.constantFrom('(', '(', '(?:', '(?s-m:', '(?i:'),
        fc.nat().map((n) => `(?P<n${n}>`),
        fc.nat().map((n) => `(?<m${n}>`),
      ),
      fc.tuple(tie('sequence'), sometimes(tie('sequence'))).map(eitherOf),
    )
    .map(([open, [pattern, text]]): Sample => {
      return [`${open}${pattern})`, open === '(?i:' ? text.toUpperCase() : text]
    }),
  repeated: fc
    .tuple(
      fc.oneof({ maxDepth: 4, depthIdentifier: 'pattern' }, letter, oneOf, tie('group')),
      fc.oneof(quantifier, counted),
    )
    .map(([[pattern, text], [mark, count]]): Sample => [pattern + mark, text.repeat(count)]),
}))

const sample = fc
  .tuple(fc.tuple(sequence, sometimes(sequence)).map(eitherOf), sometimes(fc.constant('(?i)')))
  .map(([[pattern, text], flags]): Sample => {
    return flags === undefined ? [pattern, text] : [flags + pattern, text.toUpperCase()]
  })

function sometimes<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary })
}

function inOrder(parts: Sample[]): Sample {
  return [parts.map(([pattern]) => pattern).join(''), parts.map(([, text]) => text).join('')]
}

function eitherOf([[pattern, text], other]: [Sample, Sample | undefined]): Sample {
  return other === undefined ? [pattern, text] : [`${pattern}|${other[0]}`, text]
}

function times([mark, count]: Sample): [string, number] {
  return [mark, Number(count)]
}

function compile(pattern: string): RE2JS | undefined {
  try {
    return RE2JS.compile(pattern)
  } catch {
    return undefined
  }
}

test('a match always has the literals that its pattern requires', () => {
  const twists = fc.constantFrom<(text: string) => string>(
    (text) => text,
    (text) => text.toUpperCase(),
    (text) => `b${text}`,
    (text) => `${text}\n`,
    (text) => text.slice(1),
  )
  fc.assert(
    fc.property(sample, twists, sample, ([pattern, text], twist, [, other]) => {
      const regexp = compile(pattern)
      if (regexp === undefined) return
      for (const principal of [text, twist(text), other]) {
        const { prefix, suffix, inner } = requiredLiterals(pattern, true)
        const whole = regexp.matcher(principal).matches()
        const somewhere = regexp.matcher(principal).find()
        if (whole)
          expect([principal.startsWith(prefix), principal.endsWith(suffix)]).toEqual([true, true])
        if (whole || somewhere) expect(principal).toContain(inner)
      }
    }),
    { numRuns: 3000 },
  )
})

test('an indexed lookup answers as trying every line does', () => {
  const line = fc.tuple(fc.boolean(), sample)
  fc.assert(
    fc.property(fc.array(line, { minLength: 1, maxLength: 8 }), sample, (made, [, other]) => {
      const rules = made.flatMap(([whole, [pattern]]) => {
        const written = whole ? `^${pattern}$` : `(?:)${pattern}`
        const regexp = compile(written)
        return regexp === undefined ? [] : [{ whole, written, regexp }]
      })
      const text = rules.map(({ written }, at) => `iss /${written} u${at + 1}`).join('\n')
      const parsed = parseIdentityMap(text, { foldCase: false, allowUnanchored: true })
      if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))

      for (const principal of [other, ...made.map(([, [, sampleText]]) => sampleText)]) {
        const expected = rules.flatMap(({ whole, regexp }, at) => {
          const matcher = regexp.matcher(principal)
          return (whole ? matcher.matches() : matcher.find()) ? [at + 1] : []
        })
        expect(parsed.map.lookup('iss', principal).lines).toEqual(expected)
      }
    }),
    { numRuns: 1000 },
  )
})
