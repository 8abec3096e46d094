/** Who may go on, and who waits for a turn. */
import { describe, expect, it } from 'vitest'
import { openNamedTurns, openTurns } from '../../src/cluster/turns.ts'
import { NEVER } from '../support/settling.ts'

/** Work that says when it begins, and goes on until it is told. */
function opened(begun: string[], name: string) {
  const { promise, resolve } = Promise.withResolvers<void>()
  const work = async () => {
    begun.push(name)
    await promise
    return name
  }
  return { work, end: resolve }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('turns', () => {
  it('are for so many at once, first come, first served', async () => {
    const turns = openTurns(2)
    const begun: string[] = []
    const all = ['a', 'b', 'c', 'd'].map((name) => opened(begun, name))
    const done = all.map(({ work }) => turns.take(NEVER, work))
    await settled()
    expect(begun).toEqual(['a', 'b'])
    all[1]?.end()
    await settled()
    expect(begun).toEqual(['a', 'b', 'c'])
    for (const { end } of all) end()
    expect(await Promise.all(done)).toEqual(['a', 'b', 'c', 'd'])
    expect(turns.idle).toBe(true)
  })

  it('go on after work that fails', async () => {
    const turns = openTurns(1)
    const failing = turns.take(NEVER, () => Promise.reject(new Error('no')))
    const next = turns.take(NEVER, async () => 'next')
    await expect(failing).rejects.toThrow('no')
    expect(await next).toBe('next')
  })

  it('are given up by whoever will not wait', async () => {
    const turns = openTurns(1)
    const begun: string[] = []
    const [first, second, third] = ['a', 'b', 'c'].map((name) => opened(begun, name))
    const login = new AbortController()
    const done = [
      turns.take(NEVER, first?.work ?? settled),
      turns.take(login.signal, second?.work ?? settled).catch(String),
      turns.take(NEVER, third?.work ?? settled),
    ]
    login.abort('over')
    expect(await done[1]).toBe('over')
    first?.end()
    third?.end()
    await Promise.all(done)
    expect(begun).toEqual(['a', 'c'])
    await expect(turns.take(login.signal, async () => 1)).rejects.toBe('over')
  })
})

describe('named turns', () => {
  it('go one after the other under a name, and names know nothing of each other', async () => {
    const inTurn = openNamedTurns()
    const begun: string[] = []
    const works = ['a1', 'a2', 'b1'].map((name) => ({ name, ...opened(begun, name) }))
    const done = works.map(({ name, work }) => inTurn(name.slice(0, 1), NEVER, work))
    await settled()
    expect(begun).toEqual(['a1', 'b1'])
    for (const { end } of works) end()
    await Promise.all(done)
    expect(begun).toEqual(['a1', 'b1', 'a2'])
  })

  it('keep their order where one in the middle gives up', async () => {
    const inTurn = openNamedTurns()
    const begun: string[] = []
    const [first, second] = [opened(begun, 'first'), opened(begun, 'second')]
    const login = new AbortController()
    const one = inTurn('a', NEVER, first.work)
    const gone = inTurn('a', login.signal, settled).catch(String)
    login.abort('over')
    expect(await gone).toBe('over')
    const two = inTurn('a', NEVER, second.work)
    await settled()
    expect(begun).toEqual(['first'])
    first.end()
    second.end()
    expect(await Promise.all([one, two])).toEqual(['first', 'second'])
  })
})
