/**
 * Groups become memberships on a CockroachDB that is scripted: it keeps roles and members, reads our
 * statements, and knows no grantor. The rows are those of CockroachDB's own tests.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Management, openManagement } from '../../src/cluster/management.ts'
import { type MembershipRules, openMemberships } from '../../src/cluster/memberships.ts'
import { asFailure } from '../../src/failure.ts'
import { readGroups } from '../../src/identity/groups.ts'
import { wantedRoles } from '../../src/policy/groups.ts'
import { nodeAt, only, patterns } from '../support/managed_node.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import { type ScriptedSql, type SqlAnswer, scriptedSql } from '../support/scripted_sql.ts'

/** Roles other than the user's that are there, and whether they are root's equals. */
const ROLES: Record<string, boolean> = { owner: false, user: false, ops: false, admin: true }

let members: string[]
let refusals: number
let reverted: boolean
let sql: ScriptedSql
let node: ScriptedNode
let management: Management

beforeEach(async () => {
  members = []
  refusals = 0
  reverted = false
  sql = scriptedSql(answer)
  node = await startScriptedNode(sql.script)
  const address = { host: '127.0.0.1', port: node.port }
  management = openManagement(only(nodeAt(address, 'cockroachdb')), { role: 'postern_management' })
})
afterEach(async () => {
  management.close()
  await node.close()
})

function answer(statement: string): SqlAnswer {
  if (statement.startsWith('SELECT granted.'))
    return members.length === 0
      ? [{ name: null, own: null }]
      : members.map((name) => ({ name, own: null }))
  if (statement.startsWith('SELECT role.'))
    return Object.entries(ROLES)
      .filter(([name]) => statement.includes(`'${name}'`))
      .map(([name, superuser]) => ({ name, circle: 'f', superuser: superuser ? 't' : 'f' }))
  if (!/^(?:GRANT|REVOKE)/.test(statement)) return []
  if (refusals-- > 0) return { sqlstate: '40001', text: 'restart transaction' }
  if (reverted) return []
  for (const part of statement.split('; ')) {
    const [, does, list = ''] = /^(GRANT|REVOKE) (.*) (?:TO|FROM) "test"$/.exec(part) ?? []
    const names = list.split(', ').map((name) => name.slice(1, -1))
    members = members.filter((name) => !names.includes(name))
    if (does === 'GRANT') members.push(...names)
  }
  return []
}

function syncing(more: Partial<MembershipRules> = {}) {
  const rules = {
    roles: patterns(['owner', 'user']),
    keepOthers: false,
    dialect: 'cockroachdb' as const,
    allowRoles: new Set<string>(),
    ...more,
  }
  return openMemberships(management, rules, () => 0)
}

const quietly = () => undefined
const changes = () => sql.asked.filter((statement) => /^(?:GRANT|REVOKE)/.test(statement))

it('follows the claim from login to login (rows 79 to 82)', async () => {
  const sync = syncing()
  const nobody = new Set<string>()
  const rows: [claim: unknown, is: string[]][] = [
    [
      ['Owner', 'uSER'],
      ['owner', 'user'],
    ],
    ['USER', ['user']],
    ['USER , owneR', ['owner', 'user']],
    [[], []],
  ]
  for (const [claim, is] of rows) {
    const groups = readGroups(claim, true) ?? []
    const roles = patterns(['owner', 'user'])
    const rules = { roles, allowRoles: nobody, ownRoles: nobody, foldCase: true }
    await sync('test', wantedRoles(groups, rules).wanted, quietly)
    expect(members.toSorted()).toEqual(is)
  }
  expect(changes()).toEqual([
    'GRANT "owner", "user" TO "test"',
    'REVOKE "owner" FROM "test"',
    'GRANT "owner" TO "test"',
    'REVOKE "user", "owner" FROM "test"',
  ])
})

describe('memberships that nobody wants', () => {
  it('are taken back, whoever granted them', async () => {
    members = ['ops', 'user']
    await syncing()('test', ['owner'], quietly)
    expect(members).toEqual(['owner'])
    expect(changes()).toEqual(['REVOKE "ops", "user" FROM "test"; GRANT "owner" TO "test"'])
  })

  it('are kept by a setting, where no group may become them', async () => {
    members = ['ops', 'user']
    await syncing({ keepOthers: true })('test', ['owner'], quietly)
    expect(members).toEqual(['ops', 'owner'])
  })
})

it('admin is not granted, but by name', async () => {
  expect(await syncing()('test', ['admin'], quietly)).toEqual({ granted: [], revoked: [] })
  const allowRoles = new Set(['admin'])
  await syncing({ allowRoles })('test', ['admin'], quietly)
  expect(members).toEqual(['admin'])
})

it('a transaction that has to be restarted is, and is told once', async () => {
  refusals = 2
  const said: unknown[] = []
  const change = await syncing()('test', ['owner'], (told) => said.push(told))
  expect([change, said]).toEqual([
    { granted: ['owner'], revoked: [] },
    [{ granted: ['owner'], revoked: [] }],
  ])
})

it('one that never succeeds ends the login', async () => {
  refusals = Number.POSITIVE_INFINITY
  const refused = await syncing()('test', ['owner'], quietly).catch(asFailure)
  expect(refused).toMatchObject({
    code: 'role_sync_failed',
    log: expect.stringContaining('40001: restart transaction'),
  })
  expect(changes()).toHaveLength(4)
})

it('somebody who takes them back each time ends the login', async () => {
  reverted = true
  const refused = await syncing()('test', ['owner'], quietly).catch(asFailure)
  expect(refused).toMatchObject({
    code: 'role_sync_failed',
    log: expect.stringContaining('others change them all the time'),
  })
})
