/**
 * What a grant brings about on the cluster before the session opens: a user who is not there is made,
 * and groups become memberships (crdb: 25.2 to 26.2).
 * Rule: nothing before the whole token has passed, audience included, and each change is written down
 * before it is made.
 */
import { LRUCache } from 'lru-cache'
import type { Management } from '../cluster/management.ts'
import { type MembershipChange, openMemberships } from '../cluster/memberships.ts'
import { openProvisioning } from '../cluster/provisioning.ts'
import { Failure } from '../failure.ts'
import { type Findings, noteGroups, noteRoles } from '../identity/findings.ts'
import { readGroups } from '../identity/groups.ts'
import type { Principal } from '../identity/principal.ts'
import type { Issuer } from '../issuers/issuer.ts'
import type { Grant, Rules } from '../policy/decide.ts'
import { type Authorization, mayEnter, wantedRoles } from '../policy/groups.ts'
import type { Secret } from '../secret.ts'
import type { Dialect } from '../wire/options.ts'

export interface Enrolment {
  /** @param token - shown to the issuer, where only it knows the groups. */
  enrol(grant: Grant, token: Secret, witness: EnrolmentWitness): Promise<void>
}

export interface EnrolmentWitness {
  readonly token: Findings
  creating(role: string, source: string): Promise<void>
  changing(change: MembershipChange): Promise<void>
}

export interface EnrolmentParts {
  authorization: Authorization | undefined
  provisioning: boolean
  issuers: ReadonlyMap<string, Issuer>
  rules: Rules
  dialect: Dialect
}

/** Groups that userinfo named are good for this long: they are not the token's, and don't live as long. */
const USERINFO_MS = 60_000
const USERINFO_MAX = 1_000

export function openEnrolment(
  parts: EnrolmentParts,
  management: Management | undefined,
  now: () => number,
): Enrolment {
  const { authorization, issuers, rules, dialect } = parts
  const foldCase = dialect === 'cockroachdb'
  if (management === undefined) return { enrol: async () => undefined }
  const named = { dialect, ownRoles: rules.ownRoles, roles: authorization?.roles ?? [] }
  const provision = parts.provisioning ? openProvisioning(management, named, now) : undefined
  const sync =
    authorization && openMemberships(management, { ...authorization, ...rules, dialect }, now)
  const groupsOf = openUserinfoGroups(issuers, authorization?.userinfoKey ?? '', foldCase, now)
  return {
    async enrol({ role, principal }, token, witness) {
      const source = `jwt_token:${principal.issuer}`
      await provision?.(role, source, () => witness.creating(role, source))
      if (authorization === undefined || sync === undefined) return
      const groups = principal.groups ?? (await groupsOf(principal, token))
      if (principal.groups === undefined) noteGroups(groups, 'userinfo', witness.token)
      const { wanted } = wantedRoles(groups, { ...authorization, ...rules, foldCase })
      noteRoles(wanted, witness.token)
      await sync(role, wanted, (change) => witness.changing(change))
      if (!mayEnter(groups, authorization)) throw new Failure('empty_group_list')
    },
  }
}

function openUserinfoGroups(
  issuers: ReadonlyMap<string, Issuer>,
  key: string,
  foldCase: boolean,
  now: () => number,
) {
  const known = new LRUCache<string, { untilMs: number; groups: readonly string[] }>({
    max: USERINFO_MAX,
  })
  return async ({ issuer, digest, subject }: Principal, token: Secret) => {
    const remembered = known.get(digest)
    if (remembered !== undefined && now() < remembered.untilMs) return remembered.groups
    const info = await issuers.get(issuer)?.userinfo(token, subject)
    const groups = readGroups(info?.[key], foldCase) ?? []
    known.set(digest, { untilMs: now() + USERINFO_MS, groups })
    return groups
  }
}
