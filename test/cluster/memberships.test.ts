/**
 * Groups become memberships on real servers, by a management role with the rights that setup prints
 * and no others.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openManagement } from '../../src/cluster/management.ts'
import {
  type MembershipChange,
  type MembershipRules,
  openMemberships,
} from '../../src/cluster/memberships.ts'
import { identifier } from '../../src/cluster/paste.ts'
import { asFailure } from '../../src/failure.ts'
import {
  MANAGEMENT,
  type ManagedNode,
  only,
  patterns,
  startManagedNode,
  VERSIONS,
} from '../support/managed_node.ts'

const GROUPS = ['owner', 'user', 'ops', "o'brien", 'Mixed "Case"']
const ALL = '/^(?s).*$'

function rulesOf(more: Partial<MembershipRules> = {}): MembershipRules {
  return {
    roles: patterns([ALL]),
    keepOthers: false,
    dialect: 'postgresql',
    allowRoles: new Set(),
    ...more,
  }
}

const quietly = () => undefined

describe.each(VERSIONS)('PostgreSQL %i, with the rights that setup prints', (version) => {
  let server: ManagedNode
  beforeAll(async () => {
    server = await startManagedNode(version, { roles: [...GROUPS, '/^team_.*$'] })
    await server.sql(
      'CREATE ROLE dba SUPERUSER; CREATE ROLE boss CREATEROLE; CREATE ROLE heir IN ROLE boss',
    )
    await server.sql('CREATE ROLE runner IN ROLE pg_execute_server_program')
    await server.sql(`CREATE ROLE insider IN ROLE ${MANAGEMENT}`)
  })
  afterAll(() => server.close())
  beforeEach(async () => {
    await server.sql('DROP ROLE IF EXISTS carl; CREATE ROLE carl LOGIN IN ROLE postern_users')
  })

  const USERS = ['postern_users']
  const syncing = (more?: Partial<MembershipRules>, now = () => 0) =>
    openMemberships(server.management, rulesOf(more), now)

  it('goes from one set to the next, and tells each change before it is made', async () => {
    const said: MembershipChange[] = []
    const steps: [wanted: string[], is: string[], change: MembershipChange | undefined][] = [
      [['owner', 'user'], ['owner', 'user'], { granted: ['owner', 'user'], revoked: [] }],
      [['user'], ['user'], { granted: [], revoked: ['owner'] }],
      [['user', 'owner'], ['user', 'owner'], { granted: ['owner'], revoked: [] }],
      [['ops', 'owner'], ['ops', 'owner'], { granted: ['ops'], revoked: ['user'] }],
      [['ops', 'owner', 'nobody_made_it'], ['ops', 'owner'], undefined],
      [[], [], { granted: [], revoked: ['ops', 'owner'] }],
      [[], [], undefined],
    ]
    for (const [wanted, is, change] of steps) {
      said.length = 0
      const nothing = { granted: [], revoked: [] }
      expect(sorted(await syncing()('carl', wanted, (told) => said.push(told)))).toEqual(
        change ?? nothing,
      )
      expect(said.map(sorted)).toEqual(change === undefined ? [] : [change])
      expect(await server.memberships('carl')).toEqual({ own: is.toSorted(), others: USERS })
    }
  })

  it('quotes names', async () => {
    await syncing()(
      'carl',
      ["o'brien", 'Mixed "Case"', 'x"; DROP ROLE owner; --', "'; --"],
      quietly,
    )
    expect((await server.memberships('carl')).own).toEqual(['Mixed "Case"', "o'brien"])
  })

  it('takes back nothing that somebody else granted, nor the group of the gate', async () => {
    await server.sql('GRANT ops, dba TO carl')
    await syncing()('carl', ['owner', 'ops', 'postern_users'], quietly)
    const others = ['dba', 'ops', 'postern_users']
    expect(await server.memberships('carl')).toEqual({ own: ['owner'], others })
    await syncing()('carl', [], quietly)
    expect(await server.memberships('carl')).toEqual({ own: [], others })
  })

  it.each([['dba'], ['boss'], ['heir'], ['runner'], ['insider'], ['pg_execute_server_program']])(
    '%s is never granted',
    async (name) => {
      expect(await syncing()('carl', [name, 'ops'], quietly)).toEqual({
        granted: ['ops'],
        revoked: [],
      })
    },
  )

  it('one that is allowed by name is, where the management role may grant it', async () => {
    await server.sql(`GRANT boss TO ${MANAGEMENT} WITH ADMIN OPTION`)
    const allowRoles = new Set(['boss'])
    const change = await syncing({ allowRoles })('carl', ['boss', 'heir'], quietly)
    expect(change).toEqual({ granted: ['boss'], revoked: [] })
    // What became too powerful meanwhile, or is allowed no more, is taken back.
    expect(await syncing()('carl', ['boss'], quietly)).toEqual({ granted: [], revoked: ['boss'] })
    await server.sql(`REVOKE boss FROM ${MANAGEMENT}`)
  })

  it('grants no circle, and nobody to himself', async () => {
    await server.sql('GRANT carl TO ops')
    const change = await syncing()('carl', ['ops', 'carl', 'owner'], quietly)
    expect(change).toEqual({ granted: ['owner'], revoked: [] })
  })

  it('a role that is not there has no memberships', async () => {
    expect(await syncing()('nobody', ['owner'], quietly)).toEqual({ granted: [], revoked: [] })
  })

  it('a role that the management role may not grant ends the login, and says what to do', async () => {
    await server.sql('CREATE ROLE team_x')
    const refused = await syncing()('carl', ['team_x', 'owner'], quietly).catch(asFailure)
    expect(refused).toMatchObject({
      code: 'role_sync_failed',
      row: { sqlstate: '28000' },
      message: 'JWT authorization: the groups could not become memberships',
      log: expect.stringMatching(
        /^memberships of "carl": 42501: .*team_x.*; postern cluster setup/,
      ),
    })
    expect(await server.memberships('carl')).toEqual({ own: [], others: USERS })
    await server.sql(`GRANT team_x TO ${MANAGEMENT} WITH ADMIN OPTION`)
    expect(await syncing()('carl', ['team_x'], quietly)).toEqual({
      granted: ['team_x'],
      revoked: [],
    })
    await server.sql('DROP ROLE team_x')
  })

  it('what cannot be written down is not done', async () => {
    const full = () => {
      throw new Error('the disk is full')
    }
    await expect(syncing()('carl', ['owner'], full)).rejects.toThrow('the disk is full')
    expect(await server.memberships('carl')).toEqual({ own: [], others: USERS })
  })

  it('is remembered for half a minute, but for other groups', async () => {
    let nowMs = 0
    const sync = syncing({}, () => nowMs)
    const nothing = { granted: [], revoked: [] }
    await sync('carl', ['owner', 'ops'], quietly)
    await server.sql(`REVOKE owner FROM carl GRANTED BY ${MANAGEMENT}`)
    expect(await sync('carl', ['ops', 'owner'], quietly)).toEqual(nothing)
    nowMs = 30_000
    expect(await sync('carl', ['ops', 'owner'], quietly)).toEqual({
      granted: ['owner'],
      revoked: [],
    })
    expect(await sync('carl', ['ops'], quietly)).toEqual({ granted: [], revoked: ['owner'] })
    expect(await sync('carl', ['ops', 'owner'], quietly)).toEqual({
      granted: ['owner'],
      revoked: [],
    })
  })

  it('two who ask for the same at once wait for one change', async () => {
    const sync = syncing()
    const said: unknown[] = []
    const all = [1, 2, 3].map(() => sync('carl', ['owner'], (change) => said.push(change)))
    expect((await Promise.all(all)).map(({ granted }) => granted)).toEqual([['owner'], [], []])
    expect(said).toHaveLength(1)
  })

  it('two gates at once end in what one of them wanted', async () => {
    const other = openManagement(only(server.node), { role: MANAGEMENT })
    const sets = [['owner', 'user'], ['user', 'ops'], [], ['ops']]
    for (let round = 0; round < 25; round++) {
      const wanted = [sets[round % 4] ?? [], sets[(round + 1 + (round >> 2)) % 4] ?? []]
      const both = wanted.map((names, at) =>
        openMemberships(at === 0 ? server.management : other, rulesOf(), () => 0)(
          'carl',
          names,
          quietly,
        ),
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
        for (const wanted of steps) await sync('carl', wanted, quietly)
        const last = (steps.at(-1) ?? []).filter((name) => name !== 'dba' && name !== 'gone')
        expect(await server.memberships('carl')).toEqual({
          own: last.filter((name) => !byHand.includes(name)).toSorted(),
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
