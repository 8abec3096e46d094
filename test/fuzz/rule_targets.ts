/**
 * The rules of who may come in: held against reading each condition as it is written; and `check --as`
 * against the gate itself.
 */
import fc from 'fast-check'
import { RE2JS } from 're2js'
import { whoDecides } from '../../src/cli/check_as.ts'
import { accessRules, accessRulesOf } from '../../src/config/access_settings.ts'
import { type Config, parseConfig } from '../../src/config/config.ts'
import { check } from '../../src/config/mistakes.ts'
import { normalizeUsername } from '../../src/identity/username.ts'
import { type Facts, judgeAccess, refusesAnyToken } from '../../src/policy/access.ts'
import { type Guard, openGuard } from '../../src/sql/guard.ts'
import { anyJson, nearlyText, oddText } from './made_up.ts'
import {
  clientAddress,
  isIn,
  networkText,
  place,
  spelled,
  wrongSomewhere,
} from './near_networks.ts'
import { must, mustEqual, outcome, sharing, type Target, target } from './target.ts'

const CLUSTERS = ['main', 'spare', '']
const NOW_MS = Date.UTC(2026, 10, 23)
const moment = fc.constantFrom(NOW_MS - 1, NOW_MS, NOW_MS + 1)
const [ISSUER, OTHER] = ['https://a.test', 'https://b.test']

const NAMES = ['carl', 'Carl', 'svc_a', 'app', '/^svc_.*$', '/^(?i)c.*$', '/^.*$', 'İ', 'root']
const pattern = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...NAMES) },
  { weight: 1, arbitrary: oddText },
)
const METHODS = ['jwt', 'oauthbearer', 'passthrough'] as const
const some = <T>(one: fc.Arbitrary<T>) =>
  fc.oneof(one, fc.array(one, { minLength: 1, maxLength: 3 }))
const rule = fc.record(
  {
    address: some(fc.oneof(networkText, fc.constant('unix'))),
    user: some(pattern),
    database: some(pattern),
    cluster: some(fc.constantFrom(...CLUSTERS)),
    issuer: some(fc.constantFrom(ISSUER, OTHER)),
    method: some(fc.constantFrom(...METHODS)),
    certificate: fc.oneof(fc.constant(true as const), pattern),
    action: fc.constantFrom('allow', 'allow', 'deny', ...METHODS),
  },
  { requiredKeys: ['action'] },
)
type RuleValue = typeof rule extends fc.Arbitrary<infer T> ? T : never

/** Few conditions, else nobody fits. */
const fewConditions = fc
  .tuple(rule, fc.nat(255), fc.nat(255))
  .map(([{ action, ...conditions }, one, other]) => {
    const kept = Object.entries(conditions).filter((_, at) => ((one & other) >> at) & 1)
    return { ...Object.fromEntries(kept), action } as RuleValue
  })
const facts: fc.Arbitrary<Facts> = fc.record({
  address: clientAddress,
  user: fc.oneof(fc.constantFrom('carl', 'CARL', 'svc_a', 'i', 'root'), oddText),
  foldCase: fc.boolean(),
  database: fc.oneof(fc.constantFrom('app', 'carl', 'svc_a'), oddText),
  cluster: fc.constantFrom(...CLUSTERS),
  method: fc.constantFrom(...METHODS),
  certificate: fc.option(fc.constantFrom('carl', 'Carl', 'svc_a', ''), { nil: undefined }),
  issuer: fc.option(fc.constantFrom(ISSUER, OTHER, 'https://c.test'), { nil: undefined }),
})
/** Towards CockroachDB a user comes in lower case. */
const asked = facts.map((each) => {
  return each.foldCase ? { ...each, user: normalizeUsername(each.user) } : each
})

function listOf<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? value : [value as T]
}

function isNamed(pattern: string, name: string, foldCase: boolean): boolean {
  if (pattern.startsWith('/')) return RE2JS.compile(pattern.slice(1)).matcher(name).matches()
  return name === (foldCase ? normalizeUsername(pattern) : pattern)
}

/** A rule as it is written, condition by condition. */
function fitsAsWritten(written: RuleValue, about: Facts): boolean {
  const { address, user, database, cluster, issuer, method, certificate } = written
  const names = (patterns: string | string[] | undefined, name: string, fold: boolean) =>
    patterns === undefined || listOf(patterns).some((each) => isNamed(each, name, fold))
  const holds = <T>(values: T | T[] | undefined, its: T | undefined) =>
    values === undefined || listOf(values).some((each) => each === its)
  const isFrom = (text: string) =>
    about.address === undefined ? text === 'unix' : isIn(text, about.address)
  const shows = about.certificate !== undefined
  return (
    (address === undefined || listOf(address).some(isFrom)) &&
    names(user, about.user, about.foldCase) &&
    names(database, about.database, false) &&
    holds(cluster, about.cluster) &&
    holds(issuer, about.issuer) &&
    holds(method, about.method) &&
    (certificate === undefined ||
      (shows && (certificate === true || names(certificate, about.certificate ?? '', false))))
  )
}

const rules = target(
  'access/rules',
  fc.tuple(
    fc.oneof(
      { weight: 12, arbitrary: fc.array(fewConditions, { maxLength: 4 }) },
      { weight: 1, arbitrary: fc.array(wrongSomewhere(rule), { maxLength: 2 }) },
      { weight: 1, arbitrary: anyJson(['action', 'address', 'user']) },
    ),
    fc.array(asked, { minLength: 1, maxLength: 3 }),
  ),
  ([section, clients]) => {
    const read = check(accessRules, section)
    if (!read.ok) {
      must(read.mistakes.length > 0, 'refused without a word')
      for (const { message } of read.mistakes)
        must(message !== '' && message.length < 1_000, 'a sentence', message)
      return
    }
    const written = section as RuleValue[]
    const names = written.map((_, at) => `${at + 1}:1`)
    const opened = accessRulesOf(read.value, names)
    for (const client of clients) {
      const at = written.findIndex((each) => fitsAsWritten(each, client))
      const action = written[at]?.action
      const verdict = judgeAccess(opened, client)
      mustEqual(
        verdict,
        { allowed: action === 'allow' || action === client.method, rule: opened[at]?.name },
        'not as the first that fits says',
      )
      const before = refusesAnyToken(opened, client)
      if (before === undefined) continue
      // Whatever token it has.
      for (const issuer of [ISSUER, OTHER, 'https://c.test', undefined])
        must(
          !judgeAccess(opened, { ...client, issuer }).allowed,
          'refused too early',
          issuer,
          before,
        )
    }
  },
)

const TOKENS = `server.jwt_authentication.enabled: true, server.jwt_authentication.audience: postern,
    server.jwt_authentication.issuers.configuration: [${ISSUER}, ${OTHER}], server.jwt_authentication.jwks: {keys: []}`
const CONFIG = `
listeners: [{address: '127.0.0.1:0', allow_plaintext: true}]
clusters:
  main: {kind: postgresql, nodes: [{address: /run/main}], sign_in: trust, ${TOKENS},
    server.oauthbearer_authentication.enabled: true, server.oauthbearer_authentication.issuers.configuration: [${ISSUER}]}
  spare: {kind: cockroachdb, nodes: [{address: '127.0.0.1:1'}], sign_in: trust, ${TOKENS}}
  own: {kind: postgresql, nodes: [{address: /run/own}], sign_in: trust, ${TOKENS},
    non_jwt_logins: passthrough, passthrough_scram: no_channel_binding}
access_lists: {denylist_file: deny.yaml}
access:
- {user: '/^svc_.*$', address: [10.0.0.0/8, unix], action: passthrough}
- {user: eve, action: deny}
- {issuer: ${OTHER}, user: carl, cluster: main, action: deny}
- {certificate: true, action: allow}
- {database: app, method: [jwt, oauthbearer], action: allow}
- {issuer: ${ISSUER}, address: fd00::/8, action: jwt}
`
const DENY = `
SequenceNumber: 1
denylist: [{entity: {item: 10.1.3.0/24, type: ip}}, {entity: {item: spare, type: cluster}, expiration: 2026-11-23T00:00:00Z}]
`

/** What is asked, as it would be written. */
const question = fc
  .record(
    {
      user: fc.constantFrom('carl', 'CARL', 'svc_a', 'eve', 'maxroach'),
      cluster: fc.constantFrom('main', 'main', 'spare', 'own'),
      address: place,
      database: fc.constantFrom('app', 'shop'),
      issuer: fc.constantFrom(ISSUER, OTHER, 'https://c.test'),
      method: fc.constantFrom(...METHODS),
      certificate: fc.constantFrom('carl', ''),
    },
    { requiredKeys: ['user', 'cluster'] },
  )
  .map((said) => ({
    said,
    text: Object.entries(said)
      .map((pair) => pair.join('='))
      .join(),
  }))
const nearlyAsked = question.chain(({ text }) =>
  nearlyText(fc.constant(text), [',', '=', 'user=', 'address=', ' ', '\n', 'method=x']),
)
type Question = (typeof question extends fc.Arbitrary<infer T> ? T : never)['said']

/** As a session would have them, but for the issuer. */
function factsAsked({ user: name, cluster, method = 'jwt', ...said }: Question): Facts {
  const foldCase = cluster === 'spare'
  const user = foldCase ? normalizeUsername(name) : name
  const { address, database = foldCase ? 'defaultdb' : user, certificate } = said
  return {
    user,
    foldCase,
    address: address === undefined ? undefined : spelled(address),
    cluster,
    database,
    method,
    certificate,
    issuer: undefined,
  }
}

/** The gate itself. */
function wouldCome(guard: Guard, facts: Facts, issuer: string | undefined): boolean {
  const come = outcome(() => {
    guard.arrive(facts)
    guard.judge({ id: 's', facts: { ...facts, issuer }, principal: undefined })
  }, ['access_denied'])
  return 'value' in come
}

function openAs(): { config: Config; guardAt: (nowMs: number) => Guard } {
  const config = parseConfig('postern.yaml', CONFIG, {
    env: () => undefined,
    readFile: () => DENY,
    fileMode: () => 0o600,
    now: () => NOW_MS,
  })
  const parts = {
    access: config.access,
    state: undefined,
    revokedIds: () => undefined,
    elapsed: () => 0,
    count: () => undefined,
  }
  return { config, guardAt: (nowMs) => openGuard({ ...parts, now: () => nowMs }) }
}

/** The answer that is about tokens of this issuer, among those that were given. */
function lineOf(lines: readonly string[], issuer: string | undefined): string {
  const whose = ', with a token of '
  const its = lines.filter((line) => !line.includes(whose) || line.includes(`${whose}${issuer}: `))
  mustEqual(its.length, 1, `answers about ${issuer}, of ${JSON.stringify(lines)}`)
  return its[0] ?? ''
}

const as = sharing('access/as', async () => {
  const { config, guardAt } = openAs()
  return {
    cases: fc.tuple(question, nearlyAsked, moment),
    judge([{ said, text }, odd, nowMs]) {
      outcome(() => whoDecides(odd, config, nowMs), ['usage'])
      const read = outcome(() => whoDecides(text, config, nowMs), ['usage'])
      const { method = 'jwt', issuer, cluster } = said
      const offered = { main: ['jwt', 'oauthbearer'], spare: ['jwt'], own: ['jwt', 'passthrough'] }
      const isOffered = offered[cluster as keyof typeof offered].includes(method)
      const hasToken = method !== 'passthrough'
      const isQuestion = isOffered && (hasToken || issuer === undefined)
      mustEqual('value' in read, isQuestion, 'whether it is answered')
      if (!('value' in read)) return
      const all = method === 'oauthbearer' ? [ISSUER] : [ISSUER, OTHER]
      const issuers = hasToken && issuer === undefined ? all : [issuer]
      for (const each of issuers) {
        const line = lineOf(read.value, each)
        const comes = wouldCome(guardAt(nowMs), factsAsked(said), each)
        mustEqual(line.includes(' allowed: '), comes, line)
      }
    },
  }
})

export const ruleTargets: Target[] = [rules, as]
