/**
 * One attempt to prove who one is, as the throttle of failed logins sees it: it may have to wait, and one
 * that began while another one's failure makes everybody wait counts for nothing, right or wrong alike.
 * Rule: only a wrong proof counts as a failure: nobody waits for what a node or an issuer did.
 */
import { Failure, type FailureCode } from '../failure.ts'
import type { Primary } from '../peers/primary.ts'
import type { Attempting } from '../policy/throttle.ts'

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
}

/**
 * @param work - calls `proved`, once or more often, when the client has proven who it is, and before anything
 *   comes of that.
 * @throws Failure `too_many_failures`; what the work throws
 */
export async function attempting<T>(
  who: Attempting,
  primary: Pick<Primary, 'mayTry' | 'settle'>,
  work: (proof: Proof) => Promise<T>,
): Promise<T> {
  const { waitMs, beganMs } = await primary.mayTry(who)
  if (waitMs > 0) throw throttled(`for ${Math.ceil(waitMs / 1000)} s more`)
  let isGiven = false
  let isProven = false
  const settle = async (outcome: 'failed' | 'proved') => {
    if (!(await primary.settle(who, beganMs, outcome)))
      throw throttled('another attempt failed meanwhile')
  }
  try {
    return await work({
      given() {
        isGiven = true
      },
      async proved() {
        if (isProven) return
        await settle('proved')
        isProven = true
      },
    })
  } catch (thrown) {
    if (isGiven && !isProven && isWrongProof(thrown)) await settle('failed')
    throw thrown
  }
}

function isWrongProof(thrown: unknown): boolean {
  if (!(thrown instanceof Failure) || NO_PROOF.has(thrown.code)) return false
  // A node that refused a password; of a proven client it is only told behind the proof.
  return thrown.row.reason === 'CREDENTIALS_INVALID' || thrown.code === 'role_refused'
}

function throttled(log: string): Failure {
  return new Failure('too_many_failures', { log })
}
