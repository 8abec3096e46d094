/** Which roles groups become: CockroachDB's cases and the attacks on them. */
import { describe, expect, it } from 'vitest'
import { parseRolePattern } from '../../src/identity/role_pattern.ts'
import { type GroupRules, wantedRoles } from '../../src/policy/groups.ts'

function rules(roles: string[], more: Partial<GroupRules> = {}): GroupRules {
  const patterns = roles.map((text) => {
    const parsed = parseRolePattern(text)
    if (!parsed.ok) throw new Error(parsed.problem)
    return parsed.pattern
  })
  const nobody = new Set<string>()
  return { roles: patterns, allowRoles: nobody, ownRoles: nobody, foldCase: false, ...more }
}

const ALL = '/^(?s).*$'

describe('becoming roles', () => {
  it.each<[what: string, groups: string[], rules: GroupRules, wanted: string[]]>([
    ['those that are named', ['owner', 'guest'], rules(['owner', 'user']), ['owner']],
    ['none where no role is named', ['owner'], rules([]), []],
    [
      'those of a pattern',
      ['team_a', 'my_team_a', 'team_a_x'],
      rules(['/^team_[ab]$']),
      ['team_a'],
    ],
    ['a case that differs', ['Owner'], rules(['owner']), []],
    [
      'a name with capitals in the file, on CockroachDB',
      ['owner'],
      rules(['Owner'], { foldCase: true }),
      ['owner'],
    ],
    [
      'those of a pattern with capitals, on CockroachDB',
      ['admin_ann', 'my_admin_ann'],
      rules(['/^ADMIN_.*$'], { foldCase: true }),
      ['admin_ann'],
    ],
    [
      'never reserved names',
      ['root', 'postgres', 'public', 'none', 'node', 'pg_monitor', 'x'],
      rules([ALL]),
      ['x'],
    ],
    ['nor those that look like them', ['ROOT', 'ｐostgres', 'PG_monitor'], rules([ALL]), []],
    [
      'nor the gate’s own',
      ['postern_management'],
      rules([ALL], { ownRoles: new Set(['postern_management']) }),
      [],
    ],
    [
      'unless they are allowed',
      ['pg_monitor', 'root'],
      rules([ALL], { allowRoles: new Set(['pg_monitor']) }),
      ['pg_monitor'],
    ],
    ['never admin on CockroachDB', ['admin', 'x'], rules([ALL], { foldCase: true }), ['x']],
    [
      'unless it is allowed',
      ['admin'],
      rules(['admin'], { foldCase: true, allowRoles: new Set(['admin']) }),
      ['admin'],
    ],
    ['admin is a name like others on PostgreSQL', ['admin'], rules(['admin']), ['admin']],
    [
      'a name that is allowed is not granted by that alone',
      ['pg_monitor'],
      rules(['x'], { allowRoles: new Set(['pg_monitor']) }),
      [],
    ],
    [
      'no name that would be cut short',
      ['x'.repeat(64), 'é'.repeat(32), 'x'.repeat(63)],
      rules([ALL]),
      ['x'.repeat(63)],
    ],
    ['no name that a terminal obeys', ['a\nb', 'a\u001bb', 'a\0b', '\ud800'], rules([ALL]), []],
    [
      'quotes are letters',
      ['a"; DROP ROLE x; --', "o'brien"],
      rules([ALL]),
      ['a"; DROP ROLE x; --', "o'brien"],
    ],
  ])('%s', (_what, groups, given, wanted) => {
    const found = wantedRoles(groups, given)
    expect(found.wanted).toEqual(wanted)
    expect(found.skipped).toEqual(groups.filter((group) => !wanted.includes(group)))
  })

  it('at most a thousand of them, and looks at no more than ten thousand groups', () => {
    const many = Array.from({ length: 20_000 }, (_, at) => `g${at}`)
    expect(wantedRoles(many, rules([ALL])).wanted).toEqual(many.slice(0, 1_000))
    expect(wantedRoles(many, rules(['/^g19\\d{3}$'])).wanted).toEqual([])
    expect(wantedRoles(many, rules([ALL])).skipped).toHaveLength(19_000)
  })
})
