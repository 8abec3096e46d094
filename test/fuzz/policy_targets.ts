/**
 * Who has to wait after a wrong proof, how often somebody may come, who is judged again, and what was revoked:
 * sequences against counting by hand, and look-ups against asking every revocation.
 */
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import {
  type Revocable,
  type Revocation,
  type RevocationKind,
  revocationsOf,
  revoked,
  revokedIds,
} from '../../src/policy/revocation.ts'
import { type Attempting, openThrottle, type Throttle } from '../../src/policy/throttle.ts'
import { openRing } from '../../src/sql/ring.ts'
import { openTokenBuckets } from '../../src/sql/token_bucket.ts'
import { few, oddText } from './made_up.ts'
import { must, mustEqual, type Target, target } from './target.ts'

const S = 1_000
const H = 3_600 * S
const DELAYS = { firstMs: S, maxMs: H }

/** Time passes, an attempt begins where it may, and one of those under way is over. */
interface Step {
  laterMs: number
  who: Attempting
  /** Which of them, if any. */
  ends: number | undefined
  outcome: 'failed' | 'proved' | 'unclear'
}

const later = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(0, 0, 1, S - 1, S, 2 * S, 60 * S, H - 1, H) },
  { weight: 1, arbitrary: fc.nat(20 * S) },
)

/** No more than a day in all: nothing is forgotten by then. */
function steps(users: number, outcomes: readonly Step['outcome'][]): fc.Arbitrary<Step[]> {
  const who = fc.record({
    proof: fc.constant('password' as const),
    cluster: fc.constantFrom('main', 'main', 'spare'),
    user: fc.nat(users - 1).map((number) => `u${number}`),
    address: fc.constantFrom('', '192.0.2.1', '192.0.2.1', 'fd00:0:0:0::/64'),
  })
  const ends = fc.option(fc.oneof(fc.constant(0), fc.nat(5)), { nil: undefined, freq: 5 })
  const outcome = fc.constantFrom(...outcomes)
  return fc.array(fc.record({ laterMs: later, who, ends, outcome }), {
    size: 'max',
    maxLength: 23,
  })
}

interface Ended extends Omit<Step, 'laterMs' | 'ends'> {
  beganMs: number
  counted: boolean
}

/** Plays them; what is held of each wait and each end is asked with the clock of that moment. */
function play(
  throttle: Throttle,
  all: readonly Step[],
  held: {
    waits(who: Attempting, waitMs: number, nowMs: number): void
    ended(one: Ended, nowMs: number): void
  },
): number {
  let nowMs = 0
  const underWay: { who: Attempting; beganMs: number }[] = []
  for (const { laterMs, who, ends, outcome } of all) {
    nowMs += laterMs
    const waitMs = throttle.waitMs(who, nowMs)
    must(waitMs >= 0 && waitMs <= DELAYS.maxMs, 'no such wait', waitMs)
    held.waits(who, waitMs, nowMs)
    if (waitMs === 0) underWay.push({ who, beganMs: nowMs })
    const [over] = ends === undefined ? [] : underWay.splice(ends % (underWay.length || 1), 1)
    if (over === undefined) continue
    const before = throttle.waitMs(over.who, nowMs)
    const counted = throttle.settle(over.who, over.beganMs, outcome, nowMs)
    if (!counted) mustEqual(throttle.waitMs(over.who, nowMs), before, 'what counts for nothing')
    held.ended({ ...over, outcome, counted }, nowMs)
  }
  return nowMs
}

/** As fast as somebody can, from one address. */
const flood = steps(40, ['failed']).chain((all) =>
  fc.array(fc.constantFrom(0, 0, 0, 1, S), { minLength: 60, maxLength: 60 }).map((pauses) =>
    pauses.map((laterMs, at): Step => {
      const who = {
        proof: 'password' as const,
        cluster: 'main',
        user: `u${at}`,
        address: '192.0.2.1',
      }
      const some = all[at % (all.length || 1)]
      return {
        ...some,
        laterMs,
        who: some?.ends === 1 ? some.who : who,
        ends: 0,
        outcome: 'failed',
      }
    }),
  ),
)

const nameOf = ({ cluster, user, address }: Attempting) => [cluster, user, address].join()

const FOR_EACH = { rememberedMax: 100, usersMax: 64 }

/** So few users that each waits for himself. */
const fewUsers = target(
  'policy/throttle',
  steps(2, ['failed', 'failed', 'proved', 'unclear']),
  (all) => {
    const known = new Map<string, { failures: number; untilMs: number; passUntilMs: number }>()
    const of = (who: Attempting) =>
      known.get(nameOf(who)) ?? { failures: 0, untilMs: 0, passUntilMs: 0 }
    play(openThrottle(DELAYS, FOR_EACH), all, {
      waits(who, waitMs, nowMs) {
        const { untilMs, passUntilMs } = of(who)
        mustEqual(waitMs, nowMs < passUntilMs ? 0 : Math.max(0, untilMs - nowMs), 'the wait')
      },
      ended({ who, beganMs, outcome, counted }, nowMs) {
        const { failures, untilMs, passUntilMs } = of(who)
        const isIn = nowMs < passUntilMs
        mustEqual(counted, isIn || beganMs >= untilMs, 'whether it counts')
        if (!counted) return
        if (outcome === 'proved')
          known.set(nameOf(who), { failures: 0, untilMs: 0, passUntilMs: nowMs + H })
        if (outcome !== 'failed' || isIn) return
        const delayMs = Math.min(S * 2 ** failures, H)
        known.set(nameOf(who), { failures: failures + 1, untilMs: nowMs + delayMs, passUntilMs })
      },
    })
  },
)

const USERS_MAX = 3
const BOUNDS = { rememberedMax: 100, usersMax: USERS_MAX }

/** How often one who waits each time has failed by then, at most. */
function failuresIn(ms: number): number {
  let [failures, leftMs] = [1, ms]
  for (let delayMs = S; leftMs >= delayMs; delayMs = Math.min(delayMs * 2, H)) {
    leftMs -= delayMs
    failures += 1
  }
  return failures
}

/** Names are invented at will: they are no way around it, and whoever came in is not troubled. */
const manyUsers = target(
  'policy/throttle_names',
  fc.oneof(
    flood,
    steps(40, ['failed']),
    steps(12, ['failed', 'failed', 'failed', 'proved', 'unclear']),
  ),
  (all) => {
    const throttle = openThrottle(DELAYS, BOUNDS)
    const failed = new Map<string, number>()
    const until = new Map<string, number>()
    const pass = new Map<string, number>()
    const ms = play(throttle, all, {
      waits(who, waitMs, nowMs) {
        if (nowMs < (pass.get(nameOf(who)) ?? 0)) mustEqual(waitMs, 0, 'who came in waits')
        must(throttle.remembered() <= BOUNDS.rememberedMax, 'too much is remembered')
      },
      ended({ who, beganMs, outcome, counted }, nowMs) {
        const name = nameOf(who)
        const isIn = nowMs < (pass.get(name) ?? 0)
        if (isIn) must(counted, 'who came in does not count')
        if (!counted) return
        // Who comes in once more is known for another hour.
        if (outcome === 'proved') pass.set(name, nowMs + H)
        if (isIn) return
        must(beganMs >= (until.get(name) ?? 0), 'a guess side by side counts', who)
        if (outcome === 'proved') until.delete(name)
        if (outcome !== 'failed') return
        const waitMs = throttle.waitMs(who, nowMs)
        must(waitMs >= S, 'a failure costs no wait', who, waitMs)
        until.set(name, nowMs + waitMs)
        failed.set(who.address, (failed.get(who.address) ?? 0) + 1)
      },
    })
    if (pass.size > 0) return
    const most = (USERS_MAX + 1) * failuresIn(ms)
    for (const [address, times] of failed)
      must(times <= most, `more than ${most} guesses in ${ms} ms`, address, times)
  },
)

const NOW_S = 1_700_000_000
const KINDS: readonly RevocationKind[] = ['token', 'digest', 'session', 'subject', 'issuer', 'all']
/** Some that look like another issuer and another id, written one behind the other. */
const ISSUERS = ['', 'https://iss.test', 'https://iss.tes', 'a', '1:a']
const VALUES = ['', 'a', 'aa', 't', 'ta', 'ann', '__proto__', 'constructor', '1:a']
const issuer = fc.constantFrom(...ISSUERS)
const value = fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...VALUES) }, oddText)
const moment = fc.constantFrom(undefined, 0, -1, NOW_S - 1, NOW_S - 0.5, NOW_S, NOW_S + 1, 9.3e18)

const revocation: fc.Arbitrary<Revocation> = fc.record({
  kind: fc.constantFrom(...KINDS),
  issuer,
  value,
  before: moment,
  until: moment,
  why: fc.oneof(fc.constantFrom('', 'stolen'), oddText),
})
const token: fc.Arbitrary<Revocable> = fc.record({
  issuer,
  subject: fc.option(value, { nil: undefined }),
  names: few(value),
  tokenId: fc.option(value, { nil: undefined }),
  digest: value,
  issuedAt: moment,
})
const whose = fc.record({
  principal: fc.option(token, { nil: undefined, freq: 8 }),
  session: fc.option(value, { nil: undefined }),
})
type Whose = typeof whose extends fc.Arbitrary<infer T> ? T : never

function isMeant(
  { kind, issuer, value, before }: Revocation,
  { principal, session }: Whose,
): boolean {
  if (kind === 'session') return session === value
  if (principal === undefined) return false
  const { subject, names, tokenId, digest, issuedAt } = principal
  if (before !== undefined && issuedAt !== undefined && issuedAt >= before) return false
  const isOf = issuer === principal.issuer
  switch (kind) {
    case 'token':
      return tokenId === value && (isOf || issuer === '')
    case 'digest':
      return digest === value
    case 'subject':
      return isOf && (subject === value || names.includes(value))
    case 'issuer':
      return isOf
    case 'all':
      return true
  }
}

const revocations = target(
  'policy/revocations',
  fc.tuple(fc.array(revocation, { maxLength: 6 }), whose, revocation),
  ([rows, about, more]) => {
    const ask = (all: readonly Revocation[], nowMs = NOW_S * S) =>
      revoked(about.principal, about.session, revocationsOf(all, nowMs))
    const counting = rows.filter(({ until }) => until === undefined || NOW_S < until)
    const meant = counting.filter((each) => isMeant(each, about))
    const said = ask(rows)
    mustEqual(said !== undefined, meant.length > 0, 'not as by asking each')
    if (said !== undefined)
      must(
        meant.some(({ why }) => said.endsWith(why)),
        'a reason that nobody gave',
        said,
      )
    mustEqual(ask(rows.toReversed()) !== undefined, said !== undefined, 'in another order')
    if (said !== undefined) must(ask([...rows, more]) !== undefined, 'one more lifts others', more)
    if (said === undefined) mustEqual(ask(rows, 2 * NOW_S * S), undefined, 'later, one more counts')
    const ids = rows.map(({ value }) => value)
    const { principal } = about
    mustEqual(
      revoked(principal, about.session, revokedIds(ids)) !== undefined,
      principal?.tokenId !== undefined && ids.includes(principal.tokenId),
      'ids of the configuration',
    )
  },
)

const rate = fc.record({
  atOnce: fc.integer({ min: 1, max: 5 }),
  perSecond: fc.constantFrom(0.5, 1, 3, 100),
})
const moves = fc.array(
  fc.tuple(
    fc.constantFrom('a', 'a', 'b'),
    fc.oneof(fc.nat(2 * S), fc.constantFrom(0, 0, 0, 1, S, -S, H)),
  ),
  { size: 'max', maxLength: 40 },
)

/** Whatever the clock does. */
const buckets = target(
  'policy/token_bucket',
  fc.tuple(rate, moves),
  ([{ atOnce, perSecond }, all]) => {
    let nowMs = H
    /** Of one name: what it was given, in how much time that went on, and how long ago it asked. */
    const of = { a: { given: 0, ms: 0, quietMs: 0 }, b: { given: 0, ms: 0, quietMs: 0 } }
    const may = openTokenBuckets({ atOnce, perSecond }, () => nowMs, 10)
    for (const [name, laterMs] of all) {
      nowMs += laterMs
      for (const each of [of.a, of.b]) {
        each.ms += Math.max(0, laterMs)
        each.quietMs += laterMs
      }
      const its = of[name]
      const given = may(name)
      its.given += given ? 1 : 0
      const most = atOnce + (perSecond * its.ms) / S
      must(its.given <= most + 1e-6, 'more than the rate', name, its.given, most)
      if (its.quietMs * perSecond >= S)
        must(given, 'who was quiet for long enough is refused', name)
      its.quietMs = 0
    }
  },
)

const turns = fc.array(
  fc.record({
    what: fc.constantFrom('enter' as const, 'enter' as const, 'leave' as const, 'change' as const),
    who: fc.nat(6),
    waits: fc.boolean(),
  }),
  { size: 'max', maxLength: 30 },
)

/** Sessions that are judged again: each has his turn once for the last change, and nobody who has left. */
const ring = target('policy/ring', turns, async (all) => {
  let [elapsedMs, change] = [0, 0]
  const judged = new Map<number, number>()
  const judge = (who: number) => {
    must(judged.has(who), 'who has left is judged', who)
    must(judged.get(who) !== change, 'judged twice for one change', who)
    judged.set(who, change)
  }
  const elapsed = () => {
    elapsedMs += 2
    return elapsedMs
  }
  const round = openRing(judge, elapsed)
  for (const { what, who, waits } of all) {
    if (what === 'change') {
      change++
      round.changed()
    } else if (what === 'leave') {
      judged.delete(who)
      round.leave(who)
    } else if (!judged.has(who)) {
      judged.set(who, change)
      round.enter(who)
    }
    if (waits) await setImmediate()
  }
  for (let left = 2 * judged.size + 2; left > 0; left--) await setImmediate()
  must(
    [...judged.values()].every((by) => by === change),
    'somebody was not judged',
    [...judged],
  )
})

export const policyTargets: Target[] = [fewUsers, manyUsers, buckets, ring, revocations]
