/**
 * PostgreSQL servers that let members of postern_users in by certificate and nobody else: the embedded
 * 18 and Debian's 15, alike but for where they come from.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { expect } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import {
  type EmbeddedPostgresOptions,
  startEmbeddedPostgres,
} from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { startDebianPostgres } from './debian_postgres.ts'
import { makeDirectory } from './tools.ts'

export interface CertificateServer {
  /** As a node's in the configuration. */
  address: string
  /** Whom the server's certificate comes from. */
  caPem: string
  admin: pg.Client
  /** Trusts these authorities from now on. */
  trust(pem: string): Promise<void>
  stop(): Promise<void>
}

const HBA = [
  'local   all postgres                    trust',
  'hostssl all +postern_users 127.0.0.1/32 cert',
]

export async function startCertificateServer(
  kind: '15' | '18',
  trusted: string,
): Promise<CertificateServer> {
  const ca = await makeCa(`CA of ${kind}`)
  const { certPem, keyPem } = await issue(ca, { cn: 'node', sans: ['127.0.0.1', 'localhost'] })
  const files = { 'server.crt': certPem, 'server.key': keyPem, 'trusted.crt': trusted }
  const settings = {
    ssl: 'on',
    ssl_cert_file: '../conf/server.crt',
    ssl_key_file: '../conf/server.key',
    ssl_ca_file: '../conf/trusted.crt',
  }
  const dir = join(await makeDirectory(), 'postgres')
  await mkdir(dir, { mode: 0o711 })
  const parts = { dir, port: await freePort(), hba: HBA, ident: [], sql: [], settings, files }
  const server = await starts[kind](parts)
  const admin = new pg.Client({ host: server.socketDir, port: server.port, user: 'postgres' })
  await admin.connect()
  return {
    address: `127.0.0.1:${server.port}`,
    caPem: ca.certPem,
    admin,
    async trust(pem) {
      const loaded = async () => (await admin.query('select pg_conf_load_time()')).rows[0]
      const before = await loaded()
      await writeFile(join(dir, 'conf', 'trusted.crt'), pem)
      await admin.query('select pg_reload_conf()')
      // A session hears of it from the server's first process, which takes the next connection later.
      await expect.poll(loaded, { interval: 5 }).not.toEqual(before)
    },
    async stop() {
      await admin.end()
      await server.stop()
    },
  }
}

type Parts = Omit<EmbeddedPostgresOptions, 'uid' | 'platform' | 'arch' | 'onLog'>

const starts = {
  '15': startDebianPostgres,
  '18': (parts: Parts) =>
    startEmbeddedPostgres({
      ...parts,
      uid: process.getuid?.() ?? 0,
      platform: process.platform,
      arch: process.arch,
    }),
}
