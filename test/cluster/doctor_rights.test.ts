/**
 * The doctor and the management role's rights, before real servers: each right that the settings ask for
 * is taken away, the doctor says which, and what it hints is done to the letter and mends it.
 */
import { writeFileSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hasDebianPostgres } from '../support/debian_postgres.ts'
import {
  blocksOf,
  type FreshNode,
  follow,
  postern,
  startFreshNode,
  type Version,
} from '../support/fresh_node.ts'
import { type Conversation, error, letIn, startScriptedNode } from '../support/scripted_node.ts'
import { scriptedSql } from '../support/scripted_sql.ts'

const JWT = 'server.jwt_authentication'
const ADMIN = {
  18: 'WITH ADMIN TRUE, INHERIT FALSE, SET FALSE',
  15: 'WITH ADMIN OPTION',
}
const versions: Version[] = hasDebianPostgres || process.env['CI'] !== undefined ? [18, 15] : [18]

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-rights-'))
  await chmod(dir, 0o700)
})
afterAll(() => rm(dir, { recursive: true, force: true }))

function configure(kind: string, address: string): void {
  const cluster = {
    kind,
    nodes: [{ address }],
    sign_in: 'trust',
    management: { role: 'manager' },
    [`${JWT}.authorization.enabled`]: true,
    [`${JWT}.authorization.roles`]: ['team-a', 'team-b', '/^crew_[0-9a-z]+$'],
    'security.provisioning.jwt.enabled': true,
  }
  const listeners = [{ address: '127.0.0.1:0', allow_plaintext: true }]
  const file = join(dir, 'postern.yaml')
  writeFileSync(file, JSON.stringify({ listeners, clusters: { main: cluster } }))
}

const run = (command: string, ...args: string[]) =>
  postern(['cluster', command, '--config', join(dir, 'postern.yaml'), ...args], dir)

/** What is said of the rights; and all that isn't well, with its hints. */
async function doctor(...args: string[]) {
  const { code, stdout } = await run('doctor', ...args)
  const lines = stdout.split('\n').slice(0, -1)
  return {
    code,
    rights: lines.filter((line) => /^. (?:users|groups) /.test(line)),
    ill: lines.filter((line, at) => /^[✗!]/.test(line) || /^[✗!]/.test(lines[at - 1] ?? '')),
  }
}

interface Trial {
  what: string
  /** This version alone. */
  only?: Version
  spoil: string
  /** The marks, names and words of the lines that are no `✓`, and of their hints. */
  finds: (version: Version) => string[]
  /** What is hinted is no statement. */
  mend?: string
}

const grant = (role: string, version: Version) =>
  `  hint: GRANT "${role}" TO "manager" ${ADMIN[version]}`
const TRIALS: Trial[] = [
  {
    what: 'no CREATEROLE',
    spoil: 'ALTER ROLE manager NOCREATEROLE',
    finds: () => [
      '✗ users         manager may not make users',
      '  hint: ALTER ROLE "manager" CREATEROLE',
    ],
  },
  {
    what: 'no right to make members of the group',
    only: 18,
    spoil: 'REVOKE postern_users FROM manager',
    finds: (version) => [
      '✗ users         manager may not make users members of postern_users',
      grant('postern_users', version),
    ],
  },
  {
    what: 'neither',
    spoil: 'ALTER ROLE manager NOCREATEROLE; REVOKE postern_users FROM manager',
    finds: (version) => [
      '✗ users         manager may not make users, nor make users members of postern_users',
      `  hint: ALTER ROLE "manager" CREATEROLE; GRANT "postern_users" TO "manager" ${ADMIN[version]}`,
    ],
  },
  {
    what: 'a role that it may not grant',
    spoil: 'REVOKE "team-a" FROM manager',
    finds: (version) => [
      '✗ groups        team-a may not be granted by the management role',
      grant('team-a', version),
    ],
  },
  {
    what: 'a role that it holds, but may not grant',
    spoil: 'REVOKE ADMIN OPTION FOR "team-a" FROM manager',
    finds: (version) => [
      '✗ groups        team-a may not be granted by the management role',
      grant('team-a', version),
    ],
  },
  {
    what: 'a role that is not there',
    spoil: 'DROP ROLE "team-a"',
    finds: (version) => [
      '✗ groups        team-a is not there',
      `  hint: CREATE ROLE "team-a" NOLOGIN; ${grant('team-a', version).slice('  hint: '.length)}`,
    ],
  },
  {
    what: 'a role that somebody is',
    spoil: 'ALTER ROLE "team-a" LOGIN',
    finds: () => [
      '✗ groups        team-a may log in, so it is a user',
      "  hint: a group becomes a role with NOLOGIN and a user's rights: mend it, or name it in allow_roles",
    ],
    mend: 'ALTER ROLE "team-a" NOLOGIN',
  },
  {
    what: 'a role that is more than a user, by another one',
    spoil: 'CREATE ROLE boss CREATEDB; GRANT boss TO "team-a"',
    finds: () => [
      '✗ groups        team-a has createdb',
      "  hint: a group becomes a role with NOLOGIN and a user's rights: mend it, or name it in allow_roles",
    ],
    mend: 'REVOKE boss FROM "team-a"',
  },
  {
    what: 'a role that a pattern fits and that it may not grant',
    spoil: 'CREATE ROLE crew_2; CREATE ROLE crew_boss CREATEROLE; CREATE ROLE crew_one LOGIN',
    finds: (version) => [
      '! groups        crew_2 may not be granted by the management role',
      grant('crew_2', version),
    ],
  },
]

describe.each(versions)('PostgreSQL %i', (version) => {
  let node: FreshNode
  beforeAll(async () => {
    node = await startFreshNode(version)
  })
  afterAll(() => node.close())

  /** As setup has it, with the roles that it wants to be there. */
  async function setUp(): Promise<void> {
    await node.reset()
    configure('postgresql', `127.0.0.1:${node.port}`)
    for (const role of ['"team-a"', '"team-b"', 'crew_1']) await node.sql(`CREATE ROLE ${role}`)
    const printed = blocksOf((await run('setup')).stdout)
    const old = (text: string) =>
      text.replaceAll(/(?<=^GRANT .*)WITH ADMIN TRUE.*;/gm, `${ADMIN[15]};`)
    const blocks = printed.map(({ place, text }) => ({
      place,
      text: version === 15 ? old(text) : text,
    }))
    await follow(blocks, node, dir)
    await node.sql(`GRANT crew_1 TO manager ${ADMIN[version]}`)
    await node.sql('CREATE ROLE maxroach LOGIN IN ROLE postern_users')
  }

  it('is content with what setup has', async () => {
    await setUp()
    expect(await doctor()).toEqual({
      code: 0,
      rights: [
        '✓ users         manager may make them at their first sign-in',
        '✓ groups        manager may grant 3 of the roles that they become',
      ],
      ill: [],
    })
  })

  const trials = TRIALS.filter(({ only }) => only === undefined || only === version)
  it.each(trials)('finds $what, and says what mends it', async ({ spoil, finds, mend }) => {
    await setUp()
    await node.sql(spoil)
    const found = await doctor()
    expect(found.ill).toEqual(finds(version))
    expect(found.code).toBe(found.ill[0]?.startsWith('✗') ? 1 : 0)
    await node.sql(mend ?? found.ill[1]?.replace('  hint: ', '') ?? '')
    expect(await doctor()).toMatchObject({ code: 0, ill: [] })
  })

  it('tells the first ten, and how many there are', async () => {
    await setUp()
    for (let at = 10; at < 22; at++) await node.sql(`CREATE ROLE crew_${at}`)
    const { rights } = await doctor()
    expect(rights).toHaveLength(12)
    expect(rights.at(-1)).toBe('– groups        and 2 more')
  })
})

describe('CockroachDB', () => {
  it.each([
    ['t', ['✓ users         manager may make them at their first sign-in']],
    [
      'f',
      [
        '✗ users         manager may not make users',
        '  hint: ALTER ROLE "manager" WITH CREATEROLE CREATELOGIN',
      ],
    ],
  ])('with CREATEROLE: %s', async (makes, says) => {
    const team = { login: 'f', circle: 'f', grantable: 't' }
    const { script, asked } = scriptedSql((sql) => {
      if (sql.includes('rolcreaterole OR')) return [{ makes }]
      if (sql.includes("IN ('team-a', 'team-b')"))
        return ['team-a', 'team-b'].map((name) => ({ name, ...team }))
      return [{ name: 'maxroach' }]
    })
    const noRoot = (conversation: Conversation) =>
      conversation.parameters['user'] === 'root'
        ? conversation.send(error('28000', 'authentication rejected by configuration'))
        : letIn(conversation)
    const node = await startScriptedNode({ ...script, greet: noRoot })
    try {
      configure('cockroachdb', node.address)
      const { code, rights, ill } = await doctor('--role', 'maxroach')
      const groups = '✓ groups        manager may grant 2 of the roles that they become'
      expect({ code, rights }).toEqual({
        code: makes === 't' ? 0 : 1,
        rights: [says[0], groups],
      })
      expect(ill).toEqual(makes === 't' ? [] : says)
      expect(asked.join()).not.toContain('server_version_num')
    } finally {
      await node.close()
    }
  })
})
