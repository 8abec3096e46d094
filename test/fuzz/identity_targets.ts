/**
 * Who a claim says that somebody is: JSON pointers into claims, groups, the identity map and the patterns
 * of roles. The map is held against trying every line in turn.
 */
import fc from 'fast-check'
import { RE2JS } from 're2js'
import { principalNames } from '../../src/identity/claim.ts'
import { readGroups } from '../../src/identity/groups.ts'
import { parseIdentityMap } from '../../src/identity/identity_map.ts'
import { lookUp, parsePointer } from '../../src/identity/json_pointer.ts'
import { hasJwtForm } from '../../src/identity/jwt_form.ts'
import { quoted, quotedList, UNPRINTABLE } from '../../src/identity/quoted.ts'
import { parseRolePattern } from '../../src/identity/role_pattern.ts'
import { normalizeUsername } from '../../src/identity/username.ts'
import { wantedRoles } from '../../src/policy/groups.ts'
import { isReserved } from '../../src/policy/reserved.ts'
import { Secret } from '../../src/secret.ts'
import { anyJson, jsonText, nearlyText, oddText } from './made_up.ts'
import { must, mustEqual, outcome, type Target, target } from './target.ts'

const KEYS = ['sub', 'a', 'b', 'email', '', '0', '__proto__', 'a/b', 'a~b', 'kubernetes.io']
const escaped = (segment: string) => segment.replaceAll('~', '~0').replaceAll('/', '~1')
const pointer = fc.oneof(
  fc
    .array(fc.oneof(fc.constantFrom(...KEYS), oddText), { maxLength: 11 })
    .map((segments) => segments.map((each) => `/${escaped(each)}`).join('')),
  nearlyText(fc.constantFrom('/a/0/b', '/a~1b/1', 'sub'), ['/', '~', '~0', '~1', '-', '01']),
)

/** RFC 6901, as section 4 describes the evaluation; undefined where there is nothing. */
function pointedTo(document: unknown, segments: readonly string[]): unknown {
  let value: unknown = document
  for (const segment of segments) {
    if (Array.isArray(value) && !/^(?:0|[1-9]\d*)$/.test(segment)) return undefined
    if (typeof value !== 'object' || value === null) return undefined
    const members = new Map(Object.entries(value))
    value = members.get(segment)
  }
  return value
}

const pointers = target(
  'identity/json_pointer',
  fc.tuple(anyJson(KEYS), pointer),
  ([document, text]) => {
    const parsed = parsePointer(text.startsWith('/') ? text : `/${text}`)
    if (!parsed.ok) return
    mustEqual(
      parsed.pointer.map((each) => `/${escaped(each)}`).join(''),
      text.startsWith('/') ? text : `/${text}`,
      'written again',
    )
    const found = lookUp(document, parsed.pointer)
    mustEqual(
      'value' in found ? found.value : undefined,
      pointedTo(document, parsed.pointer),
      'found',
    )
  },
)

const CODES = ['missing_claim', 'failed_to_extract_claim', 'invalid_claim_value'] as const
const claims = target('identity/claim', fc.tuple(jsonText(KEYS), pointer), ([payload, claim]) => {
  let members: unknown
  try {
    members = JSON.parse(payload)
  } catch {
    return
  }
  if (typeof members !== 'object' || members === null || Array.isArray(members)) return
  const all = members as Record<string, unknown>
  const read = outcome(() => principalNames(payload, all, claim), CODES)
  if (!('value' in read)) return
  const names = read.value
  must(
    names.every((name) => typeof name === 'string'),
    'a name is no text',
    names,
  )
  const parsed = parsePointer(claim)
  const segments =
    claim.startsWith('/') && parsed.ok ? parsed.pointer : [claim === '' ? 'sub' : claim]
  const value = pointedTo(all, segments)
  if (typeof value === 'string') mustEqual(names, [value], 'the claim')
  if (typeof value === 'boolean') mustEqual(names, [String(value)], 'the claim')
  if (typeof value === 'number') {
    mustEqual(names.length, 1, 'the names of a number')
    mustEqual(Number(names[0]), value, 'the number')
    must(payload.includes(names[0] ?? ''), 'digits that nobody wrote', names)
  }
  if (Array.isArray(value)) must(names.length <= value.length, 'more names than elements', names)
})

const groups = target('identity/groups', fc.tuple(anyJson(), fc.boolean()), ([value, fold]) => {
  const read = readGroups(value, fold)
  if (read === undefined) return
  mustEqual(read, [...new Set(read)], 'a group comes twice')
  for (const name of read) must(name !== '' && name === name.trim(), 'a group that is none', name)
  mustEqual(readGroups(read, fold), read, 'groups that are read again are others')
})

const MAP_PIECES = [
  ...[
    'iss',
    'https://iss.test',
    'ann',
    'ann@example.com',
    '\\1',
    '#',
    ' ',
    '\t',
    '\n',
    '\r\n',
    '/',
    '/^',
    '$',
  ],
  ...[
    '(.*)',
    '(a|b)',
    '(?i)',
    '(?:x)',
    '[a-z]+',
    '[[:alpha:]]',
    '\\pL',
    '\\Q',
    '\\E',
    '\\b',
    '{2,3}',
  ],
  ...[
    '{1000}',
    '(((',
    '*',
    '+?',
    '|',
    '\\',
    '.',
    '^',
    '@example\\.com',
    '\\x{41}',
    '(?P<n>a)',
    '\\z',
  ],
]
const mapLine = fc
  .tuple(
    fc.constantFrom('iss', 'iss', 'https://iss.test', 'other'),
    fc.oneof(
      fc.constantFrom(
        'ann',
        'bob',
        '/^ann$',
        '/^(.*)@example\\.com$',
        '/ann',
        '/^(a|b)+$',
        '/(?i)^Ann$',
      ),
      fc
        .array(fc.constantFrom(...MAP_PIECES), { maxLength: 4 })
        .map((parts) => `/^${parts.join('')}$`),
    ),
    fc.constantFrom('ann', 'u1', '\\1', 'x\\1y', 'Ann', '\\1\\1'),
    fc.constantFrom('', '', ' # why', '\r'),
  )
  .map(([map, identity, user, end]) => `${map} ${identity} ${user}${end}`)
const mapText = nearlyText(
  fc.array(mapLine, { maxLength: 5 }).map((lines) => lines.join('\n')),
  MAP_PIECES,
)
const principals = fc.array(
  fc.oneof(
    fc.constantFrom('ann', 'bob', 'ann@example.com', 'abab', 'ANN', 'xannx', 'a\nb'),
    oddText,
  ),
  { minLength: 1, maxLength: 3 },
)

/** Line by line, each one compiled and run. */
function usersOf(text: string, principal: string, fold: boolean): string[] {
  const users = new Set<string>()
  for (const line of text.split('\n')) {
    const [map, identity = '', user = ''] = (line.split('#')[0] ?? '').trim().split(/[\t\f\r ]+/)
    if (map !== 'iss') continue
    let found = identity === principal ? user : ''
    if (identity.startsWith('/')) {
      const pattern = identity.slice(1)
      const matcher = RE2JS.compile(pattern).matcher(principal)
      const whole = pattern.startsWith('^') && /(?<!\\)(?:\\\\)*\$$/.test(pattern)
      const matches = whole ? matcher.matches() : matcher.find()
      const [before = '', ...after] = user.split('\\1')
      const group = after.length > 0 && matches ? (matcher.group(1) ?? '') : ''
      found = matches ? before + (after.length > 0 ? group + after.join('\\1') : '') : ''
    }
    if (found !== '') users.add(fold ? normalizeUsername(found) : found)
  }
  return [...users]
}

const maps = target(
  'identity/map',
  fc.tuple(mapText, principals, fc.boolean(), fc.boolean()),
  ([text, names, foldCase, allowUnanchored]) => {
    const read = parseIdentityMap(text, { foldCase, allowUnanchored })
    const lines = text.split('\n').length
    if (!read.ok) {
      must(read.problems.length > 0, 'refused without a word')
      for (const { line, text } of read.problems)
        must(line >= 1 && line <= lines && text !== '', 'a problem of no line', line)
      return
    }
    for (const name of names) {
      const found = read.map.lookup('iss', name)
      mustEqual(found.users, usersOf(text, name, foldCase), `users of ${JSON.stringify(name)}`)
      must(
        found.lines.every((line) => line >= 1 && line <= lines),
        'a line that is not there',
        found,
      )
      mustEqual(read.map.lookup('nobody', name).users, [], 'users of no map')
    }
  },
)

const rolePatterns = target(
  'identity/role_pattern',
  fc.tuple(
    nearlyText(fc.constantFrom('team', '/^team_.*$', '/^(a|b)$', '/x'), MAP_PIECES),
    oddText,
  ),
  ([text, name]) => {
    const read = parseRolePattern(text)
    if (!read.ok) return must(read.problem !== '', 'refused without a word')
    for (const fold of [false, true]) {
      const matches = read.pattern.matches(name, fold)
      const folded = normalizeUsername(text)
      if (read.pattern.literal) mustEqual(matches, name === (fold ? folded : text), 'the one name')
    }
  },
)

const roleRules = fc.record({
  roles: fc.array(fc.constantFrom('team', 'ROOT', '/^t.*$', '/^(?i)pg_.*$', '/^.*$'), {
    maxLength: 3,
  }),
  foldCase: fc.boolean(),
  allowed: fc.array(fc.constantFrom<string>('root', 'admin', 'pg_monitor'), { maxLength: 2 }),
})
const groupNames = fc.oneof(
  fc.constantFrom('team', 'root', 'admin', 'pg_monitor', 'gate', 'x'.repeat(64)),
  oddText,
)

const wanted = target(
  'identity/wanted_roles',
  fc.tuple(fc.array(groupNames, { maxLength: 6 }), roleRules),
  ([names, { roles, foldCase, allowed }]) => {
    const patterns = roles.flatMap((text) => {
      const read = parseRolePattern(text)
      return read.ok ? [read.pattern] : []
    })
    const all = [...new Set(readGroups(names, foldCase))]
    const rules = {
      roles: patterns,
      foldCase,
      allowRoles: new Set(allowed),
      ownRoles: new Set(['gate']),
    }
    const found = wantedRoles(all, rules)
    mustEqual(
      [...found.wanted, ...found.skipped].sort(),
      all.toSorted(),
      'a group is lost or made up',
    )
    for (const role of found.wanted) {
      must(
        patterns.some(({ matches }) => matches(role, foldCase)),
        'a role that no setting names',
        role,
      )
      must(!isReserved(role, rules.ownRoles) || allowed.includes(role), 'a reserved role', role)
      must(!foldCase || role !== 'admin' || allowed.includes(role), 'the role of superusers')
      must(
        Buffer.byteLength(role) <= 63 && !UNPRINTABLE.test(role),
        'a name that no role has',
        role,
      )
    }
  },
)

const quotes = target(
  'identity/quoted',
  fc.tuple(nearlyText(fc.constantFrom('a', 'é'.repeat(300), '😀'.repeat(200))), fc.array(oddText)),
  ([text, list]) => {
    for (const said of [quoted(text), quotedList(list)]) {
      must(!UNPRINTABLE.test(said), 'what no terminal should get is quoted', said)
      must(said.length <= 1_100, 'a long quotation', said.length)
      mustEqual(said.isWellFormed(), true, 'half of a surrogate pair')
    }
  },
)

const formed = nearlyText(fc.constantFrom('eyJhbGciOiJFUzI1NiJ9.e30.c2ln', 'a.b.c', 'e30..', ''), [
  '.',
  '=',
  'eyJ',
])
const forms = target('identity/jwt_form', formed, (text) => {
  mustEqual(typeof hasJwtForm(new Secret(text)), 'boolean', 'an answer')
})

export const identityTargets: Target[] = [
  pointers,
  claims,
  groups,
  maps,
  rolePatterns,
  wanted,
  quotes,
  forms,
]
