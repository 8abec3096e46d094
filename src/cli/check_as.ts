/**
 * `postern check --as user=…,address=…`: which rule of `access`, or which list, would decide about somebody.
 * The gate's own functions are asked. Rule: what isn't said of a client is taken as the gate would find it:
 * the database of such a startup packet, a unix socket, the only cluster, and each issuer in turn.
 */
import { isIP } from 'node:net'
import type { ClusterConfig, Config } from '../config/config.ts'
import { Failure } from '../failure.ts'
import { normalizeUsername } from '../identity/username.ts'
import { type Facts, judgeAccess, type Method, refusesAnyToken } from '../policy/access.ts'
import { keptOut } from '../policy/lists.ts'
import { defaultDatabase } from '../policy/names.ts'

const KEYS = ['user', 'address', 'database', 'cluster', 'issuer', 'method', 'certificate'] as const
const METHODS: readonly string[] = ['jwt', 'oauthbearer', 'passthrough'] satisfies Method[]

/** @returns lines. @throws Failure `usage` */
export function whoDecides(text: string, config: Config, nowMs: number): string[] {
  const said = read(text)
  const cluster = clusterOf(said.get('cluster'), config)
  const facts = factsOf(said, cluster)
  demandWay(facts, cluster)
  const who = `user ${facts.user} from ${facts.address ?? 'a unix socket'}, database ${facts.database}, cluster ${facts.cluster}, by ${facts.method}`
  const lines = verdicts(facts, cluster, config, nowMs).map((each) => `${who}${each}`)
  const shared = 'the lists that gates share are not looked at here'
  return config.state === undefined ? lines : [...lines, shared]
}

function verdicts(facts: Facts, cluster: ClusterConfig, config: Config, nowMs: number): string[] {
  const listed = keptOut([config.access.lists], facts, nowMs)
  if (listed !== undefined) return [`: refused: ${listed}`]
  const { rules } = config.access
  if (rules === undefined) return [': allowed: there are no rules']
  const refused = facts.method === 'passthrough' ? undefined : refusesAnyToken(rules, facts)
  if (facts.issuer === undefined && refused !== undefined)
    return [`: refused before it is asked for a token: ${named(refused.rule)}`]
  const issuers =
    facts.issuer !== undefined || facts.method === 'passthrough'
      ? [facts.issuer]
      : [...((facts.method === 'oauthbearer' ? cluster.oauthbearer : cluster)?.trust.issuers ?? [])]
  return issuers.map((issuer) => {
    const { allowed, rule } = judgeAccess(rules, { ...facts, issuer })
    const whose = issuer === undefined ? '' : `, with a token of ${issuer}`
    return `${whose}: ${allowed ? 'allowed' : 'refused'}: ${named(rule)}`
  })
}

function named(rule: string | undefined): string {
  return rule ?? 'no rule fits'
}

function read(text: string): Map<string, string> {
  const said = new Map<string, string>()
  for (const each of text.split(',')) {
    const [, key = '', value = ''] = /^\s*(\w+)=(.*)$/.exec(each) ?? []
    if (!KEYS.some((known) => known === key))
      throw usage(
        `write what is known like user=carl,address=192.0.2.7; keys are ${KEYS.join(', ')}`,
      )
    said.set(key, value)
  }
  if (!said.has('user')) throw usage('name at least a user: user=carl')
  const method = said.get('method')
  if (method !== undefined && !METHODS.includes(method))
    throw usage(`a method is one of ${METHODS.join(', ')}`)
  const address = said.get('address')
  if (address !== undefined && isIP(address) === 0)
    throw usage(`${JSON.stringify(address)} is no IP address; leave it out for a unix socket`)
  return said
}

function clusterOf(name: string | undefined, { clusters }: Config): ClusterConfig {
  const found = name === undefined ? clusters : clusters.filter((each) => each.name === name)
  const [only, ...others] = found
  if (only === undefined) throw usage(`there is no cluster ${name}`)
  if (others.length > 0)
    throw usage(
      `which cluster? add cluster=${clusters.map((each) => each.name).join(' or cluster=')}`,
    )
  return only
}

function factsOf(said: ReadonlyMap<string, string>, cluster: ClusterConfig): Facts {
  const name = said.get('user') ?? ''
  const user = cluster.dialect === 'cockroachdb' ? normalizeUsername(name) : name
  return {
    address: said.get('address'),
    user,
    foldCase: cluster.dialect === 'cockroachdb',
    database: said.get('database') ?? defaultDatabase(user, cluster.dialect),
    cluster: cluster.name,
    method: (said.get('method') as Method | undefined) ?? 'jwt',
    certificate: said.get('certificate'),
    issuer: said.get('issuer'),
  }
}

/** Nobody would come that way: no answer would be one. */
function demandWay({ method, issuer }: Facts, cluster: ClusterConfig): void {
  if (method === 'passthrough' && issuer !== undefined)
    throw usage('who comes by passthrough has no token, and so no issuer')
  const offered: Record<Method, boolean> = {
    jwt: true,
    oauthbearer: cluster.oauthbearer !== undefined,
    passthrough: cluster.nonJwtLogins === 'passthrough',
  }
  if (!offered[method]) throw usage(`the cluster ${cluster.name} does not offer ${method}`)
}

function usage(problem: string): Failure {
  return new Failure('usage', { values: { problem: `--as: ${problem}` } })
}
