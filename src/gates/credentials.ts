/**
 * What a gate shows to other gates, and by what it knows them: a leaf that it signs for itself, in memory,
 * with their common authority's key. https://www.rfc-editor.org/rfc/rfc5280
 * Rule: a chain to the authority is not enough, a role's leaf has one as well. A gate's leaf has one name,
 * and that name alone.
 */
import {
  GATE_LEAF_LIFETIME_MS,
  GATE_NAME,
  issueGateLeaf,
  keyPem,
  makeLeafKey,
} from '../cluster/authority.ts'
import type { PeersConfig } from '../config/peers.ts'

export interface Credentials {
  /** As TLS takes them. */
  tls: { cert: string; key: string; ca: string; minVersion: 'TLSv1.3' }
  issuedAtMs: number
  renewAtMs: number
}

/** @throws Failure `node_signin_failed` where the authority has ended */
export async function issueCredentials(
  { authority, trustedPem }: Pick<PeersConfig, 'authority' | 'trustedPem'>,
  nowMs: number,
): Promise<Credentials> {
  const pair = await makeLeafKey()
  const { certPem, notAfterMs } = await issueGateLeaf(authority, pair, nowMs)
  return {
    tls: { cert: certPem, key: await keyPem(pair), ca: trustedPem, minVersion: 'TLSv1.3' },
    issuedAtMs: nowMs,
    renewAtMs: Math.min(nowMs + GATE_LEAF_LIFETIME_MS / 2, notAfterMs),
  }
}

/** Before its issue: the clock was set back, and others would call it not valid yet. */
export function isDue({ issuedAtMs, renewAtMs }: Credentials, nowMs: number): boolean {
  return nowMs >= renewAtMs || nowMs < issuedAtMs
}

/** @param names - a verified certificate's alternative names, in Node's spelling. */
export function isGate(names: string | undefined): boolean {
  return names === `URI:${GATE_NAME}`
}
