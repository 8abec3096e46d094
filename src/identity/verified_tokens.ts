/**
 * Tokens that were verified before: a pool that reconnects with the same one pays for no signature.
 * Rules: a token is recognised by all of its bytes (another signature is another token), and counts
 * only while the key that proved it is among its issuer's keys; times are judged anew each time.
 */
import { LRUCache } from 'lru-cache'
import type { Findings } from './findings.ts'
import type { Principal } from './principal.ts'

export interface VerifiedToken {
  principal: Principal
  /** Of the key that its signature was proven with. */
  thumbprint: string
  /** What came to light of it, but for `verified`: that is found out anew. */
  says: Findings
}

/** By the SHA-256 of the whole token. */
export type VerifiedTokens = LRUCache<string, VerifiedToken>

const TOKENS_MAX = 10_000
/** Of tokens' text: what is kept of one is about as long. */
const CHARACTERS_MAX = 16 * 1024 * 1024

export function openVerifiedTokens(): VerifiedTokens {
  return new LRUCache({ max: TOKENS_MAX, maxSize: CHARACTERS_MAX })
}
