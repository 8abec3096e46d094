/**
 * Each client crossed with each way to a node: who signed in, a prepared statement, an error, a
 * statement that is cancelled, and the session after it. What a client can't do is not in the table.
 */
import { copyFile, symlink } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Ca, issue, makeCa } from '../../src/dev/certificates.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { SAMPLE_SQL, sampleIdent } from '../../src/dev/sample.ts'
import { makeClientCa, startCertificateGate } from '../support/certificate_gate.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import {
  describeWith,
  expectNoToken,
  JDBC,
  JWT_SWITCH,
  keepFile,
  makeDirectory,
  type Program,
  PSQL,
  PYTHON,
  pgConfig,
  ROOT,
  run,
  start,
} from '../support/tools.ts'

const LEGS = ['peer', 'certificate', 'certificate over direct TLS'] as const
type LegName = (typeof LEGS)[number]

/** With 18 in the place of Debian's own; how TLS begins, and the one protocol that is to be spoken. */
interface Libpq {
  name: string
  libpq18?: { sslnegotiation: 'postgres' | 'direct'; protocol: '3.0' | '3.2' }
}

const LIBPQS: Libpq[] = [
  { name: 'libpq 15' },
  // The embedded package is of glibc, and LD_LIBRARY_PATH of Linux.
  ...(process.platform === 'linux' ? (['postgres', 'direct'] as const) : []).flatMap(
    (sslnegotiation) =>
      (['3.0', '3.2'] as const).map((protocol) => ({
        name: `libpq 18, sslnegotiation=${sslnegotiation}, protocol ${protocol}`,
        libpq18: { sslnegotiation, protocol },
      })),
  ),
]

const crossed = <Client>(clients: Client[]) =>
  LEGS.flatMap((leg) => clients.map((client) => ({ ...client, leg })))

/** Whom the node has here, and by which certificate. */
const WHO = `select concat_ws(' by ', current_user, (select client_dn from pg_stat_ssl where pid = pg_backend_pid()))`
const SIGNED_IN: Record<LegName, string> = {
  peer: 'maxroach',
  certificate: 'maxroach by /CN=maxroach',
  'certificate over direct TLS': 'maxroach by /CN=maxroach',
}
const DIVISION_BY_ZERO = '22012'
const CANCELLED = '57014'

const PSQL_SCRIPT = `\\set VERBOSITY sqlstate
${WHO};
prepare adding(int) as select $1 + 1;
execute adding(41);
select 1/0;
select pg_sleep(30);
`

const PYTHON_SCRIPT = `
import os, sys, threading
import psycopg2
c = psycopg2.connect('sslmode=verify-full')
c.autocommit = True
cur = c.cursor()
def first(sql):
    cur.execute(sql)
    return cur.fetchone()[0]
def state(sql):
    try:
        cur.execute(sql)
    except psycopg2.Error as e:
        return e.pgcode
print(psycopg2.extensions.libpq_version() // 10000)
print(first(os.environ['WHO']))
cur.execute('prepare adding(int) as select $1 + 1')
print(first('execute adding(41)'))
print(state('select 1/0'))
threading.Thread(target=lambda: sys.stdin.readline() and c.cancel(), daemon=True).start()
print(state('select pg_sleep(30)'))
print(first("select 'still here'"))
`

const gates = new Map<LegName, TestGate>()
let postgres: EmbeddedPostgres
let admin: pg.Client
let caFile: string
let libpq18Dir: string
const printed: string[] = []

beforeAll(async () => {
  const [nodeCa, clientCa] = await Promise.all([makeCa('node CA'), makeClientCa()])
  postgres = await startNode(nodeCa, clientCa.certPem)
  admin = new pg.Client({ host: postgres.socketDir, port: postgres.port, user: 'postgres' })
  await admin.connect()
  const node = `127.0.0.1:${postgres.port}`
  const byCertificate = { node, authority: clientCa, nodeCaPem: nodeCa.certPem }
  gates.set('peer', await startGate({ node: `${postgres.socketDir}/.s.PGSQL.${postgres.port}` }))
  gates.set('certificate', await startCertificateGate(byCertificate))
  gates.set(
    'certificate over direct TLS',
    await startCertificateGate({ ...byCertificate, sslnegotiation: 'direct' }),
  )
  caFile = await keepFile('ca.crt', gateOf('peer').caPem)
  libpq18Dir = await layOutLibpq18()
})
afterAll(async () => {
  const all = [...gates.values()]
  await Promise.all(all.map((gate) => gate.close()))
  await admin.end()
  await postgres.stop()
  const tokens = all.flatMap(({ minted }) => minted)
  expectNoToken(tokens, printed, ...all.flatMap(({ log, audit }) => [log, audit]))
})

describeWith('psql', 'psql', () => {
  it.each(crossed(LIBPQS))('$name, node by $leg', async ({ leg, libpq18 }) => {
    const env = await environment(leg, libpq18)
    const program = start('psql', PSQL, { env, input: PSQL_SCRIPT })
    const { stdout, stderr } = await cancelled(program, env.PGAPPNAME, () =>
      program.child.kill('SIGINT'),
    )
    expect(stdout.trim().split('\n')).toEqual([SIGNED_IN[leg], '42'])
    expect(stderr.match(/ERROR: {2}\w{5}/g)).toEqual(
      [DIVISION_BY_ZERO, CANCELLED].map((state) => `ERROR:  ${state}`),
    )
  })
})

describeWith('psql', 'psql with libpq 18', () => {
  // Older ones would take no notice of the settings, and the rows above would show nothing.
  it.each(process.platform === 'linux' ? ['PGSSLNEGOTIATION', 'PGMAXPROTOCOLVERSION'] : [])(
    'reads %s',
    async (setting) => {
      const env = { LD_LIBRARY_PATH: libpq18Dir, PGHOST: '127.0.0.1', [setting]: 'nonsense' }
      const { stderr } = await run('psql', [...PSQL, '-c', 'select 1'], { env })
      expect(stderr).toMatch(/invalid (sslnegotiation|max_protocol_version) value: "nonsense"/)
    },
  )
})

describeWith('psycopg2', 'psycopg2', () => {
  it.each(crossed(LIBPQS))('$name, node by $leg', async ({ leg, libpq18 }) => {
    const env = await environment(leg, libpq18)
    const program = start(PYTHON, ['-c', PYTHON_SCRIPT], { env })
    const { stdout, stderr } = await cancelled(program, env.PGAPPNAME, () =>
      program.child.stdin.end('\n'),
    )
    expect(stderr).toBe('')
    const version = libpq18 ? '18' : '15'
    const seen = [version, SIGNED_IN[leg], '42', DIVISION_BY_ZERO, CANCELLED, 'still here']
    expect(stdout.trim().split('\n')).toEqual(seen)
  })
})

describeWith('JDBC', 'JDBC', () => {
  let classes: string
  beforeAll(async () => {
    classes = await makeDirectory()
    const source = join(ROOT, 'test/support/Crossed.java')
    const { code, stderr } = await run('javac', ['-cp', JDBC, '-d', classes, source])
    expect([code, stderr]).toEqual([0, ''])
  })

  it.each(LEGS)('node by %s', async (leg) => {
    const env = await environment(leg)
    const url = `jdbc:postgresql://127.0.0.1:${env.PGPORT}/defaultdb?sslmode=verify-full&sslrootcert=${caFile}`
    const program = start('java', [...JVM, '-cp', `${JDBC}:${classes}`, 'Crossed', url], { env })
    const { stdout, stderr } = await cancelled(program, env.PGAPPNAME, () =>
      program.child.stdin.end('\n'),
    )
    expect(stderr).toBe('')
    const seen = [SIGNED_IN[leg], '42', DIVISION_BY_ZERO, CANCELLED, 'still here']
    expect(stdout.trim().split('\n')).toEqual(seen)
  })
})

describe('node-postgres', () => {
  it.each(
    crossed([{ sslnegotiation: 'postgres' as const }, { sslnegotiation: 'direct' as const }]),
  )('sslnegotiation=$sslnegotiation, node by $leg', async ({ leg, sslnegotiation }) => {
    const gate = gateOf(leg)
    const config = pgConfig(gate, 'maxroach', await gate.token('maxroach'))
    const client = new pg.Client({ ...config, ...{ sslnegotiation } })
    await client.connect()
    expect((await client.query({ text: WHO, rowMode: 'array' })).rows).toEqual([[SIGNED_IN[leg]]])
    const adding = { name: 'adding', text: 'select $1::int + 1', rowMode: 'array' as const }
    for (const [given, sum] of [
      [1, 2],
      [41, 42],
    ])
      expect((await client.query({ ...adding, values: [given] })).rows).toEqual([[sum]])
    await expect(client.query('select 1/0')).rejects.toMatchObject({ code: DIVISION_BY_ZERO })
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    await client.end()
  })
})

/** A JVM that is short. */
const JVM = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xshare:auto']

async function startNode(ca: Ca, clientCaPem: string): Promise<EmbeddedPostgres> {
  const { certPem, keyPem } = await issue(ca, { cn: 'node', sans: ['127.0.0.1'] })
  return await startEmbeddedPostgres({
    dir: join(await makeDirectory(), 'postgres'),
    port: await freePort(),
    uid: process.getuid?.() ?? 0,
    platform: process.platform,
    arch: process.arch,
    hba: [
      'local   all postgres                    trust',
      'local   all +postern_users              peer map=postern',
      'hostssl all +postern_users 127.0.0.1/32 cert',
    ],
    ident: sampleIdent(userInfo().username),
    sql: SAMPLE_SQL,
    settings: {
      ssl: 'on',
      ssl_cert_file: '../conf/server.crt',
      ssl_key_file: '../conf/server.key',
      ssl_ca_file: '../conf/clients.crt',
    },
    files: { 'server.crt': certPem, 'server.key': keyPem, 'clients.crt': clientCaPem },
  })
}

/** A directory with libpq 18 and what it needs: the package's own has libraries that psql must not load. */
async function layOutLibpq18(): Promise<string> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const lib = join(dirname(import.meta.resolve(name).slice('file://'.length)), '../native/lib')
  const dir = await makeDirectory()
  if (process.platform !== 'linux') return dir
  await copyFile(join(lib, 'libpq.so.5.18'), join(dir, 'libpq.so.5'))
  for (const file of ['libssl.so.1.1', 'libcrypto.so.1.1'])
    await symlink(join(lib, file), join(dir, file))
  return dir
}

function gateOf(leg: LegName): TestGate {
  const gate = gates.get(leg)
  if (gate === undefined) throw new Error(`no gate for ${leg}`)
  return gate
}

let sessions = 0

async function environment(leg: LegName, as?: Libpq['libpq18']) {
  const gate = gateOf(leg)
  sessions++
  return {
    WHO,
    PGHOST: '127.0.0.1',
    PGPORT: String(gate.port),
    PGUSER: 'maxroach',
    PGDATABASE: 'defaultdb',
    PGPASSWORD: await gate.token('maxroach'),
    PGOPTIONS: JWT_SWITCH,
    PGAPPNAME: `crossed ${sessions}`,
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: caFile,
    ...(as && {
      LD_LIBRARY_PATH: libpq18Dir,
      PGSSLNEGOTIATION: as.sslnegotiation,
      PGMINPROTOCOLVERSION: as.protocol,
      PGMAXPROTOCOLVERSION: as.protocol,
    }),
  }
}

/** Wakes the program when its `pg_sleep` runs, and waits for its end. */
async function cancelled(program: Program, application: string, wake: () => void) {
  const sql = `select count(*)::int as n from pg_stat_activity
    where application_name = $1 and wait_event = 'PgSleep'`
  const asleep = async () => {
    if (program.child.exitCode !== null) throw new Error(`it ended: ${program.said()}`)
    return (await admin.query(sql, [application])).rows[0].n
  }
  await expect.poll(asleep, { timeout: 10_000, interval: 10 }).toBe(1)
  wake()
  const ended = await program.ended
  printed.push(ended.stdout, ended.stderr)
  return ended
}
