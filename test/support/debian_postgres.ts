/**
 * Debian's PostgreSQL 15, where it is installed, made as the embedded one is: a directory with data/,
 * conf/ and run/. It refuses to run as root: for root it runs as nobody.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { EmbeddedPostgres, EmbeddedPostgresOptions } from '../../src/dev/embedded_postgres.ts'

const BIN = '/usr/lib/postgresql/15/bin'
const NOBODY = { uid: 65534, gid: 65534 }

export const hasDebianPostgres = existsSync(join(BIN, 'postgres'))

export type DebianPostgres = Pick<
  EmbeddedPostgres,
  'socketDir' | 'port' | 'dataDir' | 'pid' | 'stop'
>

export async function startDebianPostgres(
  o: Pick<EmbeddedPostgresOptions, 'dir' | 'port' | 'hba' | 'ident' | 'settings' | 'files' | 'sql'>,
): Promise<DebianPostgres> {
  const as = process.getuid?.() === 0 ? NOBODY : {}
  const at = (name: string) => join(o.dir, name)
  const own = (path: string) => as === NOBODY && chownSync(path, NOBODY.uid, NOBODY.gid)
  for (const name of ['data', 'run', 'conf']) {
    mkdirSync(at(name), { recursive: true, mode: name === 'conf' ? 0o711 : 0o700 })
    if (name !== 'conf') own(at(name))
  }
  const how = { ...as, cwd: o.dir, env: { LC_ALL: 'C', TZ: 'UTC' } }
  const run = (program: string, args: string[], input = '') => {
    const done = spawnSync(join(BIN, program), args, { ...how, input })
    if (done.status !== 0) throw new Error(`${program}: ${done.stderr}`)
  }
  run('initdb', ['-D', at('data'), '-U', 'postgres', '-E', 'UTF8', '--auth=reject', '--no-sync'])
  for (const { database, statements } of o.sql)
    run(
      'postgres',
      ['--single', '-j', '-F', '-D', at('data'), '-c', 'exit_on_error=on', database],
      statements.map((each) => `${each};\n\n`).join(''),
    )
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(o.port),
    unix_socket_directories: at('run'),
    hba_file: at('conf/pg_hba.conf'),
    ident_file: at('conf/pg_ident.conf'),
    fsync: 'off',
    dynamic_shared_memory_type: 'mmap',
    ...o.settings,
  }
  const files = {
    ...o.files,
    'pg_hba.conf': o.hba.join('\n'),
    'pg_ident.conf': o.ident.join('\n'),
    'postgresql.conf': Object.entries(settings)
      .map(([name, value]) => `${name} = '${value}'`)
      .join('\n'),
  }
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(at(`conf/${name}`), `${text}\n`, { mode: 0o600 })
    own(at(`conf/${name}`))
  }
  const args = ['-D', at('data'), '-c', `config_file=${at('conf/postgresql.conf')}`]
  const server = spawn(join(BIN, 'postgres'), args, { ...how, stdio: ['ignore', 'ignore', 'pipe'] })
  await ready(server)
  return {
    socketDir: at('run'),
    port: o.port,
    dataDir: at('data'),
    pid: server.pid ?? 0,
    async stop() {
      if (server.exitCode !== null) return
      server.kill('SIGINT')
      await once(server, 'close')
    },
  }
}

async function ready(server: ChildProcess): Promise<void> {
  const abandon = () => void server.kill('SIGQUIT')
  process.once('exit', abandon)
  server.once('close', () => process.off('exit', abandon))
  const said: string[] = []
  await new Promise<void>((resolve, reject) => {
    if (server.stderr === null) return reject(new Error('no stderr'))
    createInterface({ input: server.stderr }).on('line', (line) => {
      said.push(line)
      if (line.includes('ready to accept connections')) resolve()
    })
    server.once('close', () => reject(new Error(said.slice(-8).join('\n'))))
  })
}
