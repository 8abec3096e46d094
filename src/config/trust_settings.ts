/**
 * The keys of a cluster's section that say whom it believes, and what it makes of groups and of users
 * who are not there yet. Names and defaults are CockroachDB's where it has them.
 * Rule: what is not set accepts nothing, grants nothing and creates nothing.
 */
import { z } from 'zod'
import { isShortened } from '../identity/quoted.ts'
import { parseRolePattern } from '../identity/role_pattern.ts'
import { audience, caPem, claim, groupKey, issuerNames, issuers, jwks } from './jwt_settings.ts'
import { shown } from './mistakes.ts'
import { duration, fileName, timeout } from './values.ts'

export const JWT = 'server.jwt_authentication'
export const OAUTH = 'server.oauthbearer_authentication'
export const ISSUERS = `${JWT}.issuers.configuration` as const
export const ISSUERS_ALIAS = `${JWT}.issuers` as const
export const OAUTH_ISSUERS = `${OAUTH}.issuers.configuration` as const
export const AUTO_FETCH = `${JWT}.jwks_auto_fetch.enabled` as const
export const AUTHORIZATION = `${JWT}.authorization.enabled` as const
export const ROLES = `${JWT}.authorization.roles` as const
export const KEEP_OTHERS = `${JWT}.authorization.keep_other_roles` as const
export const PROVISIONING = 'security.provisioning.jwt.enabled'

const role = z.string().transform((text, context) => {
  const parsed = parseRolePattern(text)
  if (parsed.ok) return parsed.pattern
  context.addIssue(parsed.problem)
  return z.NEVER
})

/** A text has one id a line, as a file does. */
const tokenIds = z
  .union([z.array(z.string()), z.string()], {
    error: 'write ids of tokens (jti): a list of texts, or {file: path} with one a line',
  })
  .transform((ids, context): ReadonlySet<string> => {
    const lines = typeof ids === 'string' ? ids.split('\n').map((line) => line.trim()) : ids
    if (lines.some(isShortened))
      context.addIssue(
        'an id ends where the audit stream cuts what is longer than 256 characters: write all of it',
      )
    return new Set(lines.filter((id) => id !== ''))
  })

export const issuerOptions = z.strictObject({
  jwks: jwks.optional(),
  custom_ca: caPem.optional(),
  jwks_min_fresh: duration.default(0),
  jwks_stale_grace: duration.default(0),
  bearer_token_file: fileName.optional(),
  allow_plaintext: z.boolean().default(false),
})

export const trustKeys = {
  'server.jwt_authentication.enabled': z.boolean().default(false),
  'server.jwt_authentication.audience': audience.default(new Set<string>()),
  'server.jwt_authentication.issuers.configuration': issuers.optional(),
  'server.jwt_authentication.issuers': issuers.optional(),
  'server.jwt_authentication.issuers.custom_ca': caPem.optional(),
  'server.jwt_authentication.jwks': jwks.optional(),
  'server.jwt_authentication.jwks_auto_fetch.enabled': z.boolean().default(false),
  'server.jwt_authentication.client.timeout': timeout.default(5_000),
  'server.jwt_authentication.claim': claim.default(''),
  'server.jwt_authentication.require_expiry': z.boolean().default(true),
  'server.jwt_authentication.clock_tolerance': duration.default(0),
  'server.jwt_authentication.authorization.enabled': z.boolean().default(false),
  'server.jwt_authentication.authorization.roles': z.array(role).default([]),
  'server.jwt_authentication.authorization.empty_groups': z
    .enum(['refuse', 'allow'])
    .default('refuse'),
  'server.jwt_authentication.authorization.keep_other_roles': z.boolean().default(false),
  'server.jwt_authentication.group_claim': groupKey.default('groups'),
  'server.jwt_authentication.userinfo_group_key': groupKey.default('groups'),
  'server.oauthbearer_authentication.enabled': z.boolean().default(false),
  'server.oauthbearer_authentication.issuers.configuration': issuerNames.optional(),
  'server.oauthbearer_authentication.audience': audience.optional(),
  'server.oauthbearer_authentication.claim': claim.optional(),
  'server.oauthbearer_authentication.scope': z.string().default(''),
  'server.identity_map.configuration': z.string().optional(),
  'server.identity_map.allow_unanchored': z.boolean().default(false),
  'security.provisioning.jwt.enabled': z.boolean().default(false),
  jwt_revoked_ids: tokenIds.default(new Set<string>()),
  issuer_options: z.record(z.string(), issuerOptions).default({}),
}

const section = z.object({
  ...trustKeys,
  kind: z.enum(['postgresql', 'cockroachdb']),
  sign_in: z.string(),
  management: z.unknown().optional(),
})
export type TrustSection = z.output<typeof section>

export type Complain = (path: PropertyKey[], message: string) => void

/** What no single key can know: keys that must agree with each other. */
export function checkTrust(section: TrustSection, complain: Complain): void {
  if (section[ISSUERS] !== undefined && section[ISSUERS_ALIAS] !== undefined)
    complain([ISSUERS_ALIAS], `${ISSUERS_ALIAS} is an older name of ${ISSUERS}; keep one of them`)
  const named = namedIssuers(section)
  for (const issuer of Object.keys(section.issuer_options))
    if (!named.has(issuer))
      complain(
        ['issuer_options', issuer],
        `${shown(issuer)} is not among the accepted issuers; name it in ${ISSUERS}`,
      )
  checkOauth(section, complain)
  checkManaged(section, complain)
}

/** Of either way to sign in, open or not. */
export function namedIssuers(section: TrustSection): ReadonlySet<string> {
  return new Set([...passwordIssuers(section), ...(section[OAUTH_ISSUERS] ?? [])])
}

/** Whose tokens are taken, one way or the other. */
export function acceptedIssuers(section: TrustSection): ReadonlySet<string> {
  return section[`${OAUTH}.enabled`] ? namedIssuers(section) : passwordIssuers(section)
}

export function passwordIssuers(section: TrustSection): ReadonlySet<string> {
  return (section[ISSUERS] ?? section[ISSUERS_ALIAS])?.names ?? new Set()
}

/** In the order of the file: the first one is told to clients. */
export function oauthIssuers(section: TrustSection): ReadonlySet<string> {
  return section[OAUTH_ISSUERS] ?? passwordIssuers(section)
}

function checkOauth(section: TrustSection, complain: Complain): void {
  if (section[`${OAUTH}.enabled`] && oauthIssuers(section).size === 0)
    complain(
      [`${OAUTH}.enabled`],
      `clients are told whose tokens are wanted; name an issuer in ${OAUTH_ISSUERS} or ${ISSUERS}`,
    )
  const words = section[`${OAUTH}.scope`].split(' ')
  // RFC 6749 section 3.3.
  if (!words.every((word) => /^[\x21\x23-\x5b\x5d-\x7e]*$/.test(word)))
    complain([`${OAUTH}.scope`], 'write scopes with a space between them, like: openid email')
}

/** Only the management role can make a role, or a member. */
function checkManaged(section: TrustSection, complain: Complain): void {
  const { kind, sign_in, management } = section
  for (const key of [AUTHORIZATION, PROVISIONING] as const) {
    if (!section[key]) continue
    if (sign_in === 'forward')
      complain([key], 'the gate has no token of its own to forward; choose another sign_in')
    else if (management === undefined)
      complain([key], 'this is done by a role of the gate; name it in management: {role}')
  }
  if (section[AUTHORIZATION] && section[ROLES].length === 0)
    complain([AUTHORIZATION], `no group may become a role; name the roles that may in ${ROLES}`)
  if (section[KEEP_OTHERS] && kind === 'postgresql')
    complain(
      [KEEP_OTHERS],
      'on PostgreSQL memberships that the gate did not make are kept in any case; leave it out',
    )
}
