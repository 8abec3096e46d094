/**
 * What workers in processes of their own ask of the primary, and what they are answered: lines to be written,
 * keys, waits, cancels, statements for the console.
 * Rule: whatever goes wrong is an answer as well.
 */
import { asFailure, Failure } from './failure.ts'
import { packKeys } from './identity/portable_keys.ts'
import type { CancelQuestions } from './peers/cancel_questions.ts'
import type { Answer, Question } from './peers/messages.ts'
import type { Visited } from './peers/rounds.ts'
import { workerOf } from './sql/cancel_keys.ts'
import type { WorkersParts } from './workers.ts'

interface Asker extends Visited {
  hasOpened: boolean
  cancels: CancelQuestions
}

type AnswerParts = Pick<
  WorkersParts,
  'audit' | 'issuer' | 'elapsed' | 'cancel' | 'attempts' | 'console' | 'state'
>

/** The worker whose number is in the key; where that is the one that asks, or is not open yet, there is none. */
export async function askOwner(
  members: ReadonlySet<Asker>,
  key: Buffer,
  from: string,
  asker?: Asker,
): Promise<boolean> {
  const owner = [...members].find(({ number }) => number === workerOf(key))
  if (owner === undefined || owner === asker || !owner.hasOpened) return false
  return await owner.cancels.ask(key, from)
}

/** It was told of none. */
const NO_STATE: Answer = { kind: 'failed', code: 'internal_error', log: 'no state is shared' }

export async function answer(
  member: Asker,
  asked: Question,
  members: ReadonlySet<Asker>,
  { audit, issuer, elapsed, cancel, attempts, state, console: own }: AnswerParts,
): Promise<Answer> {
  const { number, unended } = member
  try {
    if (asked.kind === 'cancel') {
      const key = Buffer.from(asked.key)
      const found = await askOwner(members, key, asked.from, member)
      if (!found) await cancel(key, asked.from)
      return { kind: 'cancelled' }
    }
    if (asked.kind === 'may_try') return { kind: 'may_try', ...(await attempts.mayTry(asked.who)) }
    if (asked.kind === 'settle')
      return {
        kind: 'settled',
        counts: await attempts.settle(asked.who, asked.beganMs, asked.outcome),
      }
    if (asked.kind === 'state') return state?.answer(asked.known) ?? NO_STATE
    if (asked.kind === 'audit') {
      if (asked.event.EventType === 'client_session_end') unended.line(asked.event, elapsed())
      const durable = audit(number, asked.event)
      unended.line(asked.event, elapsed())
      await durable
      return { kind: 'written' }
    }
    if (asked.kind === 'console')
      return { kind: 'console', answer: await own(number, asked.question) }
    const found = issuer(asked.cluster, asked.issuer)
    if (found === undefined)
      throw new Failure('jwks_unavailable', { log: 'the configuration names the issuer no more' })
    if (asked.kind === 'keys') return { kind: 'keys', found: packKeys(await found.find(asked.kid)) }
    return { kind: 'userinfo', endpoint: await found.userinfoEndpoint() }
  } catch (thrown) {
    const { code, log, message } = asFailure(thrown)
    return { kind: 'failed', code, log: log ?? message }
  }
}
