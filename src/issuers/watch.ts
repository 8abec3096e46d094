/**
 * The issuers of a running gate, looked after: their keys are fetched before they are needed, from the start
 * on. Rule: a new trouble is told once.
 */
import type { ClusterConfig } from '../config/config.ts'
import type { KeySource } from '../identity/key_source.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Issuer, IssuerStatus } from './issuer.ts'

const REFRESH_MS = 5_000
const MAY_NOT_KEEP =
  'this issuer forbids keeping its keys, or says nothing of it: each token that names it fetches them; jwks_min_fresh: 5m in its issuer_options ends that'

/** @param clusters - those of the moment. */
export function watchIssuers(
  clusters: () => readonly Pick<ClusterConfig, 'issuers' | 'trust'>[],
  metrics: Pick<Metrics, 'watch'>,
  log: Logger,
): { stop(): void } {
  const issuers = () => clusters().flatMap(keyIssuers)
  metrics.watch(() => issuers().map((issuer) => issuer.status()))
  const told = new Map<string, string | undefined>()
  const costly = new Set<string>()
  const look = () => {
    for (const each of issuers()) {
      each.refreshAhead()
      const { issuer, lastError } = each.status()
      if (lastError !== undefined && lastError !== told.get(issuer)) log.warn({ issuer }, lastError)
      told.set(issuer, lastError)
      if (!mayKeep(each.status()) && !costly.has(issuer)) {
        costly.add(issuer)
        log.warn({ issuer }, MAY_NOT_KEEP)
      }
    }
  }
  look()
  const timer = setInterval(look, REFRESH_MS)
  return { stop: () => clearInterval(timer) }
}

/** One that is open for its userinfo alone has no keys to fetch. */
function keyIssuers({ issuers, trust }: Pick<ClusterConfig, 'issuers' | 'trust'>): Issuer[] {
  const sources = new Set<KeySource>(trust.keySources.values())
  return [...issuers.values()].filter((issuer) => sources.has(issuer))
}

/** Whether its answers may be used for more than the login that asked for them. */
function mayKeep({ fetches, fetchedMs = 0, freshUntilMs = 0 }: IssuerStatus): boolean {
  return fetches.ok < 2 || freshUntilMs > fetchedMs
}
