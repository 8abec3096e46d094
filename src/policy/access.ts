/**
 * Who may come in at all: rules in their order, of which the first that fits decides, as in PostgreSQL's
 * pg_hba.conf. https://www.postgresql.org/docs/18/auth-pg-hba-conf.html
 * Asked twice: before anything is asked of the client, when its issuer isn't known yet, and with it.
 * Rule: whom no rule fits is refused.
 */

export type Method = 'jwt' | 'oauthbearer' | 'passthrough'

/** What is known of a client. */
export interface Facts {
  /** Undefined on a unix socket. */
  address: string | undefined
  /** In the cluster's spelling. */
  user: string
  /** Names have no case there: CockroachDB's. */
  foldCase: boolean
  database: string
  cluster: string
  /** How it gives its proof. */
  method: Method
  /** The subject of its TLS client certificate, if it showed one. */
  certificate: string | undefined
  /** Of its verified token; undefined before, and where there is none. */
  issuer: string | undefined
}

/** What fits a rule: each condition that it names. */
export interface AccessRule {
  /** As the log and the audit name it: its place in the file. */
  name: string
  address?: (address: string | undefined) => boolean
  user?: (user: string, foldCase: boolean) => boolean
  database?: (database: string) => boolean
  cluster?: (cluster: string) => boolean
  method?: (method: Method) => boolean
  certificate?: (subject: string | undefined) => boolean
  issuer?: (issuer: string) => boolean
  action: Action
}

/** A method: that one alone. */
export type Action = 'allow' | 'deny' | Method

export type Verdict =
  | { allowed: true; rule: string }
  /** @property rule - undefined where none fits. */
  | { allowed: false; rule: string | undefined }

/** With all that there is to know. */
export function judgeAccess(rules: readonly AccessRule[], facts: Facts): Verdict {
  const rule = rules.find((each) => fits(each, facts) && ofIssuer(each, facts.issuer))
  if (rule === undefined) return { allowed: false, rule: undefined }
  return { allowed: allows(rule.action, facts.method), rule: rule.name }
}

/**
 * Without the issuer: the rule that refuses the client whatever its token says; undefined where some
 * issuer's token could be enough.
 */
export function refusesAnyToken(
  rules: readonly AccessRule[],
  facts: Facts,
): Extract<Verdict, { allowed: false }> | undefined {
  for (const rule of rules) {
    if (!fits(rule, facts)) continue
    if (allows(rule.action, facts.method)) return undefined
    // A rule with an issuer refuses that one's tokens alone.
    if (rule.issuer === undefined) return { allowed: false, rule: rule.name }
  }
  return { allowed: false, rule: undefined }
}

function fits(rule: AccessRule, facts: Facts): boolean {
  return (
    (rule.address?.(facts.address) ?? true) &&
    (rule.user?.(facts.user, facts.foldCase) ?? true) &&
    (rule.database?.(facts.database) ?? true) &&
    (rule.cluster?.(facts.cluster) ?? true) &&
    (rule.method?.(facts.method) ?? true) &&
    (rule.certificate?.(facts.certificate) ?? true)
  )
}

/** A client without a token is no issuer's. */
function ofIssuer({ issuer }: AccessRule, its: string | undefined): boolean {
  return issuer === undefined || (its !== undefined && issuer(its))
}

function allows(action: Action, method: Method): boolean {
  return action === 'allow' || action === method
}
