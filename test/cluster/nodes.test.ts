/** Which nodes are tried, in which order, for how long; and what is remembered of them. */
import { afterEach, describe, expect, it } from 'vitest'
import type { Seen } from '../../src/cluster/health.ts'
import type { Node } from '../../src/cluster/node.ts'
import type { Answer, Names } from '../../src/cluster/node_names.ts'
import {
  type Attempt,
  type Entry,
  type Member,
  type NodeEvent,
  type Nodes,
  type NodesPlan,
  openNodes,
  type Reached,
} from '../../src/cluster/nodes.ts'
import type { Look } from '../../src/cluster/probe.ts'
import { NodeRefused, StalledInside } from '../../src/cluster/sign_in.ts'
import { asFailure, FAILURES, Failure, NODE_SAYS } from '../../src/failure.ts'
import { LegEnded } from '../../src/leg.ts'
import { nodeAt } from '../support/managed_node.ts'

const GOOD: Look = { seen: 'good', why: '', standby: undefined }
const never = new AbortController().signal

let opened: Nodes | undefined
afterEach(() => opened?.close())

function member(name: string, more: Partial<Member> = {}): Member {
  const node = { ...nodeAt({ host: name, port: 5432 }), name }
  return { node, healthUrl: undefined, weight: 1, priority: 0, locality: '', ...more }
}

interface Options extends Partial<Omit<NodesPlan, 'entries'>> {
  entries?: Entry[]
  probe?: (name: string) => Look | Promise<Look>
  names?: Partial<Names>
}

/** Nodes whose clock stands still, unless a test sets it; the first of equals is chosen. */
function open(members: Member[], options: Options = {}) {
  const { probe = () => GOOD, names = {}, entries, ...more } = options
  const events: NodeEvent[] = []
  const clock = { ms: 0 }
  const all = entries ?? members.map((each): Entry => ({ kind: 'node', member: each }))
  const plan: NodesPlan = {
    entries: all as [Entry, ...Entry[]],
    locality: undefined,
    target: 'any',
    health: { intervalMs: 60_000, timeoutMs: 1_000, downAfter: 3, upAfter: 2 },
    connectTimeoutMs: 5_000,
    ...more,
  }
  const nothing = async (): Promise<Answer> => Promise.reject(new Error('no name server here'))
  const nodes = openNodes(plan, {
    names: { addresses: nothing, services: nothing, ...names },
    probe: async ({ node }) => await probe(node.name),
    elapsed: () => clock.ms,
    // Looks are a minute away.
    tie: (count) => (count > 1_000 ? count - 1 : 0),
    tell: (event) => events.push(event),
  })
  opened = nodes
  const states = () =>
    events.flatMap((event) => (event.kind === 'state' ? [`${event.node} ${event.state}`] : []))
  return { nodes, events, states, clock }
}

const unreachable = (node: string, why = 'connect ECONNREFUSED') =>
  new Failure('node_unreachable', {
    log: `node ${node}: ${why}`,
    cause: Object.assign(new Error(why), { syscall: 'connect' }),
  })
const ended = (node: string) =>
  new Failure('node_signin_failed', {
    log: `node ${node}: the node closed the connection`,
    cause: new LegEnded('node', 'closed the connection'),
  })
const says = (sqlstate: string) => (node: string) => {
  const response = Buffer.from(sqlstate)
  const cause = new NodeRefused({ sqlstate, message: 'no' }, response)
  const log = `node ${node} refused: ${sqlstate}`
  if (sqlstate.startsWith('28'))
    return new Failure('role_refused', { values: { user: 'u' }, log, cause })
  return new Failure('node_refused', { values: { message: 'no' }, log, response, cause })
}

/** Attempts that fail as told, by the node's name, and all that were made. */
function attempts(failing: Record<string, (node: string) => unknown>) {
  const tried: string[] = []
  const shares: number[] = []
  const attempt = async ({ name }: Node, ms: number) => {
    tried.push(name)
    shares.push(ms)
    const failure = failing[name]?.(name)
    if (failure !== undefined) throw failure
    return name
  }
  return { attempt, tried, shares }
}

describe('a session', () => {
  it('goes where the fewest are, by weight, and comes off when it is over', async () => {
    const { nodes } = open([member('a'), member('b', { weight: 2 })])
    const { attempt } = attempts({})
    const reached: Reached<string>[] = []
    for (let at = 0; at < 6; at++) reached.push(await nodes.reach(attempt, never))
    const count = (name: string) => reached.filter(({ value }) => value === name).length
    expect([count('a'), count('b')]).toEqual([2, 4])
    for (const { node, release } of reached) if (node.name === 'a') release()
    for (let at = 0; at < 2; at++) expect((await nodes.reach(attempt, never)).value).toBe('a')
  })

  it('counts while it is on its way', async () => {
    const { nodes } = open([member('a'), member('b')])
    let go: () => void = () => undefined
    const gate = new Promise<void>((resolve) => (go = resolve))
    const attempt = async ({ name }: Node) => await gate.then(() => name)
    const both = Promise.all([nodes.reach(attempt, never), nodes.reach(attempt, never)])
    go()
    expect((await both).map(({ value }) => value).sort()).toEqual(['a', 'b'])
  })

  it('goes to the locality that is preferred, until no node of it is up', async () => {
    const { nodes } = open([member('far'), member('near', { locality: 'here' })], {
      locality: 'here',
    })
    const well = attempts({})
    for (let at = 0; at < 3; at++) await nodes.reach(well.attempt, never)
    expect(well.tried).toEqual(['near', 'near', 'near'])
    const ill = attempts({ near: unreachable })
    await nodes.reach(ill.attempt, never)
    await nodes.reach(ill.attempt, never)
    expect(ill.tried).toEqual(['near', 'far', 'far'])
  })
})

describe('a node that fails', () => {
  it.each<[string, (node: string) => Failure]>([
    ['is not there', unreachable],
    ['ends the sign-in', ended],
    ['shuts down', says(NODE_SAYS.shuttingDown)],
    ['has crashed', says(NODE_SAYS.crashed)],
    ['is starting', says(NODE_SAYS.notNow)],
  ])('%s: another one is tried, and it waits behind that one', async (_name, failure) => {
    const { nodes, events } = open([member('a'), member('b')])
    const { attempt, tried } = attempts({ a: failure })
    await nodes.reach(attempt, never)
    await nodes.reach(attempt, never)
    expect(tried).toEqual(['a', 'b', 'b'])
    const why = failure('a').log
    expect(events).toContainEqual({ kind: 'failed', node: 'a', why })
  })

  it.each([
    ['the role', '28000', 'role_refused'],
    ['the password', '28P01', 'role_refused'],
    ['more sessions', FAILURES.too_many_connections.sqlstate, 'node_refused'],
    ['the database', '3D000', 'node_refused'],
  ])('only refuses %s: nobody else is asked', async (_name, sqlstate, code) => {
    const { nodes, states } = open([member('a'), member('b')])
    const { attempt, tried } = attempts({ a: says(sqlstate) })
    for (let at = 1; at <= 4; at++) {
      const failure = await nodes.reach(attempt, never).catch(asFailure)
      expect(failure).toMatchObject({ code, log: `node a refused: ${sqlstate}` })
      expect(tried).toHaveLength(at)
    }
    expect(states()).toEqual([])
  })

  it('to let in a role that it took: another one is tried, and nobody is sent away for it', async () => {
    const { nodes, states, events } = open([member('a'), member('b')])
    const stalled = () => new Failure('node_signin_failed', { cause: new StalledInside() })
    const { attempt, tried } = attempts({ a: stalled })
    for (let at = 0; at < 4; at++) (await nodes.reach(attempt, never)).release()
    expect(tried).toEqual(['a', 'b', 'a', 'b', 'a', 'b', 'a', 'b'])
    expect(events.filter(({ kind }) => kind === 'failed')).toHaveLength(4)
    expect(states()).toEqual([])
  })

  it('is down after three times, and up after two good ones', async () => {
    const { nodes, states } = open([member('a'), member('b')])
    const ill = attempts({ a: unreachable, b: unreachable })
    const alone = new AbortController()
    const pending = nodes.reach(ill.attempt, alone.signal).catch((thrown: unknown) => thrown)
    await expect.poll(states, { interval: 5 }).toEqual(['a down', 'b down'])
    alone.abort(new Failure('login_timeout'))
    expect(await pending).toMatchObject({ code: 'login_timeout' })
    const well = attempts({})
    const [one, other] = [
      await nodes.reach(well.attempt, never),
      await nodes.reach(well.attempt, never),
    ]
    expect(states()).toEqual(['a down', 'b down'])
    one.release()
    other.release()
    await nodes.reach(well.attempt, never)
    expect(states()).toHaveLength(3)
  })

  it('says that it drains: that counts at once', async () => {
    const { nodes, states } = open([member('a'), member('b')])
    await nodes.reach(attempts({ a: says(NODE_SAYS.notNow) }).attempt, never)
    expect(states()).toEqual(['a draining'])
  })

  it('is not blamed for a mistake of ours, or of the client', async () => {
    const { nodes, events } = open([member('a'), member('b')])
    const mistake = () => new Failure('parameter_not_allowed', { values: { name: 'x' } })
    const { attempt, tried } = attempts({ a: mistake })
    expect(await nodes.reach(attempt, never).catch(asFailure)).toMatchObject({
      code: 'parameter_not_allowed',
    })
    expect(tried).toEqual(['a'])
    expect(events.filter(({ kind }) => kind === 'failed')).toEqual([])
  })
})

it('a node that answers looks and takes no session is tried again after longer and longer', async () => {
  const { nodes, clock } = open([member('a'), member('b')], {
    health: { intervalMs: 5_000, timeoutMs: 1_000, downAfter: 3, upAfter: 2 },
  })
  const { attempt, tried } = attempts({ a: ended })
  const at: number[] = []
  for (; clock.ms <= 200_000; clock.ms += 1_000) {
    const before = tried.length
    const { release } = await nodes.reach(attempt, never)
    if (tried.slice(before).includes('a')) at.push(clock.ms)
    release()
    // Looks find it well all the while.
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(at).toEqual([0, 5_000, 15_000, 35_000, 75_000, 135_000, 195_000])
})

describe('a node that failed', () => {
  const health = { intervalMs: 20, timeoutMs: 1_000, downAfter: 3, upAfter: 2 }
  const members = [member('a'), member('b')]

  it('for many at the same moment has failed once', async () => {
    const { nodes, states, clock } = open(members, { health })
    const { attempt } = attempts({ a: unreachable })
    await Promise.all(Array.from({ length: 20 }, () => nodes.reach(attempt, never)))
    expect(states()).toEqual(['a down'])
    clock.ms = health.intervalMs
    await expect.poll(states).toEqual(['a down', 'a up'])
  })

  it('and was seen to be ill is well when it is seen to be', async () => {
    let look: Look = { ...GOOD, seen: 'bad', why: 'connect ECONNREFUSED' }
    const probe = (name: string) => (name === 'a' ? look : GOOD)
    const { nodes, states } = open(members, { health, probe })
    await nodes.reach(attempts({ a: unreachable }).attempt, never)
    await expect.poll(states).toEqual(['a down'])
    look = GOOD
    await expect.poll(states).toEqual(['a down', 'a up'])
  })
})

describe('time', () => {
  it('is half of what is left for each, and all of it for the last', async () => {
    const { nodes, clock } = open([member('a'), member('b'), member('c')])
    const shares: number[] = []
    const stall = async ({ name }: Node, ms: number) => {
      shares.push(ms)
      clock.ms += ms
      throw ended(name)
    }
    const failure = await nodes.reach(stall, never).catch(asFailure)
    expect(shares).toEqual([2_500, 1_250, 1_250])
    expect(failure).toMatchObject({
      code: 'node_signin_failed',
      message: FAILURES.node_signin_failed.say,
      log: [
        'tried 3 nodes, 3 times in all: node a: the node closed the connection',
        'node b: the node closed the connection',
        'node c: the node closed the connection',
      ].join('; '),
    })
  })

  it('is not spent by waiting for something else', async () => {
    const { nodes, clock } = open([member('a'), member('b')])
    const shares: number[] = []
    const inLine: Attempt<never> = async ({ name }, ms, waited) => {
      shares.push(ms)
      clock.ms += 30_000
      waited?.(30_000)
      clock.ms += ms
      throw ended(name)
    }
    await expect(nodes.reach(inLine, never)).rejects.toMatchObject({ code: 'node_signin_failed' })
    expect(shares).toEqual([2_500, 2_500])
  })

  it('is over for all of them together, with pauses from 10 ms on', async () => {
    const { nodes, clock } = open([member('a'), member('b')], { connectTimeoutMs: 200 })
    const tried: number[] = []
    const refuse = async ({ name }: Node) => {
      tried.push(clock.ms)
      clock.ms += 15
      throw unreachable(name)
    }
    const failure = await nodes.reach(refuse, never).catch(asFailure)
    // Pauses of 10, 20, 40 and 80 ms, which this clock doesn't feel; 160 more are too long.
    expect(tried).toEqual([0, 15, 30, 45, 60, 75, 90, 105, 120, 135])
    expect(failure).toHaveProperty(
      'log',
      'tried 2 nodes, 10 times in all: node a: connect ECONNREFUSED (5 times); node b: connect ECONNREFUSED (5 times)',
    )
  })

  it('is a second at most where there is no other node', async () => {
    const { nodes, clock } = open([member('a')], { connectTimeoutMs: 60_000 })
    const shares: number[] = []
    const refuse = async ({ name }: Node, ms: number) => {
      shares.push(ms)
      clock.ms += 400
      throw unreachable(name)
    }
    await expect(nodes.reach(refuse, never)).rejects.toThrow('the database could not be reached')
    expect(shares).toEqual([60_000, 59_600, 59_200])
  })

  it('is not spent on what will not pass', async () => {
    const wrong = (node: string) =>
      new Failure('node_unreachable', { log: `node ${node}: wrong name`, cause: new Error('TLS') })
    const { nodes } = open([member('a'), member('b')])
    const { attempt, tried } = attempts({ a: wrong, b: wrong })
    await expect(nodes.reach(attempt, never)).rejects.toThrow('the database could not be reached')
    expect(tried.sort()).toEqual(['a', 'b'])
  })

  it('does not grow with the nodes: one login tries a few of them, and pauses', async () => {
    const many = Array.from({ length: 1_000 }, (_, at) => member(`n${at}`))
    const { nodes } = open(many, { connectTimeoutMs: 5 })
    const { attempt, tried } = attempts(
      Object.fromEntries(many.map(({ node }) => [node.name, unreachable])),
    )
    const failure = await nodes.reach(attempt, never).catch(asFailure)
    expect(new Set(tried).size).toBe(8)
    expect(failure).toMatchObject({
      log: expect.stringMatching(/^tried 8 nodes, 8 times in all: /),
    })
  })

  it('ends with the login', async () => {
    const { nodes } = open([member('a')])
    const login = new AbortController()
    const refuse = async ({ name }: Node) => {
      setImmediate(() => login.abort(new Failure('login_timeout')))
      throw unreachable(name)
    }
    expect(await nodes.reach(refuse, login.signal).catch(asFailure)).toMatchObject({
      code: 'login_timeout',
    })
  })
})

describe('a target', () => {
  const standbys: Record<string, boolean> = { primary: false, copy: true }
  const probe = (name: string): Look => ({ ...GOOD, standby: standbys[name] })

  it.each([
    ['read_write', 'primary'],
    ['read_only', 'copy'],
  ] as const)('%s is %s alone', async (target, name) => {
    const { nodes } = open([member('primary'), member('copy')], { target, probe })
    const { attempt, tried } = attempts({})
    for (let at = 0; at < 4; at++) await nodes.reach(attempt, never)
    expect(tried).toEqual(Array(4).fill(name))
  })

  it('that no node is, is told', async () => {
    const { nodes } = open([member('copy')], { target: 'read_write', probe, connectTimeoutMs: 50 })
    const failure = await nodes.reach(attempts({}).attempt, never).catch(asFailure)
    expect(failure).toMatchObject({
      code: 'node_unreachable',
      log: 'none of 1 nodes is read_write',
    })
  })

  it('is found again when another node becomes the primary', async () => {
    const roles: Record<string, boolean> = { a: false, b: true }
    const { nodes, clock } = open([member('a'), member('b')], {
      target: 'read_write',
      probe: (name) => ({ ...GOOD, standby: roles[name] }),
    })
    expect((await nodes.reach(attempts({}).attempt, never)).value).toBe('a')
    Object.assign(roles, { a: true, b: false })
    const attempt = async ({ name }: Node) => {
      // Asked again at once, because this one failed.
      clock.ms += 300
      if (name === 'a') throw unreachable(name)
      return name
    }
    expect((await nodes.reach(attempt, never)).value).toBe('b')
  })

  it('or none: who changes roles goes to the primary where it is known', async () => {
    const { nodes } = open([member('primary'), member('copy')], {
      probe,
      health: { intervalMs: 1, timeoutMs: 1_000, downAfter: 3, upAfter: 2 },
    })
    await expect
      .poll(async () => {
        const { attempt, tried } = attempts({})
        for (let at = 0; at < 4; at++) await nodes.reach(attempt, never, { primary: true })
        return tried
      })
      .toEqual(Array(4).fill('primary'))
  })
})

describe('looks', () => {
  it('are not taken of a node alone', async () => {
    let looks = 0
    const health = { intervalMs: 1, timeoutMs: 1, downAfter: 3, upAfter: 2 }
    const probe = () => {
      looks++
      return GOOD
    }
    open([member('a')], { health, probe })
    open([member('b'), member('c')], { health, probe })
    await expect.poll(() => looks, { interval: 5 }).toBeGreaterThan(10)
    looks = 0
    opened?.close()
    const { nodes } = open([member('a')], { health, probe })
    await nodes.reach(attempts({}).attempt, never)
    expect(looks).toBe(0)
  })

  it('tell what becomes of a node, and why', async () => {
    let seen: Seen = 'bad'
    const { nodes, events, states } = open([member('a'), member('b')], {
      health: { intervalMs: 1, timeoutMs: 1_000, downAfter: 3, upAfter: 2 },
      probe: (name) => (name === 'a' ? { seen, why: 'no answer', standby: undefined } : GOOD),
    })
    await expect.poll(states, { interval: 5 }).toEqual(['a down'])
    expect(events).toContainEqual({
      kind: 'state',
      node: 'a',
      before: 'up',
      state: 'down',
      why: 'no answer',
    })
    seen = 'draining'
    await expect.poll(states, { interval: 5 }).toEqual(['a down', 'a draining'])
    const { attempt, tried } = attempts({})
    await nodes.reach(attempt, never)
    await nodes.reach(attempt, never)
    expect(tried).toEqual(['b', 'b'])
    seen = 'good'
    await expect.poll(states, { interval: 5 }).toEqual(['a down', 'a draining', 'a up'])
  })
})

describe('a name', () => {
  const entry = (name: string): Entry => ({
    kind: 'dns',
    name,
    port: 5432,
    memberAt: ({ host }) => member(host),
  })
  const answer = (...hosts: string[]): Answer => ({
    places: hosts.map((host) => ({ host, port: 5432, weight: 1, priority: 0 })),
    goodForMs: 1,
  })

  it('is waited for, and its nodes come and go', async () => {
    let hosts = ['a', 'b']
    const { nodes, events } = open([], {
      entries: [entry('db.test')],
      names: { addresses: async () => answer(...hosts) },
    })
    const { value: first } = await nodes.reach(attempts({}).attempt, never)
    expect(hosts).toContain(first)
    hosts = ['b', 'c']
    const why = 'its name leads there no more'
    await expect
      .poll(() => events, { interval: 5 })
      .toContainEqual({ kind: 'gone', node: 'a', before: 'up', why })
    expect(events).toContainEqual({ kind: 'new', node: 'c', state: 'up' })
    const { attempt, tried } = attempts({})
    for (let at = 0; at < 4; at++) await nodes.reach(attempt, never)
    expect(new Set(tried)).toEqual(new Set(['b', 'c']))
  })

  it('is not the only one of a node: it goes with the last one, and is told as one', async () => {
    const hosts: Record<string, string[]> = { 'a.test': ['x'], 'b.test': ['x'] }
    const other = (name: string): Entry => ({
      ...(entry(name) as Extract<Entry, { kind: 'dns' }>),
      memberAt: ({ host }) => member(host, { weight: 7 }),
    })
    const lookups = { a: 0, b: 0 }
    const { nodes, events } = open([], {
      entries: [entry('a.test'), other('b.test'), { kind: 'node', member: member('y') }],
      names: {
        async addresses(name) {
          lookups[name === 'a.test' ? 'a' : 'b']++
          const found = hosts[name] ?? []
          return found.length === 0 ? Promise.reject(new Error('none')) : answer(...found)
        },
      },
    })
    const again = async () => {
      const { a, b } = lookups
      await expect
        .poll(() => Math.min(lookups.a - a, lookups.b - b), { interval: 5 })
        .toBeGreaterThan(1)
    }
    const to = async (times: number) => {
      const { attempt, tried } = attempts({})
      const reached = []
      for (let at = 0; at < times; at++) reached.push(await nodes.reach(attempt, never))
      for (const { release } of reached) release()
      return tried.filter((name) => name === 'x').length
    }
    const lifeOf = (node: string) =>
      events.flatMap((each) =>
        'node' in each && each.node === node && each.kind !== 'failed' ? [each.kind] : [],
      )
    await again()
    expect(await to(8)).toBe(4)
    hosts['a.test'] = ['z']
    await again()
    expect(lifeOf('x')).toEqual(['new'])
    // What the other name says of it holds now: as many as 7 to 1, of y and z.
    expect(await to(9)).toBe(7)
    hosts['b.test'] = ['z']
    await again()
    expect(lifeOf('x')).toEqual(['new', 'gone'])
    expect(await to(4)).toBe(0)
  })

  it('that has a node again finds it as it was: with its sessions, and what was known of it', async () => {
    let hosts = ['a', 'b']
    let looked = 0
    const { nodes, events } = open([], {
      entries: [entry('db.test')],
      health: { intervalMs: 60_000, timeoutMs: 1_000, downAfter: 1, upAfter: 2 },
      names: {
        async addresses() {
          looked++
          return answer(...hosts)
        },
      },
    })
    const again = async () => {
      const before = looked
      await expect.poll(() => looked, { interval: 5 }).toBeGreaterThan(before + 1)
    }
    const away = async () => {
      hosts = ['b']
      await again()
      hosts = ['a', 'b']
      await again()
      return events.filter((each) => each.kind === 'new').at(-1)
    }
    const reach = async (times: number) => {
      const reached: Reached<string>[] = []
      for (let at = 0; at < times; at++)
        reached.push(await nodes.reach(attempts({}).attempt, never))
      return reached
    }
    const kept = await reach(4)
    await away()
    const fresh = await reach(2)
    expect(fresh.map(({ value }) => value).sort()).toEqual(['a', 'b'])
    for (const { release } of fresh) release()
    // The first one may well go to b.
    for (let at = 0; at < 2; at++) await nodes.reach(attempts({ a: unreachable }).attempt, never)
    expect(await away()).toEqual({ kind: 'new', node: 'a', state: 'down' })
    for (const { release } of kept) release()
    // Nobody was there when it went this time: nothing is known of it.
    expect(await away()).toEqual({ kind: 'new', node: 'a', state: 'up' })
  })

  it('that can not be looked up any more keeps its nodes', async () => {
    let fails = false
    const { nodes, events, states } = open([], {
      entries: [entry('db.test')],
      names: {
        async addresses() {
          if (fails) throw new Error('ESERVFAIL')
          fails = true
          return answer('a')
        },
      },
    })
    await expect
      .poll(() => events.at(-1))
      .toEqual({
        kind: 'lookup_failed',
        name: 'db.test',
        why: 'dns db.test: ESERVFAIL',
      })
    expect((await nodes.reach(attempts({}).attempt, never)).value).toBe('a')
    expect(states()).toEqual([])
  })

  it('that never could be is told', async () => {
    const { nodes } = open([], { entries: [entry('db.test')], connectTimeoutMs: 30 })
    expect(await nodes.reach(attempts({}).attempt, never).catch(asFailure)).toMatchObject({
      code: 'node_unreachable',
      log: 'no node is known',
    })
  })
})
