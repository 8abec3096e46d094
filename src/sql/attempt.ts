/**
 * One attempt to prove who one is, as the throttle of failed logins sees it: it may have to wait, and one
 * that began while another one's failure makes everybody wait counts for nothing, right or wrong alike.
 * Rule: only a wrong proof counts as a failure: nobody waits for what a node or an issuer did.
 */
import { Failure, type FailureCode } from '../failure.ts'
import type { Primary } from '../peers/primary.ts'
import type { Facts } from '../policy/access.ts'
import type { Attempting, Outcome } from '../policy/throttle.ts'
import { holder } from './limits.ts'

/** What was no proof at all: nothing was asked yet, or it could not be looked at. */
const NO_PROOF: ReadonlySet<FailureCode> = new Set([
  'jwt_not_enabled',
  'jwks_unavailable',
  'bearer_token_required',
  'provisioning_failed',
])

/** How the work tells what became of the proof. */
export interface Proof {
  /** The client gave one: from here on a refusal is its own. */
  given(): void
  /** It is good. @throws Failure `too_many_failures` where it doesn't count */
  proved(): Promise<void>
  /**
   * This ended the attempt; asked before the client hears of it.
   * @throws Failure `too_many_failures` where it doesn't count: whatever it was, the client hears no more
   */
  ended(thrown: unknown): Promise<void>
}

export function whoTries({ method, cluster, user, address = '' }: Facts): Attempting {
  const proof = method === 'passthrough' ? 'password' : 'token'
  return { proof, cluster, user, address: holder(address) }
}

/**
 * @param work - calls `proved`, once or more often, when the client has proven who it is, and before anything
 *   comes of that.
 * @throws Failure `too_many_failures`; what the work throws
 */
export async function attempting<T>(
  who: Attempting,
  primary: Pick<Primary, 'mayTry' | 'settle' | 'count'>,
  work: (proof: Proof) => Promise<T>,
): Promise<T> {
  const throttled = (log: string) => {
    primary.count({ name: 'throttled', reason: 'wait' })
    return new Failure('too_many_failures', { log })
  }
  const { waitMs, beganMs } = await primary.mayTry(who)
  if (waitMs > 0) throw throttled(`for ${Math.ceil(waitMs / 1000)} s more`)
  let isGiven = false
  let isSettled = false
  const settle = async (outcome: Outcome, how: string) => {
    if (isSettled) return
    isSettled = true
    if (!(await primary.settle(who, beganMs, outcome)))
      throw throttled(`another attempt failed meanwhile; this one: ${how}`)
  }
  const proof: Proof = {
    given() {
      isGiven = true
    },
    proved: () => settle('proved', 'a good proof'),
    async ended(thrown) {
      if (isGiven && thrown instanceof Failure)
        await settle(isWrongProof(thrown) ? 'failed' : 'unclear', thrown.code)
    },
  }
  try {
    return await work(proof)
  } catch (thrown) {
    await proof.ended(thrown)
    throw thrown
  }
}

function isWrongProof({ code, row }: Failure): boolean {
  // A node that refused a password; of a proven client it is only told behind the proof.
  return !NO_PROOF.has(code) && (row.reason === 'CREDENTIALS_INVALID' || code === 'role_refused')
}
