/**
 * The guard by itself, with a state that changes as a test says: who is ended, who is let in again, and that a
 * steady stream of changes keeps nobody in. With sessions of a real cluster: test/real/guarded.test.ts, access.test.ts.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Access } from '../../src/config/access.ts'
import type { Failure } from '../../src/failure.ts'
import { type AccessEntry, openAccessLists } from '../../src/policy/lists.ts'
import type { Revocation } from '../../src/policy/revocation.ts'
import { openGuard } from '../../src/sql/guard.ts'
import { EMPTY, type StateSnapshot } from '../../src/state/snapshot.ts'

const OPEN: Access = { rules: undefined, lists: openAccessLists(), files: {}, strays: [] }

const deny = (item: string, more: Partial<AccessEntry> = {}): AccessEntry => ({
  list: 'deny',
  cluster: '',
  item,
  kind: 'ip',
  until: undefined,
  why: '',
  ...more,
})

const revoked = (value: string): Revocation => ({
  kind: 'subject',
  issuer: 'iss',
  value,
  before: undefined,
  until: undefined,
  why: '',
})

/** On its clock each look takes a millisecond. */
function start() {
  const clock = { nowMs: Date.UTC(2026, 10, 23), elapsedMs: 0 }
  let snapshot = EMPTY
  const heard: ((snapshot: StateSnapshot) => void)[] = []
  const guard = openGuard({
    access: OPEN,
    state: {
      snapshot: () => snapshot,
      ageMs: () => 0,
      maxAgeMs: 60_000,
      changed: (hear) => void heard.push(hear),
    },
    revokedIds: () => undefined,
    now: () => clock.nowMs,
    elapsed: () => clock.elapsedMs++,
    count: () => undefined,
  })
  return {
    clock,
    guard,
    become(next: Partial<StateSnapshot>) {
      snapshot = { ...snapshot, ...next }
      for (const hear of heard) hear(snapshot)
    },
  }
}

function visitor(at: number, more: { address?: string; cluster?: string } = {}) {
  const facts = {
    address: '10.1.2.3',
    user: 'carl',
    foldCase: false,
    database: 'app',
    cluster: 'main',
    method: 'jwt' as const,
    certificate: undefined,
    issuer: 'iss',
    ...more,
  }
  const principal = {
    issuer: 'iss',
    subject: `sub-${at}`,
    names: [],
    tokenId: undefined,
    digest: `digest-${at}`,
    issuedAt: 1,
  }
  return { id: `session-${at}`, facts, principal }
}

describe('while something changes all the time', () => {
  it.each([0, 150, 299])('the session number %i ends, once it is revoked', async (at) => {
    const { guard, become } = start()
    const ended: number[] = []
    for (let each = 0; each < 300; each++) guard.enter(visitor(each), () => ended.push(each))
    // They have begun to be judged, and are not at the end.
    become({ number: '1', revocations: [revoked('nobody')] })
    await turn()
    for (let turns = 0; ended.length === 0; turns++) {
      expect(turns, 'a round takes 150 turns').toBeLessThan(320)
      become({ number: String(turns), revocations: [revoked(`sub-${at}`), revoked(`x-${turns}`)] })
      await turn()
    }
    expect(ended).toEqual([at])
  })
})

describe('an entry', () => {
  const look = ({ guard }: ReturnType<typeof start>, more = {}) => {
    try {
      return guard.judge(visitor(0, more))
    } catch (thrown) {
      return (thrown as Failure).log
    }
  }

  it('that comes ends who may not stay, and nobody else', async () => {
    const gate = start()
    const ended: string[] = []
    for (const address of ['10.1.2.3', '10.2.2.3', '::ffff:10.1.9.9'])
      gate.guard.enter(visitor(0, { address }), ({ code, log }) => ended.push(`${code} ${log}`))
    gate.become({ entries: [deny('10.1.0.0/16', { why: 'a scanner' })] })
    for (let turns = 0; turns < 5; turns++) await turn()
    expect(ended).toEqual([
      "access_withdrawn ip '10.1.2.3' denied: a scanner",
      "access_withdrawn ip '10.1.9.9' denied: a scanner",
    ])
  })

  it('is one no more when its time is over, and when it has gone', () => {
    const gate = start()
    const until = gate.clock.nowMs / 1000 + 60
    gate.become({ entries: [deny('10.1.2.3', { until }), deny('192.0.2.7')] })
    expect(look(gate)).toContain('denied')
    gate.clock.nowMs += 60_000
    expect(look(gate)).toBe('')
    expect(look(gate, { address: '192.0.2.7' })).toContain('denied')
    gate.become({ entries: [] })
    expect(look(gate, { address: '192.0.2.7' })).toBe('')
  })

  it('of an empty allowlist keeps everybody out of its cluster, and of no other one', () => {
    const gate = start()
    gate.become({ entries: [deny('', { list: 'allow', kind: 'cluster', cluster: 'main' })] })
    expect(look(gate)).toBe("ip '10.1.2.3' denied: ip address not allowed")
    expect(look(gate, { cluster: 'spare' })).toBe('')
    expect(() => gate.guard.arrive(visitor(0).facts)).toThrow('no access entry for host')
  })
})

it('revocations come and go beside entries that stay as they are', () => {
  const { guard, become } = start()
  const entries = [deny('192.0.2.7')]
  become({ entries, revocations: [revoked('sub-1')] })
  expect(() => guard.judge(visitor(1))).toThrow('the token is revoked')
  expect(guard.judge(visitor(2))).toBe('')
  become({ entries: [...entries], revocations: [revoked('sub-2')] })
  expect(guard.judge(visitor(1))).toBe('')
  expect(() => guard.judge(visitor(2))).toThrow('the token is revoked')
})
