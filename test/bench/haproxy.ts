/**
 * HAProxy as a peer: `mode tcp`, bytes and nothing else. It can't do Postgres' TLS, so it has rows in
 * plaintext only. https://docs.haproxy.org/2.6/configuration.html
 */
import { join } from 'node:path'
import type { ProxyOptions } from './peers.ts'
import { type Server, startServer } from './program.ts'

export const HAPROXY = '/usr/sbin/haproxy'

export async function startHaproxy(options: ProxyOptions): Promise<Server> {
  const { stage, spec, port, directoryName } = options
  const { socketDir, port: nodePort } = stage.node
  const unix = `unix@${join(socketDir, `.s.PGSQL.${nodePort}`)}`
  const configuration = [
    'global',
    'defaults',
    '  mode tcp',
    '  timeout connect 5s',
    '  timeout client 1h',
    '  timeout server 1h',
    'frontend clients',
    `  bind 127.0.0.1:${port}`,
    '  default_backend nodes',
    'backend nodes',
    `  server node ${spec.node === 'unix' ? unix : `127.0.0.1:${nodePort}`}`,
  ]
  const dir = await stage.directory(directoryName, {
    'haproxy.cfg': `${configuration.join('\n')}\n`,
  })
  const args = ['-db', '-q', '-f', join(dir, 'haproxy.cfg')]
  return await startServer(HAPROXY, args, { port, logFile: join(dir, 'log') })
}
