/**
 * psql, as Debian installs it, signs in through the gate over TLS to a real PostgreSQL, in every way
 * in which people write a connection down. What it shows when it may not is in refusals.test.ts.
 */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { makeCa } from '../../src/dev/certificates.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { ISSUER } from '../support/tokens.ts'
import {
  describeWith,
  type Ended,
  expectNoToken,
  JWT_SWITCH,
  keepFile,
  makeDirectory,
  psql,
  url,
} from '../support/tools.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)

const MAP = `
# who we know by an address
${ISSUER}  carl@example.com              carl
${ISSUER}  /^(.*)@roach\\.example$        \\1
`

const gates: TestGate[] = []
/** Everything that psql printed. */
const printed: string[] = []
let gate: TestGate
let caFile: string

async function open(options: Partial<Parameters<typeof startGate>[0]>): Promise<TestGate> {
  const opened = await startGate({ node, ...options })
  gates.push(opened)
  return opened
}

beforeAll(async () => {
  gate = await open({})
  caFile = await keepFile('ca.crt', gate.caPem)
})
afterAll(async () => {
  await Promise.all(gates.map((each) => each.close()))
  const tokens = gates.flatMap(({ minted }) => minted)
  expectNoToken(tokens, printed, ...gates.flatMap(({ log, audit }) => [log, audit]))
})

async function say(
  args: string[],
  token: string,
  env: Record<string, string> = {},
): Promise<Ended> {
  const ended = await psql(args, { env: { ...env, PGPASSWORD: token } })
  printed.push(ended.stdout, ended.stderr)
  return ended
}

/** What a statement printed, at a gate where the token signs in. */
async function ask(to: TestGate, user: string, token: string, more: Record<string, string> = {}) {
  const { stdout, stderr } = await say([connection(to, user, more), '-c', WHO], token)
  return (stdout + stderr).trim()
}

function connection(to: TestGate, user: string, more: Record<string, string> = {}): string {
  return url(to.port, user, { sslrootcert: caFile, ...more })
}

const WHO = 'select current_user, session_user, current_database()'

const SHOWN = [
  'statement_timeout',
  'search_path',
  'application_name',
  'TimeZone',
  'client_encoding',
]

describeWith('psql', 'psql signs in', () => {
  it('by URL; the default database is the user', async () => {
    const said = await ask(gate, 'maxroach', await gate.token('maxroach'))
    expect(said).toBe('maxroach|maxroach|maxroach')
    expect(await gate.event('client_authentication_ok')).toMatchObject({
      User: 'maxroach',
      Database: 'maxroach',
      ApplicationName: 'psql',
      SystemIdentity: 'maxroach',
      Transport: 'hostssl',
    })
  })

  it('by URL as the documents write it', async () => {
    const query = `sslmode=verify-full&sslrootcert=${caFile}&options=--crdb:jwt_auth_enabled%3Dtrue`
    const text = `postgresql://maxroach@127.0.0.1:${gate.port}/defaultdb?${query}`
    const { stdout } = await say([text, '-c', WHO], await gate.token('maxroach'))
    expect(stdout).toBe('maxroach|maxroach|defaultdb\n')
  })

  it('by keywords', async () => {
    const where = `host=localhost port=${gate.port} user=carl dbname=defaultdb`
    const words = `${where} sslmode=verify-full sslrootcert='${caFile}' options='${JWT_SWITCH}'`
    const { stdout } = await say([words, '-c', WHO], await gate.token('carl'))
    expect(stdout).toBe('carl|carl|defaultdb\n')
  })

  it('by PGOPTIONS and its like', async () => {
    const env = {
      PGHOST: '127.0.0.1',
      PGPORT: String(gate.port),
      PGUSER: 'carl',
      PGDATABASE: 'defaultdb',
      PGSSLMODE: 'verify-full',
      PGSSLROOTCERT: caFile,
      PGOPTIONS: `-c statement_timeout=4321 ${JWT_SWITCH} -c search_path=pg_catalog`,
      PGAPPNAME: 'the application',
      PGTZ: 'Asia/Tokyo',
      PGCLIENTENCODING: 'LATIN1',
    }
    const shown = [WHO, ...SHOWN.map((name) => `show ${name}`)].flatMap((sql) => ['-c', sql])
    const { stdout } = await say(shown, await gate.token('carl'), env)
    const values = ['4321ms', 'pg_catalog', 'the application', 'Asia/Tokyo', 'LATIN1']
    expect(stdout.trim().split('\n')).toEqual(['carl|carl|defaultdb', ...values])
  })

  it('and knows what the node is, and goes to another database with the same token', async () => {
    const commands = ['\\echo :SERVER_VERSION_NAME :ENCODING', '\\c maxroach', '\\conninfo']
    const to = connection(gate, 'maxroach', { database: 'defaultdb' })
    const args = [to, ...commands.flatMap((command) => ['-c', command])]
    const { stdout } = await say(args, await gate.token('maxroach'))
    expect(stdout).toMatch(/^18\.\d+ UTF8\n/)
    expect(stdout).toContain('You are connected to database "maxroach" as user "maxroach"')
    expect(stdout).toContain('SSL connection (protocol: TLSv1.3')
  })

  it.each([1, 4, 16, 64])('with a token of %i KiB', async (kib) => {
    const token = await gate.token('maxroach', { groups: 'g'.repeat(kib * 768) })
    expect(token.length).toBeGreaterThan(kib * 1024)
    expect(await ask(gate, 'maxroach', token)).toBe('maxroach|maxroach|maxroach')
  })

  it('and shows an error as the node said it', async () => {
    const input = "\\set VERBOSITY verbose \\\\ select 'x'::int; select 'on'"
    const env = { PGPASSWORD: await gate.token('maxroach') }
    const ended = await psql([connection(gate, 'maxroach')], { env, input })
    expect(ended.stderr).toContain('ERROR:  22P02: invalid input syntax for type integer: "x"')
    expect(ended.stdout).toBe('on\n')
  })

  it('unless the node refuses, in its own words', async () => {
    const said = await ask(gate, 'carl', await gate.token('carl'))
    expect(said).toContain('FATAL:  database "carl" does not exist')
    const matching = { Failure: 'node_refused', Reason: 'UNKNOWN' }
    expect(await gate.event('client_authentication_failed', matching)).toMatchObject({
      Detail: expect.stringContaining('database "carl" does not exist'),
    })
  })
})

describeWith('psql', 'psql and the identity map', () => {
  let mapped: TestGate
  beforeAll(async () => {
    mapped = await open({ cluster: { 'server.identity_map.configuration': MAP } })
  })

  const carl = 'carl@example.com'
  it.each([
    { sub: carl, user: 'carl', says: 'carl|carl|defaultdb' },
    { sub: 'maxroach@roach.example', user: 'maxroach', says: 'maxroach|maxroach|defaultdb' },
    { sub: carl, user: 'maxroach', says: `token issued for [${carl}] and login was for maxroach` },
    { sub: 'carl', user: 'carl', says: `the value [carl] for the issuer ${ISSUER} is invalid` },
    { sub: 'root@roach.example', user: 'root', says: 'cannot use JWT auth to login to a reserved' },
  ])('$sub as $user: $says', async ({ sub, user, says }) => {
    const token = await mapped.token(sub)
    expect(await ask(mapped, user, token, { database: 'defaultdb' })).toContain(says)
  })
})

describeWith('psql', 'psql and the way to the gate', () => {
  const local = { database: 'defaultdb' }

  it('a unix socket', async () => {
    const directory = await makeDirectory()
    const here = await open({ listeners: [{ directory, port: 26257 }] })
    const words = `host=${directory} port=26257 user=carl dbname=defaultdb options='${JWT_SWITCH}'`
    const { stdout } = await say([words, '-c', WHO], await here.token('carl'))
    expect(stdout).toBe('carl|carl|defaultdb\n')
    const transport = { Network: 'unix', Transport: 'local', RemoteAddress: '' }
    expect(await here.event('client_authentication_ok')).toMatchObject(transport)
  })

  it.each(['disable', 'prefer'])('a listener in clear, sslmode=%s', async (sslmode) => {
    const clear = await open({ listener: { tls: undefined, allow_plaintext: true } })
    const said = await ask(clear, 'carl', await clear.token('carl'), { ...local, sslmode })
    expect(said).toBe('carl|carl|defaultdb')
    const transport = { Network: 'tcp', Transport: 'host' }
    expect(await clear.event('client_authentication_ok')).toMatchObject(transport)
  })

  it('a gate that it does not trust: it keeps its token', async () => {
    const { certPem } = await makeCa('another CA')
    const sslrootcert = await keepFile('other.crt', certPem)
    const said = await ask(gate, 'carl', await gate.token('carl'), { sslrootcert })
    expect(said).toContain('SSL error: certificate verify failed')
    const failures = () => gate.log.map((line) => line['failure'])
    await expect.poll(failures).toContain('tls_handshake_failed')
  })
})
