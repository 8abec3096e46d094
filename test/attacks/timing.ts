/**
 * `node test/attacks/timing.ts [rounds]`: how long refusals take (lesson 5.17), for people to read, since a
 * time is no test. Attempts of one question come in a new order each round, one at a time; beside the medians
 * stands how often an attacker would be right who tells two apart by one attempt: 50 % is by chance.
 */
import { randomInt } from 'node:crypto'
import pg from 'pg'
import { startFreshNode } from '../support/fresh_node.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { goodClaims, makeKey, mint } from '../support/tokens.ts'

const ROUNDS = 200
const ROLES = ['here', 'no_login', 'expired', 'rejected', 'chief', 'missing'] as const
const HBA = [
  'local all admin trust',
  'local all keeper trust',
  'local all rejected reject',
  'local password all scram-sha-256',
  'local all all trust',
]
const SQL = `CREATE ROLE here LOGIN PASSWORD 'right'; CREATE ROLE no_login PASSWORD 'right';
  CREATE ROLE expired LOGIN PASSWORD 'right' VALID UNTIL '2001-01-01';
  CREATE ROLE rejected LOGIN PASSWORD 'right'; CREATE ROLE keeper LOGIN;
  CREATE ROLE chief LOGIN SUPERUSER PASSWORD 'right'`

/** What is asked, who is asked for, and the attempt to be measured. */
interface Question {
  title: string
  rounds: number
  attempts: Map<string, () => Promise<unknown>>
}

const rounds = Number(process.argv[2] ?? ROUNDS)
const node = await startFreshNode(18, HBA)
await node.sql(SQL)
await node.sql('CREATE DATABASE password')
const gate = await startGate({
  node: `${node.socketDir}/.s.PGSQL.${node.port}`,
  cluster: {
    non_jwt_logins: 'passthrough',
    management: { role: 'keeper' },
    'server.jwt_authentication.authorization.enabled': false,
  },
})
try {
  for (const question of await questions(gate)) report(question, await measure(question))
} finally {
  await gate.close()
  await node.close()
}

async function questions(to: TestGate): Promise<Question[]> {
  const stranger = await makeKey(to.key.jwk.kid)
  const options = '--crdb:jwt_auth_enabled=true'
  const by = async (title: string, token: (role: string) => Promise<string>): Promise<Question> => {
    const attempts = new Map<string, () => Promise<unknown>>()
    for (const role of ROLES) {
      const password = await token(role)
      attempts.set(role, () => come(to, { user: role, database: 'postgres', password, options }))
    }
    return { title, rounds, attempts }
  }
  const guess = (role: string, password: string) => () =>
    come(to, { user: role, database: 'password', password })
  return [
    await by('a good token, remembered: does the node have the role?', (role) => to.token(role)),
    await by('a forged token', (role) => mint(stranger, { claims: goodClaims(role) })),
    await by('a token for somebody else', () => to.token('somebody_else')),
    await by('a token of another audience', (role) => to.token(role, { aud: 'other' })),
    {
      title: 'a password of the database (a second is waited out)',
      rounds: Math.ceil(rounds / 10),
      attempts: new Map<string, () => Promise<unknown>>([
        ...ROLES.map((role): [string, () => Promise<unknown>] => [role, guess(role, 'wrong')]),
        ['chief, right', guess('chief', 'right')],
        ['no_login, right', guess('no_login', 'right')],
        ['postgres', guess('postgres', 'right')],
      ]),
    },
  ]
}

/** To the refusal, or in. */
async function come(to: TestGate, config: pg.ClientConfig): Promise<void> {
  const ssl = { ca: to.caPem }
  const client = new pg.Client({ host: '127.0.0.1', port: to.port, ssl, ...config })
  await client.connect().catch(() => undefined)
  await client.end()
}

async function measure({ rounds: times, attempts }: Question): Promise<Map<string, number[]>> {
  const measured = new Map([...attempts.keys()].map((name): [string, number[]] => [name, []]))
  for (let round = -2; round < times; round++)
    for (const [name, attempt] of shuffled([...attempts])) {
      const begun = performance.now()
      await attempt()
      // The first ones warm up.
      if (round >= 0) measured.get(name)?.push(performance.now() - begun)
    }
  return measured
}

function report({ title }: Question, measured: Map<string, number[]>): void {
  const missing = measured.get('missing') ?? []
  process.stdout.write(`\n${title}\n`)
  for (const [name, times] of measured) {
    const told = `${(100 * apart(times, missing)).toFixed(0)} %`
    const line = [name.padEnd(16), `${quantile(times, 0.5)} ms`, `p90 ${quantile(times, 0.9)}`]
    process.stdout.write(`  ${line.join('  ')}  told from "missing": ${told}\n`)
  }
}

/** How often the slower one is told from the faster one by a comparison of one with one. */
function apart(some: number[], others: number[]): number {
  let wins = 0
  for (const one of some) for (const other of others) wins += one > other ? 1 : 0
  const share = wins / (some.length * others.length)
  return Math.max(share, 1 - share)
}

function quantile(times: number[], share: number): string {
  const sorted = times.toSorted((a, b) => a - b)
  return (sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(1)
}

function shuffled<T>(all: T[]): T[] {
  for (let at = all.length - 1; at > 0; at--) {
    const other = randomInt(at + 1)
    ;[all[at], all[other]] = [all[other] as T, all[at] as T]
  }
  return all
}
