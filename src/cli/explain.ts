/**
 * `postern explain`: why a token is refused, or let in, check by check. The token is judged by the gate's
 * own functions and this machine's configuration; or a login is looked up in the gate's audit stream.
 * Rule: the token is read, judged and forgotten; nothing of what makes it one is printed.
 */
import { createReadStream } from 'node:fs'
import { resolve } from 'node:path'
import { whyNotMade } from '../cluster/provisioning.ts'
import { type Inspected, inspectConfig } from '../config/config.ts'
import { asFailure, Failure } from '../failure.ts'
import { type Findings, noteRoles } from '../identity/findings.ts'
import { authenticate } from '../identity/jwt.ts'
import { normalizeUsername } from '../identity/username.ts'
import { decide } from '../policy/decide.ts'
import { mayEnter, wantedRoles } from '../policy/groups.ts'
import { isTooLong } from '../policy/names.ts'
import type { Secret } from '../secret.ts'
import { explain as explainLogin } from './explanation.ts'
import { advise } from './explanation_advice.ts'
import { failureOf, type Login, type Settings } from './explanation_login.ts'
import { findLogin } from './explanation_record.ts'
import { toJson, toText } from './explanation_text.ts'
import { readToken } from './explanation_token.ts'
import { oneCluster, outsideOf, readText } from './serve.ts'
import type { World } from './terminal.ts'

export interface ExplainOptions {
  config?: string
  cluster?: string
  user?: string
  /** Milliseconds since the epoch. */
  at?: number
  oauthbearer?: boolean
  requestId?: string
  audit?: string
  json?: boolean
}

const CONFIG_FILE = 'postern.yaml'
const NOT_ASKED =
  'the node was not asked: which roles are there, and what powers they have, shows at the sign-in'
const SO_FAR = 'granted, as far as can be seen here:'
const OTHER_SETTINGS =
  'the settings shown are those of the file now; the gate judged by those that it had then'

/** @throws Failure `usage`, `config_unreadable`, `config_invalid`, `explain_refused` */
export async function explain(options: ExplainOptions, world: World): Promise<void> {
  const { login, settings, notes } =
    options.requestId === undefined
      ? await judged(options, world)
      : await recorded(options.requestId, options, world)
  const checks = explainLogin(login, settings)
  const explanation = { login, checks, todo: advise(login, settings), notes }
  world.stdout.write(options.json ? toJson(explanation) : toText(explanation, world))
  const failure = failureOf(login)
  if (failure === undefined) return
  const problem =
    options.requestId === undefined
      ? 'the gate would refuse this token'
      : 'the gate refused this login'
  throw new Failure('explain_refused', { values: { problem: `${problem} (${failure.code})` } })
}

interface Explained {
  login: Login
  settings: Settings | undefined
  notes: readonly string[]
}

async function judged(options: ExplainOptions, world: World): Promise<Explained> {
  if (options.audit !== undefined) throw wrong('--audit goes with --request-id')
  const settings = settingsOf(options.config ?? CONFIG_FILE, options, world)
  const token = await readToken(world)
  const { login, users } = await judge(token, settings, options, options.at ?? world.now())
  const assumed = options.user === undefined && users > 1
  const notes = assumed
    ? [`--user was left out, so it was judged for ${login.User}, the first of ${users}`]
    : []
  if (login.Result === 'refused') return { login, settings, notes }
  return { login, settings, notes: [...doubts(login, settings), ...notes, NOT_ASKED] }
}

/** Where the gate may still refuse, by the same settings. */
function doubts({ User, Token }: Login, { authorization, provisioning }: Settings): string[] {
  const unknown = authorization !== undefined && Token.groups === undefined
  const notMade = provisioning && whyNotMade(User, provisioning)
  return [
    ...(unknown ? [`${SO_FAR} the token names no groups, so the issuer's userinfo decides`] : []),
    ...(notMade ? [`${SO_FAR} if the role is not there, it will not be made: ${notMade}`] : []),
  ]
}

/** As the session does it: who is it, may it, and what becomes of its groups. */
async function judge(
  token: Secret,
  { trust, rules, authorization }: Settings,
  { user, oauthbearer }: ExplainOptions,
  nowMs: number,
): Promise<{ login: Login; users: number }> {
  const found: Findings = {}
  const login: Login = {
    Result: 'refused',
    Failure: '',
    Why: '',
    Detail: '',
    Step: '',
    Role: '',
    User: trust.foldCase ? normalizeUsername(user ?? '') : (user ?? ''),
    Method: oauthbearer ? 'oauthbearer' : 'jwt_token',
    Replication: false,
    Token: found,
    AcceptedAudiences: [...rules.audiences],
    JudgedMs: nowMs,
  }
  try {
    checkName(login.User)
    const principal = await authenticate(token, trust, () => nowMs, found)
    if (user === undefined) login.User = principal.users[0] ?? ''
    checkName(login.User)
    const { groups } = principal
    if (authorization !== undefined && groups !== undefined)
      noteRoles(wantedRoles(groups, { ...authorization, ...rules, ...trust }).wanted, found)
    const ask = { user: login.User, database: '', replication: false }
    const decision = decide(principal, ask, rules)
    if (!decision.granted) throw new Failure(decision.denial.code, decision.denial)
    if (authorization && groups && !mayEnter(groups, authorization))
      throw new Failure('empty_group_list')
    Object.assign(login, { Result: 'granted', Role: decision.grant.role })
  } catch (thrown) {
    refuse(login, asFailure(thrown))
  }
  return { login, users: found.userCount ?? 0 }
}

function checkName(user: string): void {
  if (isTooLong(user)) throw new Failure('name_too_long', { values: { what: 'user' } })
}

function refuse(login: Login, failure: Failure): void {
  const { code, message, detail, log } = failure
  if (code === 'internal_error') throw failure
  login.Failure = code
  login.Why = [message, detail, log].filter((part) => part !== undefined).join('; ')
  login.Detail = detail ?? ''
}

async function recorded(id: string, options: ExplainOptions, world: World): Promise<Explained> {
  const { audit, config } = options
  if (audit === undefined) throw wrong('--request-id needs --audit: the file of the audit stream')
  const file = audit === '-' ? 'standard input' : audit
  const login = await findLogin(openAudit(audit, world), id).catch((thrown: unknown) => {
    throw unreadable(file, (thrown as Error).message)
  })
  if (login === undefined) throw wrong(`${file}: no login in it has the request id ${id}`)
  if (login.Method === 'passthrough')
    throw wrong(`${file}: the login ${id} brought no token: the node itself judged it`)
  if (config === undefined) return { login, settings: undefined, notes: [] }
  const settings = settingsOf(
    config,
    { ...options, oauthbearer: login.Method === 'oauthbearer' },
    world,
  )
  return { login, settings, notes: [OTHER_SETTINGS] }
}

function openAudit(file: string, world: World): AsyncIterable<Uint8Array> {
  return file === '-' ? world.stdin() : createReadStream(resolve(world.workingDirectory, file))
}

/** @throws Failure `usage` where OAUTHBEARER is asked for and not offered. */
function settingsOf(
  file: string,
  { oauthbearer, cluster: name }: ExplainOptions,
  world: World,
): Settings {
  const inspected = inspectConfig(file, readText(file, world), outsideOf(world))
  const cluster = oneCluster(inspected.config, name)
  const { authorization, dialect } = cluster
  const way = oauthbearer ? cluster.oauthbearer : cluster
  if (way === undefined)
    throw wrong(`${file} does not offer it: set server.oauthbearer_authentication.enabled: true`)
  const { trust, rules } = way
  const { ownRoles } = cluster.rules
  const made = { roles: authorization?.roles ?? [], ownRoles, dialect }
  const provisioning = cluster.provisioning ? made : undefined
  return { trust, rules, authorization, provisioning, map: mapOf(cluster.name, inspected) }
}

function mapOf(cluster: string, { file }: Inspected): string {
  return file.clusters[cluster]?.['server.identity_map.configuration'] ?? ''
}

function unreadable(file: string, problem: string): Failure {
  return new Failure('config_unreadable', { values: { file, problem } })
}

function wrong(problem: string): Failure {
  return new Failure('usage', { values: { problem } })
}
