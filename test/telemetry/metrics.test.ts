/** What operators read of the nodes, whoever looks after them and however they end. */
import { expect, it } from 'vitest'
import type { NodeState } from '../../src/peers/messages.ts'
import { openMetrics } from '../../src/telemetry/metrics.ts'

type State = NodeState['state']

/** Metrics of nodes of one cluster, as lines without what all of them have in common. */
function open() {
  const metrics = openMetrics('1.2.3')
  const see = (node: string, before: State, state: State) =>
    metrics.count({ name: 'node_state', cluster: 'main', node, before, state })
  const fail = (node: string) => metrics.count({ name: 'node_failed', cluster: 'main', node })
  const read = async () =>
    (await metrics.render()).text
      .split('\n')
      .filter((line) => /^postern_node/.test(line))
      .map((line) => line.replace('postern_', '').replace('cluster="main",', ''))
  return { see, fail, read }
}

it('a node is counted in the state that each worker sees it in', async () => {
  const { see, read } = open()
  see('db-1', 'gone', 'up')
  see('db-1', 'gone', 'up')
  see('db-1', 'up', 'down')
  expect(await read()).toEqual([
    'nodes{node="db-1",state="up"} 1',
    'nodes{node="db-1",state="draining"} 0',
    'nodes{node="db-1",state="down"} 1',
  ])
  see('db-1', 'down', 'gone')
  expect(await read()).toEqual([
    'nodes{node="db-1",state="up"} 1',
    'nodes{node="db-1",state="draining"} 0',
    'nodes{node="db-1",state="down"} 0',
  ])
})

it('a node that nobody looks after is forgotten, with its failures and those told too late', async () => {
  const { see, fail, read } = open()
  see('db-1', 'gone', 'up')
  see('db-2', 'gone', 'draining')
  fail('db-1')
  fail('db-2')
  see('db-1', 'up', 'gone')
  fail('db-1')
  expect(await read()).toEqual([
    'nodes{node="db-2",state="up"} 0',
    'nodes{node="db-2",state="draining"} 1',
    'nodes{node="db-2",state="down"} 0',
    'node_failures_total{node="db-2"} 1',
  ])
})
