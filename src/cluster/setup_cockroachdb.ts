/**
 * What a gate needs on a CockroachDB cluster, as text to paste. Settings have CockroachDB's names and
 * the values of our own file. https://www.cockroachlabs.com/docs/stable/cluster-settings
 * Rule: as in setup.ts, a block can be pasted whole and holds no secret.
 */
import type { SignIn } from './node.ts'
import { identifier, literal, NO_ADDRESS } from './paste.ts'
import type { Block, SetUp } from './setup.ts'
import { groupGrants } from './setup_groups.ts'
import { cockroachState } from './setup_state.ts'

const HBA = 'server.host_based_authentication.configuration'
const JWT = 'server.jwt_authentication'

export function cockroachSetup(cluster: SetUp, addresses: string[]): Block[] {
  const { signIn } = cluster.node
  return [
    ...(signIn === 'certificate' ? [{ place: 'shell on every node', lines: copyCa() }] : []),
    {
      place: 'SQL, as root or another admin',
      lines: [
        ...users(cluster),
        ...(cluster.state === undefined ? [] : cockroachState(cluster.state)),
        '',
        ...(signIn === 'forward' ? jwtSettings(cluster) : hba(signIn, addresses)),
      ],
    },
  ]
}

function copyCa(): string[] {
  return [
    "# In the node's --certs-dir, with trusted.crt from the directory of certificate.ca_cert beside it.",
    '# Once ca-client.crt is there it alone says whose client certificates count: the CA of your other',
    "# clients has to stay in it. No key goes there. The CA can sign for root, too: guard the gate's key.",
    'test -f ca-client.crt || cp ca.crt ca-client.crt',
    'cat trusted.crt >> ca-client.crt',
    '# The node reads its certificates again:',
    'pkill -HUP -x cockroach',
  ]
}

function users({ management, authorization, provisioning }: SetUp): string[] {
  const people = [
    '-- For each person or program, without a password:',
    '--   CREATE USER IF NOT EXISTS maxroach;',
  ]
  if (management === undefined) return people
  const role = identifier(management.role)
  return [
    ...people,
    '-- The management role: postern cluster doctor looks around as it. For that it may see settings.',
    `CREATE USER IF NOT EXISTS ${role};`,
    `GRANT SYSTEM VIEWCLUSTERSETTING TO ${role};`,
    ...(authorization === undefined
      ? []
      : [
          ...groupGrants(authorization, (group) => `GRANT ${group} TO ${role} WITH ADMIN OPTION;`),
          '-- A user loses every other membership (unless authorization.keep_other_roles is set): the same',
          '-- for roles that users may be in by hand.',
        ]),
    ...(provisioning
      ? [
          '-- Users are made at their first sign-in.',
          `ALTER USER ${role} WITH CREATEROLE CREATELOGIN;`,
        ]
      : []),
  ]
}

function hba(signIn: Exclude<SignIn, 'forward'>, addresses: string[]): string[] {
  if (signIn === 'peer') return ['-- CockroachDB has no peer: use sign_in: certificate.']
  const method = METHODS[signIn]
  const rules = [...addresses.map((address) => `host all all ${address} ${method}`), DEFAULT_RULE]
  return [
    ...(signIn === 'trust'
      ? ['-- WARNING: whoever reaches a node from there is any user but root, and nobody asks.']
      : []),
    ...(signIn === 'scram'
      ? [
          '-- Each user needs the password that scram.secrets in the file has: ALTER USER … WITH PASSWORD.',
        ]
      : []),
    ...(addresses.includes(NO_ADDRESS)
      ? [
          `-- Write the gate's own address, as the nodes see it, in the place of ${NO_ADDRESS}`,
          '-- (postern cluster setup --gate-address ADDRESS does it).',
        ]
      : []),
    `-- This replaces the rules that are there (SHOW CLUSTER SETTING ${HBA}):`,
    '-- put your own below the first line. The last line is what CockroachDB does unset.',
    `SET CLUSTER SETTING ${HBA} = ${literal(rules.join('\n'))};`,
  ]
}

const DEFAULT_RULE = 'host all all all cert-password'

const METHODS = { certificate: 'cert', scram: 'scram-sha-256', trust: 'trust' }

/** The node judges the token again: it must believe whom the gate believes. */
function jwtSettings({ trust, rules }: SetUp): string[] {
  const set = (name: string, value: string) => `SET CLUSTER SETTING ${JWT}.${name} = ${value};`
  return [
    '-- The node judges the token again, by settings of its own: those of your file.',
    set('audience', literal(list(rules.audiences))),
    '-- Before CockroachDB 24.3 this one is server.jwt_authentication.issuers:',
    set('issuers.configuration', literal(list(trust.issuers))),
    ...(trust.claim === '' ? [] : [set('claim', literal(trust.claim))]),
    '-- With values as they stand in your file, or as an empty text where they are unset:',
    `--   SET CLUSTER SETTING ${JWT}.jwks = '…';`,
    "--   SET CLUSTER SETTING server.identity_map.configuration = '…';",
    set('enabled', 'true'),
  ]
}

function list(values: ReadonlySet<string>): string {
  const [only] = values
  return values.size === 1 && only !== undefined ? only : JSON.stringify([...values])
}
