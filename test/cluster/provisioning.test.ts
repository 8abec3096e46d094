/**
 * A user who is not there is made at the first sign-in: on real servers by a management role with the
 * rights that setup prints, and on a CockroachDB that is scripted.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Management, openManagement } from '../../src/cluster/management.ts'
import { asFailure } from '../../src/failure.ts'
import type { Dialect } from '../../src/wire/options.ts'
import {
  MANAGEMENT,
  type ManagedNode,
  nodeAt,
  only,
  patterns,
  startManagedNode,
  VERSIONS,
} from '../support/managed_node.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import { type SqlAnswer, scriptedSql } from '../support/scripted_sql.ts'
import { settling } from '../support/settling.ts'

const SOURCE = "jwt_token:https://issuer.test/it's"
const ownRoles = new Set([MANAGEMENT])
const roles = patterns(['owner', '/^team_.*$'])

/** Whether the role was made by this call. */
function provisioningOn(management: Management, dialect: Dialect, now = () => 0) {
  const rules = { roles, keepOthers: false, dialect, allowRoles: new Set<string>(), ownRoles }
  const settle = settling(management, rules, now)
  return async (role: string, before?: () => void) => {
    const how = { source: SOURCE, ...(before && { before }) }
    const { told } = await settle(role, undefined, how)
    expect(told).toEqual(told.length === 0 ? [] : [{ created: role, source: SOURCE }])
    return told.length > 0
  }
}

describe.each(VERSIONS)('PostgreSQL %i, with the rights that setup prints', (version) => {
  let server: ManagedNode
  beforeAll(async () => {
    server = await startManagedNode(version, { roles: ['owner'], provisioning: true })
  })
  afterAll(() => server.close())

  const provisioning = (now = () => 0, management = server.management) =>
    provisioningOn(management, 'postgresql', now)
  const found = (role: string) =>
    server.sql(
      `SELECT rolcanlogin AS login, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS strong,
         pg_has_role(rolname, 'postern_users', 'USAGE') AS member, shobj_description(oid, 'pg_authid') AS comment
       FROM pg_roles WHERE rolname = '${role.replaceAll("'", "''")}'`,
    )
  const MADE = [{ login: true, strong: false, member: true, comment: `PROVISIONSRC=${SOURCE}` }]

  it.each(['carla', "o'brien", 'x"; DROP ROLE owner; --', 'Größe'])('makes %s', async (role) => {
    expect(await provisioning()(role)).toBe(true)
    expect(await found(role)).toEqual(MADE)
    expect(await provisioning()(role)).toBe(false)
  })

  it('leaves one that is there as it is', async () => {
    await server.sql('CREATE ROLE here NOLOGIN')
    expect(await provisioning()('here')).toBe(false)
    expect(await found('here')).toMatchObject([{ login: false, member: false, comment: null }])
    // Its name may be reserved: whoever may sign in as it was asked elsewhere.
    expect(await provisioning()('postgres')).toBe(false)
  })

  it('what it made is nothing more than a user, gets groups, and is a member of the gate’s after all', async () => {
    const rules = { roles, keepOthers: false, dialect: 'postgresql' as const, ownRoles }
    const sync = settling(server.management, { ...rules, allowRoles: new Set() })
    const { told, settled } = await sync('fresh', ['owner'], { source: SOURCE })
    expect(told).toEqual([
      { created: 'fresh', source: SOURCE },
      { granted: ['owner'], revoked: [] },
    ])
    expect(settled).toMatchObject({ powers: [], roles: ['owner'], left: [] })
    expect((await server.memberships('fresh')).own).toEqual(['owner', 'postern_users'])
    await sync('fresh', [])
    expect((await server.memberships('fresh')).own).toEqual(['postern_users'])
  })

  it('one whose source is not told is not made, and gets nothing', async () => {
    const rules = { roles, keepOthers: false, dialect: 'postgresql' as const, ownRoles }
    const sync = settling(server.management, { ...rules, allowRoles: new Set() })
    expect((await sync('stranger', ['owner'])).told).toEqual([])
    expect(await found('stranger')).toEqual([])
  })

  it.each([
    ['pg_somebody', 'the name is reserved'],
    ['ROOT', 'the name is reserved'],
    ['Postern_Management', 'the name is reserved'],
    ['team_a', 'the name is one that a group may become'],
  ])('never makes %s', async (role, why) => {
    const told: string[] = []
    const refused = await provisioning()(role, () => told.push('told')).catch(asFailure)
    expect(refused).toMatchObject({
      code: 'provisioning_failed',
      message: 'JWT provisioning: failed to create role',
      log: `role ${JSON.stringify(role)}: ${why}`,
    })
    expect([told, await found(role)]).toEqual([[], []])
  })

  it('what cannot be written down is not done', async () => {
    const full = () => {
      throw new Error('the disk is full')
    }
    await expect(provisioning()('unwritten', full)).rejects.toThrow('the disk is full')
    expect(await found('unwritten')).toEqual([])
  })

  it('that one is there is asked again after half a minute', async () => {
    let nowMs = 0
    const provide = provisioning(() => nowMs)
    expect(await provide('passing')).toBe(true)
    await server.sql('DROP ROLE passing')
    expect(await provide('passing')).toBe(false)
    nowMs = 30_000
    expect(await provide('passing')).toBe(true)
  })

  it('two gates that make one at once both succeed', async () => {
    const other = openManagement(only(server.node), { role: MANAGEMENT })
    for (let round = 0; round < 20; round++) {
      const role = `twin_${round}`
      const both = [server.management, other].map((management) =>
        provisioning(() => 0, management)(role),
      )
      await Promise.all(both)
      expect(await found(role)).toEqual(MADE)
    }
    other.close()
  })

  it('a role that may not make roles says so', async () => {
    await server.sql(`ALTER ROLE ${MANAGEMENT} NOCREATEROLE`)
    const refused = await provisioning()('hopeless').catch(asFailure)
    expect(refused).toMatchObject({
      code: 'provisioning_failed',
      log: 'role "hopeless": 42501: permission denied to create role',
    })
    await server.sql(`ALTER ROLE ${MANAGEMENT} CREATEROLE`)
    expect(await provisioning()('hopeless')).toBe(true)
  })
})

describe('CockroachDB', () => {
  let node: ScriptedNode
  afterEach(() => node.close())

  /** @param answer - to what creates; the role is there when that was no refusal. */
  async function provide(role: string, answer: (statement: string) => SqlAnswer) {
    let there = false
    const { script, asked } = scriptedSql((statement) => {
      if (!statement.startsWith('CREATE')) return there ? [{ itself: role }] : []
      const said = answer(statement)
      there = Array.isArray(said) || said.sqlstate === exists.sqlstate
      return said
    })
    node = await startScriptedNode(script)
    const address = { host: '127.0.0.1', port: node.port }
    const management = openManagement(only(nodeAt(address, 'cockroachdb')), { role: MANAGEMENT })
    const ended = await provisioningOn(management, 'cockroachdb')(role).catch(asFailure)
    management.close()
    return { ended, created: asked.filter((statement) => statement.startsWith('CREATE')) }
  }

  const marked = (role: string) =>
    `CREATE USER "${role}" WITH LOGIN PROVISIONSRC 'jwt_token:https://issuer.test/it''s'`
  const syntax = { sqlstate: '42601', text: 'at or near "provisionsrc": syntax error' }
  const exists = { sqlstate: '42710', text: 'a role/user named test already exists' }
  const denied = { sqlstate: '42501', text: 'user postern_management does not have CREATEROLE' }

  it('makes a user with its mark', async () => {
    expect(await provide('test', () => [])).toEqual({ ended: true, created: [marked('test')] })
  })

  it('an older one makes it without', async () => {
    const old = (statement: string) => (statement.includes('PROVISIONSRC') ? syntax : [])
    const created = [marked('test'), 'CREATE USER "test" WITH LOGIN']
    expect(await provide('test', old)).toEqual({ ended: true, created })
  })

  it('another refusal is one', async () => {
    const { ended, created } = await provide('test', () => denied)
    expect(ended).toMatchObject({
      code: 'provisioning_failed',
      log: expect.stringContaining('42501: user postern_management does not have CREATEROLE'),
    })
    expect(created).toEqual([marked('test')])
  })

  it('another gate that was quicker is none', async () => {
    const { ended, created } = await provide('test', () => exists)
    expect({ ended, created }).toEqual({ ended: true, created: [marked('test')] })
  })

  it('knows the names of groups in any case', async () => {
    expect((await provide('owner', () => [])).ended).toMatchObject({ code: 'provisioning_failed' })
  })
})
