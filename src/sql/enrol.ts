/**
 * What a grant brings about on the cluster before the session opens (crdb: 25.2 to 26.2), in this order:
 * the groups are read, of the token or of its issuer's userinfo; memberships that they no longer stand
 * for are taken back; the powers of what remains are judged; a user who is not there is made; what is
 * missing is granted.
 * Rule: nothing before the whole token has passed, audience included; who is refused is neither made nor
 * granted anything; each change is written down before it is made.
 */
import { LRUCache } from 'lru-cache'
import type { Management } from '../cluster/management.ts'
import type { SignIn } from '../cluster/node.ts'
import { openSettling, type Witness } from '../cluster/settle.ts'
import { Failure } from '../failure.ts'
import { type Findings, noteGroups, noteRoles } from '../identity/findings.ts'
import { readGroups } from '../identity/groups.ts'
import type { Principal } from '../identity/principal.ts'
import type { Issuer } from '../issuers/issuer.ts'
import type { Grant, Rules } from '../policy/decide.ts'
import { type Authorization, mayEnter, wantedRoles } from '../policy/groups.ts'
import type { Secret } from '../secret.ts'
import type { Waits } from '../telemetry/login_time.ts'
import type { Dialect } from '../wire/options.ts'
import { within } from './within.ts'

export interface Enrolment {
  /**
   * @param token - shown to the issuer, where only it knows the groups.
   * @param signal - the login's: once it is over nothing more is asked or changed, and a change that is
   *   under way is waited for.
   * @throws the signal's reason; Failure `invalid_identity` for a role that is more than a user,
   *   `empty_group_list`, or one that says what could not be done
   */
  enrol(grant: Grant, token: Secret, witness: EnrolmentWitness, signal: AbortSignal): Promise<void>
}

/** For a login without a token. */
export interface Withholding {
  /**
   * A role that is more than a user is not to be had by a password of the node's either. Asked when the
   * node has judged: who doesn't know the password hears no other words for such a role, and waits no longer.
   * @throws Failure `role_refused`
   */
  withhold(role: string, witness: EnrolmentWitness, signal: AbortSignal): Promise<void>
}

export interface EnrolmentWitness extends Witness, Waits {
  readonly token: Findings
}

export interface EnrolmentParts {
  authorization: Authorization | undefined
  provisioning: boolean
  issuers: ReadonlyMap<string, Issuer>
  rules: Rules
  dialect: Dialect
  signIn: SignIn
}

/** Groups that userinfo named are good for this long: they are not the token's, and don't live as long. */
const USERINFO_MS = 60_000
const USERINFO_MAX = 1_000

export function openEnrolment(
  parts: EnrolmentParts,
  management: Management | undefined,
  now: () => number,
): Enrolment & Withholding {
  const { authorization, provisioning, rules, dialect, signIn } = parts
  // By `forward` only tokens sign in, and the management role has none.
  if (management === undefined || signIn === 'forward')
    return { enrol: async () => undefined, withhold: async () => undefined }
  const foldCase = dialect === 'cockroachdb'
  const { roles, keepOthers } = authorization ?? { roles: [], keepOthers: true }
  const settle = openSettling(management, { ...rules, roles, keepOthers, dialect }, now)
  const groupsOf = openGroups(parts, now)
  const isPlain = authorization === undefined && !provisioning
  return {
    async withhold(role, witness, signal) {
      if (foldCase || rules.allowRoles.has(role)) return
      const wish = { role, wanted: undefined, source: undefined }
      const { powers } = await witness.waiting('node', settle(wish, witness, signal))
      if (powers.length === 0) return
      const log = `the role has ${powers.join(', ')}, and is not named in allow_roles`
      throw new Failure('role_refused', { values: { user: role }, log })
    },
    async enrol({ role, principal }, token, witness, signal) {
      // On CockroachDB names alone decide who is more than a user.
      if (isPlain && (foldCase || rules.allowRoles.has(role))) return
      if (authorization !== undefined) witness.at('groups')
      const asked = within(signal, groupsOf(principal, token, witness.token))
      const groups = await witness.waiting('issuer', asked)
      const enters = authorization === undefined || mayEnter(groups, authorization)
      const source = provisioning && enters ? `jwt_token:${principal.issuer}` : undefined
      const wanted = authorization && wantedRoles(groups, { ...rules, roles, foldCase }).wanted
      const settling = settle({ role, wanted, source }, witness, signal)
      const settled = await witness.waiting('node', settling)
      if (settled.powers.length > 0) {
        witness.at('powers')
        throw tooPowerful(role, settled.powers)
      }
      if (authorization === undefined) return
      witness.at('groups')
      noteRoles(settled.roles, witness.token, settled.left)
      if (!enters) throw new Failure('empty_group_list')
    },
  }
}

/** A role that is, or inherits, a superuser and its kin is not to be had for a token. */
function tooPowerful(role: string, powers: readonly string[]): Failure {
  return new Failure('invalid_identity', {
    detail: `cannot use JWT auth to login to a reserved user ${role}`,
    log: `the role has ${powers.join(', ')}; name it in allow_roles if a token is to be enough`,
  })
}

/** Of the token, or else of userinfo, which is asked once for all who show the same token. */
function openGroups({ authorization, issuers, dialect }: EnrolmentParts, now: () => number) {
  const known = new LRUCache<string, { untilMs: number; groups: Promise<readonly string[]> }>({
    max: USERINFO_MAX,
  })
  const foldCase = dialect === 'cockroachdb'
  const key = authorization?.userinfoKey ?? ''

  async function ask({ issuer, subject }: Principal, token: Secret): Promise<readonly string[]> {
    const info = await issuers.get(issuer)?.userinfo(token, subject)
    return readGroups(info?.[key], foldCase) ?? []
  }

  function userinfo(principal: Principal, token: Secret): Promise<readonly string[]> {
    const { digest } = principal
    const remembered = known.get(digest)
    if (remembered !== undefined && now() < remembered.untilMs) return remembered.groups
    const fresh = { untilMs: now() + USERINFO_MS, groups: ask(principal, token) }
    known.set(digest, fresh)
    fresh.groups.catch(() => {
      if (known.peek(digest) === fresh) known.delete(digest)
    })
    return fresh.groups
  }

  return async (principal: Principal, token: Secret, found: Findings) => {
    if (authorization === undefined) return []
    if (principal.groups !== undefined) return principal.groups
    const groups = await userinfo(principal, token)
    noteGroups(groups, 'userinfo', found)
    return groups
  }
}
