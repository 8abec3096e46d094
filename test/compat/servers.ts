/**
 * The servers behind the gate: the embedded PostgreSQL 18 and Debian's 15. Each run of the same things gets a
 * database of its own, copied from one template: the same names, the same OIDs, the same rows.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { startDebianPostgres } from '../support/debian_postgres.ts'
import { goodClaims, makeKey, mint, type SigningKey } from '../support/tokens.ts'
import { FIXTURE } from './fixture.ts'
import { DATABASE, type Place, type Role } from './place.ts'

export type Version = 15 | 18

/** A certificate authority, and the certificate and key of everybody here. */
export interface Trust {
  dir: string
  ca: { pem: string; file: string }
  certPem: string
  keyPem: string
  key: SigningKey
  tokens: Record<Role, string>
}

export interface Server {
  version: Version
  trust: Trust
  port: number
  /** Its unix socket. */
  socket: string
  /** A superuser's session, in the database `postgres`. */
  admin: pg.Client
  direct: Place
  directTls: Place
  /** A fresh copy of the database; whoever is in the old one is thrown out. */
  reset(): Promise<void>
  close(): Promise<void>
}

const HBA = [
  'local all         all              trust',
  'local replication all              trust',
  'host  all         all 127.0.0.1/32 password',
  'host  replication all 127.0.0.1/32 password',
]

const SETTINGS = {
  ssl: 'on',
  ssl_cert_file: '../conf/server.crt',
  ssl_key_file: '../conf/server.key',
  wal_level: 'logical',
  max_prepared_transactions: '10',
  // Rows come in their order, and nothing changes between two runs but by them.
  autovacuum: 'off',
  synchronize_seqscans: 'off',
  max_parallel_workers_per_gather: '0',
  // Not `Etc/UTC` here and `UTC` there.
  timezone: 'UTC',
}

const TEMPLATE = 'compat_template'

export async function makeTrust(dir: string): Promise<Trust> {
  const [ca, key] = await Promise.all([makeCa('compat CA'), makeKey('compat')])
  const { certPem, keyPem } = await issue(ca, { cn: 'localhost', sans: ['localhost', '127.0.0.1'] })
  const file = join(dir, 'ca.crt')
  writeFileSync(file, ca.certPem)
  const token = (role: Role) => mint(key, { claims: goodClaims(role) })
  const [maxroach, replica, boss] = await Promise.all([
    token('maxroach'),
    token('replica'),
    token('boss'),
  ])
  const tokens = { maxroach, replica, boss }
  return { dir, ca: { pem: ca.certPem, file }, certPem, keyPem, key, tokens }
}

export async function startServer(version: Version, trust: Trust): Promise<Server> {
  const dir = join(trust.dir, `postgres-${version}`)
  mkdirSync(dir)
  chmodSync(dir, 0o711)
  const parts = {
    ...{ dir, port: await freePort(), hba: HBA, ident: [], settings: SETTINGS, sql: [] },
    files: { 'server.crt': trust.certPem, 'server.key': trust.keyPem },
  }
  const { socketDir, port, stop } = await START[version](parts)
  const connect = async (database: string) => {
    const client = new pg.Client({ host: socketDir, port, user: 'postgres', database })
    await client.connect()
    return client
  }
  const admin = await connect('postgres')
  await makeTemplate(admin, connect, trust)
  const place = { port, isGate: false, tokens: trust.tokens }
  return {
    ...{ version, trust, port, admin },
    socket: join(socketDir, `.s.PGSQL.${port}`),
    direct: { ...place, name: 'PostgreSQL itself', tls: undefined },
    directTls: { ...place, name: 'PostgreSQL itself, TLS', tls: trust.ca },
    async reset() {
      await admin.query(`DROP DATABASE IF EXISTS ${DATABASE} WITH (FORCE)`)
      await admin.query(`CREATE DATABASE ${DATABASE} TEMPLATE ${TEMPLATE} OWNER maxroach`)
    },
    async close() {
      await admin.end()
      await stop()
    },
  }
}

type Parts = Parameters<typeof startDebianPostgres>[0]
type Started = Pick<EmbeddedPostgres, 'socketDir' | 'port' | 'stop'>

const START: Record<Version, (parts: Parts) => Promise<Started>> = {
  15: startDebianPostgres,
  18: (parts) =>
    startEmbeddedPostgres({
      ...parts,
      uid: process.getuid?.() ?? 0,
      platform: process.platform,
      arch: process.arch,
    }),
}

async function makeTemplate(
  admin: pg.Client,
  connect: (database: string) => Promise<pg.Client>,
  { tokens }: Trust,
): Promise<void> {
  // The password is the token: what opens the gate opens the server as well.
  await admin.query(`CREATE ROLE maxroach LOGIN PASSWORD '${tokens.maxroach}';
    CREATE ROLE replica LOGIN REPLICATION PASSWORD '${tokens.replica}';
    CREATE ROLE boss LOGIN SUPERUSER PASSWORD '${tokens.boss}';
    CREATE ROLE reader NOLOGIN`)
  await admin.query(`CREATE DATABASE ${TEMPLATE} OWNER maxroach`)
  const client = await connect(TEMPLATE)
  await client.query(`SET ROLE maxroach; ${FIXTURE}`)
  await client.end()
}
