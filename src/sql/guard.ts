/**
 * Who may come in, and who may stay: rules, lists and revocations, as they are at the moment, asked before
 * anything is asked of a client, again with its token, and again for each session when one of them changes.
 * Rule: whoever is let in is judged by what holds then, and thrown out by what holds later.
 */
import type { Access } from '../config/access.ts'
import { Failure } from '../failure.ts'
import type { Metric } from '../peers/messages.ts'
import type { Primary } from '../peers/primary.ts'
import { type Facts, judgeAccess, refusesAnyToken } from '../policy/access.ts'
import { difference } from '../policy/difference.ts'
import { keptOut, openAccessLists } from '../policy/lists.ts'
import {
  NO_REVOCATIONS,
  type Revocable,
  type Revocation,
  type Revocations,
  revocationsOf,
  revoked,
} from '../policy/revocation.ts'
import { EMPTY, type StateView, staleness } from '../state/snapshot.ts'
import { openRing } from './ring.ts'

/** A session, as it is judged again and again. */
export interface Guarded {
  /** Of the session. */
  id: string
  facts: Facts
  /** Undefined for who came without a token. */
  principal: Revocable | undefined
}

/** One that has begun. */
interface Live {
  guarded: Guarded
  end(why: Failure): void
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
  /** Ends this session, or lets it not begin. @param why - for the log */
  end(id: string, why: string): void
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
  /** Milliseconds on a clock that is never set. */
  elapsed(): number
  count: Primary['count']
}

const ENDED_MAX = 1_000

/** Why somebody is kept out, and by what. */
interface Refusal {
  why: Failure
  by: Extract<Metric, { name: 'access_refused' }>['by']
}

export function openGuard(parts: GuardParts): Guard {
  const { state } = parts
  const holding = openHolding(parts)
  const live = openRing<Live>(review, parts.elapsed)
  const byId = new Map<string, Live>()
  /** Those that were to end, the last of them: one may be just about to begin. */
  const ended = new Map<string, string>()

  function review(session: Live): void {
    const { refusal } = holding.look(session.guarded)
    if (refusal === undefined) return
    withdraw(session, refusal.why.log)
  }

  function withdraw(session: Live, log: string | undefined): void {
    leave(session)
    session.end(new Failure('access_withdrawn', log === undefined ? {} : { log }))
  }

  function leave(session: Live): void {
    live.leave(session)
    byId.delete(session.guarded.id)
  }

  function keepOut(refusal: Refusal | undefined): void {
    if (refusal === undefined) return
    parts.count({ name: 'access_refused', by: refusal.by })
    throw refusal.why
  }

  state?.changed(() => {
    holding.follow()
    live.changed()
  })

  return {
    arrive(facts) {
      keepOut(stale(state) ?? holding.lookAtComer(facts))
    },
    judge(guarded) {
      const { refusal, rule } = holding.look(guarded)
      keepOut(stale(state) ?? refusal)
      return rule
    },
    enter(guarded, end) {
      const session = { guarded, end }
      live.enter(session)
      byId.set(guarded.id, session)
      const log = ended.get(guarded.id)
      if (log === undefined) review(session)
      else withdraw(session, log)
      return () => leave(session)
    },
    end(id, log) {
      ended.set(id, log)
      const [oldest = ''] = ended.keys()
      if (ended.size > ENDED_MAX) ended.delete(oldest)
      const session = byId.get(id)
      if (session !== undefined) withdraw(session, log)
    },
    renew(access) {
      holding.renew(access)
      live.changed()
    },
  }
}

/** What holds at the moment. */
function openHolding({ access: first, state, revokedIds, now }: GuardParts) {
  let access = first
  const shared = openAccessLists()
  let rows: readonly Revocation[] = []
  let revocations = NO_REVOCATIONS
  const follow = () => {
    const snapshot = state?.snapshot() ?? EMPTY
    shared.replace(snapshot.entries)
    const { gone, come } = difference(rows, snapshot.revocations, isSame, nameOf)
    rows = snapshot.revocations
    if (gone.length + come.length > 0) revocations = revocationsOf(rows, now())
  }
  const listed = (facts: Facts) => keptOut([access.lists, shared], facts, now())
  follow()
  return {
    /** What the state says now. */
    follow,
    renew(next: Access): void {
      access = next
    },
    /** Whatever its token may say. */
    lookAtComer(facts: Facts): Refusal | undefined {
      const out = listed(facts)
      if (out !== undefined) return denied(facts, out, 'list')
      if (access.rules === undefined) return undefined
      const verdict =
        facts.method === 'passthrough'
          ? judgeAccess(access.rules, facts)
          : refusesAnyToken(access.rules, facts)
      return verdict?.allowed === false ? ruledOut(facts, verdict.rule) : undefined
    },
    /** Why not; or the rule that lets it in. */
    look({ id, facts, principal }: Guarded): { refusal?: Refusal; rule: string } {
      const out = listed(facts)
      if (out !== undefined) return { refusal: denied(facts, out, 'list'), rule: '' }
      const verdict = access.rules && judgeAccess(access.rules, facts)
      const rule = verdict?.rule ?? ''
      if (verdict?.allowed === false) return { refusal: ruledOut(facts, verdict.rule), rule }
      const own = revokedIds(facts.cluster) ?? NO_REVOCATIONS
      const log = revoked(principal, id, own) ?? revoked(principal, id, revocations)
      if (log === undefined) return { rule }
      return { refusal: { why: new Failure('token_revoked', { log }), by: 'revoked' }, rule }
    },
  }
}

/** A NUL is in neither. */
function nameOf({ issuer, value }: Revocation): string {
  return `${issuer}\0${value}`
}

function isSame(one: Revocation, other: Revocation): boolean {
  return (
    one.value === other.value &&
    one.kind === other.kind &&
    one.issuer === other.issuer &&
    one.before === other.before &&
    one.until === other.until &&
    one.why === other.why
  )
}

/** Nobody new comes in by what may not hold any more. */
function stale(state: StateView | undefined): Refusal | undefined {
  const log = state && staleness(state)
  return log === undefined ? undefined : { why: new Failure('state_stale', { log }), by: 'state' }
}

function ruledOut(facts: Facts, rule: string | undefined): Refusal {
  const log = rule === undefined ? 'no rule of access fits' : `refused by ${rule}`
  return denied(facts, log, 'rule')
}

/** One sentence, whatever it was: which rule or list is for the log. */
function denied({ address = '', user, database }: Facts, log: string, by: Refusal['by']): Refusal {
  const values = { host: address, user, database }
  return { why: new Failure('access_denied', { values, log }), by }
}
