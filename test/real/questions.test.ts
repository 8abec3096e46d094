/**
 * docs/questions.md: each question is asked as it stands there, by psql, of a gate on which something has
 * happened; what people want to know is in the answer.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, inject, it, vi } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { FAILURES } from '../../src/failure.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { type IssuerServer, openIssuerServer } from '../support/issuer_server.ts'
import { ISSUER, makeKey, mint, type SigningKey } from '../support/tokens.ts'
import { describeWith, JWT_SWITCH, keepFile, pgConfig, psql, url } from '../support/tools.ts'

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
const ENDS_DAYS = 20
/** How much later than it should the partner answers. */
const LATE_MS = 300

const page = readFileSync(new URL('../../docs/questions.md', import.meta.url), 'utf8')
/** Each question with its statement. */
const questions = new Map(
  [...page.matchAll(/^## (.*)\n\n```sql\n(.*)\n```$/gm)].map(
    ([, question = '', statement = '']) => [question, statement],
  ),
)

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)

let gate: TestGate
let partner: IssuerServer
let partnerKey: SigningKey
let [caFile, caPem] = ['', '']
const sessions: pg.Client[] = []

async function signIn(user: string, token: string, cluster = '--cluster=test') {
  const options = `${JWT_SWITCH} ${cluster}`
  const config = pgConfig({ port: gate.port, caPem }, user, token, {
    database: 'postgres',
    options,
  })
  const client = new pg.Client({ ...config, ssl: { ca: caPem, servername: 'localhost' } })
  client.on('error', () => undefined)
  await client.connect()
  sessions.push(client)
}

const fromPartner = (sub: string) =>
  mint(partnerKey, {
    claims: { iss: partner.issuer, aud: 'postern', sub, iat: 1_700_000_000, exp: 4_000_000_000 },
  })

/** Two issuers, one of them slow; a rule against carl; a certificate that ends before the others. */
async function openTroubled(): Promise<void> {
  const ca = await makeCa('The CA of the partner')
  const ends = new Date(Date.now() + ENDS_DAYS * DAY_MS)
  const next = await issue(ca, {
    cn: 'the next to end',
    sans: ['localhost', '127.0.0.1'],
    notAfter: ends,
  })
  partner = await openIssuerServer({ ca })
  partner.publish(await makeKey('partner-1'))
  partner.jwks.headers = { 'cache-control': 'max-age=3600' }
  gate = await startGate({
    node,
    cluster: { nodes: [{ address: node }] },
    clusters: {
      reports: {
        'server.jwt_authentication.issuers.configuration': partner.issuer,
        'server.jwt_authentication.audience': 'postern',
        'server.jwt_authentication.jwks': undefined,
        'server.jwt_authentication.jwks_auto_fetch.enabled': true,
        'server.jwt_authentication.issuers.custom_ca': ca.certPem,
      },
    },
    listener: { tls: { cert_file: 'next.crt', key_file: 'next.key' } },
    files: { '/etc/postern/next.crt': next.certPem, '/etc/postern/next.key': next.keyPem },
    top: {
      console: { admins: ['ops'], clusters: ['test'] },
      access: [{ user: 'carl', action: 'deny' }, { action: 'allow' }],
    },
  })
  caFile = await keepFile('ca.crt', ca.certPem)
  caPem = ca.certPem
  // A new key, which the gate has to ask for when it meets the first token of it.
  await vi.waitUntil(() => partner.hits.jwks === 1)
  partnerKey = await makeKey('partner-2')
  partner.publish(partnerKey)
  partner.jwks.delayMs = LATE_MS
}

beforeAll(async () => {
  await openTroubled()
  await signIn('maxroach', await gate.token('maxroach'))
  await signIn('maxroach', await fromPartner('maxroach'), '--cluster=reports')
  await expect(signIn('carl', await gate.token('carl'))).rejects.toThrow(/no access entry/)
  await say(`DRAIN NODE '${node}' CLUSTER 'test'; UNDRAIN NODE '${node}' CLUSTER 'test'`)
})
afterAll(async () => {
  for (const client of sessions) await client.end()
  await gate?.close()
  await partner?.close()
})

async function say(statement: string) {
  const options = `${JWT_SWITCH} --cluster=test`
  const target = url(gate.port, 'ops', { database: 'postern', sslrootcert: caFile, options })
  const env = { PGPASSWORD: await gate.token('ops') }
  return await psql(['-P', 'null=-', target, '-c', statement], { env })
}

const hourAndMinute = (ms: number) => new Date(ms).toISOString().slice(11, 16)

describeWith('psql', 'asked by psql', () => {
  it('there are six', () => {
    expect([...questions.keys()]).toHaveLength(6)
  })

  it('who is signed in, by which issuer', async () => {
    const rows = await answer('Who is signed in, and by which issuer?')
    const people = rows.map((row) => [row[1], row[6]])
    expect(people).toEqual([
      ['maxroach', ISSUER],
      ['maxroach', partner.issuer],
      ['ops', ISSUER],
    ])
  })

  it('why somebody was refused', async () => {
    const refused = gate.audit.find(({ EventType }) => EventType === 'client_authentication_failed')
    const at = Number(refused?.['Timestamp']) / 1e6
    const rows = await answer('Why was X refused at 10:02?', (text) =>
      text.replace('10:02', hourAndMinute(at)).replace('10:03', hourAndMinute(at + MINUTE_MS)),
    )
    const [row = []] = rows
    expect(rows).toHaveLength(1)
    expect(row.slice(5, 7)).toEqual(['access_denied', FAILURES.access_denied.sqlstate])
    expect(row[7]).toContain('access[0]')
  })

  it('which key or certificate ends next', async () => {
    const [certificate = [], key = []] = await answer('Which key or certificate ends next?')
    expect(certificate.slice(0, 2)).toEqual(['listeners[0].tls.cert_file', 'next.crt'])
    expect(Date.parse(certificate[3] ?? '')).toBeLessThan(Date.now() + (ENDS_DAYS + 1) * DAY_MS)
    expect(key.slice(1, 3)).toEqual([partner.issuer, 'partner-2'])
  })

  it('which rule let somebody in', async () => {
    const rows = await answer('Which rule let Y in?')
    const rule = rows[0]?.[14] ?? ''
    expect(rows.find(([kind, name]) => kind === 'rule' && name === rule)?.slice(2, 4)).toEqual([
      'allow',
      '{}',
    ])
  })

  it('what changed, and who changed it', async () => {
    const rows = await answer('What changed since yesterday, and who changed it?')
    expect(rows.map((row) => row.slice(1, 4))).toEqual([
      ['drain_node', `UNDRAIN NODE '${node}' CLUSTER 'test'`, `ops (ops of ${ISSUER})`],
      ['drain_node', `DRAIN NODE '${node}' CLUSTER 'test'`, `ops (ops of ${ISSUER})`],
    ])
  })

  it('whom it is slow because of', async () => {
    const rows = await answer('Is it slow because of us, the issuer or the node?')
    const slow = rows.find((row) => row[6] === partner.issuer) ?? []
    const [login = 0, client = 0, issuer = 0, ofNode = 0, ofGate = 0] = slow
      .slice(16, 21)
      .map(Number)
    expect(issuer).toBeGreaterThanOrEqual(LATE_MS - 10)
    expect(Math.abs(client + issuer + ofNode + ofGate - login)).toBeLessThan(3)
  })
})

/** The rows of all statements, one after the other. */
async function answer(question: string, circumstances = (statement: string) => statement) {
  const { code, stdout, stderr } = await say(circumstances(questions.get(question) ?? ''))
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.split('|'))
}
