/** Which rule decides, with and without the issuer, and what the lists say. */
import { describe, expect, it } from 'vitest'
import { accessRules, accessRulesOf } from '../../src/config/access_settings.ts'
import { check } from '../../src/config/mistakes.ts'
import { type Facts, judgeAccess, refusesAnyToken } from '../../src/policy/access.ts'

const A = 'https://a.example'
const B = 'https://b.example'
const carl: Facts = {
  address: '10.1.2.3',
  user: 'carl',
  foldCase: false,
  database: 'app',
  cluster: 'main',
  method: 'jwt',
  certificate: undefined,
  issuer: A,
}

function rulesOf(section: object[]) {
  const read = check(accessRules, section)
  if (!read.ok) throw new Error(read.mistakes.map(({ message }) => message).join())
  return accessRulesOf(
    read.value,
    section.map((_, at) => `postern.yaml:${at + 1}`),
  )
}

describe('a condition', () => {
  it.each<[string, object, Partial<Facts>, boolean]>([
    ['an address in a network', { address: '10.0.0.0/8' }, {}, true],
    ['one outside', { address: '192.168.0.0/16' }, {}, false],
    ['one of several', { address: ['192.168.0.0/16', '10.1.2.3'] }, {}, true],
    [
      'IPv4 that a socket shows as IPv6',
      { address: '10.0.0.0/8' },
      { address: '::ffff:10.9.9.9' },
      true,
    ],
    ['IPv6', { address: 'fd00::/8' }, { address: 'fd00::1' }, true],
    ['IPv4, where all of IPv6 is meant', { address: '::/0' }, {}, false],
    [
      'IPv4 that a socket shows as IPv6, where all of IPv6 is meant',
      { address: '::/0' },
      { address: '::ffff:10.1.2.3' },
      false,
    ],
    ['IPv4 in a network that is written as IPv6', { address: '::ffff:10.0.0.0/104' }, {}, true],
    ['IPv6, where all of IPv4 is meant', { address: '0.0.0.0/0' }, { address: 'fd00::1' }, false],
    ['an address, for a unix socket', { address: '10.0.0.0/8' }, { address: undefined }, false],
    ['unix, for a unix socket', { address: 'unix' }, { address: undefined }, true],
    ['unix, for an address', { address: 'unix' }, {}, false],
    ['a user', { user: 'carl' }, {}, true],
    ['another user', { user: 'carla' }, {}, false],
    ['a user in other letters', { user: 'Carl' }, {}, false],
    [
      'a user in other letters, where they have no case',
      { user: 'Carl' },
      { foldCase: true },
      true,
    ],
    ['a pattern', { user: '/^c.*$' }, {}, true],
    [
      'a pattern in capitals, where they have no case',
      { user: '/^ADMIN_.*$' },
      { user: 'admin_ann', foldCase: true },
      true,
    ],
    ['a pattern in capitals', { user: '/^ADMIN_.*$' }, { user: 'admin_ann' }, false],
    ['a pattern of something else', { user: '/^svc_.*$' }, {}, false],
    ['a database', { database: ['app', 'other'] }, {}, true],
    ['another database', { database: 'other' }, {}, false],
    ['a cluster', { cluster: 'main' }, {}, true],
    ['another cluster', { cluster: 'spare' }, {}, false],
    ['an issuer', { issuer: [B, A] }, {}, true],
    ['another issuer', { issuer: B }, {}, false],
    ['an issuer, without a token', { issuer: A }, { issuer: undefined }, false],
    ['a method', { method: 'jwt' }, {}, true],
    ['another method', { method: 'passthrough' }, {}, false],
    ['any certificate', { certificate: true }, { certificate: 'carl' }, true],
    ['any certificate, without one', { certificate: true }, {}, false],
    ['a certificate', { certificate: '/^svc-.*$' }, { certificate: 'svc-1' }, true],
    ['another certificate', { certificate: '/^svc-.*$' }, { certificate: 'carl' }, false],
    ['all of them', { user: 'carl', database: 'app', address: '10.0.0.0/8' }, {}, true],
    ['all but one', { user: 'carl', database: 'app', address: '11.0.0.0/8' }, {}, false],
    ['none', {}, {}, true],
  ])('fits or not: %s', (_, condition, facts, fits) => {
    const verdict = judgeAccess(rulesOf([{ ...condition, action: 'allow' }]), { ...carl, ...facts })
    expect(verdict.allowed).toBe(fits)
  })
})

const DENY_A = { issuer: A, action: 'deny' }
const ALLOW_B = { issuer: B, action: 'allow' }
const [ALLOW, DENY] = [{ action: 'allow' }, { action: 'deny' }]

describe('the first rule that fits', () => {
  it.each<[string, object[], Partial<Facts>, string | undefined, boolean]>([
    ['allows', [ALLOW, DENY], {}, 'access[0]', true],
    ['denies', [DENY, ALLOW], {}, 'access[0]', false],
    ['is not the first one', [{ user: 'eve', action: 'deny' }, ALLOW], {}, 'access[1]', true],
    ['is nobody', [{ user: 'eve', action: 'allow' }], {}, undefined, false],
    ['is in no list', [], {}, undefined, false],
    ['allows one method', [{ action: 'jwt' }], {}, 'access[0]', true],
    ['allows another method alone', [{ action: 'oauthbearer' }, ALLOW], {}, 'access[0]', false],
    ['is of the issuer', [DENY_A, ALLOW], {}, 'access[0]', false],
    ['is of another issuer', [DENY_A, ALLOW], { issuer: B }, 'access[1]', true],
    [
      'is not that of an issuer, without one',
      [ALLOW_B, DENY],
      { issuer: undefined },
      'access[1]',
      false,
    ],
  ])('%s', (_, section, facts, rule, allowed) => {
    const verdict = judgeAccess(rulesOf(section), { ...carl, ...facts })
    expect(verdict.allowed).toBe(allowed)
    expect(verdict.rule?.split(' ')[0]).toBe(rule)
  })
})

describe('a rule with a method as its action', () => {
  const METHODS = ['jwt', 'oauthbearer', 'passthrough'] as const
  const cases = METHODS.flatMap((action) => METHODS.map((method) => [action, method] as const))

  it.each(cases)(
    '%s decides about who comes by %s, and lets nobody go on to the next rule',
    (action, method) => {
      const rules = rulesOf([{ action }, ALLOW])
      const verdict = judgeAccess(rules, { ...carl, method })
      expect(verdict).toMatchObject({
        allowed: action === method,
        rule: expect.stringMatching(/^access\[0\]/),
      })
      const before = refusesAnyToken(rules, { ...carl, method, issuer: undefined })
      expect(before === undefined).toBe(action === method)
    },
  )

  it.each(cases)(
    '%s fits nobody else where the rule has it as a condition, too: %s',
    (action, method) => {
      const rules = rulesOf([{ method: action, action }, DENY])
      const { allowed, rule } = judgeAccess(rules, { ...carl, method })
      expect([allowed, rule?.split(' ')[0]]).toEqual(
        action === method ? [true, 'access[0]'] : [false, 'access[1]'],
      )
    },
  )
})

describe('before the issuer is known', () => {
  it.each<[string, object[], boolean]>([
    ['nobody is refused whom all rules allow', [ALLOW], false],
    ['who is denied is refused', [{ user: 'carl', action: 'deny' }, ALLOW], true],
    ['whom nothing fits is refused', [{ user: 'eve', action: 'allow' }], true],
    ['an issuer may allow', [ALLOW_B, DENY], false],
    ['an issuer may be the wrong one, and others not', [DENY_A, ALLOW], false],
    ['an issuer denies, and nothing else allows', [DENY_A], true],
    ['an issuer denies, and everybody is denied', [DENY_A, DENY], true],
    ['an issuer would come by another way', [{ issuer: B, action: 'oauthbearer' }], true],
    ['a deny comes before the issuer that may', [DENY, ALLOW_B], true],
  ])('%s', (_, section, refused) => {
    const rules = rulesOf(section)
    const facts = { ...carl, issuer: undefined }
    expect(refusesAnyToken(rules, facts) !== undefined).toBe(refused)
    const allowed = [A, B].some((issuer) => judgeAccess(rules, { ...facts, issuer }).allowed)
    expect(allowed).toBe(!refused)
  })
})

describe('a rule that is wrong', () => {
  it.each<[object, string]>([
    [{ action: 'reject' }, 'allow'],
    [{ address: '10.0.0.0/33', action: 'allow' }, 'is not a network'],
    [{ address: 'everywhere', action: 'allow' }, 'is not a network'],
    [{ user: [], action: 'allow' }, 'name at least one'],
    [{ user: '/svc', action: 'allow' }, 'not anchored'],
    [{ user: '/^(', action: 'allow' }, '('],
    [{ role: 'carl', action: 'allow' }, 'unknown key'],
    [{ user: 'carl' }, 'action'],
  ])('%j', (rule, problem) => {
    const read = check(accessRules, [rule])
    expect(
      read.ok
        ? ''
        : read.mistakes.map(({ path, message }) => `${path.join('.')} ${message}`).join(),
    ).toContain(problem)
  })
})
