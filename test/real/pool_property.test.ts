/**
 * Random sessions through a pool of one: whatever a client did and however it left, the next one finds
 * what a fresh session has, and hears nothing of it.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { FreshNode } from '../support/fresh_node.ts'
import {
  type Guest,
  type PooledGate,
  startPooledGate,
  startPooledNode,
  TERMINATE,
  VERSIONS,
} from '../support/pooled.ts'
import { message, query } from '../support/wire_client.ts'

const SETUP = `CREATE TABLE rows (line text); CREATE SEQUENCE numbers;
  GRANT ALL ON rows, numbers TO maxroach; GRANT carl TO maxroach;
  GRANT CREATE ON SCHEMA public TO maxroach`

/** What a client says, and how many ReadyForQuery it waits for; with none it may be in the middle. */
interface Step {
  bytes: Buffer
  answers: number
}

const sql = (text: string): Step => ({ bytes: query(text), answers: 1 })
const bare = (type: string, body: Buffer | string = '') => message(type, body)
const SYNC = bare('S')
const FLUSH = bare('H')
const parse = (name: string, text: string) => bare('P', `${name}\0${text}\0\0\0`)
const bind = (portal: string, name: string) => bare('B', `${portal}\0${name}\0${'\0'.repeat(6)}`)
const execute = (portal: string) => bare('E', `${portal}\0\0\0\0\0`)
const extended = (...parts: Buffer[]): Step => ({
  bytes: Buffer.concat([...parts, SYNC]),
  answers: 1,
})
const cut = (...parts: Buffer[]): Step => ({ bytes: Buffer.concat(parts), answers: 0 })

const SETTINGS = [
  'SET work_mem = 65',
  'SET search_path = pg_temp, public',
  "SET TimeZone = 'Asia/Tokyo'",
  "SET client_encoding = 'LATIN1'",
  'SET DateStyle = German',
  "SET application_name = 'somebody'",
  'SET default_transaction_read_only = on',
  'SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE',
  'SET statement_timeout = 1',
  'SET idle_session_timeout = 1',
  'SET client_min_messages = debug5',
  'SET standard_conforming_strings = off',
  "SET my.own = 'secret'",
  "SELECT set_config('row_security', 'off', false)",
  'SET ROLE carl',
  'SET SESSION AUTHORIZATION maxroach',
  'SET LOCAL work_mem = 66',
  'RESET ALL',
  'DISCARD ALL',
  'SELECT setseed(0.25)',
]
const OBJECTS = [
  'CREATE TEMP TABLE t AS SELECT 1 AS a',
  'CREATE TEMP VIEW v AS SELECT 1 AS a',
  'CREATE TEMP SEQUENCE s',
  'CREATE FUNCTION pg_temp.version() RETURNS text LANGUAGE sql AS $$ SELECT $$ $$ $$',
  "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
  'CREATE TYPE pg_temp.pair AS (a int, b int)',
  'PREPARE p AS SELECT 1',
  'PREPARE q AS SELECT * FROM rows',
  'DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 10)',
  'BEGIN; DECLARE d CURSOR WITH HOLD FOR SELECT 1; FETCH d; COMMIT',
  'SELECT pg_advisory_lock(1), pg_advisory_lock_shared(2)',
  'LISTEN news',
  'LISTEN news; NOTIFY news',
  "SELECT nextval('numbers')",
  'SELECT lo_open(lo_create(0), 131072)',
  "INSERT INTO rows VALUES ('a row')",
  'SELECT 1; SELECT 2',
  '',
]
const TRANSACTIONS = [
  'BEGIN',
  'BEGIN; SAVEPOINT one',
  'BEGIN; SELECT 1/0',
  'BEGIN; SELECT pg_advisory_xact_lock(3)',
  'BEGIN; SET LOCAL ROLE carl',
  'BEGIN; LOCK rows',
  'COMMIT',
  'ROLLBACK',
  'SELECT 1/0',
  'nonsense',
]
const STEPS: Step[] = [
  ...[...SETTINGS, ...OBJECTS, ...TRANSACTIONS].map(sql),
  extended(parse('', 'SELECT 1')),
  extended(parse('named', 'SELECT * FROM rows')),
  extended(parse('named', 'SELECT 1'), bind('portal', 'named')),
  extended(parse('', 'SET work_mem = 67'), bind('', ''), execute('')),
  extended(parse('', 'SELECT 1/0'), bind('', ''), execute(''), parse('late', 'SELECT 1')),
  { bytes: Buffer.concat([SYNC, SYNC]), answers: 2 },
  cut(FLUSH),
  cut(bare('c'), bare('d', 'stray'), bare('f', 'stray\0')),
]
/** How a client may end: in the middle of something, or of nothing. */
const LAST: Step[] = [
  cut(),
  cut(),
  cut(),
  cut(),
  cut(query('SELECT 1')),
  cut(query('SELECT pg_sleep(0.02)')),
  cut(query('SELECT 1').subarray(0, 3)),
  cut(query('SELECT 1').subarray(0, 9)),
  cut(parse('half', 'SELECT 1'), bind('', 'half')),
  cut(parse('', 'SELECT 1'), bind('', ''), execute(''), FLUSH),
  cut(query('COPY rows FROM STDIN'), bare('d', 'one\n')),
  cut(query('COPY rows FROM STDIN'), bare('d', 'one\n').subarray(0, 6)),
  cut(query('COPY rows FROM STDIN'), bare('d', 'one\n'), bare('c')),
  cut(query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 400)) TO STDOUT")),
  cut(SYNC, SYNC),
]
type Leave = (guest: Guest, last: Buffer) => void
const LEAVE: Record<string, Leave> = {
  'says so': ({ client }, last) => {
    client.write(last)
    client.write(TERMINATE)
    client.socket.end()
  },
  'says so in one go': ({ client }, last) =>
    void client.socket.end(Buffer.concat([last, TERMINATE])),
  'half closes': ({ client }, last) => void client.socket.end(last),
  vanishes({ client }, last) {
    client.write(last)
    client.socket.destroySoon()
  },
  'is reset'({ client }, last) {
    client.write(last)
    client.socket.resetAndDestroy()
  },
}

const script = fc.record({
  steps: fc.array(fc.constantFrom(...STEPS), { maxLength: 6 }),
  // Most of them in the end have nothing open, so that there is something to keep.
  settles: fc.constantFrom(true, true, false),
  last: fc.constantFrom(...LAST),
  leave: fc.constantFrom(...Object.keys(LEAVE)),
})

const FINGERPRINT: Record<string, string> = {
  settings: "SELECT name, setting FROM pg_settings WHERE name !~ '[.]' ORDER BY name",
  users: "SELECT current_user, session_user, current_setting('role'), current_schemas(false)",
  temporary: `SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()
    UNION ALL SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema()
    UNION ALL SELECT count(*) FROM pg_type WHERE typnamespace = pg_my_temp_schema()`,
  statements: 'SELECT name, statement FROM pg_prepared_statements',
  cursors: 'SELECT name, statement FROM pg_cursors',
  channels: 'SELECT pg_listening_channels()',
  locks: `SELECT locktype, mode, count(*) FROM pg_locks WHERE pid = pg_backend_pid()
    AND locktype NOT IN ('relation', 'virtualxid') GROUP BY 1, 2`,
  transaction: 'SELECT pg_current_xact_id_if_assigned(), now() = statement_timestamp()',
  sequence: 'SELECT lastval()',
  own: "SELECT currval('numbers')",
  names: "SELECT to_regclass('t'), to_regclass('v'), to_regproc('f'), version() LIKE 'PostgreSQL%'",
  setting: "SELECT coalesce(current_setting('my.own', true), '')",
}

/** All that a client can see, and every kind of message that it hears on the way. */
async function fingerprint(guest: Guest): Promise<Record<string, unknown>> {
  const seen: Record<string, unknown> = { told: guest.settings }
  for (const [name, text] of Object.entries(FINGERPRINT)) {
    guest.client.write(query(text))
    const said = await guest.client.until('Z')
    const status = said.at(-1)?.body.toString()
    seen[name] = [
      said
        .map(({ type }) => type)
        .join('')
        .replace(/D+/, 'D'),
      said.filter(({ type }) => type === 'D').map(({ body }) => body.toString('latin1')),
      status,
    ]
  }
  return seen
}

async function play(guest: Guest, { bytes, answers }: Step): Promise<void> {
  guest.client.write(bytes)
  for (let at = 0; at < answers; at++) await guest.client.until('Z')
}

const RUNS = 50

describe.each(VERSIONS)('beside PostgreSQL %i', (version) => {
  let node: FreshNode
  let gate: PooledGate

  beforeAll(async () => {
    node = await startPooledNode(version)
    await node.sql(SETUP)
    gate = await startPooledGate(node, { size: 1, max_age: '1h' })
  })
  afterAll(async () => {
    await gate.close()
    await node.close()
  })

  it('the next client sees nothing of the rest', async () => {
    const first = await gate.enter()
    const fresh = await fingerprint(first)
    await first.leave()
    const randoms: unknown[] = []
    const property = fc.asyncProperty(script, async ({ steps, settles, last, leave }) => {
      const guest = await gate.enter()
      try {
        for (const step of steps) await play(guest, step)
        if (settles) await play(guest, sql('ROLLBACK'))
      } catch (thrown) {
        // The node ended it: an idle_session_timeout of a millisecond.
        if (!String(thrown).includes('closed before')) throw thrown
      }
      LEAVE[leave]?.(guest, last.bytes)
      const next = await gate.enter()
      expect(await fingerprint(next)).toEqual(fresh)
      randoms.push((await next.ask('SELECT random()'))[0]?.[0])
      await next.leave()
    })
    await fc.assert(property, { numRuns: RUNS, endOnFailure: true })
    expect(new Set(randoms).size).toBe(RUNS)
    // Not all were closed, and not all were kept: of those that are counted, a random one had each.
    const took = gate.gate.audit.filter(({ EventType }) => EventType === 'client_authentication_ok')
    const behind = took
      .filter((_, at) => at > 1 && at % 2 === 0)
      .map((event) => event['NodeSession'])
    expect(behind).toHaveLength(RUNS)
    expect(new Set(behind)).toEqual(new Set(['warm', 'new']))
  })
})
