/**
 * A login of the past, judged by another configuration: by the gate's own functions, in the gate's order, as
 * far as the record (`login_decision`) holds what they ask for. Pure.
 * Rule: what the record doesn't hold is not guessed. It is told, unless something else refuses the login.
 */
import type { ClusterConfig, Config } from '../config/config.ts'
import { asFailure, Failure, type FailureCode } from '../failure.ts'
import { LISTED_MAX } from '../identity/findings.ts'
import type { Principal } from '../identity/principal.ts'
import { checkTimes } from '../identity/times.ts'
import type { Trust } from '../identity/trust.ts'
import { normalizeUsername } from '../identity/username.ts'
import { type Facts, judgeAccess, refusesAnyToken } from '../policy/access.ts'
import { decide, decidePassage, type Rules } from '../policy/decide.ts'
import { mayEnter } from '../policy/groups.ts'
import { keptOut } from '../policy/lists.ts'
import { revoked } from '../policy/revocation.ts'
import type { Recorded } from './explanation_record.ts'
import { endedThen } from './replay_ended.ts'

export type Outcome =
  | { kind: 'granted' }
  | { kind: 'refused'; code: FailureCode; says: string }
  | { kind: 'unknown'; why: string }

/** What one check says: nothing where it passes. */
export type Said = Failure | { unknown: string } | undefined

/** A record is written a moment after its token was judged. */
const MOMENT_S = 15

export function rejudge(login: Recorded, config: Config): Outcome {
  const cluster = clusterOf(login, config)
  if (cluster === undefined)
    return refusedBy(new Failure('cluster_not_found', { values: { name: login.Cluster } }))
  const issuer = login.Token.verified ? login.Token.issuer : undefined
  const all = [
    access(login, config, undefined),
    ...(login.Method === 'passthrough' ? passing(login, cluster) : byToken(login, cluster)),
    issuer === undefined ? undefined : access(login, config, issuer),
    revokedId(login, cluster),
    groups(login, cluster),
    endedThen(login),
  ]
  const failure = all.find((each) => each instanceof Failure)
  if (failure !== undefined) return refusedBy(failure)
  const open = all.find((each) => each !== undefined && 'unknown' in each)
  return open === undefined ? { kind: 'granted' } : { kind: 'unknown', why: open.unknown }
}

function refusedBy(failure: Failure): Outcome {
  const { code, message, detail, log } = failure
  const says = [message, detail, log].filter((part) => part !== undefined).join('; ')
  return { kind: 'refused', code, says }
}

/** Where there is one alone, nobody has to name it. */
function clusterOf({ Cluster }: Recorded, { clusters }: Config): ClusterConfig | undefined {
  const [first, ...others] = clusters
  return clusters.find(({ name }) => name === Cluster) ?? (others.length === 0 ? first : undefined)
}

/** @param issuer - of its token; undefined for the look before anything is asked of the client. */
function access(login: Recorded, config: Config, issuer: string | undefined): Said {
  const { JudgedMs, User: user, Database: database } = login
  const { rules } = config.access
  const facts = { ...factsOf(login, config), issuer }
  const denied = (log: string) =>
    new Failure('access_denied', { values: { host: facts.address ?? '', user, database }, log })
  const listed = keptOut([config.access.lists], facts, JudgedMs)
  if (listed !== undefined) return denied(listed)
  if (rules === undefined) return undefined
  const isKnown = issuer !== undefined || facts.method === 'passthrough'
  const verdict = isKnown ? judgeAccess(rules, facts) : refusesAnyToken(rules, facts)
  if (verdict === undefined || verdict.allowed) return undefined
  const { rule } = verdict
  return denied(rule === undefined ? 'no rule of access fits' : `refused by ${rule}`)
}

function factsOf(login: Recorded, config: Config): Omit<Facts, 'issuer'> {
  const { RemoteAddress, User, Database, Method, ClientSubject } = login
  const cluster = clusterOf(login, config)
  return {
    address: /^\[?([^\]]*?)\]?:\d+$/.exec(RemoteAddress)?.[1],
    user: User,
    foldCase: cluster?.dialect === 'cockroachdb',
    database: Database,
    cluster: cluster?.name ?? login.Cluster,
    method: Method === 'jwt_token' ? 'jwt' : Method,
    certificate: ClientSubject === '' ? undefined : (/^CN=(.*)$/m.exec(ClientSubject)?.[1] ?? ''),
  }
}

function passing({ User, Database, Replication }: Recorded, cluster: ClusterConfig): Said[] {
  const values = { user: User }
  if (cluster.nonJwtLogins !== 'passthrough') return [new Failure('token_required', { values })]
  const ask = { user: User, database: Database, replication: Replication }
  const decision = decidePassage(ask, cluster.rules)
  if (decision.granted) return []
  const { code, ...denial } = decision.denial
  return [new Failure(code, { ...denial, values })]
}

function byToken(login: Recorded, cluster: ClusterConfig): Said[] {
  const values = { user: login.User }
  const { nonJwtLogins, oauthbearer } = cluster
  if (login.Failure === 'token_required')
    return nonJwtLogins === 'reject' && oauthbearer === undefined
      ? [new Failure('token_required', { values })]
      : [{ unknown: 'it came without a token, and would be asked for something else' }]
  const way = login.Method === 'oauthbearer' ? oauthbearer : cluster
  if (way === undefined) return [new Failure('token_required', { values })]
  const { trust, rules } = way
  if (!trust.enabled) return [new Failure('jwt_not_enabled')]
  if (login.Token.digest === undefined) return [{ unknown: 'its token was not looked at' }]
  return [
    issuerOf(login, trust),
    keyOf(login, trust, cluster),
    times(login, trust),
    ...identity(login, trust, rules),
  ]
}

function issuerOf({ Token }: Recorded, { issuers }: Trust): Said {
  if (Token.issuer !== undefined && issuers.has(Token.issuer)) return undefined
  return new Failure('invalid_issuer', { detail: `token issued by ${Token.issuer ?? ''}` })
}

/** By its id: another key of the same id can't be told from it here. */
function keyOf({ Token }: Recorded, { keySources }: Trust, { issuers }: ClusterConfig): Said {
  const { issuer = '', keyId = '' } = Token
  const source = keySources.get(issuer)
  const isFetched = source !== undefined && issuers.get(issuer) === source
  const has = source?.known?.().some(({ kid }) => kid === keyId)
  if (!isFetched && !has)
    return new Failure('invalid_token', { log: `no key of ${issuer} has the id ${keyId}` })
  if (!Token.verified) return { unknown: 'its signature was not found good then' }
  if (isFetched && Token.keysFrom === 'configuration')
    return { unknown: `the keys of ${issuer} would have to be fetched` }
  return undefined
}

function times({ Token, JudgedMs }: Recorded, trust: Trust): Said {
  if (!Token.verified) return undefined
  const { issuedAt, expires: until, notBefore } = Token
  // Whose name was read had passed then, and may have ended until it was written down.
  const passed = Token.names !== undefined && until !== undefined
  const end = passed ? until + MOMENT_S : until
  try {
    checkTimes({ issuedAt, until: end, notBefore }, trust, JudgedMs)
    return undefined
  } catch (thrown) {
    return asFailure(thrown)
  }
}

/** Who it may be, and whether that one is let in: by `decide`, with what the record has of the token. */
function identity(login: Recorded, trust: Trust, rules: Rules): Said[] {
  const { Token, User, Database, Replication } = login
  const { names, audiences = [], issuer = '', claim } = Token
  const wanted = trust.claim === '' ? 'sub' : trust.claim
  if (names === undefined) return [{ unknown: 'the principals of its token were not looked at' }]
  if (claim !== wanted) return [{ unknown: `the claim ${wanted} of its token is not recorded` }]
  const who = { ...usersOf(names, issuer, trust), names, audiences, scopes: rules.scopes }
  const ask = { user: User, database: Database, replication: Replication }
  const decision = decide(principalOf(login, who), ask, rules)
  if (decision.granted)
    return rules.scopes.length === 0
      ? []
      : [{ unknown: 'the scopes of its token are not recorded' }]
  const { code, ...denial } = decision.denial
  if (code === 'invalid_principal' && isCut(names))
    return [{ unknown: 'not all of its principals are recorded' }]
  if (code === 'invalid_audience' && isCut(audiences))
    return [{ unknown: 'not all of its audiences are recorded' }]
  return [new Failure(code, denial)]
}

/** The list may have been longer, or a text in it. */
function isCut(texts: readonly string[]): boolean {
  return texts.length >= LISTED_MAX || texts.some((text) => /…$|\ufffd/.test(text))
}

function usersOf(names: readonly string[], issuer: string, { identityMap, foldCase }: Trust) {
  const users = new Set<string>()
  let mapped = false
  for (const name of names) {
    const found = identityMap.lookup(issuer, name)
    mapped ||= found.found
    for (const user of found.found ? found.users : [foldCase ? normalizeUsername(name) : name])
      users.add(user)
  }
  return { users: [...users], mapped }
}

function principalOf(
  { Token }: Pick<Recorded, 'Token'>,
  known: Pick<Principal, 'names' | 'users' | 'mapped' | 'audiences' | 'scopes'>,
): Principal {
  return {
    ...known,
    issuer: Token.issuer ?? '',
    groups: Token.groups,
    subject: undefined,
    tokenId: Token.tokenId,
    digest: Token.digest ?? '',
    keyId: Token.keyId ?? '',
    issuedAt: Token.issuedAt,
    until: Token.expires,
    notBefore: Token.notBefore,
  }
}

/** By the file's own list; what gates share is not of the configuration. */
function revokedId({ Token, SessionID }: Recorded, { revokedIds }: ClusterConfig): Said {
  if (!Token.verified) return undefined
  const { names = [], audiences = [] } = Token
  const who = principalOf({ Token }, { names, audiences, users: [], mapped: false, scopes: [] })
  const log = revoked(who, SessionID, revokedIds)
  return log === undefined ? undefined : new Failure('token_revoked', { log })
}

/** Whether who is in them is let in; which memberships come of it only the node knows. */
function groups({ Method, Token }: Recorded, { authorization }: ClusterConfig): Said {
  if (Method === 'passthrough' || !authorization?.refuseEmpty) return undefined
  if (Token.groups === undefined) return { unknown: 'the groups of its token are not recorded' }
  return mayEnter(Token.groups, authorization) ? undefined : new Failure('empty_group_list')
}
