/**
 * The issuers that a configuration names. When it is read again, an issuer of which nothing changed
 * keeps what it fetched; every other one begins anew, so that what was fetched under an old setting
 * (its CA, its address) is believed no longer.
 * Rule: two plans are the same when all of their members are; so a plan is data, and nothing but.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Secret } from '../secret.ts'
import { type Elsewhere, openElsewhere } from './elsewhere.ts'
import { type GetSettings, openGet } from './get.ts'
import { type Issuer, type IssuerSettings, openIssuer } from './issuer.ts'

export interface IssuerPlan extends Omit<IssuerSettings, 'bearerToken'> {
  bearerTokenFile: string | undefined
  get: GetSettings
}

export interface PlannedIssuer extends Issuer {
  plan: IssuerPlan
  /** Ends the fetches that are under way. */
  close(): void
}

/** By the issuer's name. */
export type Issuers = ReadonlyMap<string, PlannedIssuer>

export interface IssuersParts {
  now: () => number
  /** Reads a file anew. @throws Error that names the problem, for the log. */
  readSecret: (file: string) => Secret
  /** Where another process fetches: that process' issuer of the name. */
  elsewhere?: ((issuer: string) => Elsewhere) | undefined
}

/** @param previous - what is open so far; what isn't planned any more is left behind. */
export function openIssuers(
  plans: readonly IssuerPlan[],
  { now, readSecret, elsewhere }: IssuersParts,
  previous: Issuers = new Map(),
): Issuers {
  const open = (plan: IssuerPlan): PlannedIssuer => {
    const known = previous.get(plan.issuer)
    if (known !== undefined && isDeepStrictEqual(known.plan, plan)) return known
    const file = plan.bearerTokenFile
    const bearerToken = file === undefined ? undefined : () => readSecret(file)
    const stop = new AbortController()
    const get = openGet(plan.get, now, stop.signal)
    const there = elsewhere?.(plan.issuer)
    const issuer =
      there === undefined
        ? openIssuer({ ...plan, bearerToken }, get, now)
        : openElsewhere(plan.issuer, there, get)
    return { ...issuer, plan, close: () => stop.abort() }
  }
  return new Map(plans.map((plan) => [plan.issuer, open(plan)]))
}
