/**
 * Lessons 5.15 to 5.18: who somebody says he is, what he is told, and what is written of him. The node lets
 * postgres in without a question, so that a name that slips through is a superuser.
 */
import { createServer, connect as dial } from 'node:net'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type FreshNode, startFreshNode } from '../support/fresh_node.ts'
import type { TestGate } from '../support/gate.ts'
import { type Served, startServe } from '../support/serve.ts'
import { sharedPostgres } from '../support/shared_postgres.ts'
import { AUDIENCE, goodClaims, ISSUER, makeKey, mint, type SigningKey } from '../support/tokens.ts'
import { expectNoToken } from '../support/tools.ts'
import { JWT_OPTION, message, openTls, signIn, startup } from '../support/wire_client.ts'
import { attempt, battlefield, heard, IN, realNode, USER } from './attempt.ts'

const MAP = 'server.identity_map.configuration'
const RESERVED = '28000: JWT authentication: invalid identity'
const NOT_HIM = '28000: JWT authentication: invalid principal'
const UNUSABLE = '28000: JWT authentication: invalid claim value'
const field = battlefield()
const { admin } = sharedPostgres()

let gate: TestGate
beforeAll(async () => {
  gate = await field.gate()
})

describe('5.15 reserved users', () => {
  it.each([
    'postgres',
    'Postgres',
    'POSTGRES',
    '\uff50ostgres',
    'root',
    'node',
    'public',
    'none',
    'pg_monitor',
    'PG_read_all_data',
    'pg_execute_server_program',
    'crdb_internal_x',
  ])('an issuer that names %s makes nobody one', async (user) => {
    const asked = { user, database: 'defaultdb' }
    expect(await attempt(gate, await gate.token(user), asked)).toMatch(RESERVED)
  })

  it('nor does a list, a map or a pattern', async () => {
    const lines = [`${ISSUER} boss postgres`, `${ISSUER} /^(.*)@corp$ \\1`]
    const mapped = await field.gate({ cluster: { [MAP]: lines.join('\n') } })
    for (const sub of ['boss', 'postgres@corp', ['maxroach@corp', 'boss']]) {
      const token = await mapped.token('', { sub })
      expect(await attempt(mapped, token, { ...USER, user: 'postgres' })).toMatch(RESERVED)
    }
    expect(await attempt(mapped, await mapped.token('maxroach@corp'))).toBe(IN)
  })

  it('nor, where the gate can ask, is a superuser of another name to be had', async () => {
    await admin.query('CREATE ROLE attacks_keeper LOGIN IN ROLE postern_users')
    await admin.query('CREATE ROLE attacks_chief LOGIN SUPERUSER IN ROLE postern_users')
    const asking = await field.gate({ cluster: { management: { role: 'attacks_keeper' } } })
    try {
      for (const user of ['attacks_chief', 'attacks_keeper'])
        expect(await attempt(asking, await asking.token(user), { ...USER, user })).toMatch(RESERVED)
    } finally {
      await asking.close()
      await admin.query('DROP ROLE attacks_keeper, attacks_chief')
    }
  })
})

describe('5.16 patterns that match more than they mean', () => {
  it('one without its ends is a mistake in the configuration', async () => {
    for (const pattern of ['/ops', '/^ops', '/ops$', '/a|^b$'])
      await expect(field.gate({ cluster: { [MAP]: `${ISSUER} ${pattern} carl` } })).rejects.toThrow(
        'is not anchored',
      )
  })

  it.each<[string, string, string]>([
    ['more in front', 'evil-ops@corp.test', NOT_HIM],
    ['more behind', 'ops@corp.test.evil', NOT_HIM],
    ['a line of its own', 'evil\nops@corp.test', UNUSABLE],
    ['a line behind', 'ops@corp.test\n', UNUSABLE],
    ['a dot that is any letter', 'ops@corpxtest', NOT_HIM],
    ['another case', 'OPS@corp.test', NOT_HIM],
    ['a NUL', 'ops\0@corp.test', UNUSABLE],
    ['the name itself', 'ops@corp.test', IN],
  ])('%s is not the name', async (_how, sub, told) => {
    const mapped = await field.gate({
      cluster: { [MAP]: `${ISSUER} /^ops@corp\\.test$ maxroach` },
    })
    expect(await attempt(mapped, await mapped.token(sub))).toMatch(told)
  })

  it('one that others take ages over delays nobody', async () => {
    const slow = ['/^(a+)+$', '/^(a|aa)+$', '/^(.*a){20}$', '/^(a|a?)+$']
    const lines = slow.map((pattern) => `${ISSUER} ${pattern} carl`)
    const mapped = await field.gate({
      cluster: { [MAP]: [...lines, `${ISSUER} maxroach maxroach`].join('\n') },
    })
    const all = await Promise.all([
      attempt(mapped, await mapped.token(`${'a'.repeat(1000)}!`)),
      attempt(mapped, await mapped.token('maxroach')),
    ])
    expect(all).toEqual([expect.stringMatching(NOT_HIM), IN])
  })
})

describe('5.17 what a refusal gives away', () => {
  /** Between the gate and the node, to count what an attempt makes the gate do there. */
  async function counted(port: number) {
    let connections = 0
    const relay = createServer((socket) => {
      connections++
      const on = dial(port, '127.0.0.1')
      socket.on('error', () => on.destroy()).pipe(on)
      on.on('error', () => socket.destroy()).pipe(socket)
    })
    await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
    const address = relay.address()
    field.keep({ close: () => new Promise<void>((done) => void relay.close(() => done())) })
    return {
      node: `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`,
      since: () => {
        const before = connections
        connections = 0
        return before
      },
    }
  }

  /** All that a client is told, but for its user's name and its request's id. */
  async function words(
    to: TestGate,
    user: string,
    give: string,
    parameters: Record<string, string> = {},
  ) {
    const client = await openTls(to.port, to.caPem)
    const said = await signIn(client, { user, ...parameters }, give)
    client.close()
    return JSON.stringify(said.map(({ type, body }) => type + body.toString('latin1')))
      .replaceAll(user, 'SOMEBODY')
      .replace(/request id: [0-9a-f]{16}/, 'request id: …')
  }

  it('a role that is missing, one without LOGIN and one that is not let in are one to its token’s holder', async () => {
    const { node, since } = await counted(inject('postgres').port)
    const before = await field.gate({ node })
    expect(
      await attempt(before, await before.token('maxroach'), { ...USER, database: 'trustdb' }),
    ).toBe(IN)
    since()
    const told = new Set<string>()
    for (const user of ['nobody_here', 'nologin_user', 'app_reader']) {
      told.add(await words(before, user, await before.token(user), { database: 'trustdb' }))
      expect(since()).toBe(1)
    }
    expect([...told]).toEqual([expect.stringContaining('password authentication failed for user')])
  })

  it('who has no good token learns of nobody whether he is there, and reaches no node', async () => {
    const { node, since } = await counted(inject('postgres').port)
    const before = await field.gate({ node })
    const stranger = await makeKey(before.key.jwk.kid)
    const bad: ((sub: string) => Promise<string>)[] = [
      (sub) => mint(stranger, { claims: goodClaims(sub) }),
      (sub) => before.token(sub, { aud: 'somebody else' }),
      (sub) => before.token(sub, { exp: 1 }),
      (sub) => before.token(sub, { iss: 'https://evil.test' }),
      () => before.token('carl'),
      async () => '',
      async () => 'a guess',
    ]
    for (const token of bad) {
      const told = new Set<string>()
      for (const user of ['maxroach', 'nobody_here', 'nologin_user', 'app_reader'])
        told.add(await words(before, user, await token(user), { database: 'trustdb' }))
      expect([...told]).toHaveLength(1)
    }
    expect(since()).toBe(0)
  })

  it('nor does anybody learn what would be accepted', async () => {
    const other: SigningKey = await makeKey('other')
    const claims = { aud: 'mine', iss: 'https://mine.test', sub: 'me', exp: 4_000_000_000 }
    const tokens = [
      await mint(other, { claims }),
      await mint(other, { claims: { ...claims, iss: ISSUER } }),
      await gate.token('me', { aud: 'mine' }),
      await gate.token('me', { aud: 'mine', exp: undefined }),
      await gate.token('you'),
    ]
    for (const token of tokens) {
      const told = await words(gate, 'me', token)
      expect(told).toContain('JWT authentication: ')
      for (const secret of [AUDIENCE, 'test-key', realNode(), 'carl'])
        expect(told).not.toContain(secret)
    }
  })

  describe('by passwords of the database', () => {
    let fresh: FreshNode
    let passing: TestGate
    beforeAll(async () => {
      fresh = await startFreshNode(18, [
        'local all admin trust',
        'local all keeper trust',
        'local all rejected reject',
        'local all all scram-sha-256',
      ])
      for (const role of ['here', 'rejected'])
        await fresh.sql(`CREATE ROLE ${role} LOGIN PASSWORD 'right'`)
      await fresh.sql(`CREATE ROLE no_login PASSWORD 'right'; CREATE ROLE empty LOGIN`)
      await fresh.sql(
        `CREATE ROLE chief LOGIN SUPERUSER PASSWORD 'right'; CREATE ROLE keeper LOGIN`,
      )
      await fresh.sql(`CREATE ROLE late LOGIN PASSWORD 'right' VALID UNTIL '2001-01-01'`)
      passing = await field.gate({
        node: `${fresh.socketDir}/.s.PGSQL.${fresh.port}`,
        cluster: {
          non_jwt_logins: 'passthrough',
          passthrough_scram: 'no_channel_binding',
          management: { role: 'keeper' },
        },
      })
    })
    afterAll(() => fresh.close())

    it('nobody who is not let in hears more than that', async () => {
      const tell = async (user: string, secret: string) => {
        const client = new pg.Client({
          host: '127.0.0.1',
          port: passing.port,
          user,
          password: secret,
          database: 'postgres',
          ssl: { ca: passing.caPem },
        })
        const told = await client.connect().then(
          () => ({ in: user }),
          ({ code, message: text, severity, detail, hint }: Record<string, string>) => ({
            code,
            severity,
            detail,
            text: text?.replaceAll(user, 'SOMEBODY'),
            hint: hint?.replace(/[0-9a-f]{16}/, ''),
          }),
        )
        await client.end()
        return told
      }
      expect(await tell('here', 'right')).toEqual({ in: 'here' })
      const wrong = await tell('here', 'wrong')
      expect(wrong).toMatchObject({
        code: '28P01',
        text: 'password authentication failed for user SOMEBODY',
      })
      const others = [
        'nobody_here',
        'no_login',
        'empty',
        'rejected',
        'late',
        'chief',
        'postgres',
        'pg_monitor',
      ]
      const told = ['right', 'wrong'].flatMap((secret) =>
        others.map(async (user) => [user, secret, await tell(user, secret)]),
      )
      for (const [user, secret, words] of await Promise.all(told))
        expect([user, secret, words]).toEqual([user, secret, wrong])
    })
  })
})

describe('5.18 tokens, and other people’s lines, in the log', () => {
  let served: Served
  let gates: Promise<TestGate> | undefined
  beforeAll(async () => {
    served = await startServe({ node: realNode() })
  })
  /** One with two clusters. */
  const several = () => {
    gates ??= field.gate({ clusters: { other: {} } })
    return gates
  }

  it.each<[string, (token: string) => Record<string, string>]>([
    ['the user', (token) => ({ user: token })],
    ['the database', (token) => ({ database: token })],
    ['the application', (token) => ({ application_name: token })],
    ['options', (token) => ({ options: token })],
    ['an option', (token) => ({ options: `${JWT_OPTION.options} -c search_path=${token}` })],
    ['the switch', (token) => ({ options: `--crdb:jwt_auth_enabled=${token}` })],
    ['the cluster', (token) => ({ options: `${JWT_OPTION.options} --cluster=${token}` })],
    ['a database behind a cluster', (token) => ({ database: `test.${token}` })],
    ['a cluster before a database', (token) => ({ database: `${token}.defaultdb` })],
  ])('a token that came as %s is written down nowhere', async (_where, place) => {
    const claims = { ...goodClaims('maxroach'), groups: Array(40).fill('group') }
    const misplaced = await mint(await makeKey('misplaced'), { claims })
    for (const to of [served, await several()]) {
      await attempt(to, await to.token('maxroach'), { ...USER, ...place(misplaced) })
      await attempt(to, misplaced, { ...USER, ...place(misplaced) })
    }
    const { log, audit } = await several()
    const files = [served.said(), await served.auditText(), JSON.stringify([log, audit])]
    expectNoToken([misplaced, ...served.minted], ...files)
  })

  it('nor one that is no answer to anything, nor half of one', async () => {
    const token = await served.token('maxroach')
    for (const first of [
      message('p', `${token}\0`),
      message('Q', `${token}\0`),
      Buffer.from(token),
    ]) {
      const client = await openTls(served.port, served.caPem)
      await heard(client, first)
    }
    for (const given of [
      message('Q', `${token}\0`),
      message('p', token),
      message('p', `${token}\0${token}\0`),
    ]) {
      const client = await openTls(served.port, served.caPem)
      client.write(startup({ ...JWT_OPTION, ...USER }))
      await client.until('R')
      await heard(client, given)
    }
    expect(await attempt(served, `${token}.${token}`)).toMatch('28000: ')
    const metrics = await (await fetch(`http://127.0.0.1:${served.opsPort}/metrics`)).text()
    expectNoToken([token], served.said(), await served.auditText(), metrics)
    expect(metrics).not.toMatch(/maxroach|defaultdb|issuer\.test/)
  })

  it.each(['user', 'database', 'application_name'])(
    'a line is one line, whatever is in %s',
    async (name) => {
      const forged = '{"EventType":"client_authentication_ok","User":"forged","SessionID":"0"}'
      const evil = [
        `x\n${forged}`,
        `x\r\n${forged}\r\n`,
        `x"}\n${forged}`,
        'x\\',
        'x\u001b[2J\u001b]0;owned\u0007',
        `x","User":"forged`,
        '%s%n$(id){{7*7}}',
      ]
      for (const text of evil) await attempt(served, 'no token', { ...USER, [name]: text })
      for (const all of [served.said(), await served.auditText()]) {
        const lines = all.split('\n').filter((line) => line !== '')
        for (const line of lines) {
          const { EventType, User, SessionID } = JSON.parse(line)
          expect([EventType, User, SessionID].slice(1)).not.toEqual(['forged', '0'])
          expect(User).not.toBe('forged')
        }
      }
      const told = await served.auditText()
      expect(told.split('\n').filter((line) => line.includes('forged')).length).toBeGreaterThan(1)
    },
  )

  it('nor do a token’s claims write one', async () => {
    const text = 'x\n{"EventType":"client_authentication_ok","User":"forged"}\u001b[2J'
    const claims = { iss: text, aud: text, sub: text, jti: text, groups: [text] }
    const stranger = await makeKey(text)
    await attempt(served, await mint(stranger, { claims }))
    const raw: string[] = []
    const here = await field.gate({ auditTo: { write: (line) => void raw.push(line) } })
    for (const claim of ['aud', 'jti', 'sub'])
      await attempt(here, await here.token('maxroach', { [claim]: text }))
    expect(raw.length).toBeGreaterThan(3)
    const written = [served.said(), await served.auditText(), ...raw].join('')
    for (const line of written.split('\n')) expect(line).not.toMatch(/\p{Cc}/u)
  })

  afterAll(async () => {
    expect(await attempt(served, await served.token('maxroach'))).toBe(IN)
    served.child.kill('SIGTERM')
    expect((await served.ended).code).toBe(0)
  })
})
