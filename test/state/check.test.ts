/**
 * A database of the shared state that is not its owner's alone: no gate opens with it, and what mends it is
 * told. Every complaint is followed, and then the gate opens.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { asFailure } from '../../src/failure.ts'
import { openState } from '../../src/state/state.ts'
import { VERSIONS } from '../support/managed_node.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'

const NOTHING = () => undefined

describe.each(VERSIONS)('PostgreSQL %i', (version) => {
  let node: StateNode
  let made = 0
  beforeAll(async () => {
    node = await startStateNode(version)
    await node.sql('CREATE ROLE other LOGIN')
  })
  afterAll(() => node.close())

  const start = async (role: string, database = role) => {
    const state = await openState(
      { role, database, maxAgeMs: 60_000 },
      {
        nodes: node.nodes,
        log: { info: NOTHING, error: NOTHING } as never,
        now: Date.now,
        elapsed: () => 0,
      },
    )
    await state.close()
  }

  it('a fresh one, as setup prints it, is good', async () => {
    await node.make('fresh')
    await start('fresh')
    await start('fresh')
  })

  it('one that nobody guarded is told of all at once', async () => {
    await node.sql('CREATE ROLE bare LOGIN')
    await node.sql('CREATE DATABASE bare OWNER bare')
    const failure = asFailure(await start('bare').catch((thrown) => thrown))
    expect(failure.code).toBe('state_unusable')
    expect(failure.message.split('; ').slice(0, 2)).toEqual([
      'PUBLIC has CONNECT on DATABASE bare (run: REVOKE ALL ON DATABASE bare FROM PUBLIC)',
      'PUBLIC has TEMPORARY on DATABASE bare (run: REVOKE ALL ON DATABASE bare FROM PUBLIC)',
    ])
    expect(failure.message).toContain(
      'PUBLIC has USAGE on SCHEMA public (run: in the database bare: REVOKE ALL ON SCHEMA public FROM PUBLIC)',
    )
    expect(await node.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'postern'", 'bare')).toEqual(
      [],
    )
  })

  /** In the database, what is wrong; `%` is the name of role and database. */
  it.each<[string, string, string]>([
    [
      'another owner',
      'ALTER DATABASE % OWNER TO other; GRANT CONNECT ON DATABASE % TO %',
      'the database % is owned by other, not by %',
    ],
    ['a member', 'GRANT % TO other', 'other is a member of %'],
    [
      'everybody on the database',
      'GRANT CONNECT ON DATABASE % TO PUBLIC',
      'PUBLIC has CONNECT on DATABASE %',
    ],
    [
      'somebody on the database, who may then write all data',
      'GRANT CONNECT ON DATABASE % TO other',
      'other has CONNECT on DATABASE %',
    ],
    [
      'everybody in the schema public',
      'GRANT CREATE ON SCHEMA public TO PUBLIC',
      'PUBLIC has CREATE on SCHEMA public',
    ],
    [
      'everybody in our schema',
      'GRANT USAGE ON SCHEMA postern TO PUBLIC',
      'PUBLIC has USAGE on SCHEMA postern',
    ],
    [
      'everybody on a table',
      'GRANT SELECT ON postern.revocations TO PUBLIC',
      'PUBLIC has SELECT on TABLE postern.revocations',
    ],
    [
      'somebody on a table',
      'GRANT DELETE ON postern.revocations TO other',
      'other has DELETE on TABLE postern.revocations',
    ],
    [
      'a table of somebody else',
      'ALTER TABLE postern.access_entries OWNER TO other',
      'TABLE postern.access_entries is owned by other, not by %',
    ],
    [
      'a schema of somebody else',
      'ALTER SCHEMA postern OWNER TO other',
      'SCHEMA postern is owned by other, not by %',
    ],
  ])('%s', async (_name, spoil, says) => {
    const name = `spoilt${++made}`
    const filled = (text: string) => text.replaceAll('%', name)
    await node.make(name)
    await start(name)
    await node.sql(filled(spoil), name)
    const failure = asFailure(await start(name).catch((thrown) => thrown))
    expect(failure.code).toBe('state_unusable')
    expect(failure.message).toContain(filled(says))
    const told = [...failure.message.matchAll(/\(run: (?:in the database \w+: )?(.*?)\)(?:; |$)/g)]
    for (const [, statement = ''] of told) await node.sql(statement, name)
    await start(name)
  })

  it('who made the role may administer it, as long as it may not use it', async () => {
    if (version < 16) return
    await node.make('made')
    await node.sql('GRANT made TO other WITH ADMIN TRUE, INHERIT FALSE, SET FALSE')
    await start('made')
    await node.sql('GRANT made TO other WITH SET TRUE')
    await expect(start('made')).rejects.toThrow('other is a member of made')
  })

  it.each<[string, string, string, RegExp]>([
    ['no role', 'nobody', 'fresh', /role "nobody" does not exist/],
    ['no database', 'other', 'nothing', /database "nothing" does not exist/],
    ['no right to it', 'other', 'fresh', /permission denied for database "fresh"/],
  ])('%s', async (_name, role, database, says) => {
    const failure = asFailure(await start(role, database).catch((thrown) => thrown))
    expect(failure.code).toBe('state_unusable')
    expect(failure.message).toMatch(says)
    expect(failure.message).toMatch(/; postern cluster setup prints what it needs$/)
  })
})
