/** Who may be judged by the node itself: never a reserved role, whatever its password. */
import { expect, test } from 'vitest'
import { type Ask, decidePassage, type Rules } from '../../src/policy/decide.ts'

const ask: Ask = { user: 'maxroach', database: 'shop', replication: false }
const rules: Rules = {
  audiences: new Set(),
  scopes: [],
  allowRoles: new Set(['node']),
  ownRoles: new Set(['postern_management']),
  replicationRoles: new Set(['replica']),
}

test.each<[string, Partial<Ask>, string | { role: string; database: string }]>([
  ['somebody', {}, { role: 'maxroach', database: 'shop' }],
  ['a reserved role that is allowed', { user: 'node' }, { role: 'node', database: 'shop' }],
  ['postgres', { user: 'postgres' }, 'password_authentication_failed'],
  ['root in capitals', { user: 'ROOT' }, 'password_authentication_failed'],
  ["PostgreSQL's own", { user: 'pg_monitor' }, 'password_authentication_failed'],
  ["the gate's own", { user: 'postern_management' }, 'password_authentication_failed'],
  ['a replication', { replication: true }, 'replication_refused'],
  ['a replica', { user: 'replica', replication: true }, { role: 'replica', database: 'shop' }],
])('%s', (_name, asked, expected) => {
  const decision = decidePassage({ ...ask, ...asked }, rules)
  expect(decision.granted ? decision.grant : decision.denial.code).toEqual(expected)
})
