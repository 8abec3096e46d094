/** Where the node itself has too many: whose session goes for it, how often, and whose does not. */
import { describe, expect, it } from 'vitest'
import { type Idle, openMakingRoom } from '../../src/cluster/pool_room.ts'
import { NodeRefused } from '../../src/cluster/sign_in.ts'
import { Failure, NODE_SAYS } from '../../src/failure.ts'

const never = new AbortController().signal
const node = { name: 'n' }

const says = (sqlstate: string) =>
  new Failure('node_refused', {
    values: { message: 'no' },
    cause: new NodeRefused({ sqlstate, message: 'no' }, Buffer.alloc(0)),
  })
const FULL = says(NODE_SAYS.full)

/** @param idle - each as `role database`, the oldest first; on another node with a `!` */
function open(idle: string[], { leftMs = 5_000 } = {}) {
  const gone: string[] = []
  const clock = { ms: 0 }
  const sessions = new Set(
    idle.map((each): Idle => {
      const [role = '', database = ''] = each.replace('!', '').split(' ')
      const session = {
        node: { name: each.endsWith('!') ? 'another' : 'n' },
        role,
        database,
        async leave() {
          sessions.delete(session)
          gone.push(each)
        },
      }
      return session
    }),
  )
  const makingRoom = openMakingRoom({ idle: () => [...sessions], elapsed: () => clock.ms })
  /** @param full - how many there have to be gone before the node takes one of the role's. */
  const ask = async (full: number, role = 'carl') => {
    let asked = 0
    const wanted = { role, database: 'db', node, signal: never, leftMs: () => leftMs }
    const opened = makingRoom(wanted, async () => {
      asked++
      if (gone.length < full) throw FULL
      return 'in'
    })
    return [await opened.catch((thrown: unknown) => thrown), asked]
  }
  return { makingRoom, ask, gone, clock }
}

describe('a node that is full', () => {
  it.each<[string, string[], string[]]>([
    [
      "the role's own in the database",
      ['dora db', 'carl x', 'carl db', 'carl db'],
      ['carl db', 'carl db', 'carl x', 'dora db'],
    ],
    [
      "others' in the database, then the oldest of all",
      ['dora x', 'erin db', 'fay x'],
      ['erin db', 'dora x', 'fay x'],
    ],
  ])('has room made, one at a time: first %s', async (_name, idle, order) => {
    const { ask, gone } = open(idle)
    for (let at = 1; at <= order.length; at++) {
      expect(await ask(at)).toEqual(['in', 2])
      expect(gone).toEqual(order.slice(0, at))
    }
    expect(await ask(order.length + 1)).toEqual([FULL, 1])
  })

  it("is not helped by another node's sessions", async () => {
    const { ask, gone } = open(['carl db!', 'dora db!'])
    expect(await ask(1)).toEqual([FULL, 1])
    expect(gone).toEqual([])
  })

  it("takes one of others' for a role at its own limit, and no other for ten seconds", async () => {
    const { ask, gone, clock } = open(['dora db', 'erin db', 'fay db', 'carl db'])
    const never = Number.POSITIVE_INFINITY
    expect(await ask(never)).toEqual([FULL, 2])
    expect(gone).toEqual(['carl db'])
    expect(await ask(never)).toEqual([FULL, 1])
    // Another role has to learn it by itself.
    expect(await ask(never, 'gil')).toEqual([FULL, 2])
    expect(gone).toEqual(['carl db', 'dora db'])
    clock.ms = 9_999
    expect(await ask(never)).toEqual([FULL, 1])
    clock.ms = 10_000
    expect(await ask(never)).toEqual([FULL, 2])
    expect(gone).toEqual(['carl db', 'dora db', 'erin db'])
  })

  it('takes one for all who come at once', async () => {
    const { ask, gone } = open(['dora db', 'erin db', 'fay db'])
    const asked = await Promise.all(
      Array.from({ length: 20 }, () => ask(Number.POSITIVE_INFINITY).then(([, times]) => times)),
    )
    expect(asked.sort()).toEqual([...Array.from({ length: 19 }, () => 1), 2])
    expect(gone).toEqual(['dora db'])
  })

  it('is not asked again where there is no time for it', async () => {
    const { ask, gone } = open(['carl db'], { leftMs: 249 })
    expect(await ask(1)).toEqual([FULL, 1])
    expect(gone).toEqual([])
  })
})

it('makes no room for what else goes wrong', async () => {
  const { makingRoom, gone } = open(['carl db'])
  const wanted = { role: 'carl', database: 'db', node, signal: never, leftMs: () => 5_000 }
  for (const wrong of [says(NODE_SAYS.notNow), new Error('wrong')])
    await expect(makingRoom(wanted, () => Promise.reject(wrong))).rejects.toBe(wrong)
  expect(gone).toEqual([])
})
