/**
 * The primary as a worker in a process of its own has it. What is waited for carries a number, and the
 * answer the same; what is only told goes on its way, metrics some at a time.
 * Rule: nothing here grows without a bound: questions end with their logins, and lines that the channel
 * doesn't take are dropped.
 */
import { Failure } from '../failure.ts'
import type { KeySource } from '../identity/key_source.ts'
import { openUnpacking } from '../identity/portable_keys.ts'
import type { Elsewhere } from '../issuers/elsewhere.ts'
import type { Answer, Metric, Question, ToPrimary, ToWorker } from './messages.ts'
import type { Primary } from './primary.ts'
import type { Channel } from './processes.ts'

export interface RemotePrimary extends Primary {
  /** The primary's issuer of that name. */
  issuer(cluster: string, issuer: string): Elsewhere
  /** What gates share. @param known - the number of the one that is known */
  state(known: number): Promise<AnswerOf<'state'>>
  /** A line of the log. */
  log(line: string): void
  /** Takes an answer that came. */
  answered(id: number, answer: Answer): void
  /** Sends what was counted so far. */
  flush(): void
}

const COUNT_EVERY_MS = 100
const METRICS_MAX = 1_000
const WAITING_MAX = 10_000
/** Longer than an issuer may take by default; a login doesn't wait so long. */
const ANSWER_MS = 30_000

export function openRemotePrimary(link: Channel<ToPrimary, ToWorker>): RemotePrimary {
  const { ask, answered } = openQuestions(link)
  const unpack = openUnpacking()
  let counted: Metric[] = []
  let timer: NodeJS.Timeout | undefined
  const flush = () => {
    clearTimeout(timer)
    timer = undefined
    if (counted.length > 0) link.send({ kind: 'count', metrics: counted })
    counted = []
  }
  return {
    answered,
    flush,
    async audit(event) {
      await ask({ kind: 'audit', event }, 'written')
    },
    count(metric) {
      if (counted.push(metric) >= METRICS_MAX) flush()
      else timer ??= setTimeout(flush, COUNT_EVERY_MS).unref()
    },
    mayTry: (who) => ask({ kind: 'may_try', who }, 'may_try'),
    state: (known) => ask({ kind: 'state', known }, 'state'),
    async settle(who, beganMs, outcome) {
      return (await ask({ kind: 'settle', who, beganMs, outcome }, 'settled')).counts
    },
    async cancel(key, from) {
      await ask({ kind: 'cancel', key, from }, 'cancelled').catch(() => undefined)
    },
    console: async (question) => (await ask({ kind: 'console', question }, 'console')).answer,
    log(line) {
      if (link.waiting < WAITING_MAX) link.send({ kind: 'log', line })
    },
    issuer: (cluster, issuer) => ({
      find: async (kid): ReturnType<KeySource['find']> =>
        unpack((await ask({ kind: 'keys', cluster, issuer, kid }, 'keys')).found),
      userinfoEndpoint: async () =>
        (await ask({ kind: 'userinfo', cluster, issuer }, 'userinfo')).endpoint,
    }),
  }
}

type AnswerOf<K extends Answer['kind']> = Extract<Answer, { kind: K }>

function openQuestions(link: Channel<ToPrimary, ToWorker>) {
  const waiting = new Map<number, (answer: Answer) => void>()
  let last = 0
  const silent: Answer = {
    kind: 'failed',
    code: 'internal_error',
    log: 'the primary process does not answer',
  }
  return {
    /** @throws Failure that the primary met */
    async ask<K extends Answer['kind']>(question: Question, kind: K): Promise<AnswerOf<K>> {
      const id = ++last
      const answer = await new Promise<Answer>((resolve) => {
        const timer = setTimeout(resolve, ANSWER_MS, silent)
        waiting.set(id, (found) => {
          clearTimeout(timer)
          resolve(found)
        })
        link.send({ kind: 'ask', id, ask: question })
      }).finally(() => waiting.delete(id))
      if (answer.kind === kind) return answer as AnswerOf<K>
      const { code, log } = answer.kind === 'failed' ? answer : silent
      throw new Failure(code, { log })
    },
    answered: (id: number, answer: Answer) => waiting.get(id)?.(answer),
  }
}
