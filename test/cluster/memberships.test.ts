/**
 * Groups become memberships on real servers, by a management role with the rights that setup prints
 * and no others.
 */
import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openManagement } from '../../src/cluster/management.ts'
import type { MembershipChange } from '../../src/cluster/memberships.ts'
import { identifier } from '../../src/cluster/paste.ts'
import type { SettleRules } from '../../src/cluster/settle.ts'
import { asFailure, Failure } from '../../src/failure.ts'
import {
  MANAGEMENT,
  type ManagedNode,
  only,
  patterns,
  startManagedNode,
  VERSIONS,
} from '../support/managed_node.ts'
import { changeOf, NOTHING, type Settling, settling } from '../support/settling.ts'

const GROUPS = ['owner', 'user', 'ops', "o'brien", 'Mixed "Case"']
const ALL = '/^(?s).*$'

function rulesOf(more: Partial<SettleRules> = {}): SettleRules {
  return {
    roles: patterns([ALL]),
    keepOthers: false,
    dialect: 'postgresql',
    allowRoles: new Set(),
    ownRoles: new Set([MANAGEMENT]),
    ...more,
  }
}

describe.each(VERSIONS)('PostgreSQL %i, with the rights that setup prints', (version) => {
  let server: ManagedNode
  beforeAll(async () => {
    server = await startManagedNode(version, { roles: [...GROUPS, '/^team_.*$'] })
    await server.sql(
      'CREATE ROLE dba SUPERUSER; CREATE ROLE boss CREATEROLE; CREATE ROLE heir IN ROLE boss',
    )
    await server.sql('CREATE ROLE runner IN ROLE pg_execute_server_program')
    await server.sql(`CREATE ROLE insider IN ROLE ${MANAGEMENT}`)
    await server.sql('CREATE ROLE alice LOGIN; CREATE ROLE "foreign"; CREATE ROLE borrowed')
    // The management role could grant it by another one alone: as a grantor it doesn't count.
    await server.sql(`CREATE ROLE lender; GRANT borrowed TO lender WITH ADMIN OPTION`)
    await server.sql(`GRANT lender TO ${MANAGEMENT}`)
  })
  afterAll(() => server.close())
  beforeEach(async () => {
    await server.sql('DROP ROLE IF EXISTS carl; CREATE ROLE carl LOGIN IN ROLE postern_users')
  })

  const USERS = ['postern_users']
  const syncing = (more?: Partial<SettleRules>, now = () => 0) =>
    settling(server.management, rulesOf(more), now)
  const left = async (sync: Settling, wanted: string[]) => (await sync('carl', wanted)).settled.left

  it('what setup prints may be pasted again', async () => {
    await server.sql(server.printed)
    expect((await syncing()('carl', ['owner'])).settled.roles).toEqual(['owner'])
  })

  it('goes from one set to the next, and tells each change before it is made', async () => {
    const steps: [wanted: string[], is: string[], told: MembershipChange[]][] = [
      [['owner', 'user'], ['owner', 'user'], [{ granted: ['owner', 'user'], revoked: [] }]],
      [['user'], ['user'], [{ granted: [], revoked: ['owner'] }]],
      [['user', 'owner'], ['user', 'owner'], [{ granted: ['owner'], revoked: [] }]],
      [
        ['ops', 'owner'],
        ['ops', 'owner'],
        [
          { granted: [], revoked: ['user'] },
          { granted: ['ops'], revoked: [] },
        ],
      ],
      [['ops', 'owner', 'nobody_made_it'], ['ops', 'owner'], []],
      [[], [], [{ granted: [], revoked: ['ops', 'owner'] }]],
      [[], [], []],
    ]
    for (const [wanted, is, changes] of steps) {
      const { told, settled } = await syncing()('carl', wanted)
      expect(told.map((change) => sorted(changeOf({ told: [change] })))).toEqual(changes)
      expect(settled.roles.toSorted()).toEqual(is.toSorted())
      expect(await server.memberships('carl')).toEqual({ own: is.toSorted(), others: USERS })
    }
  })

  it('leaves everything as it is where nobody asks for groups', async () => {
    await syncing()('carl', ['owner'])
    expect((await syncing()('carl', undefined)).told).toEqual([])
    expect((await server.memberships('carl')).own).toEqual(['owner'])
  })

  it('quotes names', async () => {
    await syncing()('carl', ["o'brien", 'Mixed "Case"', 'x"; DROP ROLE owner; --', "'; --"])
    expect((await server.memberships('carl')).own).toEqual(['Mixed "Case"', "o'brien"])
  })

  it('takes back nothing that somebody else granted, nor the group of the gate', async () => {
    await server.sql('GRANT ops, "user" TO carl')
    await syncing()('carl', ['owner', 'ops', 'postern_users'])
    const others = ['ops', 'postern_users', 'user']
    expect(await server.memberships('carl')).toEqual({ own: ['owner'], others })
    await syncing()('carl', [])
    expect(await server.memberships('carl')).toEqual({ own: [], others })
  })

  it.each([
    ['dba', 'has superuser'],
    ['boss', 'has createrole'],
    ['heir', 'has createrole'],
    ['runner', 'has server'],
    ['insider', 'has management'],
    ['pg_execute_server_program', 'has server'],
    ['alice', 'may log in, so it is a user'],
    ['postern_users', "is the gate's own"],
    ['carl', 'is the user'],
    ['nobody_made_it', 'is not there'],
    ['foreign', 'may not be granted by the management role'],
    ['borrowed', 'may not be granted by the management role'],
  ])('%s is never granted, since it %s', async (name, why) => {
    const { told, settled } = await syncing()('carl', [name, 'ops'])
    expect(told).toEqual([{ granted: ['ops'], revoked: [] }])
    expect(settled).toMatchObject({ roles: ['ops'], left: [`${name}: ${why}`] })
    expect(await server.memberships('carl')).toEqual({ own: ['ops'], others: USERS })
  })

  it('one that is allowed by name is, where the management role may grant it', async () => {
    await server.sql(`GRANT boss, alice TO ${MANAGEMENT} WITH ADMIN OPTION`)
    const sync = syncing({ allowRoles: new Set(['boss', 'alice']) })
    const { told, settled } = await sync('carl', ['boss', 'heir', 'alice'])
    expect(sorted(changeOf({ told }))).toEqual({ granted: ['alice', 'boss'], revoked: [] })
    expect(settled.powers).toEqual([])
    // What is allowed no more is taken back.
    const later = await syncing()('carl', ['boss', 'alice'])
    expect(sorted(changeOf(later))).toEqual({ granted: [], revoked: ['alice', 'boss'] })
    await server.sql(`REVOKE boss, alice FROM ${MANAGEMENT}`)
  })

  it('grants no circle', async () => {
    await server.sql('GRANT carl TO ops')
    expect(await left(syncing(), ['ops', 'owner'])).toEqual(['ops: is a member of the user'])
    expect((await server.memberships('carl')).own).toEqual(['owner'])
  })

  it('a role that is not there has no memberships', async () => {
    expect(await syncing()('nobody', ['owner'])).toMatchObject({ told: [], settled: { roles: [] } })
  })

  it('one that may be granted later on is', async () => {
    expect(await left(syncing(), ['foreign'])).toHaveLength(1)
    await server.sql(`GRANT "foreign" TO ${MANAGEMENT} WITH ADMIN OPTION`)
    expect(await left(syncing(), ['foreign'])).toEqual([])
    expect((await server.memberships('carl')).own).toEqual(['foreign'])
    await server.sql(`REVOKE "foreign" FROM carl GRANTED BY ${MANAGEMENT}`)
    await server.sql(`REVOKE "foreign" FROM ${MANAGEMENT}`)
  })

  describe('powers', () => {
    it('that came to a role after it was granted: the membership is taken back', async () => {
      await syncing()('carl', ['owner', 'ops'])
      await server.sql('ALTER ROLE owner CREATEDB')
      const { told, settled } = await syncing()('carl', ['owner', 'ops'])
      await server.sql('ALTER ROLE owner NOCREATEDB')
      expect(told).toEqual([{ granted: [], revoked: ['owner'] }])
      expect(settled).toMatchObject({ powers: [], roles: ['ops'], left: ['owner: has createdb'] })
    })

    it.each([
      ['ALTER ROLE carl CREATEDB', 'createdb'],
      ['GRANT heir TO carl', 'createrole'],
    ])(
      'that remain refuse the user: what is unwanted is taken back, nothing is granted: %s',
      async (sql, power) => {
        await syncing()('carl', ['owner'])
        await server.sql(sql)
        const { told, settled } = await syncing()('carl', ['ops'])
        expect(told).toEqual([{ granted: [], revoked: ['owner'] }])
        expect(settled.powers).toEqual([power])
        expect((await server.memberships('carl')).own).toEqual([])
      },
    )

    it('of a role that is allowed by name are nobody else’s fault', async () => {
      await server.sql('CREATE ROLE deputy IN ROLE boss; GRANT deputy, boss TO carl')
      const allowing = (...names: string[]) => syncing({ allowRoles: new Set(names) })
      expect((await allowing('boss')('carl', [])).settled.powers).toEqual([])
      expect((await allowing('deputy')('carl', [])).settled.powers).toEqual(['createrole'])
      expect((await allowing('carl')('carl', [])).settled.powers).toEqual([])
      await server.sql('DROP ROLE deputy')
    })
  })

  it('what cannot be written down is not done', async () => {
    const before = () => {
      throw new Error('the disk is full')
    }
    await expect(syncing()('carl', ['owner'], { before })).rejects.toThrow('the disk is full')
    expect(await server.memberships('carl')).toEqual({ own: [], others: USERS })
  })

  it('is remembered for half a minute, but for other groups', async () => {
    let nowMs = 0
    const sync = syncing({}, () => nowMs)
    const change = async (wanted: string[]) => changeOf(await sync('carl', wanted))
    await sync('carl', ['owner', 'ops'])
    await server.sql(`REVOKE owner FROM carl GRANTED BY ${MANAGEMENT}`)
    expect(await change(['ops', 'owner'])).toEqual(NOTHING)
    nowMs = 30_000
    expect(await change(['ops', 'owner'])).toEqual({ granted: ['owner'], revoked: [] })
    expect(await change(['ops'])).toEqual({ granted: [], revoked: ['owner'] })
    expect(await change(['ops', 'owner'])).toEqual({ granted: ['owner'], revoked: [] })
  })

  it('those who ask for the same at once make one change', async () => {
    const sync = syncing()
    const all = await Promise.all([1, 2, 3].map(() => sync('carl', ['owner'])))
    expect(all.flatMap(({ told }) => told)).toEqual([{ granted: ['owner'], revoked: [] }])
  })

  describe('a transaction that stays open and holds a role', () => {
    let lead: pg.Client
    beforeAll(async () => {
      await server.sql(
        'CREATE ROLE lead LOGIN IN ROLE postern_users; GRANT owner TO lead WITH ADMIN OPTION',
      )
      const { address } = server.node
      const [, host, port] =
        /^(.*)\/\.s\.PGSQL\.(\d+)$/.exec('path' in address ? address.path : '') ?? []
      lead = new pg.Client({ host, port: Number(port), user: 'admin', database: 'postgres' })
      await lead.connect()
      await lead.query('SET ROLE lead')
    })
    afterAll(async () => {
      await lead.end()
    })
    beforeEach(async () => {
      await lead.query('BEGIN')
      await lead.query('GRANT owner TO carl')
      return () => lead.query('ROLLBACK')
    })

    it('refuses those who want that role after a moment, and nobody else', async () => {
      const sync = syncing()
      await server.sql('DROP ROLE IF EXISTS kim; CREATE ROLE kim LOGIN IN ROLE postern_users')
      const stuck = [1, 2, 3].map(() => sync('carl', ['owner']).catch(asFailure))
      expect(await sync('kim', [])).toMatchObject({ told: [] })
      expect(changeOf(await sync('kim', ['ops']))).toEqual({ granted: ['ops'], revoked: [] })
      for (const refused of await Promise.all(stuck))
        expect(refused).toMatchObject({
          code: 'role_sync_failed',
          log: expect.stringMatching(/^memberships of "carl": 55P03: /),
        })
      expect(await server.memberships('carl')).toEqual({ own: [], others: USERS })
    })

    it('keeps nothing that is unwanted from being taken back', async () => {
      await syncing()('carl', ['ops'])
      const refused = await syncing()('carl', ['owner']).catch(asFailure)
      expect(refused).toMatchObject({ code: 'role_sync_failed' })
      expect(await server.memberships('carl')).toEqual({ own: [], others: USERS })
    })

    it('a login that is over while it waits changes nothing after it was told so', async () => {
      const over = new Failure('login_timeout')
      const login = new AbortController()
      const before = () => login.abort(over)
      const refused = syncing()('carl', ['owner'], { before, signal: login.signal })
      await expect(refused).rejects.toBe(over)
      await lead.query('ROLLBACK')
      expect(await server.memberships('carl')).toEqual({ own: [], others: USERS })
    })
  })

  it('two gates at once end in what one of them wanted', async () => {
    const other = openManagement(only(server.node), { role: MANAGEMENT })
    const sets = [['owner', 'user'], ['user', 'ops'], [], ['ops']]
    for (let round = 0; round < 25; round++) {
      const wanted = [sets[round % 4] ?? [], sets[(round + 1 + (round >> 2)) % 4] ?? []]
      const both = wanted.map((names, at) =>
        settling(at === 0 ? server.management : other, rulesOf())('carl', names),
      )
      const ended = await Promise.allSettled(both)
      const { own } = await server.memberships('carl')
      // Where they fought to the end, one of them was refused.
      if (ended.every(({ status }) => status === 'fulfilled'))
        expect(wanted.map((names) => names.toSorted())).toContainEqual(own)
    }
    other.close()
  })

  it('any sequence ends in exactly the last set, and what was granted by hand stays', async () => {
    const set = fc.uniqueArray(fc.constantFrom(...GROUPS, 'dba', 'gone'), { maxLength: 5 })
    await fc.assert(
      fc.asyncProperty(set, fc.array(set, { minLength: 1, maxLength: 4 }), async (hand, steps) => {
        const byHand = hand.filter((name) => name !== 'gone')
        await server.sql('DROP ROLE carl; CREATE ROLE carl LOGIN')
        for (const name of byHand) await server.sql(`GRANT ${identifier(name)} TO carl`)
        const sync = syncing()
        for (const wanted of steps) await sync('carl', wanted)
        const last = (steps.at(-1) ?? []).filter((name) => name !== 'dba' && name !== 'gone')
        expect(await server.memberships('carl')).toEqual({
          // Who is too powerful by hand is granted nothing.
          own: byHand.includes('dba')
            ? []
            : last.filter((name) => !byHand.includes(name)).toSorted(),
          others: byHand.toSorted(),
        })
      }),
      { numRuns: 25 },
    )
  })
})

function sorted({ granted, revoked }: MembershipChange): MembershipChange {
  return { granted: granted.toSorted(), revoked: revoked.toSorted() }
}
