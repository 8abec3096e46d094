/**
 * The keys of `access`: rules that say who may come in, in their order. A condition takes one value or a
 * list of them, of which one has to fit; all conditions of a rule have to.
 * Rule: what can never fit is a mistake: a rule that seems to guard something has to.
 */
import { z } from 'zod'
import { type ParsedRolePattern, parseRolePattern } from '../identity/role_pattern.ts'
import type { AccessRule } from '../policy/access.ts'
import { openNetworks } from '../policy/networks.ts'
import { shown } from './mistakes.ts'
import { network } from './networks.ts'
import { type Complain, OAUTH } from './trust_settings.ts'
import { fileName } from './values.ts'

/** In the place of a network. */
const UNIX = 'unix'

const name = z.string().transform((text, context) => {
  const parsed: ParsedRolePattern = parseRolePattern(text)
  if (parsed.ok) return parsed.pattern
  context.addIssue(parsed.problem)
  return z.NEVER
})
const address = z.union([z.literal(UNIX), network], {
  error: ({ input }) =>
    `${shown(input)} is not a network; write one like 10.0.0.0/8, an address, or unix`,
})
const method = z.enum(['jwt', 'oauthbearer', 'passthrough'])

const rule = z.strictObject({
  address: someOf(address).optional(),
  user: someOf(name).optional(),
  database: someOf(name).optional(),
  cluster: someOf(z.string()).optional(),
  issuer: someOf(z.string()).optional(),
  method: someOf(method).optional(),
  certificate: z.union([z.literal(true), name]).optional(),
  action: z.enum(['allow', 'deny', ...method.options]),
})

export const accessRules = z.array(rule)

export const accessLists = z.preprocess(
  (value) => value ?? {},
  z.strictObject({ allowlist_file: fileName.optional(), denylist_file: fileName.optional() }),
)

export type AccessSection = z.output<typeof accessRules>

/** One, or a list that has at least one. */
function someOf<T extends z.ZodType>(one: T) {
  const list = z
    .array(one)
    .min(1, 'name at least one, or leave the key out: it fits everybody then')
  return z.preprocess((value) => (Array.isArray(value) ? value : [value]), list)
}

/** The ways in that a cluster offers. */
type Offered = ReadonlySet<string>

/** @param section - of a cluster */
export function offeredBy(section: OfferingSection): Offered {
  const offered = new Set(['jwt'])
  if (section[`${OAUTH}.enabled`]) offered.add('oauthbearer')
  if (section.non_jwt_logins === 'passthrough') offered.add('passthrough')
  return offered
}

interface OfferingSection {
  'server.oauthbearer_authentication.enabled': boolean
  non_jwt_logins: string
}

/** What no rule can know by itself. */
export function checkAccess(
  rules: AccessSection,
  clusters: ReadonlyMap<string, Offered>,
  complain: Complain,
): void {
  for (const [at, each] of rules.entries()) {
    const unknown = each.cluster?.find((one) => !clusters.has(one))
    if (unknown !== undefined)
      complain(['access', at, 'cluster'], `there is no cluster ${shown(unknown)}`)
    const its = [...clusters].filter(([one]) => each.cluster?.includes(one) ?? true)
    const wanted = [...(each.method ?? []), ...(isMethod(each.action) ? [each.action] : [])]
    const missing = wanted.find((one) => !its.some(([, offered]) => offered.has(one)))
    if (missing !== undefined && unknown === undefined)
      complain(['access', at], `no cluster here offers ${missing}, so this rule lets nobody in`)
    if (each.issuer !== undefined && wanted.includes('passthrough'))
      complain(['access', at, 'issuer'], 'who comes by passthrough has no token, and so no issuer')
  }
}

function isMethod(action: string): action is z.output<typeof method> {
  return method.options.some((each) => each === action)
}

/** @param places - of each rule in the file, like `postern.yaml:12`. */
export function accessRulesOf(section: AccessSection, places: readonly string[]): AccessRule[] {
  return section.map((each, at) => ({
    name: `access[${at}] (${places[at] ?? ''})`,
    action: each.action,
    ...(each.address && { address: addresses(each.address) }),
    ...(each.user && { user: anyOf(each.user) }),
    ...(each.database && { database: anyOf(each.database) }),
    ...(each.cluster && { cluster: oneOf(each.cluster) }),
    ...(each.issuer && { issuer: oneOf(each.issuer) }),
    ...(each.method && { method: oneOf(each.method) }),
    ...(each.certificate && { certificate: certificateOf(each.certificate) }),
  }))
}

type Pattern = z.output<typeof name>

function anyOf(patterns: readonly Pattern[]) {
  return (text: string, foldCase = false) => patterns.some((each) => each.matches(text, foldCase))
}

function oneOf<T>(values: readonly T[]) {
  const set = new Set(values)
  return (value: T) => set.has(value)
}

function certificateOf(wanted: true | Pattern) {
  return (subject: string | undefined) =>
    subject !== undefined && (wanted === true || wanted.matches(subject, false))
}

function addresses(list: readonly z.output<typeof address>[]): NonNullable<AccessRule['address']> {
  const networks = openNetworks(list.filter((each) => each !== UNIX))
  const unix = list.includes(UNIX)
  return (from) => (from === undefined ? unix : networks.include(from))
}
