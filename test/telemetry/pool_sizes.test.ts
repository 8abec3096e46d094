/** What a worker's pools hold, taken back when the worker is gone. */
import { expect, it } from 'vitest'
import { openPoolSizes } from '../../src/telemetry/pool_sizes.ts'

const size = (cluster: string, of: 'idle' | 'waiting', change: number) =>
  ({ name: 'pool_size', cluster, of, change }) as const

it('what was told and not taken back is taken back, once', () => {
  const sizes = openPoolSizes()
  const told = [
    size('main', 'idle', 1),
    size('main', 'idle', 1),
    size('main', 'waiting', 1),
    size('main', 'waiting', -1),
    size('other', 'idle', 1),
    size('main', 'idle', -1),
  ]
  for (const each of told) sizes.note(each)
  expect(sizes.endAll()).toEqual([size('other', 'idle', -1), size('main', 'idle', -1)].reverse())
  expect(sizes.endAll()).toEqual([])
})
