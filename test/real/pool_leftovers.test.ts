/**
 * What DISCARD ALL leaves of one client for the next, as docs/pool.md lists it: each row is measured here,
 * so that a PostgreSQL that leaves more, or less, is noticed.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { FreshNode } from '../support/fresh_node.ts'
import { type PooledGate, startPooledGate, startPooledNode, VERSIONS } from '../support/pooled.ts'

const SETUP = [
  'CREATE EXTENSION dblink',
  'CREATE EXTENSION postgres_fdw',
  'GRANT EXECUTE ON FUNCTION dblink_connect_u(text, text) TO maxroach',
  'CREATE TABLE near (a int)',
  "CREATE USER MAPPING FOR maxroach SERVER here OPTIONS (user 'maxroach', password_required 'false')",
  "CREATE FOREIGN TABLE far (a int) SERVER here OPTIONS (table_name 'near')",
  'GRANT SELECT ON near, far TO maxroach',
  'GRANT EXECUTE ON FUNCTION pg_replication_origin_session_setup(text), pg_replication_origin_session_is_setup() TO maxroach',
  "SELECT pg_replication_origin_create('origin')",
]

describe.each(VERSIONS)('on PostgreSQL %i, DISCARD ALL', (version) => {
  let node: FreshNode
  let pooled: PooledGate

  beforeAll(async () => {
    node = await startPooledNode(version)
    const [connect, server] = [
      `host=127.0.0.1 port=${node.port} dbname=postgres user=maxroach`,
      `CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '${node.port}', dbname 'postgres')`,
    ]
    DBLINK.act = `SELECT dblink_connect_u('mine', '${connect}')`
    for (const sql of [...SETUP.slice(0, 4), server, ...SETUP.slice(4)]) await node.sql(sql)
    pooled = await startPooledGate(node)
  })
  afterAll(async () => {
    await pooled.close()
    await node.close()
  })

  const DBLINK = {
    what: 'connections of dblink',
    act: '',
    look: 'SELECT dblink_get_connections()',
    fresh: [[null]] as unknown,
    left: [['{mine}']] as unknown,
  }
  const leaves: (typeof DBLINK)[] = [
    {
      what: 'names of settings that nobody defined, their values not',
      act: "SET my.setting = 'a secret'",
      look: "SELECT current_setting('my.setting', true)",
      fresh: [[null]],
      left: [['']],
    },
    {
      what: 'libraries that were loaded',
      act: 'DO $$ BEGIN END $$',
      look:
        version >= 18
          ? "SELECT count(*) FROM pg_get_loaded_modules() WHERE file_name LIKE 'plpgsql%'"
          : "SELECT current_setting('plpgsql.variable_conflict', true)",
      fresh: version >= 18 ? [['0']] : [[null]],
      left: version >= 18 ? [['1']] : [['error']],
    },
    {
      what: 'the schema of temporary tables, empty',
      act: 'CREATE TEMP TABLE mine (a int)',
      look: `SELECT pg_my_temp_schema() <> 0, count(*) FROM pg_class
        WHERE pg_my_temp_schema() <> 0 AND relnamespace = pg_my_temp_schema()`,
      fresh: [['f', '0']],
      left: [['t', '0']],
    },
    DBLINK,
    {
      what: 'connections of postgres_fdw',
      act: 'SELECT * FROM far',
      look: 'SELECT count(*) FROM postgres_fdw_get_connections()',
      fresh: [['0']],
      left: [['1']],
    },
    {
      what: 'the origin of replicated rows',
      act: "SELECT pg_replication_origin_session_setup('origin')",
      look: 'SELECT pg_replication_origin_session_is_setup()',
      fresh: [['f']],
      left: [['t']],
    },
  ]

  it.each(leaves)('leaves $what', async (row) => {
    const parameters = { application_name: row.what }
    const first = await pooled.enter('maxroach', parameters)
    expect(await first.ask(row.look)).toEqual(row.fresh)
    await first.ask(row.act)
    const pid = await first.pid()
    await first.leave()
    await expect.poll(() => pooled.count('postern_pool_idle{cluster="test"}')).toBeGreaterThan(0)
    const second = await pooled.enter('maxroach', parameters)
    expect(await second.pid()).toBe(pid)
    expect(await second.ask(row.look)).toEqual(row.left)
    // The next test is to find none of it.
    await node.sql(`SELECT pg_terminate_backend(${pid})`)
    second.client.close()
    await pooled.idle(0)
  })

  it('leaves the process, and when it began', async () => {
    const look = 'SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()'
    const first = await pooled.enter()
    const seen = await first.ask(look)
    await first.leave()
    await pooled.idle(1)
    const second = await pooled.enter()
    expect(await second.ask(look)).toEqual(seen)
    await second.leave()
    await pooled.idle(1)
  })

  if (version >= 17)
    it('is no sign-in: event triggers for it run for the first client alone', async () => {
      await node.sql('CREATE TABLE logins (pid int); GRANT INSERT ON logins TO PUBLIC')
      await node.sql(
        'CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO logins VALUES (pg_backend_pid()); END $$',
      )
      await node.sql('CREATE EVENT TRIGGER note ON login EXECUTE FUNCTION note()')
      const pids = []
      for (let at = 0; at < 3; at++) {
        const guest = await pooled.enter('carl')
        pids.push(await guest.pid())
        await guest.leave()
        await pooled.idle(2)
      }
      expect(new Set(pids).size).toBe(1)
      expect(
        await node.sql(`SELECT count(*)::int AS n FROM logins WHERE pid = ${pids[0]}`),
      ).toEqual([{ n: 1 }])
    })
})
