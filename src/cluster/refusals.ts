/**
 * What a node's no means for who sets it up: the words of PostgreSQL, CockroachDB, TLS and the
 * kernel, each with what is missing and what to do.
 * https://www.postgresql.org/docs/18/client-authentication-problems.html
 * Rule: the node's own words are always told too; it may speak another language than ours.
 */

import { Failure } from '../failure.ts'
import { quoted } from '../identity/quoted.ts'
import type { Node } from './node.ts'
import { identifier } from './paste.ts'
import { NodeRefused } from './sign_in.ts'

export interface Meaning {
  /** What happened, as the end of a sentence about the node or the role. */
  says: string
  todo: string
}

/** What was asked for, and what is known about it. */
export interface Asked {
  node: Node
  role: string
  database: string
  group: string
  /** The line that should let the role in, as `postern cluster setup` prints it. */
  line: string
  /** The node's files say what they should: then they were not read. */
  filesFit: boolean
}

type Row = [words: RegExp, says: (node: Node) => string, todo: (asked: Asked) => string]

/** A connection that came to nothing, before anybody signed in. */
export function reachMeaning(thrown: unknown, node: Node): Meaning & { tls: boolean } {
  const words = wordsOf(thrown)
  for (const [tls, table] of [
    [true, TLS],
    [false, REACH],
  ] as const)
    for (const [pattern, says, todo] of table)
      if (pattern.test(words)) return { tls, says: says(node), todo: todo(node) }
  return { tls: false, says: words, todo: `is ${node.name} a database that listens there?` }
}

/** A sign-in that the node refused. */
export function signInMeaning(thrown: unknown, asked: Asked): Meaning {
  const words = wordsOf(thrown)
  const row = SIGN_IN.find(([pattern]) => pattern.test(words))
  if (row === undefined) {
    const early = reachMeaning(thrown, asked.node)
    return early.tls
      ? early
      : { says: words, todo: "the node's own log says more: look there for this moment" }
  }
  return { says: `${row[1](asked.node)} (${words})`, todo: row[2](asked) }
}

/** `28000: role "x" does not exist`, or what went wrong below. Nothing here is a secret. */
export function wordsOf(thrown: unknown): string {
  const cause = thrown instanceof Failure ? thrown.cause : undefined
  if (cause instanceof NodeRefused) return quoted(cause.message)
  if (thrown instanceof NodeRefused) return quoted(thrown.message)
  if (thrown instanceof DOMException && thrown.name === 'TimeoutError') return 'no answer in time'
  if (!(thrown instanceof Failure)) return quoted(String(thrown))
  const code = cause instanceof Error && 'code' in cause ? ` ${String(cause.code)}` : ''
  const log = (thrown.log ?? thrown.message).replace(/^node \S+: /, '')
  return quoted(log.includes(code.trim()) ? log : log + code)
}

const caFile = () =>
  "put the CA that issued the node's certificate into nodes[0].tls.ca_file (a self-signed certificate is its own CA)"

type EarlyRow = [words: RegExp, says: (node: Node) => string, todo: (node: Node) => string]

const TLS: EarlyRow[] = [
  [
    /the node refused TLS/,
    () => 'the node has TLS switched off',
    (node) =>
      node.dialect === 'postgresql'
        ? 'set ssl = on in postgresql.conf, with ssl_cert_file and ssl_key_file, then SELECT pg_reload_conf()'
        : 'start the nodes with --certs-dir, not with --insecure',
  ],
  [
    /ALTNAME_INVALID/,
    ({ tls }) => `the node's certificate is not for the name ${tls?.serverName}`,
    () =>
      'set nodes[0].tls.server_name to a name that the certificate has (openssl x509 -noout -ext subjectAltName shows them), or give the node a certificate with this name',
  ],
  [
    /CERT_HAS_EXPIRED/,
    () => "the node's certificate, or its CA's, has expired",
    () => 'renew it on the node, then SELECT pg_reload_conf(); or is the clock here wrong?',
  ],
  [
    /CERT_NOT_YET_VALID/,
    () => "the node's certificate is not valid yet",
    () => 'compare the clocks of this machine and of who issued it',
  ],
  [
    /UNABLE_TO_|SELF_SIGNED|CERT_SIGNATURE_FAILURE|CERT_UNTRUSTED|INVALID_CA/,
    () => "the node's certificate is not from a CA in nodes[0].tls.ca_file",
    caFile,
  ],
  [
    /did not choose ALPN/,
    () => "the other end doesn't take TLS from the first byte",
    () => 'set nodes[0].tls.sslnegotiation to postgres: direct is for PostgreSQL 17 and newer',
  ],
  [
    /ERR_SSL_(?!.*ALERT_(?:UNKNOWN_CA|CERT|BAD_CERT))|EPROTO|before secure TLS connection/,
    () => 'the TLS handshake failed',
    ({ tls }) =>
      tls?.direct
        ? 'set nodes[0].tls.sslnegotiation to postgres: direct is for PostgreSQL 17 and newer'
        : 'the node must take TLS 1.2 or newer (ssl_min_protocol_version, ssl_ciphers); its log says more',
  ],
]

const REACH: EarlyRow[] = [
  [
    /ECONNREFUSED/,
    () => 'nothing listens there',
    ({ address }) =>
      'path' in address
        ? 'a socket without a server: is the database running?'
        : `is the database running, with listen_addresses and port for ${address.host}:${address.port}?`,
  ],
  [
    /ENOENT/,
    () => 'there is no such socket',
    () =>
      'is the database running? nodes[0].address is unix_socket_directories with /.s.PGSQL.<port> behind it; in a container the directory has to be mounted',
  ],
  [
    /EACCES|EPERM/,
    () => "the system doesn't let this user at the socket",
    () => 'run this as the user that runs the gate; unix_socket_permissions says who may connect',
  ],
  [
    /ENOTFOUND|EAI_AGAIN/,
    () => 'the name is not known here',
    () => 'correct the host in nodes[0].address, or the DNS of this machine',
  ],
  [
    /EHOSTUNREACH|ENETUNREACH/,
    () => 'there is no way there in the network',
    () => 'look at routes and firewalls between this machine and the node',
  ],
  [
    /within connect_timeout|in time|ETIMEDOUT/,
    () => 'it did not answer in time',
    () =>
      'a firewall may drop what goes there; a node that is far away may need a longer connect_timeout',
  ],
  [
    /ECONNRESET|EPIPE|closed the connection/,
    () => 'it closed the connection at once',
    () => 'is it a PostgreSQL or CockroachDB, and no other service or a proxy without a server?',
  ],
]

const reloadFirst = ({ filesFit }: Asked, otherwise: string) =>
  filesFit
    ? "the node's files are right, but it may not have read them: SELECT pg_reload_conf()"
    : otherwise

const SIGN_IN: Row[] = [
  [
    /no pg_hba\.conf entry/,
    () => 'no line of pg_hba.conf lets it in',
    (asked) =>
      reloadFirst(
        asked,
        `one of three: pg_hba.conf lacks the line "${asked.line}"; or the role is not a member (GRANT ${asked.group} TO it); or the node has not read the file (SELECT pg_reload_conf())`,
      ),
  ],
  [
    /pg_hba\.conf rejects/,
    () => 'a line with reject comes first in pg_hba.conf',
    (asked) =>
      reloadFirst(
        asked,
        `put "${asked.line}" above it; if it is there, the role is not a member (GRANT ${asked.group} TO it); then SELECT pg_reload_conf()`,
      ),
  ],
  [
    /host_based_authentication\.configuration entry|rejected by configuration/,
    () => 'server.host_based_authentication.configuration keeps it out',
    () => 'put the line that postern cluster setup prints at the top of the setting',
  ],
  [
    /[Pp]eer authentication failed/,
    () => 'pg_ident.conf does not let the user of this process be that role',
    (asked) =>
      reloadFirst(
        asked,
        'pg_hba.conf must say peer map=postern, and pg_ident.conf have the lines of postern cluster setup (PostgreSQL 15: one a role); run this as the user that runs the gate; then SELECT pg_reload_conf()',
      ),
  ],
  [
    /if a root certificate store is available/,
    () => 'ssl_ca_file is not set on the node',
    (asked) =>
      reloadFirst(
        asked,
        'set ssl_ca_file in postgresql.conf to a file with the certificate of the CA (trusted.crt), then SELECT pg_reload_conf()',
      ),
  ],
  [
    /ALERT_UNKNOWN_CA|unknown ca\b|ALERT_DECRYPT_ERROR|unknown authority/i,
    () => "the node doesn't trust the CA that the gate signs with",
    (asked) =>
      reloadFirst(
        asked,
        'the file of ssl_ca_file (CockroachDB: ca-client.crt) must hold certificate.ca_cert; copy trusted.crt there again, then SELECT pg_reload_conf()',
      ),
  ],
  [
    /ALERT_(?:BAD_CERTIFICATE|CERTIFICATE_EXPIRED)/,
    () => 'the node takes the certificate for expired, or for too young',
    () =>
      'compare the clocks of the node and of this machine: a certificate is good for ten minutes',
  ],
  [
    /valid client certificate|ALERT_CERTIFICATE_REQUIRED|no TLS peer certificate/i,
    () => 'the node asks for a certificate that it was not shown',
    () =>
      'set sign_in: certificate and certificate: {ca_cert, ca_key}; with them set, ssl_ca_file is missing on the node',
  ],
  [
    /[Cc]ertificate authentication failed|certificate.* user/,
    () => "the name in the certificate doesn't make that role",
    () => 'the line of pg_hba.conf must say cert alone: no map=, and no clientname=DN',
  ],
  [
    /is not permitted to log in|NOLOGIN|does not have login privilege/,
    () => 'the role may not log in',
    ({ role }) => `ALTER ROLE ${identifier(role)} LOGIN`,
  ],
  [
    /database "?.*"? does not exist/,
    () => 'the sign-in is right, but the database is not there',
    () => 'name one that is there: --database NAME',
  ],
  [
    /role "?.*"? does not exist|user .* does not exist/,
    () => 'there is no such role on the node',
    ({ role, group }) => `CREATE ROLE ${identifier(role)} LOGIN IN ROLE ${group}`,
  ],
  [
    /permission denied for database/,
    () => 'the sign-in is right, but the role may not connect to the database',
    ({ database, group }) =>
      `GRANT CONNECT ON DATABASE ${identifier(database)} TO ${group}, or name another: --database NAME`,
  ],
  [
    /too many (?:clients|connections)|slots are reserved/,
    () => 'the node has no place for another connection',
    () => 'raise max_connections (or the limit of the role or database), or end some sessions',
  ],
  [
    /starting up|shutting down|recovery mode/,
    () => 'the node is not open yet',
    () => 'ask again in a moment',
  ],
  [
    /scram\.secrets has none/,
    () => 'the gate has no secret for it',
    ({ role }) =>
      `add ${JSON.stringify(role)} to scram.secrets: the password that it has on the node`,
  ],
  [
    /asks for no secret/,
    () => "another line of the node's rules lets it in without asking",
    ({ line }) => `put "${line}" above that line in pg_hba.conf, then SELECT pg_reload_conf()`,
  ],
  [
    /^the node asks for/,
    () => 'the node asks for something else than this sign-in has',
    (asked) =>
      reloadFirst(
        asked,
        `put "${asked.line}" above the line that asks for it in pg_hba.conf, and see that the role is a member (GRANT ${asked.group} TO it); then SELECT pg_reload_conf()`,
      ),
  ],
  [
    /password authentication failed/,
    ({ signIn }) =>
      signIn === 'scram'
        ? "the secret is not the role's password"
        : 'the node asks for a password of its own',
    ({ node, role, line }) =>
      node.signIn === 'scram'
        ? `set it by psql's \\password, and write the same into scram.secrets for ${JSON.stringify(role)}`
        : `put "${line}" above the line that asks for it in pg_hba.conf`,
  ],
  [
    /^28/,
    () => "the node's rules keep it out",
    () => 'compare its pg_hba.conf and pg_ident.conf with what postern cluster setup prints',
  ],
]
