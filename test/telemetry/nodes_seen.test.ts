/** How many workers see each node in which state. */
import { expect, it } from 'vitest'
import { openNodesSeen } from '../../src/telemetry/nodes_seen.ts'

it('counts workers by what they see, and forgets a node that nobody looks after', () => {
  const seen = openNodesSeen()
  const say = (node: string, before: 'gone' | 'up' | 'down', state: 'gone' | 'up' | 'down') =>
    seen.count({ name: 'node_state', cluster: 'main', node, before, state })
  say('b', 'gone', 'up')
  say('a', 'gone', 'up')
  say('a', 'gone', 'up')
  say('a', 'up', 'down')
  seen.count({ name: 'connection_opened' })
  expect(seen.nodes()).toEqual([
    { cluster: 'main', node: 'a', up: 1, draining: 0, down: 1 },
    { cluster: 'main', node: 'b', up: 1, draining: 0, down: 0 },
  ])
  say('a', 'down', 'gone')
  say('a', 'up', 'gone')
  expect(seen.nodes().map(({ node }) => node)).toEqual(['b'])
})
