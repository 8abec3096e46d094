/**
 * PgBouncer as a peer: session mode, stored SCRAM secrets (which it signs in to the node with as well), all
 * else as it comes, but for what a row says. It refuses to run as root.
 * https://www.pgbouncer.org/config.html
 */
import { join } from 'node:path'
import type { ProxyOptions } from './peers.ts'
import { type Server, startServer } from './program.ts'
import { APP, DATABASE, type Stage } from './stage.ts'

export const PGBOUNCER = '/usr/sbin/pgbouncer'

export async function startPgbouncer(options: ProxyOptions): Promise<Server> {
  const { stage, spec, port, directoryName } = options
  const { node, client, name, variant } = spec
  if (node === 'direct TLS') throw new Error('PgBouncer has no direct TLS')
  const { as } = stage
  const dir = join(stage.dir, directoryName)
  const settings = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    pool_mode: 'session',
    auth_type: 'scram-sha-256',
    auth_file: join(dir, 'users'),
    default_pool_size: 100,
    max_client_conn: 10_000,
    ...(name === 'PgBouncer 64K' && { pkt_buf: 65_536 }),
    ...(client === 'TLS' && clientTls(dir)),
    ...(node === 'TLS' && nodeTls(dir)),
    ...variant?.pgbouncer,
  }
  const host = node === 'unix' ? stage.node.socketDir : '127.0.0.1'
  const ini = [
    '[databases]',
    `${DATABASE} = host=${host} port=${stage.node.port}`,
    '[pgbouncer]',
    ...Object.entries(settings).map(([key, value]) => `${key} = ${value}`),
  ]
  await stage.directory(
    directoryName,
    { 'pgbouncer.ini': `${ini.join('\n')}\n`, users: users(stage), ...certificates(stage) },
    as,
  )
  const args = [join(dir, 'pgbouncer.ini')]
  return await startServer(PGBOUNCER, args, { port, logFile: join(dir, 'log'), as })
}

function clientTls(dir: string): Record<string, string> {
  return {
    client_tls_sslmode: 'require',
    client_tls_cert_file: join(dir, 'server.crt'),
    client_tls_key_file: join(dir, 'server.key'),
    client_tls_protocols: 'tlsv1.3',
  }
}

function nodeTls(dir: string): Record<string, string> {
  return {
    server_tls_sslmode: 'verify-full',
    server_tls_ca_file: join(dir, 'node-ca.crt'),
    server_tls_cert_file: join(dir, 'client.crt'),
    server_tls_key_file: join(dir, 'client.key'),
    server_tls_protocols: 'tlsv1.3',
  }
}

function users({ scramSecrets }: Stage): string {
  return `"${APP}" "${scramSecrets[APP]}"\n`
}

function certificates({ server, client, ca }: Stage): Record<string, string> {
  return {
    'server.crt': server.certPem,
    'server.key': server.keyPem,
    'client.crt': client.certPem,
    'client.key': client.keyPem,
    'node-ca.crt': ca.certPem,
  }
}
