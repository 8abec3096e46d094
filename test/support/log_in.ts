/**
 * A token from its text to the grant, as the login does it: the configuration's settings, what the
 * client asked for, `authenticate`, `decide`; and a login that succeeds, to be spoiled.
 */
import { expect } from 'vitest'
import { parseConfig } from '../../src/config/config.ts'
import { asFailure, Failure } from '../../src/failure.ts'
import { authenticate } from '../../src/identity/jwt.ts'
import { decide } from '../../src/policy/decide.ts'
import { Secret } from '../../src/secret.ts'
import { readAsk } from '../../src/sql/ask.ts'
import { ec, forge, jwk } from './forge.ts'

export const NOW = 1_800_000_000
export const FAR = 4_000_000_000
const JWT = 'JWT authentication: '

export type Claims = Record<string, unknown>

export interface Login {
  /** Keys of the cluster's section; `jwks` and the like without their long names. */
  settings?: Claims
  token: string
  user: string
  nowMs?: number
  replication?: string
}

export interface Refusal {
  sqlstate: string
  message: string
  detail: string | undefined
  log: string | undefined
}

export type Outcome = { in: string } | Refusal

const NAMES: Record<string, string> = {
  map: 'server.identity_map.configuration',
  issuers: 'server.jwt_authentication.issuers.configuration',
}

export function clusterOf(settings: Claims) {
  const section = Object.fromEntries(
    Object.entries(settings).map(([name, value]) => {
      const own = ['kind', 'issuer_options', 'allow_roles', 'replication_roles'].includes(name)
      return [own ? name : (NAMES[name] ?? `server.jwt_authentication.${name}`), value]
    }),
  )
  const nodes = [{ address: '/run/.s.PGSQL.5432' }]
  const cluster = { kind: 'cockroachdb', nodes, sign_in: 'peer', ...section }
  const text = JSON.stringify({ listeners: [{ directory: '/run' }], clusters: { test: cluster } })
  const nothing = {
    env: () => undefined,
    fileMode: () => 0o600,
    now: Date.now,
    readFile: () => {
      throw new Error('no files here')
    },
  }
  return parseConfig('postern.yaml', text, nothing).clusters[0]
}

/** As `identify` and `permit` of sql/session.ts, without the socket. */
export async function logIn({
  settings = {},
  token,
  user,
  nowMs,
  replication,
}: Login): Promise<Outcome> {
  const { trust, rules, ...cluster } = clusterOf(settings)
  const startup = { minor: 0, user, database: undefined, options: undefined, replication }
  try {
    const { ask } = readAsk({ ...startup, parameters: new Map() }, cluster)
    const principal = await authenticate(new Secret(token), trust, () => nowMs ?? NOW * 1000)
    const decision = decide(principal, ask, rules)
    if (!decision.granted) throw new Failure(decision.denial.code, decision.denial)
    return { in: decision.grant.role }
  } catch (thrown) {
    const failure = asFailure(thrown)
    keepsSilent(failure, token)
    const { row, message, detail, log } = failure
    return { sqlstate: row.sqlstate, message, detail, log }
  }
}

/** Nothing that is shown or logged holds the token, or the part of it that makes it one. */
function keepsSilent(failure: Failure, token: string) {
  const { message, detail, log, stack, cause } = failure
  const said = [message, detail, log, stack, cause instanceof Error ? cause.stack : cause].join(' ')
  for (const secret of [token, ...token.split('.').slice(1)])
    if (secret.length > 20) expect(said).not.toContain(secret)
  // libpq gives up on longer ones.
  expect(said.length).toBeLessThan(20_000)
}

/** `in as role`, or the message with its DETAIL after a slash. */
function told(outcome: Outcome): string {
  if ('in' in outcome) return `in as ${outcome.in}`
  expect(outcome.sqlstate).toBe('28000')
  return [outcome.message, outcome.detail].filter((part) => part !== undefined).join(' / ')
}

export async function check(login: Login, expected: string) {
  expect(told(await logIn(login))).toBe(expected.startsWith('in as ') ? expected : JWT + expected)
}

export const p256 = ec('P-256')
export const stranger = ec('P-256')
export const P256 = jwk(p256, { kid: 'p256', alg: 'ES256' })

/** A login that succeeds, to be spoiled in one way or another. */
export const ISS = 'https://issuer.test'
export const trusting = {
  enabled: true,
  issuers: ISS,
  audience: 'db',
  jwks: { keys: [P256] },
  kind: 'postgresql',
}
export const claims = { iss: ISS, aud: 'db', sub: 'maxroach', exp: FAR }
export const es256 = (more: Claims, header: Claims = {}) =>
  forge({ alg: 'ES256', kid: 'p256', ...header }, { ...claims, ...more }, 'ES256', p256)
export const login = { settings: trusting, token: es256({}), user: 'maxroach' }
export const unparsed = 'invalid token / unable to parse token: '
export const unverified = `${unparsed}could not verify message using any of the signatures or keys`
