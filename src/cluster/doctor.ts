/**
 * `postern cluster doctor`: what a gate needs of its node, step by step from the cable to a role that
 * is signed in, each a Check with what is missing and what to do. It goes the ways of a session:
 * `dial`, and `connect` with a Grant.
 * Rule: a step that could not be tried is told as such, with the reason; nothing is changed.
 */
import { TLSSocket } from 'node:tls'
import { Failure } from '../failure.ts'
import { dial } from './dial.ts'
import { examine, type Findings } from './examination.ts'
import type { Node } from './node.ts'
import { type Asked, reachMeaning, signInMeaning, wordsOf } from './refusals.ts'
import { lookAtRights, type RightsAsked } from './rights.ts'
import { GROUP, hbaLines, MANAGEMENT_DATABASE, type SetUp } from './setup.ts'
import { NodeRefused } from './sign_in.ts'
import { type Ask, deadline, visit } from './visit.ts'

export interface Check {
  name: string
  mark: 'ok' | 'bad' | 'warning' | 'unchecked'
  says: string
  /** What to do about it. */
  todo?: string
}

export interface Patient extends Omit<SetUp, 'node' | 'rules'> {
  node: Node
  rules: SetUp['rules'] & RightsAsked['rules']
}

export interface Visit {
  /** Whom to sign in as; else a member of the group that the management role finds. */
  role: string | undefined
  database: string | undefined
  /** Whom this process runs as. */
  osUser: string
  /** Milliseconds since the epoch. */
  now(): number
  stop: AbortSignal
}

/** The whole visit, in order. */
export async function* diagnose(patient: Patient, asked: Visit): AsyncGenerator<Check> {
  const { node } = patient
  const reached = await reach(node, asked)
  yield* reached
  if (reached.some(({ mark }) => mark === 'bad')) {
    for (const name of ['management', 'probe', 'reserved'])
      yield { name, mark: 'unchecked', says: 'first the node has to be reached' }
    return
  }
  const database = asked.database ?? DATABASES[node.dialect]
  const target: Target = { patient, asked, database, line: hbaLines(patient, ['<gate>'])[0] ?? '' }
  const findings = await lookAround(target)
  yield* findings.checks
  yield await probe(target, findings)
  yield await reserved(target)
}

const DATABASES = { postgresql: MANAGEMENT_DATABASE, cockroachdb: 'defaultdb' }
const SUPERUSERS = { postgresql: 'postgres', cockroachdb: 'root' }
const EXPIRES_SOON_MS = 14 * 86_400_000

interface Target {
  patient: Patient
  asked: Visit
  database: string
  line: string
}

/** The cable and TLS. */
async function reach(node: Node, { stop, now }: Visit): Promise<Check[]> {
  const there: Check = { name: 'reach', mark: 'ok', says: `${node.name} takes connections` }
  try {
    const leg = await dial(node, deadline(stop))
    const tls = leg.socket instanceof TLSSocket ? verified(leg.socket, node, now()) : noTls(node)
    leg.destroy()
    return [there, tls]
  } catch (thrown) {
    stop.throwIfAborted()
    const { tls, says, todo } = reachMeaning(thrown, node)
    if (tls) return [there, { name: 'TLS', mark: 'bad', says, todo }]
    return [{ name: 'reach', mark: 'bad', says: `${node.name}: ${says}`, todo }]
  }
}

function verified(socket: TLSSocket, { tls }: Node, nowMs: number): Check {
  const { valid_to } = socket.getPeerCertificate()
  const begins = tls?.direct ? ' from the first byte' : ''
  const says = `${socket.getProtocol()}${begins}; the certificate of ${tls?.serverName} verifies, until ${valid_to}`
  if (Date.parse(valid_to) - nowMs > EXPIRES_SOON_MS) return { name: 'TLS', mark: 'ok', says }
  return { name: 'TLS', mark: 'warning', says, todo: "renew the node's certificate soon" }
}

function noTls({ address }: Node): Check {
  const says = 'path' in address ? 'a unix socket needs none' : 'none: the node is on this machine'
  return { name: 'TLS', mark: 'unchecked', says }
}

/** As the management role, where there is one. */
async function lookAround(target: Target): Promise<Findings> {
  const { patient, asked } = target
  const { node, management } = patient
  const nothing = { role: asked.role, filesFit: false }
  const skip = (says: string): Findings => ({
    ...nothing,
    checks: [{ name: 'management', mark: 'unchecked', says }],
  })
  if (management === undefined)
    return skip("no management role is set: roles and the node's files are not looked at")
  if (node.signIn === 'forward')
    return skip("sign_in: forward needs a user's token, which a management role doesn't have")
  const { role } = management
  const signedIn: Check = { name: 'management', mark: 'ok', says: `signed in as ${role}` }
  const database = DATABASES[node.dialect]
  try {
    return await visit(node, role, database, asked.stop, async (ask) => {
      const found =
        node.dialect === 'cockroachdb'
          ? { ...nothing, checks: await cockroachChecks(ask) }
          : await examine(ask, {
              ...target,
              node,
              management: role,
              osUser: asked.osUser,
              role: asked.role,
            })
      const { dialect } = node
      const rights = await lookAtRights(ask, { ...patient, dialect, management: role })
      return { ...found, checks: [signedIn, ...found.checks, ...rights] }
    })
  } catch (thrown) {
    asked.stop.throwIfAborted()
    const line = hbaLines({ ...patient, state: undefined }, ['<gate>']).at(-1) ?? ''
    const { says, todo } = signInMeaning(thrown, { ...about(target, role), line })
    const check: Check = { name: 'management', mark: 'bad', says: `as ${role}: ${says}`, todo }
    return { ...nothing, checks: [check] }
  }
}

const HBA = 'server.host_based_authentication.configuration'

async function cockroachChecks(ask: Ask): Promise<Check[]> {
  const [version] = await ask('SELECT version() AS name')
  const checks: Check[] = [{ name: 'version', mark: 'ok', says: version?.['name'] ?? 'unknown' }]
  try {
    const [row] = await ask(`SHOW CLUSTER SETTING ${HBA}`)
    const rules = Object.values(row ?? {})[0] ?? ''
    const says =
      rules.trim() === ''
        ? 'unset: a certificate is enough'
        : rules.trim().replace(/\s*\n\s*/g, ' | ')
    checks.push({ name: 'rules', mark: 'ok', says })
  } catch (thrown) {
    if (!(thrown instanceof NodeRefused)) throw thrown
    const says = `not shown (${wordsOf(thrown)}); postern cluster setup prints the GRANT`
    checks.push({ name: 'rules', mark: 'unchecked', says })
  }
  return checks
}

/** As a session would: a role signs in, and is who it should be. */
async function probe(target: Target, { role, filesFit }: Findings): Promise<Check> {
  const { patient, asked, database } = target
  const { node } = patient
  const name = 'probe'
  if (role === undefined)
    return { name, mark: 'unchecked', says: 'whom to sign in as? name one: --role NAME' }
  try {
    const [row] = await visit(node, role, database, asked.stop, (ask) =>
      ask('SELECT current_user AS name'),
    )
    const is = row?.['name']
    if (is === role) return { name, mark: 'ok', says: `signed in to ${database} as ${role}` }
    const todo = 'something between the gate and the node signs in for it: is there a pooler?'
    return { name, mark: 'bad', says: `signed in as ${role}, but the node says ${is}`, todo }
  } catch (thrown) {
    asked.stop.throwIfAborted()
    if (node.signIn === 'forward' && asksPassword(thrown))
      return {
        name,
        mark: 'ok',
        says: `the node asks ${role} for a password: the token will be it`,
      }
    const { says, todo } = signInMeaning(thrown, { ...about(target, role), filesFit })
    return { name, mark: 'bad', says: `as ${role}: ${says}`, todo }
  }
}

/** The gate never asks for it; the node's rules should not give it either. */
async function reserved({ patient, asked, database }: Target): Promise<Check> {
  const { node } = patient
  const role = SUPERUSERS[node.dialect]
  const name = 'reserved'
  if (node.signIn === 'forward')
    return { name, mark: 'unchecked', says: `only a token could show whether ${role} gets in` }
  try {
    await visit(node, role, database, asked.stop, async () => undefined)
  } catch (thrown) {
    asked.stop.throwIfAborted()
    if (hasNoSecret(thrown)) return { name, mark: 'ok', says: `the gate has no secret for ${role}` }
    if (isRefusal(thrown)) return { name, mark: 'ok', says: `the node refuses ${role} too` }
    // Signed in, but for a database that is not there, is signed in.
    if (!(thrown instanceof Failure && thrown.code === 'node_refused'))
      return { name, mark: 'unchecked', says: `${role}: ${wordsOf(thrown)}` }
  }
  return {
    name,
    mark: 'warning',
    says: `the node would let this gate be ${role}; only the gate's own rules stand before it`,
    todo: ADVICE[node.dialect],
  }
}

const ADVICE = {
  postgresql: `let only +${GROUP} in from the gate's address: put "reject" for all others below its lines in pg_hba.conf`,
  cockroachdb:
    "CockroachDB lets root's certificate in always: guard certificate.ca_key as you guard root's own",
}

function about({ patient, database, line }: Target, role: string): Asked {
  return { node: patient.node, role, database, group: GROUP, line, filesFit: false }
}

/** What `signIn` says without a token: it would have gone there. */
function asksPassword(thrown: unknown): boolean {
  return thrown instanceof Failure && /asks for a password/.test(thrown.log ?? '')
}

function hasNoSecret(thrown: unknown): boolean {
  return thrown instanceof Failure && /scram\.secrets has none/.test(thrown.log ?? '')
}

/** The role's refusal in words, in another method, or in a TLS alert; not a node that just went away. */
function isRefusal(thrown: unknown): boolean {
  if (!(thrown instanceof Failure)) return false
  const otherwise = /asks for|alert/i.test(thrown.log ?? '')
  return thrown.code === 'role_refused' || (thrown.code === 'node_signin_failed' && otherwise)
}
