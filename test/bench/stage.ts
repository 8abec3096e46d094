/**
 * What all peers stand on: a temporary directory, certificates (ECDSA P-256), a key that signs tokens, and
 * a PostgreSQL 18 with its data. Two roles, the same but in name: `app` is who signs in through a peer
 * (its client certificate is asked for over TLS), `direct` who comes by itself, with SCRAM on every leg.
 */
import { chownSync, rmSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Ca, type CertificateAndKey, issue, makeCa } from '../../src/dev/certificates.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { goodClaims, makeKey, mint, type SigningKey } from '../support/tokens.ts'
import { type Environment, runClient, type User } from './program.ts'

export const DATABASE = 'bench'
export const APP = 'app'
export const DIRECT = 'direct'
export const PASSWORD = 'a password of the comparison alone'
export const SCALE = 10
/** The table `narrow`: rows of 84 bytes, their newline included. */
export const NARROW = { rows: 1_500_000, rowBytes: 84 }

export interface Stage {
  dir: string
  node: EmbeddedPostgres
  ca: Ca
  caFile: string
  /** Of every server; its names are localhost and 127.0.0.1. */
  server: CertificateAndKey
  /** Who signs client certificates that the node believes. */
  clientCa: Ca
  /** For `app`, by that CA. */
  client: CertificateAndKey
  key: SigningKey
  token(sub: string): Promise<string>
  /** What the node keeps in the place of each role's password. */
  scramSecrets: Record<string, string>
  /** For clients that are to be the node's superuser, over its unix socket. */
  admin: Environment
  /** As whom a server runs that refuses root; undefined where we are not root. */
  as: User | undefined
  /** A directory with files that only this user can read. */
  directory(name: string, files: Record<string, string>, owner?: User): Promise<string>
  close(): Promise<void>
}

const NOBODY = { uid: 65534, gid: 65534 }

const HBA = [
  'local     all all trust',
  `hostssl   all ${APP}    127.0.0.1/32 cert`,
  `hostnossl all ${APP}    127.0.0.1/32 scram-sha-256`,
  `host      all ${DIRECT} 127.0.0.1/32 scram-sha-256`,
]

const SETTINGS = {
  max_connections: '500',
  shared_buffers: '512MB',
  // Rows come in their order.
  synchronize_seqscans: 'off',
  max_parallel_workers_per_gather: '0',
  autovacuum: 'off',
  checkpoint_timeout: '1h',
  max_wal_size: '8GB',
  ssl: 'on',
  ssl_cert_file: '../conf/server.crt',
  ssl_key_file: '../conf/server.key',
  ssl_ca_file: '../conf/client-ca.crt',
  ssl_min_protocol_version: 'TLSv1.3',
}

const ROLES = [
  'CREATE DATABASE bench',
  `CREATE ROLE ${APP} LOGIN PASSWORD '${PASSWORD}'`,
  `CREATE ROLE ${DIRECT} LOGIN PASSWORD '${PASSWORD}'`,
]

const DATA = [
  `CREATE TABLE narrow AS SELECT lpad(n::text, ${NARROW.rowBytes - 1}, 'postern ') AS line
     FROM generate_series(1, ${NARROW.rows}) AS n`,
  'CREATE TABLE taken (line text)',
  `GRANT ALL ON ALL TABLES IN SCHEMA public TO ${APP}, ${DIRECT}`,
  'VACUUM (ANALYZE, FREEZE)',
  'CHECKPOINT',
]

export async function openStage(): Promise<Stage> {
  const as = process.getuid?.() === 0 ? NOBODY : undefined
  const dir = await mkdtemp(join(tmpdir(), 'postern-bench-'))
  await chmod(dir, 0o711)
  // A run that is cut short closes nothing. PostgreSQL ends by itself when we do.
  const abandon = () => rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
  process.once('exit', abandon)
  try {
    const [ca, clientCa, key] = await Promise.all([makeCa(), makeCa('Clients'), makeKey('bench')])
    const here = { cn: 'localhost', sans: ['localhost', '127.0.0.1'] }
    const server = await issue(ca, here)
    const client = await issue(clientCa, { cn: APP, use: 'client' })
    const node = await startNode(dir, server, clientCa)
    const admin = {
      PGHOST: node.socketDir,
      PGPORT: String(node.port),
      PGUSER: 'postgres',
      PGDATABASE: DATABASE,
    }
    const caFile = join(dir, 'ca.crt')
    await writeFile(caFile, ca.certPem)
    return {
      ...{ dir, node, ca, caFile, server, clientCa, client, key, admin, as },
      token: (sub) => mint(key, { claims: goodClaims(sub) }),
      scramSecrets: await fill(admin),
      directory: (name, files, owner) => makeDirectory(join(dir, name), files, owner),
      async close() {
        process.off('exit', abandon)
        await node.stop()
        await rm(dir, { recursive: true, force: true, maxRetries: 5 })
      },
    }
  } catch (thrown) {
    process.off('exit', abandon)
    await rm(dir, { recursive: true, force: true, maxRetries: 5 })
    throw thrown
  }
}

async function startNode(
  dir: string,
  server: CertificateAndKey,
  clientCa: Ca,
): Promise<EmbeddedPostgres> {
  return await startEmbeddedPostgres({
    dir: join(dir, 'node'),
    port: await freePort(),
    uid: process.getuid?.() ?? 0,
    platform: process.platform,
    arch: process.arch,
    hba: HBA,
    ident: [],
    settings: SETTINGS,
    files: {
      'server.crt': server.certPem,
      'server.key': server.keyPem,
      'client-ca.crt': clientCa.certPem,
    },
    sql: [{ database: 'postgres', statements: ROLES }],
  })
}

/** @returns the SCRAM secrets of the roles. */
async function fill(admin: Environment): Promise<Record<string, string>> {
  await runClient('pgbench', ['-i', '-q', '-s', String(SCALE)], admin)
  await runClient('psql', ['-X', '-q', ...DATA.flatMap((sql) => ['-c', sql])], admin)
  const sql = `SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword <> ''`
  const rows = await runClient('psql', ['-X', '-A', '-t', '-F', '\t', '-c', sql], admin)
  return Object.fromEntries(
    rows
      .trim()
      .split('\n')
      .map((row) => row.split('\t')),
  )
}

async function makeDirectory(
  path: string,
  files: Record<string, string>,
  owner: User | undefined,
): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o711 })
  if (owner !== undefined) chownSync(path, owner.uid, owner.gid)
  for (const [name, text] of Object.entries(files)) {
    const file = join(path, name)
    await writeFile(file, text, { mode: 0o600 })
    if (owner !== undefined) chownSync(file, owner.uid, owner.gid)
  }
  return path
}
