/**
 * A login's decision, told check by check: which passed, which decided, which were never reached. One
 * reading for a token that is judged here and for a record of the audit stream, which has the same fields.
 * Rule: this is no second judge. What was decided stands in the record; here it is only put in its place.
 */
import {
  CHECKS,
  type CheckName,
  decidingCheck,
  type Login,
  NO_TIME,
  type Settings,
} from './explanation_login.ts'
import { SAYS } from './explanation_says.ts'

export interface Check {
  name: CheckName
  verdict: 'passed' | 'failed' | 'not_reached'
  says: string
  /** What there is to say line by line. */
  lines: readonly string[]
}

/** Told only where they decided: of one that passed the record knows nothing. */
const QUIET: readonly CheckName[] = ['client', 'jti', 'replication', 'powers', 'provisioning']

export function explain(login: Login, settings: Settings | undefined): Check[] {
  const decidedBy = decidingCheck(login)
  const at = decidedBy === undefined ? CHECKS.length : CHECKS.indexOf(decidedBy)
  const told = CHECKS.filter((name) => {
    if (name === 'node') return login.Node !== undefined
    return name === decidedBy || !QUIET.includes(name)
  })
  return told.map((name) => {
    const verdict = verdictOf(name, at, login, settings)
    const said = SAYS[name]({ login, settings, verdict })
    return { name, verdict, ...(typeof said === 'string' ? { says: said, lines: [] } : said) }
  })
}

function verdictOf(
  name: CheckName,
  decidedAt: number,
  { Token, Why }: Login,
  settings: Settings | undefined,
): Check['verdict'] {
  const at = CHECKS.indexOf(name)
  if (at === decidedAt) return 'failed'
  if (at > decidedAt) return 'not_reached'
  // All three are read before the first of them is held against the clock.
  if (Why.endsWith(NO_TIME) && ['iat', 'exp', 'nbf'].includes(name)) return 'not_reached'
  // Only the issuer's userinfo knows them, and nobody has asked it.
  if (name === 'groups' && settings?.authorization && !Token.roles) return 'not_reached'
  return 'passed'
}
