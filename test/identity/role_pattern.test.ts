/** Which roles groups may become, as they are written, and what is wrong with them. */
import { expect, it } from 'vitest'
import { parseRolePattern } from '../../src/identity/role_pattern.ts'

it.each<[text: string, yes: string[], no: string[]]>([
  ['owner', ['owner'], ['Owner', 'owners', 'xowner', '']],
  ['.*', ['.*'], ['a']],
  ['/^team_.*$', ['team_', 'team_a'], ['my_team_a', 'Team_a', 'team_\na']],
  ['/^a|b$', ['a', 'b'], ['ax', 'xb']],
  ['/^(?i)team_.*$', ['TEAM_A', 'team_a'], ['x']],
])('%s', (text, yes, no) => {
  const parsed = parseRolePattern(text)
  if (!parsed.ok) throw new Error(parsed.problem)
  for (const name of yes) expect([name, parsed.pattern.matches(name, false)]).toEqual([name, true])
  for (const name of no) expect([name, parsed.pattern.matches(name, false)]).toEqual([name, false])
  expect(parsed.pattern).toMatchObject({ text, literal: !text.startsWith('/') })
})

it('folds a name that is written, towards CockroachDB', () => {
  const parsed = parseRolePattern('Owner')
  expect(parsed.ok && parsed.pattern.matches('owner', true)).toBe(true)
  expect(parsed.ok && parsed.pattern.matches('owner', false)).toBe(false)
})

it.each<[text: string, yes: string[], no: string[]]>([
  ['/^ADMIN_.*$', ['admin_ann', 'admin_'], ['an_admin_ann', 'admin']],
  ['/^Team_[A-C]$', ['team_a', 'team_c'], ['team_d']],
  ['/^\\QOps\\E$', ['ops'], ['opss']],
  ['/^svc_.*$', ['svc_a'], ['my_svc_a']],
])('matches %s without case, towards CockroachDB', (text, yes, no) => {
  const parsed = parseRolePattern(text)
  if (!parsed.ok) throw new Error(parsed.problem)
  for (const name of yes) expect([name, parsed.pattern.matches(name, true)]).toEqual([name, true])
  for (const name of no) expect([name, parsed.pattern.matches(name, true)]).toEqual([name, false])
})

it.each([
  ['', 'a role has a name; write it, or a /^pattern$'],
  [
    '/team',
    'the pattern is not anchored: "/team" would also match "evil-team-evil"; write "/^team$"',
  ],
  [
    '/^team_.*$/',
    'the pattern is not anchored: the "/" at its end is part of the pattern; write "/^team_.*$"',
  ],
  ['/^team_(.*$', 'error parsing regexp: missing closing ): `^team_(.*$`'],
])('refuses %j', (text, problem) => {
  expect(parseRolePattern(text)).toEqual({ ok: false, problem })
})
