/**
 * `postern dev`: a whole local cluster in one process tree: PostgreSQL, a token issuer, and the gate
 * with TLS on loopback. It tries itself, prints lines to paste, and leaves nothing behind.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { issue, makeCa } from '../dev/certificates.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../dev/embedded_postgres.ts'
import { freePort } from '../dev/free_port.ts'
import { type Home, keepIssuer, leaveHome, makeHome } from '../dev/home.ts'
import { type DevIssuer, publicJwks, sign } from '../dev/issuer.ts'
import { SAMPLE_SQL, sampleHba, sampleIdent } from '../dev/sample.ts'
import { selfTest, type Trial } from '../dev/self_test.ts'
import { Failure } from '../failure.ts'
import { type Gate, openGate } from '../gate.ts'
import { openAuditStream } from '../telemetry/audit_file.ts'
import { openLogStream } from '../telemetry/log.ts'
import { readConfig } from './serve.ts'
import { bold, stopped, type World } from './terminal.ts'
import { watchFiles } from './watch.ts'

export const DEV_PORT = 26257
const TOKEN_SECONDS = 3600

export interface DevOptions {
  port: number
  data?: string
}

export async function dev({ port, data }: DevOptions, world: World): Promise<void> {
  const say = (text: string) => world.stdout.write(`${text}\n`)
  const home = await makeHome({ ...world, data, port }, world.pid)
  let node: EmbeddedPostgres | undefined
  let gate: Gate | undefined
  try {
    say('Starting PostgreSQL 18 …')
    node = await startNode(home, world)
    if (world.stop.aborted) return
    const issuer = await keepIssuer(home)
    const files = await writeFiles(home, node, issuer, port)
    say('Opening the gate …')
    gate = await openGate(readConfig(files.config, world), {
      version: world.version,
      runtime: world.runtime,
      now: world.now,
      watch: watchFiles,
      logTo: openLogStream(join(home.dir, 'postern.log')),
      auditTo: openAuditStream(join(home.dir, 'audit.log')),
    })
    const trials = await selfTest({ port, caPem: files.caPem }, issuer, world.now())
    const exp = Math.floor(world.now() / 1000) + TOKEN_SECONDS
    const token = await sign(issuer, { sub: 'maxroach', exp }, world.now())
    say(welcome({ port, opsPort: gate.opsPort, home, files, token, trials }, world))
    const failed = trials.filter((trial) => !trial.asWanted)
    if (failed.length > 0) throw failedTrials(failed)
    await untilStopped(node, world)
    say('\nClosing …')
  } finally {
    await gate?.close(new Failure('shutting_down'))
    await node?.stop()
    await leaveHome(home)
  }
}

async function startNode({ dir }: Home, world: World): Promise<EmbeddedPostgres> {
  return await startEmbeddedPostgres({
    ...world,
    dir: join(dir, 'pg'),
    port: await freePort(),
    hba: sampleHba(),
    ident: sampleIdent(world.userName),
    sql: SAMPLE_SQL,
  })
}

interface Files {
  config: string
  caFile: string
  caPem: string
}

/** The configuration is a file like any other: something to read and to start from. */
async function writeFiles(
  { dir }: Home,
  node: EmbeddedPostgres,
  issuer: DevIssuer,
  port: number,
): Promise<Files> {
  const at = (name: string) => join(dir, name)
  const ca = await makeCa('Postern development CA')
  const server = await issue(ca, { cn: 'localhost', sans: ['localhost', '127.0.0.1', '::1'] })
  const config = {
    listeners: [
      { address: `127.0.0.1:${port}`, tls: { cert_file: 'server.crt', key_file: 'server.key' } },
    ],
    clusters: {
      dev: {
        kind: 'postgresql',
        nodes: [{ address: join(node.socketDir, `.s.PGSQL.${node.port}`) }],
        sign_in: 'peer',
        'server.jwt_authentication.enabled': true,
        'server.jwt_authentication.issuers.configuration': issuer.issuer,
        'server.jwt_authentication.audience': issuer.audience,
        'server.jwt_authentication.jwks': publicJwks(issuer),
      },
    },
    // Who tries out what is refused isn't made to wait for it.
    limits: { failed_login_delay: '0s' },
    console: { admins: ['ops'] },
    ops: { listen: '127.0.0.1:0' },
  }
  await writeFile(at('ca.crt'), ca.certPem)
  await writeFile(at('server.crt'), server.certPem)
  await writeFile(at('server.key'), server.keyPem, { mode: 0o600 })
  await writeFile(at('postern.yaml'), stringify(config))
  return { config: at('postern.yaml'), caFile: at('ca.crt'), caPem: ca.certPem }
}

interface Welcome {
  port: number
  opsPort: number | undefined
  home: Home
  files: Files
  token: string
  trials: Trial[]
}

function welcome({ port, opsPort, home, files, token, trials }: Welcome, world: World): string {
  const { dir, temporary } = home
  const ca = files.caFile.split('/').map(encodeURIComponent).join('/')
  const query = `sslmode=verify-full&sslrootcert=${ca}&options=--crdb:jwt_auth_enabled%3Dtrue`
  const url = `postgresql://maxroach@127.0.0.1:${port}/defaultdb?${query}`
  // npm runs in the clone: a relative directory would be another one there.
  const flags = `${port === DEV_PORT ? '' : ` --port ${port}`}${temporary ? '' : ` --data ${word(dir)}`}`
  return `
${bold(world, 'The gate has tried itself:')}

${table(trials)}

${bold(world, 'Sign in, in another terminal:')}

PGPASSWORD=${token} \\
  psql "${url}"

${bold(world, 'A fresh token')} (this one is good for an hour):

PGPASSWORD=$(${command(world)} token --sub maxroach${flags})

${bold(world, 'Why a token is refused')} (paste one, or pipe it in):

${command(world)} explain --config ${word(files.config)}

Status page      http://127.0.0.1:${opsPort}/
Console          the database postern, as the user ops
CA certificate   ${files.caFile}
Configuration    ${files.config}
Log and audit    ${join(dir, 'postern.log')}, ${join(dir, 'audit.log')}

Ctrl-C ends it${temporary ? ' and removes everything' : `; the data stay in ${dir}`}.`
}

/** A clone runs its sources through npm, which finds the pinned Node; an installed one has its name. */
function command({ program }: World): string {
  return program.endsWith('.ts')
    ? `npm run -s --prefix ${word(join(program, '../..'))} postern --`
    : 'postern'
}

/** As a shell reads it. */
function word(text: string): string {
  return /^[\w%+,./:=@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

function table(trials: Trial[]): string {
  const width = Math.max(...trials.map(({ name }) => name.length))
  return trials
    .map(({ name, outcome, asWanted }) => {
      const said = outcome.in
        ? 'signed in'
        : `${outcome.sqlstate} ${outcome.message}${outcome.detail && `\n${' '.repeat(width + 14)}${outcome.detail}`}`
      const verdict = outcome.in ? 'in     ' : 'refused'
      return `  ${asWanted ? '✓' : '✗'} ${name.padEnd(width)}  ${verdict}  ${said}`
    })
    .join('\n')
}

function failedTrials(trials: Trial[]): Failure {
  const problem = `the gate did not do as it should: ${trials.map(({ name }) => name).join(', ')}`
  return new Failure('dev_failed', { values: { problem } })
}

async function untilStopped(node: EmbeddedPostgres, world: World): Promise<void> {
  const died = node.exited.then(({ code }) => {
    throw new Failure('dev_failed', { values: { problem: `PostgreSQL ended with code ${code}` } })
  })
  await Promise.race([stopped(world), died])
}
