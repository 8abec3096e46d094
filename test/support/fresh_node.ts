/**
 * A PostgreSQL for those who set one up: fresh as a distribution leaves it, its files are rewritten
 * and read again in place, and back again. The superuser is `admin`, who has a line of its own.
 */
import { spawnSync } from 'node:child_process'
import { chownSync, readFileSync, writeFileSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { expect } from 'vitest'
import {
  type Ca,
  type CertificateAndKey,
  localCertificates,
  makeCa,
} from '../../src/dev/certificates.ts'
import { startEmbeddedPostgres } from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { startDebianPostgres } from './debian_postgres.ts'
import { runIn } from './world.ts'

export type Version = 15 | 18

export interface FreshNode {
  version: Version
  dir: string
  port: number
  socketDir: string
  dataDir: string
  nodeCa: Ca
  certificates: {
    good: CertificateAndKey
    expired: CertificateAndKey
    otherName: CertificateAndKey
  }
  sql(text: string): Promise<Record<string, unknown>[]>
  /** The text of one of its files, as it is. */
  read(file: File): string
  write(file: File, text: string): void
  reload(): Promise<void>
  /** As it was in the beginning; to be read with the next reload. */
  reset(): Promise<void>
  close(): Promise<void>
}

export type File = 'postgresql.conf' | 'pg_hba.conf' | 'pg_ident.conf' | 'server.crt' | 'server.key'

const HBA = [
  'local all admin trust',
  'local all all peer',
  'host all all 127.0.0.1/32 scram-sha-256',
]
const NOBODY = 65534

/** @param hba - lines in the place of a distribution's. */
export async function startFreshNode(version: Version, hba = HBA): Promise<FreshNode> {
  const dir = await mkdtemp(join(tmpdir(), 'postern-fresh-'))
  await chmod(dir, 0o711)
  const nodeCa = await makeCa('The CA of the node')
  const certificates = await localCertificates(nodeCa)
  const options = {
    dir,
    port: await freePort(),
    uid: process.getuid?.() ?? 0,
    platform: process.platform,
    arch: process.arch,
    hba,
    ident: [],
    settings: { ssl_cert_file: '../conf/server.crt', ssl_key_file: '../conf/server.key' },
    files: { 'server.crt': certificates.good.certPem, 'server.key': certificates.good.keyPem },
    sql: [{ database: 'postgres', statements: ['CREATE ROLE admin SUPERUSER LOGIN'] }],
  }
  const start = version === 15 ? startDebianPostgres : startEmbeddedPostgres
  const server = await start(options)
  const { socketDir, port, dataDir } = server
  const at = (file: File) => join(dirname(dataDir), 'conf', file)
  const admin = new pg.Client({ host: socketDir, port, user: 'admin', database: 'postgres' })
  await admin.connect()
  const sql = async (text: string) => (await admin.query(text)).rows
  const write = (file: File, text: string) => {
    writeFileSync(at(file), text, { mode: 0o600 })
    if (process.getuid?.() === 0) chownSync(at(file), NOBODY, NOBODY)
  }
  const read = (file: File) => readFileSync(at(file), 'utf8')
  const files = [
    'postgresql.conf',
    'pg_hba.conf',
    'pg_ident.conf',
    'server.crt',
    'server.key',
  ] as const
  const first = files.map((file) => [file, read(file)] as const)
  let loads = 0
  const reload = async () => {
    loads++
    write('postgresql.conf', `${read('postgresql.conf')}\npostern.loads = ${loads}\n`)
    await sql('SELECT pg_reload_conf()')
    const loaded = () => sql("SELECT current_setting('postern.loads', true) AS loads")
    await expect.poll(loaded, { interval: 5 }).toEqual([{ loads: String(loads) }])
    // The server's first process tells sessions before it reads its rules; it takes this one after.
    const next = new pg.Client({ host: socketDir, port, user: 'admin', database: 'postgres' })
    await next.connect()
    await next.end()
  }
  return {
    version,
    dir,
    port,
    socketDir,
    dataDir,
    nodeCa,
    certificates,
    sql,
    read,
    write,
    reload,
    async reset() {
      const roles = await sql(
        "SELECT quote_ident(rolname) AS name FROM pg_roles WHERE rolname !~ '^pg_' AND rolname NOT IN ('admin', 'postgres')",
      )
      for (const { name } of roles) await sql(`DROP OWNED BY ${name}; DROP ROLE ${name}`)
      for (const [file, text] of first) write(file, text)
    },
    async close() {
      await admin.end()
      await server.stop()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** `postern …` in this process, in a directory. */
export async function postern(args: string[], dir: string) {
  return await runIn(dir, args, { stop: new AbortController().signal })
}

export interface Printed {
  place: string
  text: string
}

/** What `postern cluster setup` printed, block by block. */
export function blocksOf(stdout: string): Printed[] {
  const [, ...parts] = stdout.split(/^=== (.*) ===$/m)
  return parts.flatMap((place, at) =>
    at % 2 === 0 ? [{ place, text: (parts[at + 1] ?? '').trim() }] : [],
  )
}

/** Follows the blocks to the letter: each goes where its heading says. */
export async function follow(blocks: Printed[], node: FreshNode, caDir: string): Promise<void> {
  for (const { place, text } of blocks) {
    const file = /^(?:postgresql|pg_hba|pg_ident)\.conf/.exec(place)?.[0] as File | undefined
    if (file !== undefined) {
      const [above, below] = place.includes('above')
        ? [text, node.read(file)]
        : [node.read(file), text]
      node.write(file, `${above}\n${below}\n`)
    } else if (place.startsWith('SQL')) await node.sql(text)
    else if (place === 'shell on the node') {
      const done = spawnSync('sh', ['-ec', text], {
        cwd: caDir,
        env: { PATH: process.env['PATH'] ?? '', PGDATA: node.dataDir },
      })
      expect({ status: done.status, said: String(done.stderr) }).toEqual({ status: 0, said: '' })
    } else expect(place).toBe('shell, here')
  }
  await node.reload()
}
