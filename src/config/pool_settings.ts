/**
 * The keys of a cluster's `pool`: whether node sessions are kept for the next client, for whom, how long
 * and how many.
 * Rule: what can't be kept (sign-in by the user's own token) is a mistake to ask for.
 */
import { z } from 'zod'
import type { PoolPlan } from '../cluster/pool.ts'
import type { Complain } from './trust_settings.ts'
import { timeout } from './values.ts'

const NO_SIZE = 'write a number of sessions from 1 to 10000'
const size = z.int().min(1, NO_SIZE).max(10_000, NO_SIZE)

export const poolKeys = {
  mode: z.enum(['none', 'session']).default('none'),
  share_between_principals: z.boolean().default(false),
  max_age: timeout.default(300_000),
  idle_timeout: timeout.default(60_000),
  size: size.default(20),
  max_node_connections: size.default(80),
  wait_timeout: timeout.default(10_000),
}

const section = z.object(poolKeys)
type PoolSection = z.output<typeof section>

/** What no single key can know. */
export function checkPool(
  { sign_in, pool, attribution }: { sign_in: string; pool: PoolSection; attribution: string },
  complain: Complain,
): void {
  if (pool.mode === 'session' && sign_in === 'forward')
    complain(
      ['pool', 'mode'],
      'with sign_in: forward a session belongs to one token; write none, or sign in another way',
    )
  if (pool.mode === 'session' && pool.share_between_principals && attribution !== 'off')
    complain(
      ['attribution'],
      "with pool.share_between_principals a session is nobody's own, and can't say whose it is: write off",
    )
}

/** @returns undefined where nothing is kept. */
export function poolPlan(pool: PoolSection): PoolPlan | undefined {
  if (pool.mode === 'none') return undefined
  return {
    shareBetweenPrincipals: pool.share_between_principals,
    maxAgeMs: pool.max_age,
    idleTimeoutMs: pool.idle_timeout,
    size: pool.size,
    maxNodeConnections: pool.max_node_connections,
    waitTimeoutMs: pool.wait_timeout,
  }
}
