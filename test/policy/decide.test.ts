/** What a verified principal may do: every denial with its DETAIL, and nothing granted by accident. */
import { expect, test } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import type { Principal } from '../../src/identity/principal.ts'
import { type Ask, decide, type Rules } from '../../src/policy/decide.ts'

const principal: Principal = {
  issuer: 'issuer',
  names: ['maxroach'],
  users: ['maxroach'],
  mapped: false,
  audiences: ['db'],
  groups: undefined,
  scopes: ['openid', 'email'],
  subject: undefined,
  tokenId: undefined,
  digest: 'd',
  keyId: 'k',
  issuedAt: undefined,
  until: undefined,
  notBefore: undefined,
}
const ask: Ask = { user: 'maxroach', database: 'defaultdb', replication: false }
const rules: Rules = {
  audiences: new Set(['db']),
  scopes: [],
  allowRoles: new Set(),
  ownRoles: new Set(['postern_management']),
  replicationRoles: new Set(),
}

interface Case {
  principal?: Partial<Principal>
  ask?: Partial<Ask>
  rules?: Partial<Rules>
}

function decided(given: Case) {
  return decide(
    { ...principal, ...given.principal },
    { ...ask, ...given.ask },
    { ...rules, ...given.rules },
  )
}

test('a grant names the role, the database and who it is for', () => {
  expect(decided({})).toEqual({
    granted: true,
    grant: { role: 'maxroach', database: 'defaultdb', principal },
  })
})

const named = (...users: string[]) => ({ names: users, users })

test.each<[string, Case, string]>([
  ['one of several users', { principal: named('carl', 'maxroach') }, 'maxroach'],
  ['the scopes that are asked for, and more', { rules: { scopes: ['email'] } }, 'maxroach'],
  ['one of several audiences', { principal: { audiences: ['x', 'db'] } }, 'maxroach'],
  [
    'a reserved role that is allowed',
    {
      principal: named('postgres'),
      ask: { user: 'postgres' },
      rules: { allowRoles: new Set(['postgres']) },
    },
    'postgres',
  ],
  [
    "the gate's own role, that is allowed",
    {
      principal: named('postern_management'),
      ask: { user: 'postern_management' },
      rules: { allowRoles: new Set(['postern_management']) },
    },
    'postern_management',
  ],
  [
    'replication by a role that may',
    { ask: { replication: true }, rules: { replicationRoles: new Set(['maxroach']) } },
    'maxroach',
  ],
])('granted: %s', (_name, given, role) => {
  expect(decided(given)).toMatchObject({ granted: true, grant: { role } })
})

test.each<[string, Case, keyof typeof FAILURES, string | undefined]>([
  [
    'another user',
    { ask: { user: 'carl' } },
    'invalid_principal',
    'token issued for [maxroach] and login was for carl',
  ],
  [
    'a user in capitals',
    { ask: { user: 'MaxRoach' } },
    'invalid_principal',
    'token issued for [maxroach] and login was for MaxRoach',
  ],
  [
    'no user, of one',
    { ask: { user: '' } },
    'invalid_principal',
    'token issued for [maxroach] and login was for ',
  ],
  [
    'no user, of two',
    { principal: named('a', 'b'), ask: { user: '' } },
    'invalid_principal',
    'token issued for [a b] and login was for ',
  ],
  [
    'nobody',
    { principal: named() },
    'invalid_principal',
    'token issued for [] and login was for maxroach',
  ],
  [
    'a map that names somebody else',
    { principal: { mapped: true, users: ['carl'] } },
    'invalid_principal',
    'token issued for [maxroach] and login was for maxroach',
  ],
  [
    'a map that names nobody',
    { principal: { mapped: true, users: [] } },
    'invalid_principal',
    'the value [maxroach] for the issuer issuer is invalid',
  ],
  [
    'a scope that it was not given',
    { rules: { scopes: ['openid', 'sql'] } },
    'insufficient_scope',
    'token issued with a scope of [openid email]',
  ],
  [
    'a reserved role',
    { principal: named('root'), ask: { user: 'root' } },
    'invalid_identity',
    'cannot use JWT auth to login to a reserved user root',
  ],
  [
    'a reserved role by the map',
    { principal: { mapped: true, users: ['pg_monitor'] }, ask: { user: 'pg_monitor' } },
    'invalid_identity',
    'cannot use JWT auth to login to a reserved user pg_monitor',
  ],
  [
    'a reserved role where another is allowed',
    {
      principal: named('root'),
      ask: { user: 'root' },
      rules: { allowRoles: new Set(['postgres', 'Root']) },
    },
    'invalid_identity',
    'cannot use JWT auth to login to a reserved user root',
  ],
  [
    "the gate's own role, whatever its letters look like",
    { principal: named('Postern_Management'), ask: { user: 'Postern_Management' } },
    'invalid_identity',
    'cannot use JWT auth to login to a reserved user Postern_Management',
  ],
  [
    'another audience',
    { principal: { audiences: ['other', 'DB'] } },
    'invalid_audience',
    'token issued with an audience of [other DB]',
  ],
  [
    'no audience',
    { principal: { audiences: [] } },
    'invalid_audience',
    'token issued with an audience of []',
  ],
  [
    'no audience set',
    { rules: { audiences: new Set<string>() } },
    'invalid_audience',
    'token issued with an audience of [db]',
  ],
  [
    'neither',
    { principal: { audiences: [] }, rules: { audiences: new Set<string>() } },
    'invalid_audience',
    'token issued with an audience of []',
  ],
  ['replication', { ask: { replication: true } }, 'replication_refused', undefined],
  [
    'a long list',
    { principal: named(...Array<string>(3000).fill('group')) },
    'invalid_principal',
    `token issued for [${'group '.repeat(170)}grou…] and login was for maxroach`,
  ],
  [
    'a list that a terminal would obey',
    { principal: { audiences: ['a\u001b[2Jb', 'c\0d'] } },
    'invalid_audience',
    'token issued with an audience of [a\ufffd[2Jb c\ufffdd]',
  ],
])('denied: %s', (_name, given, code, detail) => {
  const denial = detail === undefined ? { code } : { code, detail }
  expect(decided(given)).toEqual({ granted: false, denial })
})

test('denials say what is documented', () => {
  const texts = {
    invalid_principal: ['28000', 'JWT authentication: invalid principal'],
    invalid_identity: ['28000', 'JWT authentication: invalid identity'],
    invalid_audience: ['28000', 'JWT authentication: invalid audience'],
    replication_refused: ['42501', 'permission denied to start WAL sender'],
  } as const
  for (const [code, text] of Object.entries(texts)) {
    const row = FAILURES[code as keyof typeof texts]
    expect([row.sqlstate, row.say]).toEqual(text)
  }
})
