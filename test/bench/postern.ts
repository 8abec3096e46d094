/** Postern as a peer: `postern serve` with a configuration in a directory of its own, one worker. */
import { join } from 'node:path'
import { AUDIENCE, ISSUER } from '../support/tokens.ts'
import type { NodeLeg } from './legs.ts'
import type { ProxyOptions } from './peers.ts'
import { type Server, startServer } from './program.ts'
import { APP, PASSWORD, type Stage } from './stage.ts'

const MAIN = join(import.meta.dirname, '../../src/main.ts')

export async function startPostern(options: ProxyOptions): Promise<Server> {
  const { stage, spec, port, directoryName } = options
  const { node = 'plaintext', client, variant } = spec
  const tls = { cert_file: 'server.crt', key_file: 'server.key' }
  const configuration = {
    listeners: [
      { address: `127.0.0.1:${port}`, ...(client === 'TLS' ? { tls } : { allow_plaintext: true }) },
    ],
    clusters: {
      bench: {
        kind: 'postgresql',
        ...nodeOf(stage, node),
        'server.jwt_authentication.enabled': true,
        'server.jwt_authentication.issuers.configuration': ISSUER,
        'server.jwt_authentication.audience': AUDIENCE,
        'server.jwt_authentication.jwks': { keys: [stage.key.jwk] },
        ...variant?.cluster,
      },
    },
    audit: { to: 'audit.log' },
    ...variant?.postern,
  }
  const dir = await stage.directory(directoryName, {
    'postern.yaml': JSON.stringify(configuration, null, 2),
    'server.crt': stage.server.certPem,
    'server.key': stage.server.keyPem,
    'node-ca.crt': stage.ca.certPem,
    'client-ca.crt': stage.clientCa.certPem,
    'client-ca.key': stage.clientCa.keyPem,
  })
  const args = [...(variant?.node ?? []), MAIN, 'serve', '--config', join(dir, 'postern.yaml')]
  return await startServer(process.execPath, args, { port, logFile: join(dir, 'log') })
}

/** Without TLS SCRAM, over it a certificate, over a unix socket nothing. */
function nodeOf({ node }: Stage, leg: NodeLeg): Record<string, unknown> {
  const address = `127.0.0.1:${node.port}`
  const tls = (sslnegotiation: string) => ({
    nodes: [{ address, tls: { ca_file: 'node-ca.crt', sslnegotiation } }],
    sign_in: 'certificate',
    certificate: { ca_cert: 'client-ca.crt', ca_key: 'client-ca.key' },
  })
  switch (leg) {
    case 'unix':
      return {
        nodes: [{ address: join(node.socketDir, `.s.PGSQL.${node.port}`) }],
        sign_in: 'trust',
      }
    case 'plaintext':
      return {
        nodes: [{ address }],
        sign_in: 'scram',
        scram: { secrets: { [APP]: PASSWORD } },
      }
    case 'TLS':
      return tls('postgres')
    case 'direct TLS':
      return tls('direct')
  }
}
