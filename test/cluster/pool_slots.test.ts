/** Room on nodes: bounds hold, nobody waits while there is room, and nothing leaks on any way. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openSlots, type Slot, type Taken } from '../../src/cluster/pool_slots.ts'
import { FAILURES, Failure } from '../../src/failure.ts'

const never = new AbortController().signal
const BOUNDS = { group: 2, node: 3, waitMs: 60_000 }

function open(bounds = BOUNDS) {
  const waiting = { now: 0 }
  const slots = openSlots<string>(bounds, (change) => {
    waiting.now += change
  })
  const take = (
    node: string,
    group: string,
    key: string | undefined,
    signal: AbortSignal,
    who = 'me',
  ) => slots.take(node, { group, key, who }, signal)
  return { slots: { ...slots, take }, waiting }
}

/** What has come of a wish by now. */
async function settled<T>(promise: Promise<T>): Promise<T | 'waits'> {
  await new Promise(setImmediate)
  return await Promise.race([promise, Promise.resolve('waits' as const)])
}

describe('room on a node', () => {
  it('is for so many of a group, and so many in all; another node has its own', async () => {
    const { slots } = open()
    for (const group of ['a', 'a', 'b']) await slots.take('one', group, undefined, never)
    expect(await settled(slots.take('one', 'c', undefined, never))).toBe('waits')
    expect(await settled(slots.take('two', 'a', undefined, never))).not.toBe('waits')
  })

  it('is given to the first who fits, and the others stay in line', async () => {
    const { slots, waiting } = open()
    const a = await slots.take('one', 'a', undefined, never)
    await slots.take('one', 'a', undefined, never)
    const b = await slots.take('one', 'b', undefined, never)
    const got: string[] = []
    for (const group of ['a', 'b', 'c', 'a'])
      void slots.take('one', group, undefined, never).then(() => got.push(group))
    expect(waiting.now).toBe(4)
    b.slot.free()
    await settled(Promise.resolve())
    // The first in line has two already.
    expect(got).toEqual(['b'])
    a.slot.free()
    a.slot.free()
    await settled(Promise.resolve())
    expect([got, waiting.now]).toEqual([['b', 'a'], 2])
  })

  it('is given to one of each in turn, however many one of them wants', async () => {
    const { slots } = open({ ...BOUNDS, group: 1 })
    const { slot: first } = await slots.take('one', 'a', undefined, never)
    const got: string[] = []
    let slot = first
    for (const who of ['many', 'many', 'many', 'one', 'two', 'one'])
      void slots.take('one', 'a', undefined, never, who).then((taken) => {
        got.push(who)
        slot = taken.slot
      })
    for (let at = 0; at < 6; at++) {
      slot.free()
      await settled(Promise.resolve())
    }
    expect(got).toEqual(['many', 'one', 'two', 'many', 'one', 'many'])
  })

  it('is given to one of each group in turn, but for those that are full', async () => {
    const { slots } = open({ ...BOUNDS, group: 2, node: 2 })
    const held = [await slots.take('one', 'a', undefined, never)]
    held.push(await slots.take('one', 'a', undefined, never))
    const got: string[] = []
    for (const group of ['a', 'a', 'a', 'b', 'c', 'b'])
      void slots.take('one', group, undefined, never, `${got.length}`).then((taken) => {
        got.push(group)
        held.push(taken)
      })
    for (let at = 0; at < 6; at++) {
      held.shift()?.slot.free()
      await settled(Promise.resolve())
    }
    expect(got).toEqual(['a', 'b', 'c', 'a', 'b', 'a'])
  })

  it('is for nobody who waits when it is closed; who finds room then has it', async () => {
    const { slots, waiting } = open({ ...BOUNDS, group: 1 })
    const { slot } = await slots.take('one', 'a', undefined, never)
    const late = slots.take('one', 'a', undefined, never)
    slots.close(new Failure('not_ready', { values: { problem: 'closed' } }))
    await expect(late).rejects.toThrow('closed')
    await expect(slots.take('one', 'a', undefined, never)).rejects.toThrow('closed')
    expect(waiting.now).toBe(0)
    slot.free()
    expect(await settled(slots.take('one', 'a', undefined, never))).not.toBe('waits')
  })

  it('is for nobody who gave up, or waited too long', async () => {
    const { slots, waiting } = open({ group: 1, node: 1, waitMs: 20 })
    const first = await slots.take('one', 'a', undefined, never)
    const gone = new AbortController()
    const given = slots.take('one', 'a', undefined, gone.signal)
    gone.abort(new Error('gone'))
    await expect(given).rejects.toThrow('gone')
    await expect(slots.take('one', 'a', undefined, gone.signal)).rejects.toThrow('gone')
    const late = slots.take('one', 'a', undefined, never)
    await expect(late).rejects.toThrow(FAILURES.pool_timeout.say)
    await expect(late).rejects.toBeInstanceOf(Failure)
    first.slot.free()
    expect(waiting.now).toBe(0)
    expect(await settled(slots.take('one', 'a', undefined, never))).not.toBe('waits')
  })
})

describe('what is offered', () => {
  it('goes to who comes with the key, the youngest first, or waits with it', async () => {
    const { slots } = open()
    const takes = ['old', 'young'].map((item) =>
      slots.take('one', 'a', undefined, never).then(
        ({ slot }) =>
          () =>
            slot.offer(item, 'k'),
      ),
    )
    for (const offer of await Promise.all(takes)) offer()
    const found = async () => (await slots.take('one', 'a', 'k', never)).found
    expect(await found()).toEqual({ item: 'young', sameKey: true })
    expect(await found()).toEqual({ item: 'old', sameKey: true })
  })

  it('is taken over for its room, the oldest first: of the group that is full, or of all', async () => {
    const { slots } = open()
    const offer = async (group: string, key: string) => {
      const { slot } = await slots.take('one', group, undefined, never)
      return () => slot.offer(key, key)
    }
    const offers = [await offer('b', 'b1'), await offer('a', 'a1'), await offer('a', 'a2')]
    for (const each of offers) each()
    expect((await slots.take('one', 'a', 'new', never)).found).toEqual({
      item: 'a1',
      sameKey: false,
    })
    expect((await slots.take('one', 'c', 'new', never)).found).toEqual({
      item: 'b1',
      sameKey: false,
    })
    expect(slots.offered()).toEqual(['a2'])
    expect(await settled(slots.take('one', 'c', 'new', never))).not.toBe('waits')
    expect(await settled(slots.take('one', 'c', 'new', never))).toBe('waits')
  })

  it('is not to be had once it is withdrawn, and its room is still taken', async () => {
    const { slots } = open({ ...BOUNDS, group: 1 })
    const { slot } = await slots.take('one', 'a', 'k', never)
    slot.offer('it', 'k')
    slot.withdraw()
    const next = slots.take('one', 'a', 'k', never)
    expect(await settled(next)).toBe('waits')
    slot.free()
    expect((await next).found).toBeUndefined()
  })
})

it('keeps its books, whatever happens', async () => {
  const who = fc.record({
    group: fc.constantFrom('a', 'b', 'c'),
    key: fc.constantFrom('x', 'y', undefined),
    who: fc.constantFrom('me', 'you'),
  })
  const act = fc.oneof(
    fc.record({ kind: fc.constant('take' as const), who }),
    fc.record({
      kind: fc.constantFrom(
        'offer' as const,
        'free' as const,
        'withdraw' as const,
        'leave' as const,
      ),
      at: fc.nat(20),
    }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 60 }), async (acts) => {
      const { slots, waiting } = open()
      const held: { group: string; slot: Slot<string>; key: string | undefined }[] = []
      const idle = new Map<Slot<string>, string>()
      const leave: AbortController[] = []
      const take = ({ slot, found }: Taken<string>, group: string, key: string | undefined) => {
        expect(found === undefined).toBe(!idle.has(slot))
        if (found?.sameKey) expect(found.item).toBe(key)
        idle.delete(slot)
        held.push({ group, slot, key })
      }
      const owners = new Map<Slot<string>, string>()
      for (const act of acts) {
        if (act.kind === 'take') {
          const { group } = act.who
          // A key says which role it is, and in which database.
          const key = act.who.key && `${group} ${act.who.key}`
          const gone = new AbortController()
          leave.push(gone)
          slots.take('one', group, key, gone.signal, act.who.who).then(
            (taken) => {
              owners.set(taken.slot, group)
              take(taken, group, key)
            },
            () => undefined,
          )
        } else if (act.kind === 'leave') leave[act.at % leave.length]?.abort()
        else {
          const [one] = held.splice(act.at % Math.max(held.length, 1), 1)
          if (one === undefined) continue
          const { slot, key = 'z' } = one
          if (act.kind === 'offer') {
            idle.set(slot, key)
            slot.offer(key, key)
          } else {
            slot.withdraw()
            owners.delete(slot)
            slot.free()
          }
        }
        await new Promise(setImmediate)
        expect(owners.size).toBeLessThanOrEqual(BOUNDS.node)
        for (const name of ['a', 'b', 'c'])
          expect([...owners.values()].filter((group) => group === name).length).toBeLessThanOrEqual(
            BOUNDS.group,
          )
        // Whoever waits has no room: the node is full of what is held, or the group is.
        if (waiting.now > 0) expect(held.length).toBeGreaterThanOrEqual(BOUNDS.group)
        expect(slots.offered()).toHaveLength(idle.size)
      }
      for (const gone of leave) gone.abort()
      for (const slot of owners.keys()) slot.free()
      await new Promise(setImmediate)
      expect(waiting.now).toBe(0)
      expect(slots.offered()).toEqual([])
      for (let at = 0; at < BOUNDS.node; at++)
        expect(await settled(slots.take('one', `${at}`, 'x', never))).toMatchObject({
          found: undefined,
        })
    }),
    { numRuns: 150 },
  )
})
