/**
 * Groups become memberships and unknown users are made, through a whole gate: the documented rows
 * (reference 7.4), what is written down before it is done, and what never comes to it. PostgreSQL is
 * real, its management role has exactly the rights that `postern cluster setup` prints, and the issuer
 * answers over HTTPS.
 */
import { Readable } from 'node:stream'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { type IssuerServer, openIssuerServer } from '../support/issuer_server.ts'
import { MANAGEMENT, type ManagedNode, startManagedNode } from '../support/managed_node.ts'
import { openTls, refusalOf, signIn } from '../support/wire_client.ts'
import { runIn } from '../support/world.ts'

const JWT = 'server.jwt_authentication'
const ROLES = ['owner', 'user', 'dba']

let node: ManagedNode
let issuer: IssuerServer
let gate: TestGate
let nowMs = Date.now()

beforeAll(async () => {
  node = await startManagedNode(18, { roles: [...ROLES, '/^team_.*$'], provisioning: true })
  await node.sql('ALTER ROLE dba SUPERUSER')
  await node.sql('CREATE ROLE handmade')
  issuer = await openIssuerServer()
  gate = await open({})
})
afterAll(async () => {
  await gate.close()
  await issuer.close()
  await node.close()
})
beforeEach(() => {
  issuer.requests.length = 0
  issuer.userinfo.status = 200
  issuer.userinfo.body = {}
  issuer.discovery.body['userinfo_endpoint'] = `${issuer.issuer}/userinfo`
  // What is remembered for half a minute, or a whole one, is over.
  nowMs += 120_000
})

function open(cluster: Record<string, unknown>): Promise<TestGate> {
  return startGate({
    node: 'path' in node.node.address ? node.node.address.path : '',
    now: () => nowMs,
    cluster: {
      management: { role: MANAGEMENT },
      'security.provisioning.jwt.enabled': true,
      [`${JWT}.issuers.configuration`]: issuer.issuer,
      [`${JWT}.issuers.custom_ca`]: issuer.caPem,
      [`${JWT}.authorization.enabled`]: true,
      [`${JWT}.authorization.roles`]: [...ROLES, '/^team_.*$'],
      [`${JWT}.group_claim`]: 'roles',
      [`${JWT}.userinfo_group_key`]: 'roles',
      ...cluster,
    },
  })
}

/** What the client is told, or `in`; then whose member the user is because of the gate. */
async function login(user: string, claims: Record<string, unknown>, at = gate) {
  const client = await openTls(at.port, at.caPem)
  const token = await at.token(user, { iss: issuer.issuer, ...claims })
  const said = await signIn(client, { user, database: 'postgres' }, token)
  client.close()
  const refusal = refusalOf(said)
  const { own } = await node.memberships(user)
  const told = refusal === undefined ? 'in' : `${refusal['C']} ${refusal['M']}`
  return [told, own.filter((role) => role !== 'postern_users').join(' ')]
}

describe('the documented rows', () => {
  it('78: no groups in the token, and nobody to ask', async () => {
    issuer.userinfo.status = 500
    expect(await login('row78', {})).toEqual([
      '28000 JWT authorization: userinfo lookup failed',
      '',
    ])
    const said = await gate.event('client_authentication_failed', { User: 'row78' })
    expect(said['Reason']).toBe('AUTHORIZATION_ERROR')
    expect(said['Detail']).toMatch(/userinfo returned 500/)
  })

  it('79, 80, 81, 82: the memberships are those of the last token', async () => {
    expect(await login('alice', { roles: ['owner', 'user'] })).toEqual(['in', 'owner user'])
    expect(await login('alice', { roles: 'user' })).toEqual(['in', 'user'])
    expect(await login('alice', { roles: 'user , owner' })).toEqual(['in', 'owner user'])
    expect(await login('alice', { roles: [] })).toEqual([
      '28000 JWT authorization: empty group list',
      '',
    ])
    expect(issuer.hits.userinfo).toBe(0)
  })

  it('85: an issuer without a userinfo endpoint', async () => {
    delete issuer.discovery.body['userinfo_endpoint']
    nowMs += 600_000
    expect(await login('row85', {})).toEqual(['28000 JWT authorization: No userinfo endpoint', ''])
  })

  it('86: userinfo without the key is a user without groups', async () => {
    issuer.userinfo.body = { sub: 'row86', groups: ['owner'] }
    expect(await login('row86', {})).toEqual(['28000 JWT authorization: empty group list', ''])
  })
})

describe('userinfo', () => {
  it('names the groups, and is shown the token for it', async () => {
    issuer.userinfo.body = { sub: 'uma', roles: ['owner'] }
    expect(await login('uma', {})).toEqual(['in', 'owner'])
    const asked = issuer.requests.find(({ path }) => path.endsWith('/userinfo'))
    expect(asked?.headers.authorization).toBe(`Bearer ${gate.minted.at(-1)}`)
    expect(await gate.event('login_decision', { User: 'uma' })).toMatchObject({
      Token: { groupsFrom: 'userinfo', groups: ['owner'], roles: ['owner'] },
    })
  })

  it('is not asked again at once, and is asked again although the token lives on', async () => {
    issuer.userinfo.body = { sub: 'ursula', roles: ['owner'] }
    const claims = { jti: 'one' }
    const token = await gate.token('ursula', { iss: issuer.issuer, ...claims })
    const again = async () => {
      const client = await openTls(gate.port, gate.caPem)
      const said = await signIn(client, { user: 'ursula', database: 'postgres' }, token)
      client.close()
      return refusalOf(said)
    }
    expect([await again(), await again()]).toEqual([undefined, undefined])
    expect(issuer.hits.userinfo).toBe(1)
    issuer.userinfo.body = { sub: 'ursula', roles: ['user'] }
    nowMs += 61_000
    expect(await again()).toBeUndefined()
    expect((await node.memberships('ursula')).own).toEqual(['postern_users', 'user'])
  })

  it('is asked once for those who show the same token at once, and again after a failure', async () => {
    issuer.userinfo.body = { sub: 'una', roles: ['owner'] }
    const token = await gate.token('una', { iss: issuer.issuer })
    const again = async () => {
      const client = await openTls(gate.port, gate.caPem)
      const said = await signIn(client, { user: 'una', database: 'postgres' }, token)
      client.close()
      return refusalOf(said)?.['M']
    }
    issuer.userinfo.status = 500
    expect(await again()).toBe('JWT authorization: userinfo lookup failed')
    issuer.userinfo.status = 200
    issuer.userinfo.delayMs = 100
    const before = issuer.hits.userinfo
    expect(await Promise.all([again(), again(), again()])).toEqual([
      undefined,
      undefined,
      undefined,
    ])
    delete issuer.userinfo.delayMs
    expect(issuer.hits.userinfo - before).toBe(1)
  })

  it('of somebody else is no answer', async () => {
    issuer.userinfo.body = { sub: 'mallory', roles: ['owner'] }
    expect(await login('ulf', {})).toEqual(['28000 JWT authorization: userinfo lookup failed', ''])
  })

  it.each([
    ['another user', { aud: 'postern-test' }, 'somebody'],
    ['another audience', { aud: 'elsewhere' }, 'vic'],
    ['an expired token', { exp: 1_700_000_100 }, 'vic'],
  ])('is never asked for %s, and no user is made', async (_what, claims, user) => {
    const client = await openTls(gate.port, gate.caPem)
    const token = await gate.token('vic', { iss: issuer.issuer, ...claims })
    const said = await signIn(client, { user, database: 'postgres' }, token)
    client.close()
    expect(refusalOf(said)).toMatchObject({ C: '28000' })
    expect(issuer.requests).toEqual([])
    expect(await node.sql(`SELECT 1 FROM pg_roles WHERE rolname = '${user}'`)).toEqual([])
  })
})

describe('memberships', () => {
  it('are of roles that are there, may be granted, and are no more than a user; the record says why', async () => {
    await node.sql('CREATE ROLE team_a; GRANT team_a TO postern_management WITH ADMIN TRUE')
    await node.sql('CREATE ROLE team_x; CREATE ROLE team_lead LOGIN')
    await node.sql('GRANT team_lead TO postern_management WITH ADMIN TRUE')
    const many = ['team_a', 'team_b', 'team_x', 'team_lead', 'dba', 'postgres', 'handmade']
    const roles = [...many, 'postern_users', 'pg_monitor']
    expect(await login('bob', { roles })).toEqual(['in', 'team_a'])
    const record = await gate.event('login_decision', { User: 'bob' })
    expect(record['Token']).toMatchObject({
      roles: ['team_a'],
      roleCount: 1,
      left: [
        'team_b: is not there',
        'team_x: may not be granted by the management role',
        'team_lead: may log in, so it is a user',
        'dba: has superuser',
      ],
    })
    const audit = gate.audit.map((line) => JSON.stringify(line)).join('\n')
    const args = ['explain', '--request-id', String(record['SessionID']), '--audit', '-']
    const { stdout } = await runIn('.', args, { stdin: () => Readable.from([Buffer.from(audit)]) })
    expect(stdout).toContain('of the token, roles: team_a\n')
    expect(stdout).toContain('✓ team_a\n')
    expect(stdout).toContain('· team_x: may not be granted by the management role\n')
  })

  it('are taken back from whoever is too powerful by one, or was dropped by the issuer', async () => {
    await node.sql('CREATE ROLE team_ops; GRANT team_ops TO postern_management WITH ADMIN TRUE')
    expect(await login('ben', { roles: ['team_ops', 'user'] })).toEqual(['in', 'team_ops user'])
    await node.sql('ALTER ROLE team_ops CREATEDB')
    nowMs += 31_000
    expect(await login('ben', { roles: ['team_ops', 'user'] })).toEqual(['in', 'user'])
    await node.sql('ALTER ROLE team_ops NOCREATEDB')
    expect(await login('ben', { roles: ['team_ops'] })).toEqual(['in', 'team_ops'])
    await node.sql('ALTER ROLE team_ops CREATEDB')
    expect(await login('ben', { roles: ['user'] })).toEqual(['in', 'user'])
  })

  it('in a role that is allowed by name lock nobody out', async () => {
    await node.sql('ALTER ROLE dba NOSUPERUSER CREATEROLE')
    const allowing = await open({ allow_roles: ['dba'] })
    expect(await login('amy', { roles: ['dba'] }, allowing)).toEqual(['in', 'dba'])
    nowMs += 31_000
    expect(await login('amy', { roles: ['dba'] }, allowing)).toEqual(['in', 'dba'])
    expect(await login('amy', { roles: ['user'] }, allowing)).toEqual(['in', 'user'])
    await allowing.close()
    await node.sql('ALTER ROLE dba SUPERUSER NOCREATEROLE')
  })

  it('are taken back from whoever is refused, and none are made', async () => {
    await login('mia', { roles: ['owner'] })
    await node.sql('ALTER ROLE mia CREATEDB')
    nowMs += 31_000
    expect(await login('mia', { roles: ['user'] })).toEqual([
      '28000 JWT authentication: invalid identity',
      '',
    ])
  })

  it('that somebody made by hand stay', async () => {
    await login('carol', { roles: ['owner', 'user'] })
    await node.sql('GRANT handmade TO carol')
    expect(await login('carol', { roles: ['user'] })).toEqual(['in', 'user'])
    expect((await node.memberships('carol')).others).toEqual(['handmade'])
  })

  it('are written down before they are made', async () => {
    await login('dora', { roles: ['owner'] })
    await login('dora', { roles: ['user'] })
    const lines = gate.audit.filter((line) => line['User'] === 'dora')
    const told = lines.map((line) => [line['EventType'], line['GranteeRoles'] ?? line['RoleName']])
    expect(told.filter(([type]) => /role$/.test(String(type)))).toEqual([
      ['create_role', 'dora'],
      ['grant_role', ['owner']],
      ['revoke_role', ['owner']],
      ['grant_role', ['user']],
    ])
    expect(lines.at(0)).toMatchObject({ Source: `jwt_token:${issuer.issuer}`, Cluster: 'test' })
  })

  it('of a user without groups are none, and the user is let in where a setting says so', async () => {
    const kind = await open({ [`${JWT}.authorization.empty_groups`]: 'allow' })
    await login('erin', { roles: ['owner'] }, kind)
    nowMs += 120_000
    expect(await login('erin', { roles: [] }, kind)).toEqual(['in', ''])
    await kind.close()
  })

  it('are counted', async () => {
    await login('frank', { roles: ['owner'] })
    const text = await (await fetch(`${gate.opsUrl}/metrics`)).text()
    expect(text).toMatch(/postern_memberships_changed_total\{change="granted"\} [1-9]/)
    expect(text).toMatch(/postern_roles_created_total [1-9]/)
  })
})

describe('users', () => {
  it.each([
    ['without groups', { roles: [] }, 'JWT authorization: empty group list'],
    ['whose issuer does not answer', {}, 'JWT authorization: userinfo lookup failed'],
  ])('%s are not made', async (_what, claims, refusal) => {
    issuer.userinfo.status = 500
    expect(await login('stranger', claims)).toEqual([`28000 ${refusal}`, ''])
    expect(await node.sql("SELECT 1 FROM pg_roles WHERE rolname = 'stranger'")).toEqual([])
  })

  it('are made with their source, and may do no more than anybody', async () => {
    expect(await login('grace', { roles: ['user'] })).toEqual(['in', 'user'])
    const [row] = await node.sql(
      `SELECT rolcanlogin, rolsuper, rolcreaterole, shobj_description(oid, 'pg_authid') AS said
       FROM pg_roles WHERE rolname = 'grace'`,
    )
    expect(row).toEqual({
      rolcanlogin: true,
      rolsuper: false,
      rolcreaterole: false,
      said: `PROVISIONSRC=jwt_token:${issuer.issuer}`,
    })
  })

  it('are not made where the setting is off', async () => {
    const strict = await open({ 'security.provisioning.jwt.enabled': false })
    const [told] = await login('heidi', { roles: ['user'] }, strict)
    expect(told).toBe('28P01 password authentication failed for user heidi')
    await strict.close()
  })

  it('many at once are all made', async () => {
    const users = Array.from({ length: 8 }, (_, at) => `many_${at}`)
    const told = await Promise.all(
      [...users, ...users].map((user) => login(user, { roles: 'user' })),
    )
    expect(told.filter(([said]) => said !== 'in')).toEqual([])
  })
})
