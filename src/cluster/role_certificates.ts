/**
 * Client certificates for roles, remembered with their secure contexts: signing one costs
 * milliseconds, a session a little. https://www.postgresql.org/docs/18/auth-cert.html
 * Rule: bounded, and renewed well before a node could refuse it.
 */
import { createSecureContext, type SecureContext } from 'node:tls'
import { LRUCache } from 'lru-cache'
import { type Authority, issueLeaf, keyPem, LEAF_LIFETIME_MS, makeLeafKey } from './authority.ts'

export interface RoleCertificates {
  /** TLS as the role: its certificate, and the nodes' own to verify. */
  contextFor(role: string): Promise<SecureContext>
}

type Remembered = { issuedAtMs: number; renewAtMs: number; context: Promise<SecureContext> }

const ROLES_MAX = 1_000
/** A certificate with less than this to go is not begun with. */
const RENEW_BEFORE_MS = 3 * 60_000

/** @param nodeCaPem - whom a node's certificate must come from. */
export function openRoleCertificates(
  authority: Authority,
  nodeCaPem: string,
  now: () => number,
  rolesMax = ROLES_MAX,
): RoleCertificates {
  const leafKey = makeLeafKey()
  const remembered = new LRUCache<string, Remembered>({ max: rolesMax })
  const issue = async (role: string, nowMs: number): Promise<SecureContext> => {
    const pair = await leafKey
    const { certPem } = await issueLeaf(authority, role, pair, nowMs)
    return createSecureContext({
      cert: certPem,
      key: await keyPem(pair),
      ca: nodeCaPem,
      minVersion: 'TLSv1.2',
    })
  }
  return {
    contextFor(role) {
      const nowMs = now()
      const known = remembered.get(role)
      // Before its issue: the clock was set back, and a node would call it not valid yet.
      if (known && known.issuedAtMs <= nowMs && nowMs < known.renewAtMs) return known.context
      const context = issue(role, nowMs)
      const renewAtMs = Math.min(nowMs + LEAF_LIFETIME_MS - RENEW_BEFORE_MS, authority.notAfterMs)
      const fresh = { issuedAtMs: nowMs, renewAtMs, context }
      remembered.set(role, fresh)
      context.catch(() => {
        if (remembered.peek(role) === fresh) remembered.delete(role)
      })
      return context
    },
  }
}
