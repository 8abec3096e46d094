/**
 * Who may come in, and who may stay: rules, lists and revocations, as they are at the moment, asked before
 * anything is asked of a client, again with its token, and again for each session when one of them changes.
 * Rule: whoever is let in is judged by what holds then, and thrown out by what holds later.
 */
import type { Access } from '../config/access.ts'
import { openAccessLists } from '../config/access_lists.ts'
import { Failure } from '../failure.ts'
import { type Facts, judgeAccess, refusesAnyToken } from '../policy/access.ts'
import { keptOut } from '../policy/lists.ts'
import {
  NO_REVOCATIONS,
  type Revocable,
  type Revocations,
  revocationsOf,
  revoked,
} from '../policy/revocation.ts'
import { demandFresh, EMPTY, type StateView } from '../state/snapshot.ts'

/** A session, as it is judged again and again. */
export interface Guarded {
  /** Of the session. */
  id: string
  facts: Facts
  /** Undefined for who came without a token. */
  principal: Revocable | undefined
}

export interface Guard {
  /** Before anything is asked of the client. @throws Failure `access_denied`, `state_stale` */
  arrive(facts: Facts): void
  /**
   * When all is known of it.
   * @returns the rule that lets it in, or nothing where there are none
   * @throws Failure `access_denied`, `token_revoked`
   */
  judge(guarded: Guarded): string
  /**
   * Its session begins. Judged once more: something may have changed since.
   * @param end - called at most once, with why.
   * @returns what to call when the session is over
   */
  enter(guarded: Guarded, end: (why: Failure) => void): () => void
  /** The configuration was read again. */
  renew(access: Access): void
}

export interface GuardParts {
  access: Access
  state: StateView | undefined
  /** Of the cluster of that name, as the file has them by now. */
  revokedIds(cluster: string): Revocations | undefined
  /** Milliseconds since the epoch. */
  now(): number
}

/** So many sessions are judged before others have their turn. */
const TURN = 100

export function openGuard(parts: GuardParts): Guard {
  const { state } = parts
  const holding = openHolding(parts)
  const live = new Map<Guarded, (why: Failure) => void>()
  let round = 0

  function end(guarded: Guarded, { log }: Failure): void {
    const stop = live.get(guarded)
    live.delete(guarded)
    stop?.(new Failure('access_withdrawn', log === undefined ? {} : { log }))
  }

  /** All of them, a few at a time; a later change begins anew. */
  async function review(): Promise<void> {
    const mine = ++round
    let judged = 0
    for (const guarded of [...live.keys()]) {
      if (++judged % TURN === 0) await new Promise<void>((resolve) => setImmediate(resolve))
      if (mine !== round) return
      if (!live.has(guarded)) continue
      const { why } = holding.look(guarded)
      if (why !== undefined) end(guarded, why)
    }
  }

  state?.changed(() => {
    holding.renew()
    void review()
  })

  return {
    arrive(facts) {
      if (state !== undefined) demandFresh(state)
      const why = holding.lookAtComer(facts)
      if (why !== undefined) throw why
    },
    judge(guarded) {
      if (state !== undefined) demandFresh(state)
      const { why, rule } = holding.look(guarded)
      if (why !== undefined) throw why
      return rule
    },
    enter(guarded, stop) {
      live.set(guarded, stop)
      const { why } = holding.look(guarded)
      if (why !== undefined) end(guarded, why)
      return () => void live.delete(guarded)
    },
    renew(access) {
      holding.renew(access)
      void review()
    },
  }
}

/** What holds at the moment. */
function openHolding({ access: first, state, revokedIds, now }: GuardParts) {
  const put = (access: Access) => {
    const { revocations, entries } = state?.snapshot() ?? EMPTY
    const lists = openAccessLists(access, entries, now())
    return { access, lists, revocations: revocationsOf(revocations, now()) }
  }
  let held = put(first)
  return {
    /** With another configuration, or with what the state says now. */
    renew(access = held.access): void {
      held = put(access)
    },
    /** Whatever its token may say. */
    lookAtComer(facts: Facts): Failure | undefined {
      const { access, lists } = held
      const listed = keptOut(lists, facts, now())
      if (listed !== undefined) return denied(facts, listed)
      if (access.rules === undefined) return undefined
      const verdict =
        facts.method === 'passthrough'
          ? judgeAccess(access.rules, facts)
          : refusesAnyToken(access.rules, facts)
      return verdict?.allowed === false ? denied(facts, ruledOut(verdict.rule)) : undefined
    },
    /** Why not; or the rule that lets it in. */
    look({ id, facts, principal }: Guarded): { why?: Failure; rule: string } {
      const { access, lists, revocations } = held
      const listed = keptOut(lists, facts, now())
      if (listed !== undefined) return { why: denied(facts, listed), rule: '' }
      const verdict = access.rules && judgeAccess(access.rules, facts)
      const rule = verdict?.rule ?? ''
      if (verdict?.allowed === false) return { why: denied(facts, ruledOut(verdict.rule)), rule }
      const own = revokedIds(facts.cluster) ?? NO_REVOCATIONS
      const log = revoked(principal, id, own) ?? revoked(principal, id, revocations)
      return log === undefined ? { rule } : { why: new Failure('token_revoked', { log }), rule }
    },
  }
}

function ruledOut(rule: string | undefined): string {
  return rule === undefined ? 'no rule of access fits' : `refused by ${rule}`
}

/** One sentence, whatever it was: which rule or list is for the log. */
function denied({ address = '', user, database }: Facts, log: string): Failure {
  return new Failure('access_denied', { values: { host: address, user, database }, log })
}
