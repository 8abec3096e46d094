/** What `postern cluster setup` prints for a configuration: a block a place, each to be pasted whole. */

import { createSecureContext } from 'node:tls'
import { describe, expect, it } from 'vitest'
import type { Node } from '../../src/cluster/node.ts'
import { type SetUp, setup } from '../../src/cluster/setup.ts'
import { patterns } from '../support/managed_node.ts'

const tls = { secureContext: createSecureContext(), serverName: 'db.internal', direct: false }
const tcp = { host: 'db.internal', port: 5432 }
const socket = { path: '/run/postgresql/.s.PGSQL.5432' }

interface Given {
  dialect?: Node['dialect']
  signIn: Node['signIn']
  address?: Node['address']
  tls?: boolean
  management?: string
  gateAddress?: string
  osUser?: string
  trust?: Partial<SetUp['trust']>
  audiences?: string[]
  /** What groups may become. */
  roles?: string[]
  provisioning?: boolean
}

function blocks(given: Given): Record<string, string> {
  const { dialect = 'postgresql', signIn, management, gateAddress, osUser = 'gate' } = given
  const address = given.address ?? (signIn === 'peer' ? socket : tcp)
  const withTls = given.tls ?? 'host' in address
  const cluster: SetUp = {
    node: { dialect, signIn, address, tls: withTls ? tls : undefined },
    trust: { enabled: true, issuers: new Set(['https://iss.test']), claim: '', ...given.trust },
    rules: { audiences: new Set(given.audiences ?? ['db']) },
    management: management === undefined ? undefined : { role: management },
    authorization: given.roles && { roles: patterns(given.roles) },
    provisioning: given.provisioning ?? false,
  }
  const printed = setup(cluster, { gateAddress, osUser })
  return Object.fromEntries(printed.map(({ place, lines }) => [place, lines.join('\n')]))
}

/** What is left when the comments are gone. */
function active(text: string | undefined): string[] {
  return (text ?? '').split('\n').filter((line) => line !== '' && !/^(?:#|--)/.test(line))
}

const SQL = 'SQL, as a superuser, in the database postgres'
const HBA = 'pg_hba.conf, above every other line'
const RELOAD = 'SQL, as a superuser: the node reads its files again'

describe('the places', () => {
  it.each<[Given, string[]]>([
    [{ signIn: 'peer' }, [SQL, HBA, 'pg_ident.conf', RELOAD]],
    [{ signIn: 'certificate' }, [SQL, 'shell on the node', 'postgresql.conf', HBA, RELOAD]],
    [{ signIn: 'forward' }, [SQL, 'postgresql.conf', HBA, RELOAD]],
    [{ signIn: 'trust' }, [SQL, HBA, RELOAD]],
    [{ signIn: 'scram' }, [SQL, 'postgresql.conf', HBA, RELOAD]],
    [{ signIn: 'scram', tls: false }, [SQL, HBA, RELOAD]],
    [{ signIn: 'scram', address: socket }, [SQL, HBA, RELOAD]],
    [{ signIn: 'scram', dialect: 'cockroachdb' }, ['SQL, as root or another admin']],
    [
      { signIn: 'certificate', dialect: 'cockroachdb' },
      ['shell on every node', 'SQL, as root or another admin'],
    ],
    [{ signIn: 'forward', dialect: 'cockroachdb' }, ['SQL, as root or another admin']],
  ])('%j', (given, places) => {
    expect(Object.keys(blocks(given))).toEqual(places)
  })
})

describe('pg_hba.conf', () => {
  const gateAddress = '10.0.0.7'
  it.each<[string, Given, string[]]>([
    ['peer', { signIn: 'peer' }, ['local all +postern_users peer map=postern']],
    [
      'certificate',
      { signIn: 'certificate', gateAddress },
      ['hostssl all +postern_users 10.0.0.7/32 cert'],
    ],
    [
      'certificate, IPv6',
      { signIn: 'certificate', gateAddress: 'fd00::7' },
      ['hostssl all +postern_users fd00::7/128 cert'],
    ],
    [
      'certificate, a network, and the management role',
      { signIn: 'certificate', gateAddress: '10.0.0.0/24', management: 'postern_management' },
      [
        'hostssl all +postern_users 10.0.0.0/24 cert',
        'hostssl postgres postern_management 10.0.0.0/24 cert',
      ],
    ],
    ['no address', { signIn: 'certificate' }, ['hostssl all +postern_users GATE-ADDRESS/32 cert']],
    [
      'a node on this machine',
      { signIn: 'certificate', address: { host: 'localhost', port: 1 } },
      ['hostssl all +postern_users 127.0.0.1/32 cert', 'hostssl all +postern_users ::1/128 cert'],
    ],
    [
      'forward: no line for a management role',
      { signIn: 'forward', gateAddress, management: 'postern_management' },
      ['hostssl all +postern_users 10.0.0.7/32 password'],
    ],
    [
      'scram, and the management role',
      { signIn: 'scram', gateAddress, management: 'postern_management' },
      [
        'hostssl all +postern_users 10.0.0.7/32 scram-sha-256',
        'hostssl postgres postern_management 10.0.0.7/32 scram-sha-256',
      ],
    ],
    [
      'scram without TLS',
      { signIn: 'scram', address: { host: '127.0.0.1', port: 1 }, tls: false },
      ['host all +postern_users 127.0.0.1/32 scram-sha-256'],
    ],
    [
      'scram by a socket',
      { signIn: 'scram', address: socket },
      ['local all +postern_users scram-sha-256'],
    ],
    [
      'trust without TLS',
      { signIn: 'trust', address: { host: '127.0.0.1', port: 1 }, tls: false },
      ['host all +postern_users 127.0.0.1/32 trust'],
    ],
    ['trust by a socket', { signIn: 'trust', address: socket }, ['local all +postern_users trust']],
    [
      'a management role that needs quotes',
      { signIn: 'peer', management: 'All "M"' },
      ['local all +postern_users peer map=postern', 'local postgres "All ""M""" peer map=postern'],
    ],
    [
      'a management role that is a keyword',
      { signIn: 'peer', management: 'all' },
      ['local all +postern_users peer map=postern', 'local postgres "all" peer map=postern'],
    ],
  ])('%s', (_name, given, lines) => {
    expect(active(blocks(given)[HBA]).map((line) => line.replace(/ +/g, ' '))).toEqual(lines)
  })

  it('warns of trust, and explains an address that nobody named', () => {
    expect(blocks({ signIn: 'trust' })[HBA]).toContain('# WARNING: ')
    expect(blocks({ signIn: 'trust' })[HBA]).toContain('--gate-address ADDRESS')
    expect(blocks({ signIn: 'peer' })[HBA]).not.toContain('WARNING')
  })
})

describe('the other files', () => {
  it.each<[string, Given, string, string[]]>([
    ['pg_ident.conf', { signIn: 'peer' }, 'pg_ident.conf', ['postern  gate  +postern_users']],
    [
      'pg_ident.conf, with a management role',
      { signIn: 'peer', management: 'postern_management', osUser: 'Post Ern' },
      'pg_ident.conf',
      ['postern  "Post Ern"  +postern_users', 'postern  "Post Ern"  postern_management'],
    ],
    [
      'postgresql.conf',
      { signIn: 'certificate' },
      'postgresql.conf',
      ['ssl = on', "ssl_ca_file = 'postern_ca.crt'"],
    ],
    ['postgresql.conf, forward', { signIn: 'forward' }, 'postgresql.conf', ['ssl = on']],
    [
      'the CA',
      { signIn: 'certificate' },
      'shell on the node',
      ['install -m 0644 trusted.crt "$PGDATA/postern_ca.crt"'],
    ],
  ])('%s', (_name, given, place, lines) => {
    expect(active(blocks(given)[place])).toEqual(lines)
  })

  it('says which lines are for which PostgreSQL', () => {
    const text = blocks({ signIn: 'peer' })['pg_ident.conf']
    expect(text).toMatch(/PostgreSQL 16 and newer.*\npostern {2}gate {2}\+postern_users\n/)
    expect(text).toMatch(/PostgreSQL 15 and older.*\n#postern {2}gate {2}maxroach$/m)
  })
})

describe('SQL', () => {
  const THE_GROUP = [
    "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postern_users') THEN",
    '  CREATE ROLE "postern_users" NOLOGIN;',
    'END IF; END $$;',
  ]

  it('makes the group', () => {
    expect(active(blocks({ signIn: 'peer' })[SQL])).toEqual(THE_GROUP)
  })

  it('gives the management role the sight of two views, and quotes its name', () => {
    const role = '"M""\'; $$ DROP $q$"'
    expect(active(blocks({ signIn: 'peer', management: 'M"\'; $$ DROP $q$' })[SQL])).toEqual([
      ...THE_GROUP,
      `DO $qq$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'M"''; $$ DROP $q$') THEN`,
      `  CREATE ROLE ${role} LOGIN;`,
      'END IF; END $qq$;',
      `GRANT SELECT ON pg_hba_file_rules TO ${role};`,
      `GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO ${role};`,
      `GRANT SELECT ON pg_ident_file_mappings TO ${role};`,
      `GRANT EXECUTE ON FUNCTION pg_ident_file_mappings() TO ${role};`,
    ])
  })

  it('makes no management role that could not sign in', () => {
    const given = { management: 'm', roles: ['owner'], provisioning: true }
    expect(blocks({ signIn: 'forward', ...given })[SQL]).not.toContain('"m"')
  })

  const ADMIN = 'WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;'
  it.each<[string, Partial<Given>, string[]]>([
    ['neither', {}, []],
    [
      'groups',
      { roles: ['owner', 'O"Brien', '/^team_.*$'] },
      [`GRANT "owner" TO "m" ${ADMIN}`, `GRANT "O""Brien" TO "m" ${ADMIN}`],
    ],
    [
      'new users',
      { provisioning: true },
      ['ALTER ROLE "m" CREATEROLE;', `GRANT postern_users TO "m" ${ADMIN}`],
    ],
    [
      'both',
      { roles: ['owner'], provisioning: true },
      [
        `GRANT "owner" TO "m" ${ADMIN}`,
        'ALTER ROLE "m" CREATEROLE;',
        `GRANT postern_users TO "m" ${ADMIN}`,
      ],
    ],
  ])('gives the management role the rights for groups and new users: %s', (_name, given, lines) => {
    const printed = active(blocks({ signIn: 'peer', management: 'm', ...given })[SQL])
    expect(printed.slice(10)).toEqual(lines)
  })

  it('says what is different before PostgreSQL 16, and what a pattern needs', () => {
    const given = {
      management: 'm',
      roles: ['/^team_.*$', '/^a\nDROP ROLE x;$'],
      provisioning: true,
    }
    const text = blocks({ signIn: 'peer', ...given })[SQL]
    expect(text).toContain('there, write WITH ADMIN OPTION; in their place')
    expect(text).toContain(
      '-- role but superusers, and may join pg_execute_server_program: as good as',
    )
    expect(text).toContain(
      `-- Likewise each role that /^team_.*$ is meant for: GRANT a_role TO "m" ${ADMIN}`,
    )
    expect(active(text)).not.toContainEqual(expect.stringContaining('DROP'))
  })
})

describe('CockroachDB', () => {
  const ADMIN = 'SQL, as root or another admin'
  const setting = (name: string, value: string) =>
    `SET CLUSTER SETTING server.jwt_authentication.${name} = ${value};`
  it.each<[string, Given, string[]]>([
    [
      'forward: the settings of our own file',
      { signIn: 'forward', audiences: ["it's"], trust: { claim: 'email' } },
      [
        setting('audience', "'it''s'"),
        setting('issuers.configuration', "'https://iss.test'"),
        setting('claim', "'email'"),
        setting('enabled', 'true'),
      ],
    ],
    [
      'forward: lists',
      { signIn: 'forward', audiences: ['a', 'b'], trust: { issuers: new Set() } },
      [
        setting('audience', `'["a","b"]'`),
        setting('issuers.configuration', "'[]'"),
        setting('enabled', 'true'),
      ],
    ],
    [
      'certificate, and the management role',
      { signIn: 'certificate', gateAddress: '10.0.0.7', management: 'postern_management' },
      [
        'CREATE USER IF NOT EXISTS "postern_management";',
        'GRANT SYSTEM VIEWCLUSTERSETTING TO "postern_management";',
        "SET CLUSTER SETTING server.host_based_authentication.configuration = 'host all all 10.0.0.7/32 cert",
        "host all all all cert-password';",
      ],
    ],
    [
      'certificate, groups and new users',
      {
        signIn: 'certificate',
        gateAddress: '10.0.0.7',
        management: 'm',
        roles: ['owner', '/^team_.*$'],
        provisioning: true,
      },
      [
        'CREATE USER IF NOT EXISTS "m";',
        'GRANT SYSTEM VIEWCLUSTERSETTING TO "m";',
        'GRANT "owner" TO "m" WITH ADMIN OPTION;',
        'ALTER USER "m" WITH CREATEROLE CREATELOGIN;',
        "SET CLUSTER SETTING server.host_based_authentication.configuration = 'host all all 10.0.0.7/32 cert",
        "host all all all cert-password';",
      ],
    ],
    [
      'trust',
      { signIn: 'trust', gateAddress: '10.0.0.7' },
      [
        "SET CLUSTER SETTING server.host_based_authentication.configuration = 'host all all 10.0.0.7/32 trust",
        "host all all all cert-password';",
      ],
    ],
  ])('%s', (_name, given, lines) => {
    expect(active(blocks({ dialect: 'cockroachdb', ...given })[ADMIN])).toEqual(lines)
  })

  it('keeps the CA of other clients', () => {
    const shell = blocks({ dialect: 'cockroachdb', signIn: 'certificate' })['shell on every node']
    expect(active(shell)).toEqual([
      'test -f ca-client.crt || cp ca.crt ca-client.crt',
      'cat trusted.crt >> ca-client.crt',
      'pkill -HUP -x cockroach',
    ])
  })

  it('has no peer, and says so', () => {
    const given: Given = { dialect: 'cockroachdb', signIn: 'peer' }
    expect(blocks(given)[ADMIN]).toContain('-- CockroachDB has no peer: use sign_in: certificate.')
  })
})
