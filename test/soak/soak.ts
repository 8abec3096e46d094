/**
 * `npm run soak -- [minutes] [workers=N]`: a gate in a process of its own, in front of a real PostgreSQL,
 * and 200 clients that come and go in every way (churn.ts). In the end it must have as much memory as
 * after the first third, no socket more than at the start, and books that agree with its clients'. See
 * docs/soak.md.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import pg from 'pg'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { SAMPLE_SQL, sampleHba, sampleIdent } from '../../src/dev/sample.ts'
import {
  connectionsOf,
  descriptorsOf,
  type Metrics,
  metricsOf,
  processesOf,
  startOf,
  sum,
  total,
  wrongIn,
} from '../support/books.ts'
import { APPLICATION, CHURN_SQL, churn, type Done, type Weather } from '../support/churn.ts'
import { AUDIENCE, goodClaims, ISSUER, makeKey, mint, type SigningKey } from '../support/tokens.ts'

const CLIENTS = 200
const MINUTES = 5
const MINUTES_MAX = 120
const AWAY_MS = 250
/** Of the samples, those that come before the gate is warm. */
const WARM = 1 / 6
const SAMPLE_MS = 1_000
const SETTLE_MS = 60_000
/** The last third's median may be so many times the first third's, and so many bytes more. */
const GROWTH = 1.25
const GROWTH_BYTES = 32 * 1024 ** 2
const MAIN = join(import.meta.dirname, '../../src/main.ts')
const USAGE = `npm run soak -- [minutes, up to ${MINUTES_MAX}] [workers=N]`

interface Wanted {
  minutes: number
  workers: number
}

interface Gate {
  child: ChildProcess
  closed: Promise<unknown>
  pid: number
  port: number
  opsPort: number
  /** Lines of the log and of the audit stream, and those of them that hold something secret. */
  heard: { lines: number; secret: number }
}

function readArguments(args: string[]): Wanted {
  const wanted = { minutes: MINUTES, workers: 1 }
  for (const each of args) {
    const workers = /^workers=(\d+)$/.exec(each)?.[1]
    if (workers !== undefined) wanted.workers = Number(workers)
    else wanted.minutes = Number(each)
  }
  const { minutes } = wanted
  if (!(minutes > 0 && minutes <= MINUTES_MAX)) throw new Error(USAGE)
  return wanted
}

/** The node, the gate in front of it, and what its clients need. */
interface Stage {
  gate: Gate
  admin: pg.Client
  weather: Omit<Weather, 'clients' | 'stop'>
  close(): Promise<void>
}

async function setUp(dir: string, { workers }: Wanted): Promise<Stage> {
  const server = await startNode(dir)
  const { socketDir: host, port } = server
  const admin = new pg.Client({ host, port, user: 'postgres', database: 'defaultdb' })
  await admin.connect()
  for (const statement of CHURN_SQL) await admin.query(statement)
  const [ca, key, strangers] = await Promise.all([makeCa(), makeKey('soak'), makeKey('nobody')])
  const { certPem, keyPem } = await issue(ca, { cn: 'localhost', sans: ['127.0.0.1'] })
  const file = join(dir, 'postern.yaml')
  await writeFile(join(dir, 'gate.crt'), certPem)
  await writeFile(join(dir, 'gate.key'), keyPem, { mode: 0o600 })
  const node = join(host, `.s.PGSQL.${port}`)
  await writeFile(file, JSON.stringify(configuration(node, key.jwk, workers)))
  const signatures = new Set<string>()
  const gate = await startGate(file, signatures)
  const mintBy = async (by: SigningKey) => {
    const token = await mint(by, { claims: goodClaims('maxroach') })
    signatures.add(token.slice(token.lastIndexOf('.') + 1))
    return token
  }
  return {
    gate,
    admin,
    weather: {
      port: gate.port,
      caPem: ca.certPem,
      awayMs: AWAY_MS,
      token: () => mintBy(key),
      badToken: () => mintBy(strangers),
    },
    async close() {
      gate.child.kill('SIGKILL')
      await admin.end()
      await server.stop()
    },
  }
}

async function soak(stage: Stage, wanted: Wanted, stop: AbortSignal): Promise<string[]> {
  const { gate, admin, weather } = stage
  // What is opened once and stays is open after these: each comes once.
  const few = { clients: 16 * wanted.workers, stop: AbortSignal.timeout(1) }
  const first = await churn({ ...weather, ...few })
  const quiet = [first.connections, 0]
  await until(async () => isDeepStrictEqual(await connectionsOf(gate.opsPort), quiet))
  const start = await startOf(gate.pid, gate.opsPort)
  const memory = watchMemory(gate.pid)
  const done = await churn({ ...weather, clients: CLIENTS, stop })
  const thirds = thirdsOf(memory.stop())
  const left = await until(async () => (await wrongIn(gate, start, done)).length === 0)
  const wrong = left ? [] : await wrongIn(gate, start, done)
  if (!(await until(async () => (await sessionsOn(admin)) === 0)))
    wrong.push('sessions are left on the node')
  if ((await admin.query('SELECT FROM churned')).rowCount !== 0)
    wrong.push('a COPY, or a transaction, was committed by nobody')
  const metrics = await metricsOf(gate.opsPort)
  const descriptors = [start.descriptors, await descriptorsOf(gate.pid)]
  gate.child.kill('SIGTERM')
  await gate.closed
  if (gate.child.exitCode !== 0) wrong.push(`the gate ended with ${gate.child.exitCode}`)
  if (gate.heard.secret > 0) wrong.push(`${gate.heard.secret} lines have a token in them`)
  if (thirds.last > thirds.first * GROWTH + GROWTH_BYTES) wrong.push('the memory grew')
  say(table({ wanted, metrics, descriptors, done, thirds, lines: gate.heard.lines }))
  return [...done.troubles, ...wrong]
}

async function startNode(dir: string): Promise<EmbeddedPostgres> {
  return await startEmbeddedPostgres({
    dir,
    port: await freePort(),
    uid: process.getuid?.() ?? 0,
    platform: process.platform,
    arch: process.arch,
    hba: sampleHba(),
    ident: sampleIdent(userInfo().username),
    sql: SAMPLE_SQL,
    // Sessions that were left in a statement end with it.
    settings: { max_connections: String(CLIENTS * 2) },
  })
}

function configuration(node: string, key: object, workers: number): Record<string, unknown> {
  return {
    workers,
    listeners: [
      {
        address: '127.0.0.1:0',
        allow_plaintext: true,
        tls: { cert_file: 'gate.crt', key_file: 'gate.key' },
      },
    ],
    clusters: {
      soak: {
        kind: 'postgresql',
        nodes: [{ address: node }],
        sign_in: 'peer',
        'server.jwt_authentication.enabled': true,
        'server.jwt_authentication.issuers.configuration': ISSUER,
        'server.jwt_authentication.audience': AUDIENCE,
        'server.jwt_authentication.jwks': { keys: [key] },
      },
    },
    limits: { handshake_timeout: '5s' },
    ops: { listen: '127.0.0.1:0' },
    // A pipe would wait for us, who are busy.
    audit: { to: 'audit.log' },
  }
}

/** Every line that it writes is looked at, and none is kept. */
async function startGate(file: string, signatures: Set<string>): Promise<Gate> {
  const stdio: StdioOptions = ['ignore', 'ignore', 'pipe']
  const child = spawn(process.execPath, [MAIN, 'serve', '--config', file], { stdio })
  const heard = { lines: 0, secret: 0 }
  const opened = Promise.withResolvers<string>()
  const audited = async () => {
    const input = createReadStream(join(dirname(file), 'audit.log'))
    for await (const line of createInterface({ input })) hear(line)
  }
  const closed = once(child, 'close').then(audited)
  closed.then(() => opened.reject(new Error('the gate ended')), opened.reject)
  const hear = (line: string) => {
    heard.lines++
    const long = line.match(/[\w-]{86,}/g) ?? []
    if (line.includes('eyJ') || long.some((each) => signatures.has(each))) heard.secret++
    if (line.includes('"the gate is open"')) opened.resolve(line)
  }
  if (child.stderr !== null) createInterface({ input: child.stderr }).on('line', hear)
  const line = await opened.promise
  const port = Number(/"port":(\d+)/.exec(line)?.[1])
  const opsPort = Number(/"ops":(\d+)/.exec(line)?.[1])
  return { child, closed, pid: child.pid ?? 0, port, opsPort, heard }
}

/** Bytes that the gate's processes have, once a second. */
function watchMemory(pid: number) {
  const samples: number[] = []
  const look = async () => {
    const each = (await processesOf(pid)).map(async (one) => {
      const status = await readFile(`/proc/${one}/status`, 'utf8')
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
    })
    samples.push(sum(await Promise.all(each)))
  }
  const timer = setInterval(() => void look().catch(() => undefined), SAMPLE_MS)
  return {
    stop() {
      clearInterval(timer)
      return samples
    },
  }
}

/** Medians of the first third and the last, without those from before the gate was warm. */
function thirdsOf(samples: number[]) {
  const warm = samples.slice(Math.floor(samples.length * WARM))
  const third = Math.ceil(warm.length / 3)
  return { first: median(warm.slice(0, third)), last: median(warm.slice(-third)) }
}

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0
}

async function sessionsOn(admin: pg.Client): Promise<number> {
  const sql = 'SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = $1'
  return (await admin.query(sql, [APPLICATION])).rows[0].n
}

/** @returns whether it came true in time. */
async function until(isSo: () => Promise<boolean>): Promise<boolean> {
  for (const deadline = Date.now() + SETTLE_MS; Date.now() < deadline; await delay(200))
    if (await isSo()) return true
  return false
}

interface Results {
  wanted: Wanted
  metrics: Metrics
  descriptors: number[]
  done: Done
  thirds: { first: number; last: number }
  lines: number
}

function table({ wanted, metrics, descriptors, done, thirds, lines }: Results): string {
  const mib = (bytes: number) => `${Math.round(bytes / 1024 ** 2)} MiB`
  const ratio = (thirds.last / thirds.first).toFixed(2)
  const rows: [string, string | number][] = [
    ['minutes, clients, workers', `${wanted.minutes}, ${CLIENTS}, ${wanted.workers}`],
    ...Object.entries(done.ways),
    ['connections', done.connections],
    ['sessions', total(metrics, 'postern_logins_total', 'result="ok"')],
    ...[...metrics].filter(([name]) => /^postern_(logins|sessions_ended)_total/.test(name)),
    ['cancels', done.cancels],
    ['still open', total(metrics, 'postern_connections')],
    ['descriptors, before and after', descriptors.join(', ')],
    ['memory, first third and last', `${mib(thirds.first)}, ${mib(thirds.last)} (${ratio})`],
    ['lines of log and audit stream', lines],
  ]
  return rows.map(([what, found]) => `${what.padEnd(56)}${found}\n`).join('')
}

function say(text: string): void {
  process.stdout.write(text)
}

const wanted = readArguments(process.argv.slice(2))
const dir = await mkdtemp(join(tmpdir(), 'postern-soak-'))
await chmod(dir, 0o711)
const interrupted = new AbortController()
process.once('SIGINT', () => interrupted.abort())
let stage: Stage | undefined
try {
  stage = await setUp(dir, wanted)
  const over = AbortSignal.timeout(wanted.minutes * 60_000)
  const wrong = await soak(stage, wanted, AbortSignal.any([over, interrupted.signal]))
  for (const each of wrong) say(`wrong: ${each}\n`)
  process.exitCode = wrong.length === 0 ? 0 : 1
} finally {
  await stage?.close()
  await rm(dir, { recursive: true, force: true, maxRetries: 5 })
}
