/**
 * Groups become memberships on a CockroachDB that is scripted: it keeps roles and members, reads our
 * statements, and knows no grantor. The rows are those of CockroachDB's own tests.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Management, openManagement } from '../../src/cluster/management.ts'
import type { SettleRules } from '../../src/cluster/settle.ts'
import { asFailure, Failure } from '../../src/failure.ts'
import { readGroups } from '../../src/identity/groups.ts'
import { wantedRoles } from '../../src/policy/groups.ts'
import { nodeAt, only, patterns } from '../support/managed_node.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import { type ScriptedSql, type SqlAnswer, scriptedSql } from '../support/scripted_sql.ts'
import { changeOf, NOTHING, settling } from '../support/settling.ts'

/** Roles other than the user's that are there: root's equal, one that logs in, and groups. */
const ROLES: Record<string, { superuser?: 't'; login?: 't' }> = {
  owner: {},
  user: {},
  ops: {},
  admin: { superuser: 't' },
  bob: { login: 't' },
}

let members: string[]
let refusals = 0
let refusal: { sqlstate: string; text: string }
let reverted: boolean
let sql: ScriptedSql
let node: ScriptedNode
let management: Management

beforeEach(async () => {
  members = []
  refusals = 0
  refusal = { sqlstate: '40001', text: 'restart transaction' }
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
  if (statement.startsWith('SELECT held.')) {
    const others = Object.entries(ROLES)
      .filter(([name]) => statement.includes(`'${name}'`) || members.includes(name))
      .map(([name, { superuser = 'f', login = 'f' }]) => {
        const others = members.includes(name) ? 't' : null
        return { name, us: null, others, login, circle: 'f', grantable: 't', superuser }
      })
    return [{ itself: 'test', superuser: 'f' }, ...others]
  }
  if (!/^(?:GRANT|REVOKE)/.test(statement)) return []
  if (refusals-- > 0) return refusal
  if (reverted) return []
  for (const part of statement.split('; ')) {
    const [, does, list = ''] = /^(GRANT|REVOKE) (.*) (?:TO|FROM) "test"$/.exec(part) ?? []
    const names = list.split(', ').map((name) => name.slice(1, -1))
    members = members.filter((name) => !names.includes(name))
    if (does === 'GRANT') members.push(...names)
  }
  return []
}

function syncing(more: Partial<SettleRules> = {}) {
  const rules = {
    roles: patterns(['owner', 'user']),
    keepOthers: false,
    dialect: 'cockroachdb' as const,
    allowRoles: new Set<string>(),
    ownRoles: new Set<string>(),
    ...more,
  }
  return settling(management, rules)
}

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
    await sync('test', wantedRoles(groups, rules).wanted)
    expect(members.toSorted()).toEqual(is)
  }
  expect(changes()).toEqual([
    'GRANT "owner", "user" TO "test"',
    'REVOKE "owner" FROM "test"',
    'GRANT "owner" TO "test"',
    'REVOKE "owner", "user" FROM "test"',
  ])
})

describe('memberships that nobody wants', () => {
  it('are taken back, whoever granted them', async () => {
    members = ['ops', 'user']
    await syncing()('test', ['owner'])
    expect(members).toEqual(['owner'])
    expect(changes()).toEqual(['REVOKE "user", "ops" FROM "test"', 'GRANT "owner" TO "test"'])
  })

  it('are kept by a setting, where no group may become them', async () => {
    members = ['ops', 'user']
    await syncing({ keepOthers: true })('test', ['owner'])
    expect(members).toEqual(['ops', 'owner'])
  })
})

it('admin and those who log in are not granted, but by name', async () => {
  const refused = await syncing()('test', ['admin', 'bob'])
  expect(changeOf(refused)).toEqual(NOTHING)
  expect(refused.settled.left).toEqual(['admin: has superuser', 'bob: may log in, so it is a user'])
  await syncing({ allowRoles: new Set(['admin', 'bob']) })('test', ['admin', 'bob'])
  expect(members).toEqual(['admin', 'bob'])
})

it('nobody is refused for what a catalog of another kind would tell', async () => {
  members = ['admin']
  const { settled } = await syncing({ keepOthers: true })('test', [])
  expect([settled.powers, members]).toEqual([[], ['admin']])
})

it('a transaction that has to be restarted is, and is told once', async () => {
  refusals = 2
  const { told } = await syncing()('test', ['owner'])
  expect(told).toEqual([{ granted: ['owner'], revoked: [] }])
  expect(members).toEqual(['owner'])
})

it.each(['55P03', '57014'])(
  'one that waited too long (%s) is not tried again',
  async (sqlstate) => {
    refusals = 1
    refusal = { sqlstate, text: 'canceling statement' }
    const refused = await syncing()('test', ['owner']).catch(asFailure)
    expect(refused).toMatchObject({
      code: 'role_sync_failed',
      log: expect.stringContaining(`${sqlstate}: canceling statement`),
    })
    expect(changes()).toHaveLength(1)
  },
)

describe('what a login asks', () => {
  const asked = () => sql.asked.filter((statement) => !statement.startsWith('SET'))

  it('is one question where all is as it should be, and none for a while', async () => {
    members = ['owner']
    const sync = syncing()
    await sync('test', ['owner'])
    await sync('test', ['owner'])
    expect(asked()).toEqual([expect.stringMatching(/^SELECT/)])
  })

  it('is one more after each change', async () => {
    members = ['user']
    await syncing()('test', ['owner'])
    expect(asked().map((statement) => statement.split(' ')[0])).toEqual([
      'SELECT',
      'REVOKE',
      'SELECT',
      'GRANT',
      'SELECT',
    ])
  })

  it('is nothing once it is over', async () => {
    const login = new AbortController()
    const over = new Failure('login_timeout')
    const before = () => login.abort(over)
    const refused = syncing()('test', ['owner'], { before, signal: login.signal })
    await expect(refused).rejects.toBe(over)
    expect(changes()).toEqual([])
  })
})

it('one that never succeeds ends the login', async () => {
  refusals = Number.POSITIVE_INFINITY
  const refused = await syncing()('test', ['owner']).catch(asFailure)
  expect(refused).toMatchObject({
    code: 'role_sync_failed',
    log: expect.stringContaining('40001: restart transaction'),
  })
  expect(changes()).toHaveLength(5)
})

it('somebody who takes them back each time ends the login', async () => {
  reverted = true
  const refused = await syncing()('test', ['owner']).catch(asFailure)
  expect(refused).toMatchObject({
    code: 'role_sync_failed',
    log: expect.stringContaining('others change them all the time'),
  })
})
