/**
 * A CockroachDB that keeps the shared state, in words: a scripted node that answers as one would, since none is
 * installed here. Nobody is told there, so the gate asks; and what others may do is told by SHOW GRANTS.
 */
import { afterEach, expect, it } from 'vitest'
import { asFailure } from '../../src/failure.ts'
import { openState, type State } from '../../src/state/state.ts'
import { VERSION } from '../../src/state/tables.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import { type SqlAnswer, scriptedSql } from '../support/scripted_sql.ts'
import { nodesAt } from '../support/state_node.ts'

let server: ScriptedNode | undefined
let state: State | undefined
afterEach(async () => {
  await state?.close()
  await server?.close()
  state = undefined
})

interface Says {
  owner?: string
  members?: string[]
  /** By the object: grantee and privilege. */
  grants?: Record<string, [string, string]>
  refuse?(sql: string): SqlAnswer | undefined
}

/** What it would say to each statement; the tables are there. */
function cockroach(kept: { number: number; values: string[] }, says: Says = {}) {
  const { owner = 'postern_state', members = [], grants = {} } = says
  return scriptedSql((sql): SqlAnswer => {
    const refused = says.refuse?.(sql)
    if (refused !== undefined) return refused
    if (sql.includes('pg_get_userbyid(datdba)'))
      return [{ owner, own: owner === 'postern_state' ? 't' : 'f' }]
    if (sql.includes('pg_auth_members')) return members.map((member) => ({ member }))
    if (sql.includes('FROM pg_namespace')) return [{ name: 'public' }, { name: 'postern' }]
    const [, object = ''] = /^SHOW GRANTS ON (.*)$/.exec(sql) ?? []
    if (object !== '')
      return [['admin', 'ALL'] as const, ['postern_state', 'ALL'] as const, grants[object]]
        .flatMap((each) => (each === undefined ? [] : [each]))
        .map(([grantee = '', privilege_type = '']) => ({ grantee, privilege_type }))
    if (sql.includes("table_name = 'schema_version'")) return [{ one: '1' }]
    if (sql.includes('information_schema.tables')) return [{ name: 'revocations' }]
    if (sql.startsWith('SELECT version')) return [{ version: String(VERSION) }]
    if (sql.includes('count(*)')) return [{ rows: '1' }]
    if (sql.startsWith('INSERT INTO postern.revocations')) return [{ kind: 'digest' }]
    if (sql.includes('AS standby')) return [{ number: String(kept.number), standby: 'f' }]
    if (sql.startsWith('SELECT number')) return [{ number: String(kept.number) }]
    if (sql.includes('FROM postern_revocations'))
      return kept.values.map((value) => ({ kind: 'digest', issuer: '', value, why: '' }))
    return []
  })
}

async function start(script: ReturnType<typeof scriptedSql>) {
  server = await startScriptedNode(script.script)
  const address = { host: '127.0.0.1', port: server.port }
  state = await openState(
    { role: 'postern_state', database: 'postern_state', maxAgeMs: 60_000 },
    {
      nodes: () => nodesAt(address, 'cockroachdb'),
      log: { info: () => undefined, error: () => undefined } as never,
      now: Date.now,
      elapsed: () => 0,
    },
    { cockroachdb: 20 },
  )
  return { state, asked: script.asked }
}

it('is asked again and again, and read whole when its number is another one', async () => {
  const kept = { number: 1, values: ['a'] }
  const { state, asked } = await start(cockroach(kept))
  const heard: string[][] = []
  state.changed(({ revocations }) => heard.push(revocations.map(({ value }) => value)))
  expect(state.snapshot().revocations).toMatchObject([{ kind: 'digest', value: 'a' }])
  Object.assign(kept, { number: 2, values: ['a', 'b'] })
  await expect.poll(() => heard, { interval: 5 }).toEqual([['a', 'b']])
  const looks = () => asked.filter((sql) => sql.includes('AS standby')).length
  const before = looks()
  await expect.poll(looks, { interval: 5 }).toBeGreaterThan(before + 2)
  expect(heard).toHaveLength(1)
  expect(asked.filter((sql) => sql.startsWith('BEGIN'))).toHaveLength(2)
  expect(asked.filter((sql) => /LISTEN|NOTIFY|pg_advisory|pg_is_in_recovery/.test(sql))).toEqual([])
})

it('a change that met another one is begun anew', async () => {
  let refused = 0
  const refuse = (sql: string): SqlAnswer | undefined =>
    sql.startsWith('INSERT INTO postern.revocations') && refused++ < 2
      ? { sqlstate: '40001', text: 'restart transaction' }
      : undefined
  const { state, asked } = await start(cockroach({ number: 1, values: [] }, { refuse }))
  const what = { kind: 'digest', issuer: '', value: 'c', why: '' } as const
  await state.revoke({ ...what, before: undefined, until: undefined }, 'somebody')
  const words = asked.map((sql) => sql.split(' ')[0] ?? '')
  expect(words.filter((word) => ['INSERT', 'ROLLBACK'].includes(word))).toEqual([
    ...['INSERT', 'ROLLBACK', 'INSERT', 'ROLLBACK', 'INSERT', 'INSERT'],
  ])
})

it.each<[string, Says, string]>([
  ['another owner', { owner: 'root' }, 'owned by root, not by postern_state'],
  ['a member', { members: ['maxroach'] }, 'maxroach is a member of postern_state'],
  [
    'everybody on the database',
    { grants: { 'DATABASE "postern_state"': ['public', 'CONNECT'] } },
    'PUBLIC has CONNECT on DATABASE "postern_state" (run: REVOKE ALL ON DATABASE "postern_state" FROM PUBLIC)',
  ],
  [
    'everybody in the schema public',
    { grants: { 'SCHEMA "postern_state".public': ['public', 'CREATE'] } },
    'PUBLIC has CREATE on SCHEMA "postern_state".public',
  ],
  [
    'somebody on a table',
    { grants: { 'TABLE postern."revocations"': ['maxroach', 'DELETE'] } },
    'maxroach has DELETE on TABLE postern."revocations"',
  ],
])('is not used where it is open: %s', async (_name, says, told) => {
  const failure = asFailure(
    await start(cockroach({ number: 1, values: [] }, says)).catch((thrown) => thrown),
  )
  expect(failure).toMatchObject({
    code: 'state_unusable',
    message: expect.stringContaining(told),
  })
})
