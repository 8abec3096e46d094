/**
 * What a gate needs on its cluster, as text to paste, one block a place: SQL, lines of a file, a
 * shell. Pure. https://www.postgresql.org/docs/18/client-authentication.html and
 * https://www.cockroachlabs.com/docs/stable/security-reference/authentication
 * Rule: a block can be pasted whole, since what explains it is a comment there; no secret is in one.
 */
import type { Trust } from '../identity/trust.ts'
import type { Rules } from '../policy/decide.ts'
import type { Authorization } from '../policy/groups.ts'
import type { Node } from './node.ts'
import { identifier, inFile, literal, NO_ADDRESS, withMask } from './paste.ts'
import { cockroachSetup } from './setup_cockroachdb.ts'
import { groupGrants } from './setup_groups.ts'
import { type SharedState, stateBlocks } from './setup_state.ts'

/** Whom a gate may sign in as is a member of it, and nobody else is. */
export const GROUP = 'postern_users'
export const IDENT_MAP = 'postern'
/** Where the management role signs in: its rights are those of one database. */
export const MANAGEMENT_DATABASE = 'postgres'

export interface SetUp {
  node: Pick<Node, 'dialect' | 'signIn' | 'address' | 'tls'>
  trust: Pick<Trust, 'enabled' | 'issuers' | 'claim'>
  rules: Pick<Rules, 'audiences'>
  management: { role: string } | undefined
  /** Groups become memberships. */
  authorization: Pick<Authorization, 'roles'> | undefined
  /** Users are made at their first sign-in. */
  provisioning: boolean
  /** What gates share, where this cluster keeps it. */
  state?: SharedState | undefined
}

export interface Surroundings {
  /** The gate's address as the nodes see it: an IP address, one with a mask, or a host's name. */
  gateAddress: string | undefined
  /** Whom the gate runs as: to `peer` that is who it is. */
  osUser: string
}

export interface Block {
  /** Where it goes. */
  place: string
  lines: string[]
}

export function setup(cluster: SetUp, around: Surroundings): Block[] {
  const addresses = addressesOf(cluster, around)
  if (cluster.node.dialect === 'cockroachdb') return cockroachSetup(cluster, addresses)
  const { node, state } = cluster
  const tls = NEEDS_TLS.has(node.signIn) || (node.signIn === 'scram' && node.tls !== undefined)
  return [
    {
      place: `SQL, as a superuser, in the database ${MANAGEMENT_DATABASE}`,
      lines: roles(node.signIn === 'forward' ? { ...cluster, management: undefined } : cluster),
    },
    ...(state === undefined ? [] : stateBlocks(state, (role) => ifMissing(role, 'LOGIN'))),
    ...(node.signIn === 'certificate' ? [{ place: 'shell on the node', lines: copyCa() }] : []),
    ...(tls ? [{ place: 'postgresql.conf', lines: serverTls(node) }] : []),
    {
      place: 'pg_hba.conf, above every other line',
      lines: [...hbaComments(cluster, addresses), ...hbaLines(cluster, addresses)],
    },
    ...(node.signIn === 'peer'
      ? [{ place: 'pg_ident.conf', lines: identLines(cluster, around.osUser) }]
      : []),
    { place: 'SQL, as a superuser: the node reads its files again', lines: reload() },
  ]
}

const NEEDS_TLS: ReadonlySet<Node['signIn']> = new Set(['certificate', 'forward'])

function addressesOf({ node }: SetUp, { gateAddress }: Surroundings): string[] {
  if (gateAddress !== undefined) return [withMask(gateAddress)]
  const host = 'host' in node.address ? node.address.host : ''
  if (host === 'localhost') return ['127.0.0.1/32', '::1/128']
  return [host === '::1' || host.startsWith('127.') ? withMask(host) : NO_ADDRESS]
}

function roles(cluster: SetUp): string[] {
  const { management } = cluster
  const group = [
    `-- Whom the gate may sign in as is a member of ${GROUP}; nobody signs in as the group itself.`,
    ...ifMissing(GROUP, 'NOLOGIN'),
    '-- Then for each person or program, without a password:',
    `--   CREATE ROLE maxroach LOGIN IN ROLE ${GROUP};`,
    `--   GRANT ${GROUP} TO a_role_that_is_there;`,
  ]
  if (management === undefined) return group
  const role = identifier(management.role)
  return [
    ...group,
    '',
    '-- The management role: postern cluster doctor reads the rules of sign-in as it. These rights are',
    `-- all that it needs for that, and they are good in the database ${MANAGEMENT_DATABASE} alone.`,
    ...ifMissing(management.role, 'LOGIN'),
    `GRANT SELECT ON pg_hba_file_rules TO ${role};`,
    `GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO ${role};`,
    '-- PostgreSQL 15 and newer; older ones have no such view:',
    `GRANT SELECT ON pg_ident_file_mappings TO ${role};`,
    `GRANT EXECUTE ON FUNCTION pg_ident_file_mappings() TO ${role};`,
    ...changes(cluster, role),
  ]
}

/** So that it may be pasted again. PostgreSQL has no CREATE ROLE IF NOT EXISTS. */
function ifMissing(role: string, option: string): string[] {
  const create = `CREATE ROLE ${identifier(role)} ${option};`
  // The quote must not be in what it quotes.
  let quote = '$$'
  while (create.includes(quote)) quote = `$q${quote.slice(1)}`
  return [
    `DO ${quote} BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ${literal(role)}) THEN`,
    `  ${create}`,
    `END IF; END ${quote};`,
  ]
}

/** The rights to make members and users. As a grantor the role needs none of what it grants. */
function changes({ authorization, provisioning }: SetUp, role: string): string[] {
  if (authorization === undefined && !provisioning) return []
  const admin = (group: string) =>
    `GRANT ${group} TO ${role} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;`
  return [
    '',
    '-- PostgreSQL 15 and older know no INHERIT and SET: there, write WITH ADMIN OPTION; in their place.',
    ...(authorization === undefined ? [] : groupGrants(authorization, admin)),
    ...(provisioning
      ? [
          '-- Users are made at their first sign-in, as members of the group. On PostgreSQL 16 and newer',
          '-- CREATEROLE rules the roles that it made, and no others. WARNING: on 15 and older it rules every',
          '-- role but superusers, and may join pg_execute_server_program: as good as a superuser.',
          `ALTER ROLE ${role} CREATEROLE;`,
          admin(GROUP),
        ]
      : []),
  ]
}

function copyCa(): string[] {
  return [
    '# trusted.crt is from the directory of certificate.ca_cert: copy it to the node first. No key goes',
    '# there. $PGDATA is the data directory (SHOW data_directory). Where ssl_ca_file is set already, add',
    '# the certificate to that file instead, and leave the setting as it is.',
    'install -m 0644 trusted.crt "$PGDATA/postern_ca.crt"',
  ]
}

function serverTls({ signIn, address, tls }: SetUp['node']): string[] {
  const host = 'host' in address ? address.host : ''
  const on = [
    `# Needs ssl_cert_file and ssl_key_file: a certificate for ${tls?.serverName ?? host}, from a CA that is in the`,
    '# ca_file of the gate.',
    'ssl = on',
  ]
  if (signIn !== 'certificate') return on
  return [...on, '# Whose client certificates count.', "ssl_ca_file = 'postern_ca.crt'"]
}

function hbaComments({ node, management }: SetUp, addresses: string[]): string[] {
  return [
    '# The first line that fits a connection decides: a reject, or another method, further up wins.',
    ...(HBA_COMMENTS[node.signIn] ?? []),
    ...('path' in node.address || !addresses.includes(NO_ADDRESS)
      ? []
      : [
          `# Write the gate's own address, as the node sees it, in the place of ${NO_ADDRESS}`,
          '# (postern cluster setup --gate-address ADDRESS does it); until then PostgreSQL refuses the line.',
        ]),
    ...(node.signIn === 'forward' && management !== undefined
      ? ['# The management role has no line: it has no token that it could forward.']
      : []),
  ]
}

const HBA_COMMENTS: Record<Node['signIn'], string[]> = {
  peer: [],
  certificate: [
    '# cert means clientcert=verify-full as well: the name in the certificate must be the role.',
  ],
  scram: [
    '# Each role needs a password, the one that scram.secrets in the file has for it:',
    "#   \\password maxroach   in psql, with password_encryption = 'scram-sha-256' (the default)",
    '# The management role as well, where there is one. Better than a password a role: certificate.',
  ],
  forward: [
    '# The gate answers with the token. `password` compares it with the password of the role; in its',
    '# place put what judges tokens on your node and asks for a password in clear: pam, ldap, radius.',
  ],
  trust: [
    '# WARNING: whoever reaches the node by these lines is any member, and nobody asks. Only for a node',
    '# that nothing but the gate can reach; better: sign_in: peer, or certificate.',
  ],
}

/** What lets the group in, and the management role: the columns of pg_hba.conf. */
export function hbaLines({ node, management, state }: SetUp, addresses: string[]): string[] {
  const unix = 'path' in node.address
  const secure = node.tls !== undefined || NEEDS_TLS.has(node.signIn)
  const type = unix ? 'local' : secure ? 'hostssl' : 'host'
  const line = (database: string, user: string, address: string) =>
    [
      type.padEnd(7),
      database.padEnd(8),
      user.padEnd(18),
      ...(unix ? [] : [address]),
      METHODS[node.signIn],
    ].join(' ')
  const to = unix ? [''] : addresses
  const group = to.map((address) => line('all', `+${GROUP}`, address))
  if (node.signIn === 'forward') return group
  const own = [
    ...(management ? [{ role: management.role, database: MANAGEMENT_DATABASE }] : []),
    ...(state ? [state] : []),
  ].flatMap(({ role, database }) =>
    to.map((address) => line(inFile(database), inFile(role), address)),
  )
  return [...group, ...own]
}

const METHODS: Record<Node['signIn'], string> = {
  peer: `peer map=${IDENT_MAP}`,
  certificate: 'cert',
  scram: 'scram-sha-256',
  forward: 'password',
  trust: 'trust',
}

function identLines({ management, state }: SetUp, osUser: string): string[] {
  const user = inFile(osUser)
  const line = (role: string) => `${IDENT_MAP}  ${user}  ${role}`
  const own = [management, state].flatMap((each) => (each ? [line(inFile(each.role))] : []))
  return [
    `# The gate runs as ${osUser} (--os-user says another).`,
    '# PostgreSQL 16 and newer, where + means the members of a role:',
    line(`+${GROUP}`),
    '# PostgreSQL 15 and older take the + for a letter: there, one line a role:',
    `#${line('maxroach')}`,
    ...(own.length === 0 ? [] : ['# Every version:', ...own]),
  ]
}

function reload(): string[] {
  return [
    'SELECT pg_reload_conf();',
    '-- A file with a mistake is not read at all. No row is good news:',
    'SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL;',
  ]
}
