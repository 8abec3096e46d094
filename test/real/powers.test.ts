/** Roles that may do more than a user, with a management role to ask, on the real PostgreSQL. */
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { openTls, refusalOf, signIn } from '../support/wire_client.ts'

const { socketDir, port, host } = inject('postgres')
const node = `${socketDir}/.s.PGSQL.${port}`

const ROLES = [
  'CREATE ROLE powers_management LOGIN IN ROLE postern_users',
  'CREATE ROLE powers_user LOGIN IN ROLE postern_users',
  'CREATE ROLE powers_dba LOGIN SUPERUSER IN ROLE postern_users',
  'CREATE ROLE powers_boss CREATEROLE',
  'CREATE ROLE powers_heir LOGIN NOINHERIT IN ROLE postern_users, powers_boss',
  'CREATE ROLE powers_deputy LOGIN IN ROLE postern_users, powers_management',
  'CREATE ROLE powers_runner LOGIN IN ROLE postern_users, pg_execute_server_program',
  'CREATE ROLE "powers_\' OR true --" LOGIN IN ROLE postern_users',
]

let admin: pg.Client
let gate: TestGate
beforeAll(async () => {
  admin = new pg.Client({ host, port, user: 'postgres', database: 'postgres' })
  await admin.connect()
  for (const sql of ROLES) await admin.query(sql)
  gate = await startGate({ node, cluster: { management: { role: 'powers_management' } } })
})
afterAll(async () => {
  await gate.close()
  const { rows } = await admin.query(
    "SELECT quote_ident(rolname) r FROM pg_roles WHERE rolname ~ '^powers_'",
  )
  for (const { r } of rows) await admin.query(`DROP ROLE ${r}`)
  await admin.end()
})

async function told(to: TestGate, user: string): Promise<Record<string, string> | undefined> {
  const client = await openTls(to.port, to.caPem)
  const said = await signIn(client, { user, database: 'defaultdb' }, await to.token(user))
  client.close()
  return refusalOf(said)
}

describe('with a management role', () => {
  it.each(['powers_user', "powers_' OR true --", 'maxroach'])('%s signs in', async (user) => {
    expect(await told(gate, user)).toBeUndefined()
  })

  it.each([
    ['powers_dba', 'superuser'],
    ['powers_heir', 'createrole'],
    ['powers_runner', 'server'],
    ['powers_deputy', 'management'],
  ])('%s is not to be had for a token: %s', async (user, power) => {
    expect(await told(gate, user)).toMatchObject({
      C: '28000',
      M: 'JWT authentication: invalid identity',
      D: `cannot use JWT auth to login to a reserved user ${user}`,
    })
    expect(await gate.event('login_decision', { User: user })).toMatchObject({
      Result: 'refused',
      Why: expect.stringContaining(`the role has ${power}`),
    })
  })

  it('nor is the management role itself', async () => {
    expect(await told(gate, 'powers_management')).toMatchObject({ C: '28000' })
  })

  it('an exception is one that is named', async () => {
    const cluster = { management: { role: 'powers_management' }, allow_roles: ['powers_dba'] }
    const allowing = await startGate({ node, cluster })
    expect(await told(allowing, 'powers_dba')).toBeUndefined()
    await allowing.close()
  })

  it('asks about the very role, whatever encoding is set for it', async () => {
    await admin.query('CREATE ROLE "powers_andré" LOGIN SUPERUSER IN ROLE postern_users')
    await admin.query("ALTER ROLE powers_management SET client_encoding = 'LATIN1'")
    const fresh = await startGate({ node, cluster: { management: { role: 'powers_management' } } })
    expect(await told(fresh, 'powers_andré')).toMatchObject({ C: '28000' })
    await fresh.close()
    await admin.query('ALTER ROLE powers_management RESET client_encoding')
  })

  it('nobody gets in while it cannot ask', async () => {
    const cluster = { management: { role: 'nobody_at_all' } }
    const blind = await startGate({ node, cluster })
    expect(await told(blind, 'powers_user')).toMatchObject({
      C: '08006',
      M: 'the gate could not sign in to the database',
    })
    expect(blind.log.at(-1)?.['msg']).toContain('the management role')
    await blind.close()
  })

  it('what a role may do is asked again after half a minute', async () => {
    let ahead = 0
    const now = () => Date.now() + ahead
    const cluster = { management: { role: 'powers_management' } }
    const later = await startGate({ node, cluster, now })
    expect(await told(later, 'powers_user')).toBeUndefined()
    await admin.query('ALTER ROLE powers_user CREATEDB')
    expect(await told(later, 'powers_user')).toBeUndefined()
    ahead = 31_000
    expect(await told(later, 'powers_user')).toMatchObject({ C: '28000' })
    await admin.query('ALTER ROLE powers_user NOCREATEDB')
    await later.close()
  })
})
