/**
 * The doctor before real servers: what `postern cluster setup` prints is followed to the letter on a
 * fresh one, and the doctor is content; then each step is left out, or something put in the way, and
 * the doctor names it. What is asserted is what its user reads.
 */
import { writeFileSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hasDebianPostgres } from '../support/debian_postgres.ts'
import {
  blocksOf,
  type File,
  type FreshNode,
  follow,
  type Printed,
  postern,
  startFreshNode,
  type Version,
} from '../support/fresh_node.ts'

type SignIn = 'certificate' | 'peer' | 'trust'

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-doctor-'))
  await chmod(dir, 0o700)
  const made = await postern(['ca', 'init', '--dir', 'ca'], dir)
  const other = await postern(['ca', 'init', '--dir', 'other'], dir)
  expect([made.code, other.code]).toEqual([0, 0])
})
afterAll(() => rm(dir, { recursive: true, force: true }))

interface How {
  signIn?: SignIn
  /** Without it the doctor has the node's words alone. */
  management?: boolean
  /** Keys of nodes[0].tls, and its address. */
  tls?: Record<string, unknown>
  address?: string
  /** Over the cluster's keys. */
  cluster?: Record<string, unknown>
}

function configure(node: FreshNode, how: How): void {
  const { signIn = 'certificate', management = true, tls } = how
  const unix = signIn === 'peer'
  const address = unix ? `${node.socketDir}/.s.PGSQL.${node.port}` : `127.0.0.1:${node.port}`
  writeFileSync(join(dir, 'node-ca.crt'), node.nodeCa.certPem)
  const cluster = {
    kind: 'postgresql',
    nodes: [
      {
        address: how.address ?? address,
        ...(signIn === 'certificate' && { tls: { ca_file: 'node-ca.crt', ...tls } }),
      },
    ],
    sign_in: signIn,
    certificate:
      signIn === 'certificate' ? { ca_cert: 'ca/ca.crt', ca_key: 'ca/ca.key' } : undefined,
    management: management ? { role: 'postern_management' } : undefined,
    ...how.cluster,
  }
  const listeners = [{ address: '127.0.0.1:0', allow_plaintext: true }]
  const config = { listeners, clusters: { main: cluster } }
  writeFileSync(join(dir, 'postern.yaml'), JSON.stringify(config))
}

const osUser = userInfo().username

async function doctor(...args: string[]) {
  const all = [
    'cluster',
    'doctor',
    '--config',
    join(dir, 'postern.yaml'),
    '--os-user',
    osUser,
    ...args,
  ]
  return await postern(all, dir)
}

async function printed(...args: string[]): Promise<Printed[]> {
  const all = [
    'cluster',
    'setup',
    '--config',
    join(dir, 'postern.yaml'),
    '--os-user',
    osUser,
    ...args,
  ]
  const { code, stdout, stderr } = await postern(all, dir)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return blocksOf(stdout)
}

/** A server as setup wants it, with a user that it doesn't make. */
async function setUp(node: FreshNode, how: How): Promise<void> {
  await node.reset()
  configure(node, { ...how, management: true })
  const blocks = await printed()
  await follow(node.version === 15 ? onFifteen(blocks) : blocks, node, join(dir, 'ca'))
  await node.sql('CREATE ROLE maxroach LOGIN IN ROLE postern_users')
  configure(node, how)
}

/** What the comments in pg_ident.conf say about PostgreSQL 15: one line a role. */
function onFifteen(blocks: Printed[]): Printed[] {
  return blocks.map(({ place, text }) => ({
    place,
    text: place === 'pg_ident.conf' ? text.replace(/^#(postern .*maxroach)$/m, '$1') : text,
  }))
}

interface Omission {
  what: string
  /** This version alone. */
  only?: Version
  how?: How
  spoil?: (node: FreshNode) => unknown
  args?: string[]
  /** The node is not told of it. */
  unread?: boolean
  /** Nothing is missing after all. */
  fine?: boolean
  /** What the doctor says with a management role, and without one. */
  finds: string[]
  alone?: string[]
}

const peer: How = { signIn: 'peer' }
const LINE = 'hostssl all      +postern_users     <gate> cert'
const OMISSIONS: Omission[] = [
  {
    what: 'a management role that makes users',
    spoil: (node) =>
      node.sql(
        'ALTER ROLE postern_management CREATEROLE; GRANT postern_users TO postern_management WITH ADMIN OPTION',
      ),
    fine: true,
    finds: ["✓ members       1 of postern_users, none with more than a user's rights"],
  },
  {
    what: 'no group role',
    spoil: (node) => node.sql('DROP ROLE postern_users'),
    finds: [
      '✗ group         the role postern_users is not there',
      'hint: CREATE ROLE postern_users NOLOGIN',
    ],
    alone: [
      '✗ probe         as maxroach: the node asks for something else',
      'GRANT postern_users TO it',
    ],
  },
  {
    what: 'a group that logs in',
    spoil: (node) => node.sql('ALTER ROLE postern_users LOGIN'),
    finds: ['✗ group         postern_users may log in itself', 'ALTER ROLE postern_users NOLOGIN'],
  },
  {
    what: 'a role that is no member',
    spoil: (node) =>
      node.sql('REVOKE postern_users FROM maxroach; CREATE ROLE carl LOGIN IN ROLE postern_users'),
    finds: [
      '✗ role          maxroach is not a member of postern_users',
      'hint: GRANT postern_users TO "maxroach"',
      '✗ probe         as maxroach: the node asks for something else',
    ],
    alone: ['✗ probe ', 'GRANT postern_users TO it'],
  },
  {
    what: 'no member at all',
    spoil: (node) => node.sql('REVOKE postern_users FROM maxroach'),
    args: [],
    finds: [
      '✗ members       no member of postern_users may log in, so nobody can be let in',
      'hint: CREATE ROLE maxroach LOGIN IN ROLE postern_users',
      '– probe         whom to sign in as? name one: --role NAME',
    ],
  },
  {
    what: 'a member with powers',
    spoil: (node) => node.sql('CREATE ROLE boss LOGIN CREATEDB REPLICATION IN ROLE postern_users'),
    args: [],
    finds: [
      '✗ members       of postern_users are too powerful to be had for a token: boss (replication, createdb)',
      'hint: REVOKE postern_users FROM each',
      '✓ probe         signed in to postgres as maxroach',
    ],
  },
  {
    what: 'six thousand members, seven of them with powers',
    spoil: async (node) => {
      await node.sql(`DO $$ BEGIN FOR at IN 1..6000 LOOP
        EXECUTE format('CREATE ROLE one_%s LOGIN IN ROLE postern_users', at); END LOOP; END $$`)
      await node.sql(`DO $$ BEGIN FOR at IN 1..7 LOOP
        EXECUTE format('ALTER ROLE one_%s CREATEDB', at); END LOOP; END $$`)
    },
    args: [],
    finds: [
      'had for a token: one_1 (createdb), one_2 (createdb), one_3 (createdb), one_4 (createdb), one_5 (createdb) and 2 more',
      '✓ probe         signed in to postgres as maxroach',
    ],
  },
  {
    what: 'a member of a member with powers',
    spoil: (node) =>
      node.sql(
        'CREATE ROLE team IN ROLE postern_users; CREATE ROLE boss LOGIN SUPERUSER IN ROLE team',
      ),
    finds: ['to be had for a token: boss (superuser)'],
  },
  {
    what: 'a member that inherits powers, and one that reaches the node itself',
    only: 18,
    spoil: (node) =>
      node.sql(
        'CREATE ROLE boss SUPERUSER; CREATE ROLE heir LOGIN IN ROLE postern_users, boss; CREATE ROLE runner LOGIN IN ROLE postern_users, pg_execute_server_program',
      ),
    finds: ['to be had for a token: heir (superuser), runner (server)'],
  },
  {
    what: 'a member whose name a terminal would obey',
    only: 18,
    spoil: (node) => node.sql('CREATE ROLE "e\x1b]0;x\x07" LOGIN SUPERUSER IN ROLE postern_users'),
    finds: ['to be had for a token: e\ufffd]0;x\ufffd (superuser)'],
  },
  {
    what: 'no line in pg_hba.conf',
    spoil: (node) => without(node, 'pg_hba.conf', /^hostssl all +\+postern_users|scram/),
    finds: [
      '✗ pg_hba.conf   no line lets postern_users in from here',
      `hint: add "${LINE}" above every other line, then SELECT pg_reload_conf()`,
      '✗ probe         as maxroach: no line of pg_hba.conf lets it in (28000: no pg_hba.conf entry for host "127.0.0.1", user "maxroach", database "postgres", SSL encryption)',
    ],
    alone: [
      '✗ probe         as maxroach: no line of pg_hba.conf lets it in (28000: no pg_hba.conf entry',
      `hint: one of three: pg_hba.conf lacks the line "${LINE}"; or the role is not a member`,
    ],
  },
  {
    what: 'a reject before the line',
    spoil: (node) => above(node, 'hostssl all +postern_users all reject'),
    finds: [
      '✗ pg_hba.conf   line 2 (hostssl all +postern_users all reject) decides about postern_users, and keeps it out',
      `hint: put "${LINE}" above it`,
      '✗ probe         as maxroach: a line with reject comes first in pg_hba.conf (28000: pg_hba.conf rejects connection',
    ],
    alone: ['✗ probe         as maxroach: a line with reject comes first in pg_hba.conf'],
  },
  {
    what: 'another method before the line',
    spoil: (node) => above(node, 'host all +postern_users 127.0.0.0/8 scram-sha-256'),
    finds: [
      'line 2 (host all +postern_users 127.0.0.0 255.0.0.0 scram-sha-256) decides about postern_users, and wants scram-sha-256',
      '✗ probe         as maxroach: the node asks for something else than this sign-in has (the node asks for SASL',
    ],
  },
  {
    what: 'a line that has a mistake',
    spoil: (node) => above(node, 'hostssl all +postern_users GATE-ADDRESS/32 cert'),
    finds: [
      '✗ pg_hba.conf   line 2: ',
      'hint: mend the line: until then the node reads nothing of the file',
    ],
  },
  {
    what: 'files that the node has not read',
    unread: true,
    spoil: async (node) => {
      const right = node.read('pg_hba.conf')
      above(node, 'hostssl all +postern_users all reject')
      await node.reload()
      node.write('pg_hba.conf', right)
    },
    finds: [
      'lets postern_users in',
      "hint: the node's files are right, but it may not have read them: SELECT pg_reload_conf()",
    ],
  },
  {
    what: 'no line in pg_ident.conf',
    how: peer,
    spoil: (node) => without(node, 'pg_ident.conf', /^postern +\S+ +(?:\+postern_users|maxroach)/),
    finds: [
      `✗ pg_ident.conf has no line that lets ${osUser}, who runs this, be `,
      `hint: add "postern  ${osUser}  `,
      '✗ probe         as maxroach: pg_ident.conf does not let the user of this process be that role (28000: Peer authentication failed for user "maxroach")',
    ],
    alone: [
      '✗ probe         as maxroach: pg_ident.conf does not let the user of this process be that role',
    ],
  },
  {
    what: 'a + before PostgreSQL 16',
    only: 15,
    how: peer,
    spoil: (node) => without(node, 'pg_ident.conf', /maxroach/),
    finds: [`hint: add "postern  ${osUser}  maxroach"`, '(before PostgreSQL 16 it takes no +)'],
  },
  {
    what: 'no ssl_ca_file',
    spoil: (node) => without(node, 'postgresql.conf', /^ssl_ca_file/),
    finds: [
      '✗ management    as postern_management: ssl_ca_file is not set on the node',
      'hint: set ssl_ca_file in postgresql.conf',
    ],
    alone: [
      '✗ probe         as maxroach: ssl_ca_file is not set on the node',
      'hint: set ssl_ca_file in postgresql.conf',
    ],
  },
  {
    what: 'another CA than the node trusts',
    how: { cluster: { certificate: { ca_cert: 'other/ca.crt', ca_key: 'other/ca.key' } } },
    finds: [
      "✗ management    as postern_management: the node doesn't trust the CA that the gate signs with",
    ],
    alone: [
      "✗ probe         as maxroach: the node doesn't trust the CA that the gate signs with",
      'hint: the file of ssl_ca_file',
    ],
  },
  {
    what: 'ssl = off',
    spoil: (node) => without(node, 'postgresql.conf', /^ssl = on/),
    finds: [
      '✓ reach ',
      '✗ TLS           the node has TLS switched off',
      'hint: set ssl = on in postgresql.conf',
      '– management    first the node has to be reached',
      '– probe         first the node has to be reached',
    ],
  },
  {
    what: 'a server certificate of another name',
    spoil: (node) => put(node, 'otherName'),
    finds: [
      "✗ TLS           the node's certificate is not for the name 127.0.0.1",
      'tls.server_name',
    ],
  },
  {
    what: 'that name, told by server_name',
    how: { tls: { server_name: 'other.example' } },
    spoil: (node) => put(node, 'otherName'),
    fine: true,
    finds: ['✓ TLS           TLSv1.3; the certificate of other.example verifies'],
  },
  {
    what: 'a server certificate that has expired',
    spoil: (node) => put(node, 'expired'),
    finds: ["✗ TLS           the node's certificate, or its CA's, has expired", 'hint: renew it'],
  },
  {
    what: 'a ca_file of another CA',
    how: { tls: { ca_file: 'other/ca.crt' } },
    finds: ["✗ TLS           the node's certificate is not from a CA in nodes[0].tls.ca_file"],
  },
  {
    what: 'TLS from the first byte',
    only: 18,
    how: { tls: { sslnegotiation: 'direct' } },
    fine: true,
    finds: ['✓ TLS           TLSv1.3 from the first byte; the certificate'],
  },
  {
    what: 'TLS from the first byte, which it does not know',
    only: 15,
    how: { tls: { sslnegotiation: 'direct' } },
    finds: ['✗ TLS ', 'hint: set nodes[0].tls.sslnegotiation to postgres'],
  },
  {
    what: 'a server that is down',
    how: { address: '127.0.0.1:1' },
    finds: [
      '✗ reach         127.0.0.1:1: nothing listens there',
      'hint: is the database running, with listen_addresses and port for 127.0.0.1:1?',
      '– probe         first the node has to be reached',
    ],
  },
  {
    what: 'a socket that is not there',
    how: { ...peer, address: '/nowhere/.s.PGSQL.5432' },
    finds: [
      '✗ reach         /nowhere/.s.PGSQL.5432: there is no such socket',
      'unix_socket_directories',
    ],
  },
  {
    what: 'a role without LOGIN',
    spoil: (node) => node.sql('ALTER ROLE maxroach NOLOGIN'),
    finds: [
      '✗ role          maxroach may not log in (NOLOGIN)',
      'hint: ALTER ROLE "maxroach" LOGIN',
      '✗ probe         as maxroach: the role may not log in (28000: role "maxroach" is not permitted to log in)',
    ],
    alone: [
      '✗ probe         as maxroach: the role may not log in',
      'hint: ALTER ROLE "maxroach" LOGIN',
    ],
  },
  {
    what: 'a role that is not there',
    args: ['--role', "no'such"],
    finds: [
      "✗ role          there is no role no'such",
      'hint: CREATE ROLE "no\'such" LOGIN IN ROLE postern_users',
    ],
  },
  {
    what: 'a role that is not there, where nobody asks first',
    spoil: (node) => above(node, 'hostssl all all 127.0.0.1/32 cert'),
    args: ['--role', 'nobody_such'],
    finds: [
      'as nobody_such: there is no such role on the node (28000: role "nobody_such" does not exist)',
    ],
  },
  {
    what: 'a database that is not there',
    args: ['--role', 'maxroach', '--database', 'nowhere'],
    finds: ['the sign-in is right, but the database is not there (3D000: ', '--database NAME'],
  },
  {
    what: 'a database that is closed to it',
    spoil: (node) =>
      node
        .sql('DROP DATABASE IF EXISTS closed')
        .then(() => node.sql('CREATE DATABASE closed'))
        .then(() => node.sql('REVOKE CONNECT ON DATABASE closed FROM PUBLIC')),
    args: ['--role', 'maxroach', '--database', 'closed'],
    finds: [
      'the role may not connect to the database (42501: ',
      'GRANT CONNECT ON DATABASE "closed"',
    ],
  },
  {
    what: 'a node that is full',
    spoil: (node) => node.sql('ALTER ROLE maxroach CONNECTION LIMIT 0'),
    finds: ['the node has no place for another connection (53300: ', 'raise max_connections'],
  },
  {
    what: 'a map where there should be none',
    spoil: (node) => above(node, 'hostssl all +postern_users 127.0.0.1/32 cert map=nobody'),
    finds: [
      "✗ probe         as maxroach: the name in the certificate doesn't make that role",
      'no map=',
    ],
  },
  {
    what: 'a management role without its rights',
    spoil: (node) => node.sql('REVOKE ALL ON pg_hba_file_rules FROM postern_management'),
    fine: true,
    finds: [
      '– pg_hba.conf   postern_management may not read pg_hba_file_rules (42501: permission denied for view pg_hba_file_rules); postern cluster setup prints the two GRANTs',
    ],
  },
  {
    what: 'a management role without a line',
    spoil: (node) => without(node, 'pg_hba.conf', /^hostssl postgres|scram/),
    finds: [
      '✗ management    as postern_management: no line of pg_hba.conf lets it in',
      'pg_hba.conf lacks the line "hostssl postgres postern_management <gate> cert"',
      '✓ probe         signed in to postgres as maxroach',
    ],
  },
  {
    what: 'a node that would let the superuser in',
    spoil: (node) => above(node, 'host all postgres 127.0.0.1/32 trust'),
    fine: true,
    finds: [
      '! reserved      the node would let this gate be postgres',
      'hint: let only +postern_users in',
    ],
  },
  {
    what: 'nobody to try with',
    args: [],
    fine: true,
    finds: ['✓ probe         signed in to postgres as maxroach'],
    alone: [
      "– management    no management role is set: roles and the node's files are not looked at",
      '– probe         whom to sign in as? name one: --role NAME',
    ],
  },
]

function put(node: FreshNode, which: 'expired' | 'otherName'): void {
  node.write('server.crt', node.certificates[which].certPem)
  node.write('server.key', node.certificates[which].keyPem)
}

/** Where Debian's is missing, CI fails and a developer's machine goes without. */
const versions: Version[] = hasDebianPostgres || process.env['CI'] !== undefined ? [18, 15] : [18]

describe.each(versions)('PostgreSQL %i', (version) => {
  let node: FreshNode
  beforeAll(async () => {
    node = await startFreshNode(version)
  })
  afterAll(() => node.close())

  const content = (signIn: SignIn) => [
    /^✓ reach {9}\S+ takes connections$/m,
    signIn === 'certificate'
      ? /^✓ TLS {11}TLSv1\.3; the certificate of 127\.0\.0\.1 verifies, until .*2049 GMT$/m
      : /^– TLS {11}(?:a unix socket needs none|none: the node is on this machine)$/m,
    /^✓ management {4}signed in as postern_management$/m,
    new RegExp(`^✓ version {7}PostgreSQL ${version}\\.`, 'm'),
    /^✓ group {9}postern_users is there, and nobody logs in as it$/m,
    /^✓ members {7}1 of postern_users, none with more than a user's rights$/m,
    /^✓ pg_hba\.conf {3}line \d+ \(.*\+postern_users.*\) lets postern_users in$/m,
    /^✓ probe {9}signed in to postgres as maxroach$/m,
  ]

  it.each<SignIn>(['certificate', 'peer', 'trust'])(
    '%s: setup followed to the letter',
    async (signIn) => {
      await setUp(node, { signIn })
      const { code, stdout, stderr } = await doctor()
      for (const line of content(signIn)) expect(stdout).toMatch(line)
      if (signIn === 'certificate') expect(stdout).toContain('✓ ssl_ca_file   postern_ca.crt')
      if (signIn === 'peer') expect(stdout).toContain(`✓ pg_ident.conf lets ${osUser} be `)
      expect(stdout).toContain('✓ reserved      the node refuses postgres too')
      expect({ code, stderr, bad: /^[✗!]/m.test(stdout) }).toEqual({
        code: 0,
        stderr: '',
        bad: false,
      })
    },
  )

  const trials = OMISSIONS.filter(({ only }) => only === undefined || only === version)
  const withAndWithout = trials.flatMap((trial) => [
    { ...trial, management: true, finds: trial.finds },
    ...(trial.alone === undefined || version !== 18
      ? []
      : [{ ...trial, management: false, finds: trial.alone }]),
  ])
  it.each(withAndWithout)('$what, management: $management', async (trial) => {
    const { how, spoil, management, finds, args = ['--role', 'maxroach'] } = trial
    await setUp(node, { ...how, management })
    await spoil?.(node)
    if (trial.unread !== true) await node.reload()
    const { code, stdout, stderr } = await doctor(...args)
    for (const text of finds) expect(stdout).toContain(text)
    const problems = stdout.match(/^✗/gm)?.length ?? 0
    expect({ code, problems: problems > 0 }).toEqual({
      code: trial.fine ? 0 : 1,
      problems: !trial.fine,
    })
    expect(stderr).toMatch(
      trial.fine ? /^$/ : /^postern: the doctor found (?:a problem|\d problems)/,
    )
    // Whatever failed says what to do.
    const lines = stdout.split('\n')
    for (const [at, line] of lines.entries())
      if (/^[✗!]/.test(line)) expect(lines[at + 1]).toMatch(/^ {2}hint: \S/)
    for (const shape of [/KEY-----/, /undefined/, /\[object/]) expect(stdout).not.toMatch(shape)
  })
})

/** No line of the file that the pattern fits. */
function without(node: FreshNode, file: File, line: RegExp): void {
  const kept = node
    .read(file)
    .split('\n')
    .filter((each) => !line.test(each))
  node.write(file, kept.join('\n'))
}

function above(node: FreshNode, line: string): void {
  node.write('pg_hba.conf', `local all admin trust\n${line}\n${node.read('pg_hba.conf')}`)
}
