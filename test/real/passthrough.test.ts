/**
 * psql without a token, through the gate, to a real PostgreSQL 18 that judges its password: over TLS on
 * both sides, where nothing can bind the channel, and by the node's unix socket.
 */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type FreshNode, startFreshNode } from '../support/fresh_node.ts'
import { type GateOptions, startGate, type TestGate } from '../support/gate.ts'
import { describeWith, keepFile, psql, url } from '../support/tools.ts'

const PASSWORD = 'the password of the database'
const HBA = `local all admin trust
local trusting all trust
local all keeper trust
local all all scram-sha-256
hostssl all by_md5 127.0.0.1/32 md5
hostssl all in_clear 127.0.0.1/32 password
hostssl all all 127.0.0.1/32 scram-sha-256`

let node: FreshNode
let encrypted: TestGate
let byTls: string
let bySocket: string
let socket: TestGate
/** Asks the node what a role may do. */
let guarded: TestGate

beforeAll(async () => {
  node = await startFreshNode(18)
  await node.sql(`CREATE DATABASE trusting`)
  for (const role of ['carl', 'in_clear', 'boss'])
    await node.sql(`CREATE ROLE ${role} LOGIN PASSWORD '${PASSWORD}'`)
  await node.sql(
    `CREATE ROLE keeper LOGIN; CREATE ROLE chief LOGIN SUPERUSER PASSWORD '${PASSWORD}'`,
  )
  await node.sql(`CREATE ROLE no_login PASSWORD '${PASSWORD}'`)
  await node.sql(`SET password_encryption = 'md5'; CREATE ROLE by_md5 LOGIN PASSWORD '${PASSWORD}'`)
  node.write('pg_hba.conf', HBA)
  node.write('postgresql.conf', `${node.read('postgresql.conf')}\nssl = on\n`)
  const open = (options: GateOptions) =>
    startGate({
      ...options,
      cluster: {
        sign_in: options.node.startsWith('/') ? 'peer' : 'trust',
        non_jwt_logins: 'passthrough',
        ...options.cluster,
      },
    })
  encrypted = await open({
    node: `127.0.0.1:${node.port}`,
    nodeTls: { ca_file: 'node-ca.crt' },
    files: { '/etc/postern/node-ca.crt': node.nodeCa.certPem },
    cluster: { passthrough_scram: 'no_channel_binding', allow_roles: [] },
  })
  const address = `${node.socketDir}/.s.PGSQL.${node.port}`
  socket = await open({ node: address })
  guarded = await open({ node: address, cluster: { management: { role: 'keeper' } } })
  byTls = await keepFile('ca.crt', encrypted.caPem)
  bySocket = await keepFile('ca.crt', socket.caPem)
}, 60_000)
afterAll(async () => {
  const lines = JSON.stringify([encrypted, socket, guarded].map(({ log, audit }) => [log, audit]))
  await Promise.all([encrypted.close(), socket.close(), guarded.close()])
  await node.close()
  expect(lines).not.toContain(PASSWORD)
})

it('PostgreSQL has read its rules', async () => {
  await node.reload()
  expect(await node.sql('SHOW ssl')).toEqual([{ ssl: 'on' }])
})

interface Try {
  user?: string
  password?: string
  database?: string
  binding?: string
}

const WHO = `SELECT current_user || ' by ' || system_user`

async function ask(gate: TestGate, how: Try): Promise<string> {
  const { user = 'carl', password = PASSWORD, database = 'postgres', binding = 'disable' } = how
  const more = {
    database,
    options: '',
    channel_binding: binding,
    sslrootcert: gate === encrypted ? byTls : bySocket,
  }
  const env = { PGPASSWORD: password }
  const { stdout, stderr } = await psql([url(gate.port, user, more), '-c', WHO], { env })
  return (stdout + stderr).trim()
}

const IN = 'carl by scram-sha-256:carl'
const REQUIRED =
  'channel binding is required, but server did not offer an authentication method that supports channel binding'
const LOST = 'FATAL:  SCRAM channel binding negotiation error'
const NO = (user: string) => `FATAL:  password authentication failed for user ${user}`
const COULD_NOT = 'FATAL:  the gate could not sign in to the database'

describeWith('psql', 'a password of the database', () => {
  it.each<[string, Try, string]>([
    ['channel_binding=disable', {}, IN],
    ['channel_binding=prefer, the default', { binding: 'prefer' }, LOST],
    ['channel_binding=require', { binding: 'require' }, REQUIRED],
    ['another password', { password: 'another' }, NO('carl')],
    ['a role that is not there', { user: 'nobody_there' }, NO('nobody_there')],
    ['a role that may not log in', { user: 'no_login' }, NO('no_login')],
    ['a reserved role', { user: 'postgres' }, NO('postgres')],
    ['in clear to the node', { user: 'in_clear' }, 'in_clear by password:in_clear'],
    ['in clear, wrong', { user: 'in_clear', password: 'x' }, NO('in_clear')],
    ['MD5', { user: 'by_md5' }, COULD_NOT],
    [
      'a database that is not there',
      { database: 'nowhere' },
      'FATAL:  database "nowhere" does not exist',
    ],
  ])('over TLS on both sides: %s', async (_name, how, expected) => {
    expect(await ask(encrypted, how)).toContain(expected)
  })

  it.each<[string, Try, string]>([
    ['channel_binding=disable', {}, IN],
    ['channel_binding=prefer, the default', { binding: 'prefer' }, IN],
    ['channel_binding=require', { binding: 'require' }, REQUIRED],
    ['another password', { password: 'another' }, NO('carl')],
    ['a node that lets the gate in without asking', { database: 'trusting' }, COULD_NOT],
  ])("by the node's unix socket: %s", async (_name, how, expected) => {
    expect(await ask(socket, how)).toContain(expected)
  })

  it.each<[string, Try, string]>([
    ['a user', {}, IN],
    ['a superuser', { user: 'chief' }, NO('chief')],
    ['a superuser, another password', { user: 'chief', password: 'another' }, NO('chief')],
    ['a superuser, no password yet', { user: 'chief', password: '' }, 'no password supplied'],
  ])('where a role’s powers are looked at: %s', async (_name, how, expected) => {
    expect(await ask(guarded, how)).toContain(expected)
  })

  it('what to do about channel binding is said', async () => {
    expect(await ask(encrypted, { binding: 'prefer' })).toMatch(
      /^HINT: {2}connect with channel_binding=disable: a gate stands between your connection and the database$/m,
    )
  })
})
