import { describe, expect, test } from 'vitest'
import {
  type IdentityMap,
  type IdentityMapOptions,
  PRINCIPAL_BYTES_MAX,
  parseIdentityMap,
} from '../../src/identity/identity_map.ts'
import { normalizeUsername } from '../../src/identity/username.ts'

const cockroach: IdentityMapOptions = { foldCase: true, allowUnanchored: false }
const postgres: IdentityMapOptions = { foldCase: false, allowUnanchored: false }
const loose: IdentityMapOptions = { foldCase: true, allowUnanchored: true }

function open(text: string, options: IdentityMapOptions): IdentityMap {
  const parsed = parseIdentityMap(text, options)
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  return parsed.map
}

/** `map principal -> users`, or `-> no map`. */
function checkLookups(
  text: string,
  options: IdentityMapOptions,
  lookups: [string, string, string[] | undefined][],
) {
  const map = open(text, options)
  for (const [mapName, principal, users] of lookups) {
    const match = map.lookup(mapName, principal)
    expect({ mapName, principal, found: match.found, users: match.users }).toEqual({
      mapName,
      principal,
      found: users !== undefined,
      users: users ?? [],
    })
  }
}

const documented = String.raw`
# The documented examples.
map-name system-username    database-username
foo      /^(.*)@cockroachlabs.com$  \1   # who works there
foo      carl@cockroachlabs.com     also_carl # the boss
foo      carl@cockroachlabs.com     carl

digits   /^carl$|^(c.*l)$           \11
digits   /^(.*)-one$                1\1
digits   /^(.*)-twice$              \1-\1-\2
`

test('documented maps answer as documented', () => {
  checkLookups(documented, cockroach, [
    ['foo', 'carl@cockroachlabs.com', ['carl', 'also_carl']],
    ['foo', 'bob@cockroachlabs.com', ['bob']],
    ['foo', 'carl@example.com', []],
    ['foo', 'CARL@COCKROACHLABS.COM', []],
    ['foo', '@cockroachlabs.com', []],
    ['fo', 'carl@cockroachlabs.com', undefined],
    ['asdf', 'carl@cockroachlabs.com', undefined],
    ['foo/', 'carl@cockroachlabs.com', undefined],
    ['__proto__', 'carl@cockroachlabs.com', undefined],
    ['map-name', 'system-username', ['database-username']],
    ['digits', 'cyril', ['cyril1']],
    // The alternative that matched has no group.
    ['digits', 'carl', ['1']],
    ['digits', 'carl-one', ['1carl']],
    ['digits', 'a-twice', ['a-\\1-\\2']],
  ])
})

test('the decision record gets the lines that matched, duplicates too', () => {
  const map = open(documented, cockroach)
  expect(map.lineCount).toBe(7)
  expect(map.lookup('foo', 'carl@cockroachlabs.com')).toEqual({
    found: true,
    users: ['carl', 'also_carl'],
    lines: [4, 5, 6],
  })
  expect(map.lookup('foo', '@cockroachlabs.com').lines).toEqual([])
  expect(open('', cockroach).lineCount).toBe(0)
  expect(open('# nothing\r\n  \n\t#', cockroach).lookup('', '')).toEqual({
    found: false,
    users: [],
    lines: [],
  })
})

describe('lines and columns', () => {
  test.each<[name: string, text: string, principal: string, users: string[]]>([
    [
      'tabs, runs of blanks, CRLF',
      '\tiss \t a@b\t\tusera \r\niss a@b userb\r\n',
      'a@b',
      ['usera', 'userb'],
    ],
    ['a comment cuts a column', 'iss a@b user#a', 'a@b', ['user']],
    [
      'users that differ in case only are one',
      'iss a@b Bob\niss a@b bob\niss a@b BOB',
      'a@b',
      ['bob'],
    ],
    [
      'what the principal says is never a replacement pattern',
      'iss /^(.*)$ x\\1',
      "$&$1$'",
      ["x$&$1$'"],
    ],
    ['an identity is compared exactly', 'iss a.b one\niss A.B two\niss a+b three', 'a.b', ['one']],
    ['reserved names are for policy to refuse', 'iss a@b root', 'a@b', ['root']],
    [
      'lines keep their order, whatever finds them',
      'iss /^.*$ one\niss a@b two\niss /^a@b$ three\niss /^.@b$ four',
      'a@b',
      ['one', 'two', 'three', 'four'],
    ],
    [
      'named and non-capturing groups',
      'iss /^(?:a|b)(?P<name>[a-z]+)(?<rest>@.*)$ \\1',
      'acarl@x',
      ['carl'],
    ],
  ])('%s', (_name, text, principal, users) => {
    checkLookups(text, cockroach, [['iss', principal, users]])
  })
})

describe('names', () => {
  test.each([
    ['CARL', 'carl', 'CARL'],
    ['ÉRIC', 'éric', 'ÉRIC'],
    ['E\u0301ric', 'éric', 'E\u0301ric'],
    // CockroachDB reads every Turkish i as "i": unfolded, these would pass for other names here.
    ['adm\u0131n', 'admin', 'adm\u0131n'],
    ['ADM\u0130N', 'admin', 'ADM\u0130N'],
    ['\u212Aarl', 'karl', '\u212Aarl'],
    ['ΝΙΚΟΣ', 'νικοσ', 'ΝΙΚΟΣ'],
  ])('%s', (principal, folded, kept) => {
    checkLookups('iss /^(.*)$ \\1', cockroach, [['iss', principal, [folded]]])
    checkLookups('iss /^(.*)$ \\1', postgres, [['iss', principal, [kept]]])
    expect(normalizeUsername(folded)).toBe(folded)
  })
})

describe('patterns speak of the whole principal', () => {
  test.each<[pattern: string, matched: string[], refused: string[]]>([
    ['^ops$', ['ops'], ['devops', 'ops-evil', 'ops\n', '\nops', 'OPS', '']],
    ['^a|b$', ['a', 'b'], ['ab', 'a-evil', 'evil-b']],
    ['^(?m)ops$', ['ops'], ['ops\n', 'ops\nevil', 'evil\nops']],
    ['^(?m:ops$|^dev$)$', ['ops', 'dev'], ['dev\nops', 'ops\n']],
    ['^(?i)ops$', ['ops', 'OPS', 'Op\u017F'], ['ops-']],
    ['^ops\\\\$', ['ops\\'], ['ops\\\\', 'ops']],
    ['^a\\Qb$', ['ab$'], ['ab', 'ab$evil']],
    ['^(a|ab)(c|bcd)$', ['abcd', 'ac', 'abc'], ['abcde']],
    ['^.$', ['a', '😀'], ['\n', 'ab']],
    ['^$', [''], ['a', '\n']],
  ])('%s', (pattern, matched, refused) => {
    for (const options of [cockroach, postgres, loose]) {
      checkLookups(`iss /${pattern} ok`, options, [
        ...matched.map((text): [string, string, string[]] => ['iss', text, ['ok']]),
        ...refused.map((text): [string, string, string[]] => ['iss', text, []]),
      ])
    }
  })

  test('unless unanchored ones are allowed: these match as the reference does', () => {
    checkLookups('iss /ops one\niss /^dev two\niss /(s)vc$ \\1\niss / all', loose, [
      ['iss', 'devops-evil', ['one', 'two', 'all']],
      ['iss', 'dev-svc', ['two', 's', 'all']],
      ['iss', 'svc-x', ['all']],
    ])
  })
})

describe('problems', () => {
  const notAnchored = 'pattern on line 1 is not anchored: '
  test.each([
    ['foo bar', 'unable to parse line 1: "foo bar"'],
    [' foo bar baz qux # c', 'unable to parse line 1: "foo bar baz qux"'],
    ['foo "my name" bob', 'unable to parse line 1: "foo \\"my name\\" bob"'],
    ['foo /^a#b$ bob', 'unable to parse line 1: "foo /^a"'],
    ['foo a bob\rfoo b bob', 'unable to parse line 1: "foo a bob\\rfoo b bob"'],
    [
      'foo /^(unclosed u',
      'unable to parse line 1: error parsing regexp: missing closing ): `^(unclosed`',
    ],
    [
      'iss /^([9-0]*)$ gcp_\\1',
      'unable to parse line 1: error parsing regexp: invalid character class range: `9-0`',
    ],
    [
      'iss /^(?=a)$ u',
      'unable to parse line 1: error parsing regexp: invalid or unsupported Perl syntax: `(?=`',
    ],
    [
      'iss /^(a)\\1$ u',
      'unable to parse line 1: error parsing regexp: invalid escape sequence: `\\1`',
    ],
    [
      'iss /^a{1001}$ u',
      'unable to parse line 1: error parsing regexp: invalid repeat count: `{1001}`',
    ],
    ['foo /^.*$ \\1', 'saw \\1 substitution on line 1, but pattern contains no subexpressions'],
    ['foo /^(?:.*)$ \\1', 'saw \\1 substitution on line 1, but pattern contains no subexpressions'],
    ['foo lit \\1', 'saw \\1 substitution on line 1, but pattern contains no subexpressions'],
    ['foo /ops u', `${notAnchored}"/ops" would also match "evil-ops-evil"; write "/^ops$"`],
    ['foo /^ops u', `${notAnchored}"/^ops" would also match "ops-evil"; write "/^ops$"`],
    ['foo /ops$ u', `${notAnchored}"/ops$" would also match "evil-ops"; write "/^ops$"`],
    [
      'foo /^a@b.org|c u',
      `${notAnchored}"/^a@b.org|c" must begin with "^" and end with "$"; write "/^(?:a@b.org|c)$"`,
    ],
    [
      'foo /(.*)@b.org u',
      `${notAnchored}"/(.*)@b.org" must begin with "^" and end with "$"; write "/^(.*)@b.org$"`,
    ],
    [
      'foo /(?i)^ops$ u',
      `${notAnchored}"/(?i)^ops$" must begin with "^" and end with "$"; write "/^(?i)ops$"`,
    ],
    [
      'foo /^ops\\$ u',
      `${notAnchored}"/^ops\\$" must begin with "^" and end with "$"; write "/^ops\\$$"`,
    ],
    [
      'foo /^(.*)@.*$/ \\1',
      `${notAnchored}the "/" at its end is part of the pattern; write "/^(.*)@.*$"`,
    ],
    ['foo / u', `${notAnchored}"/" must begin with "^" and end with "$"; write "/^$"`],
  ])('%s', (text, problem) => {
    expect(parseIdentityMap(text, cockroach)).toEqual({
      ok: false,
      problems: [{ line: 1, text: problem }],
    })
  })

  test('are all told at once, in the order of the lines', () => {
    const text = '# map\nfoo bar\nfoo a b\n\nfoo /ops \\1\r\nfoo /( u'
    expect(parseIdentityMap(text, postgres)).toEqual({
      ok: false,
      problems: [
        { line: 2, text: 'unable to parse line 2: "foo bar"' },
        { line: 5, text: 'saw \\1 substitution on line 5, but pattern contains no subexpressions' },
        {
          line: 5,
          text: 'pattern on line 5 is not anchored: "/ops" would also match "evil-ops-evil"; write "/^ops$"',
        },
        { line: 6, text: 'unable to parse line 6: error parsing regexp: missing closing ): `(`' },
      ],
    })
  })
})

test('a pattern that others take ages over is answered', () => {
  const longest = 'a'.repeat(PRINCIPAL_BYTES_MAX)
  checkLookups('iss /^(a+)+$ ok\niss /^(a|a)*$ too\niss /^(.*)*c$ three', cockroach, [
    ['iss', longest, ['ok', 'too']],
    ['iss', `${longest}b`, []],
  ])
})
