/**
 * Programs that tests run as children: psql, Python with psycopg2, Java with JDBC, and postern itself.
 * All but the last may be missing on a developer's machine: their tests are skipped then, with a line that
 * says so; in CI they fail. Nothing that was started here outlives its test file.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { chmod, chown, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type pg from 'pg'
import { describe, expect, it } from 'vitest'

export const PYTHON = '/usr/bin/python3'
/** The tree, our program in it, and the Node that npm runs it with. */
export const ROOT = join(import.meta.dirname, '../..')
export const MAIN = join(ROOT, 'src/main.ts')
/** Debian's own PostgreSQL server. */
export const DEBIAN_15 = '/usr/lib/postgresql/15/bin'
/** Debian's haproxy. */
export const HAPROXY = '/usr/sbin/haproxy'
/** Debian's JDBC driver. */
export const JDBC = '/usr/share/java/postgresql.jar'
/** Debian's chromium. */
export const CHROMIUM = '/usr/bin/chromium'
export const NODE = 'node_modules/node/bin/node'

const TOOLS = {
  psql: { program: 'psql', args: ['--version'], package: 'postgresql-client' },
  pgbench: { program: 'pgbench', args: ['--version'], package: 'postgresql' },
  PostgreSQL15: { program: `${DEBIAN_15}/postgres`, args: ['--version'], package: 'postgresql' },
  curl: { program: 'curl', args: ['--version'], package: 'curl' },
  openssl: { program: 'openssl', args: ['version'], package: 'openssl' },
  haproxy: { program: HAPROXY, args: ['-v'], package: 'haproxy' },
  psycopg2: { program: PYTHON, args: ['-c', 'import psycopg2'], package: 'python3-psycopg2' },
  chromium: { program: CHROMIUM, args: ['--version'], package: 'chromium' },
  kubectl: {
    program: 'kubectl',
    args: ['version', '--client'],
    package: 'kubernetes-client',
  },
  systemd: { program: 'systemd-analyze', args: ['--version'], package: 'systemd' },
  JDBC: {
    program: 'sh',
    args: ['-c', `javac -version && test -f ${JDBC}`],
    package: 'default-jdk-headless libpostgresql-jdbc-java',
  },
}

/** `describe`, for tests that need the tool. */
export function describeWith(tool: keyof typeof TOOLS, name: string, tests: () => void): void {
  const { program, args, package: debian } = TOOLS[tool]
  const missing = `${tool} is not installed (Debian: apt-get install ${debian})`
  if (spawnSync(program, args).status === 0) describe(name, tests)
  else if (process.env['CI']) it(name, () => expect.fail(missing))
  else {
    process.stderr.write(`skipped: ${name}: ${missing}\n`)
    describe.skip(`${name} (skipped: ${missing})`, tests)
  }
}

/** A directory of this test file, which ends with it. Others may look into it. */
export async function makeDirectory(owner?: How['as']): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'postern-real-'))
  await chmod(dir, 0o755)
  if (owner !== undefined) await chown(dir, owner.uid, owner.gid)
  directories.push(dir)
  return dir
}

/** Writes a file into a directory of its own; returns its path. */
export async function keepFile(name: string, text: string): Promise<string> {
  const path = join(await makeDirectory(), name)
  await writeFile(path, text, { mode: 0o644 })
  return path
}

export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface Program {
  child: ChildProcessWithoutNullStreams
  /** What it said so far, both streams as they came. */
  said(): string
  /** Waits for a text in what it says. */
  until(text: string | RegExp): Promise<string>
  ended: Promise<Ended>
}

export interface How {
  env?: Record<string, string>
  cwd?: string
  as?: { uid: number; gid: number }
  input?: string
  /** In a process group of its own, like a job of a shell. */
  detached?: boolean
  /** Somebody else reads its stdout, as bytes. */
  raw?: boolean
}

/** Nothing of the developer's own: no ~/.psqlrc, no ~/.pgpass, no PGHOST. */
const ENVIRONMENT = {
  NODE_COMPILE_CACHE: join(import.meta.dirname, '../../node_modules/.cache/compile'),
  PATH: process.env['PATH'] ?? '',
  HOME: '/nonexistent',
  LC_ALL: 'C.UTF-8',
  TMPDIR: tmpdir(),
  PSQLRC: '/dev/null',
  PGCONNECT_TIMEOUT: '10',
}
const UNTIL_MS = 30_000

const running = new Map<ChildProcessWithoutNullStreams, Promise<Ended>>()
const directories: string[] = []

/** Of the file of tests that is over; see each_file.ts. */
export async function endAll(): Promise<void> {
  for (const child of running.keys()) child.kill('SIGKILL')
  await Promise.allSettled(running.values())
  removeDirectories()
}

// A hook that fails takes the place of those after it.
process.once('exit', removeDirectories)

function removeDirectories(): void {
  for (const dir of directories.splice(0))
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
}

/** Starts a program; what it says is kept. */
export function start(program: string, args: string[], how: How = {}): Program {
  const { env, cwd, as, detached = false } = how
  const child = spawn(program, args, { env: { ...ENVIRONMENT, ...env }, cwd, ...as, detached })
  child.stdin.on('error', () => undefined)
  if (how.input !== undefined) child.stdin.end(how.input)
  const out = { stdout: '', stderr: '', said: '' }
  const waits = new Set<() => void>()
  for (const stream of how.raw ? (['stderr'] as const) : (['stdout', 'stderr'] as const))
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      out[stream] += text
      out.said += text
      for (const look of waits) look()
    })
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', (error) => {
      running.delete(child)
      reject(error)
    })
    child.once('close', (code, signal) => {
      running.delete(child)
      resolve({ code, signal, stdout: out.stdout, stderr: out.stderr })
      for (const look of waits) look()
    })
  })
  running.set(child, ended)
  const until = (text: string | RegExp) =>
    new Promise<string>((resolve, reject) => {
      const settle = (error?: Error) => {
        clearTimeout(timer)
        waits.delete(look)
        if (error === undefined) resolve(out.said)
        else reject(error)
      }
      const fail = (why: string) => settle(new Error(`${program} ${why}: it said\n${out.said}`))
      const look = () => {
        if (typeof text === 'string' ? out.said.includes(text) : text.test(out.said)) settle()
        else if (!running.has(child)) fail(`ended before ${text}`)
      }
      const timer = setTimeout(() => fail(`didn't say ${text} in time`), UNTIL_MS)
      waits.add(look)
      look()
    })
  return { child, said: () => out.said, until, ended }
}

export async function run(program: string, args: string[], how: How = {}): Promise<Ended> {
  const started = start(program, args, how)
  if (how.input === undefined) started.child.stdin.end()
  return await started.ended
}

/** psql without a prompt for passwords, rows alone on stdout. */
export async function psql(args: string[], how: How = {}): Promise<Ended> {
  return await run('psql', [...PSQL, ...args], how)
}

export const PSQL = ['-X', '-w', '-A', '-t', '-q']

/** A program at a terminal of its own: what is written to its stdin is typed, `\x03` is Ctrl-C. */
export function startAtTerminal(command: string, how: How = {}): Program {
  const args =
    process.platform === 'darwin'
      ? ['-q', '/dev/null', 'sh', '-c', command]
      : ['-qefc', command, '/dev/null']
  return start('script', args, { ...how, env: { ...how.env, TERM: 'dumb', SHELL: '/bin/sh' } })
}

/** `node src/main.ts …`, as npm runs it; from a copy of the tree if one is told. */
export function startPostern(
  args: string[],
  how: How & { copy?: string | undefined } = {},
): Program {
  const { copy } = how
  if (copy === undefined) return start(process.execPath, [MAIN, ...args], how)
  return start(join(copy, NODE), [join(copy, 'src/main.ts'), ...args], how)
}

/** Bytes of memory that a process has; undefined where the system doesn't say (it is in Linux' /proc). */
export async function residentBytes(pid: number): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]
  return kib === undefined ? undefined : Number(kib) * 1024
}

/** No line holds a token, nor what makes one worth stealing: its payload, its signature. */
export function expectNoToken(tokens: readonly string[], ...texts: unknown[]): void {
  expect(tokens.length).toBeGreaterThan(0)
  const all = texts
    .map((text) => (typeof text === 'string' ? text : JSON.stringify(text)))
    .join('\n')
  expect(all).not.toBe('')
  for (const token of tokens)
    for (const part of [token, ...token.split('.').slice(1)])
      if (part.length > 8)
        expect(all.includes(part), `a token in ${all.slice(0, 200)} …`).toBe(false)
}

/** A connection URL as people write it, with further parameters; the token is in PGPASSWORD. */
export function url(port: number, user: string, more: Record<string, string> = {}): string {
  const { database = '', ...parameters } = more
  const query = Object.entries({ sslmode: 'verify-full', options: JWT_SWITCH, ...parameters })
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
  return `postgresql://${encodeURIComponent(user)}@127.0.0.1:${port}/${database}?${query.join('&')}`
}

export const JWT_SWITCH = '--crdb:jwt_auth_enabled=true'

/** The same for node-postgres. */
export function pgConfig(
  { port, caPem }: { port: number; caPem: string },
  user: string,
  password: string,
  more: pg.ClientConfig = {},
): pg.ClientConfig {
  const ssl = { ca: caPem }
  return {
    host: '127.0.0.1',
    port,
    user,
    password,
    database: 'defaultdb',
    ssl,
    options: JWT_SWITCH,
    ...more,
  }
}
