/**
 * Where an issuer's keys come from: the configuration, or what the issuer publishes. Whoever asks for
 * a key waits until there is an answer, and learns where it came from.
 */
import type { KeySet, VerificationKey } from './keys.ts'

export interface KeySource {
  /** @throws Failure `jwks_unavailable` where the issuer's keys can't be had. */
  find(kid: string): Promise<FoundKeys>
  /** Those that are there without asking anybody, however old; not where another process has them. */
  known?(): readonly VerificationKey[]
}

export interface FoundKeys {
  /** Empty where no key has the id. */
  keys: readonly VerificationKey[]
  /** `configuration`, or the address that they were fetched from. */
  from: string
  /** Milliseconds since the epoch; undefined for keys that were not fetched. */
  fetchedMs: number | undefined
}

export function configuredKeys(set: KeySet): KeySource {
  return {
    known: set.all,
    find: async (kid) => ({ keys: set.find(kid), from: 'configuration', fetchedMs: undefined }),
  }
}
