/**
 * An issuer whose documents another process of the gate fetches, for all of them together: so a gate of
 * many processes asks its issuers no more often than one. A token never goes there: userinfo is asked here.
 */
import type { KeySource } from '../identity/key_source.ts'
import type { Get } from './get.ts'
import type { Issuer } from './issuer.ts'
import { askUserinfo } from './userinfo.ts'

export interface Elsewhere extends KeySource {
  /** @throws Failure `userinfo_lookup_failed` or `no_userinfo_endpoint`. */
  userinfoEndpoint(): Promise<string>
}

export function openElsewhere(issuer: string, elsewhere: Elsewhere, get: Get): Issuer {
  return {
    find: elsewhere.find,
    userinfoEndpoint: elsewhere.userinfoEndpoint,
    userinfo: async (token, subject) =>
      await askUserinfo(await elsewhere.userinfoEndpoint(), token, subject, get),
    refreshAhead: () => undefined,
    status: () => ({
      issuer,
      keys: 0,
      fetchedMs: undefined,
      freshUntilMs: undefined,
      lastFetchMs: undefined,
      lastTookMs: undefined,
      lastError: undefined,
      fetches: { ok: 0, failed: 0 },
    }),
  }
}
