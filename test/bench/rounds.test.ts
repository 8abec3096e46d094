/** What the comparison reckons with: rounds, ratios, verdicts, orders, and CPU time that somebody really used. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, it } from 'vitest'
import { cpuBetween, readCpu, readUsed } from './cpu.ts'
import { watchOthers } from './machine.ts'
import { rowsOf } from './report.ts'
import { alternate, ratio, summarise } from './rounds.ts'
import { render } from './table.ts'
import { type Target, verdict } from './targets.ts'
import { type Order, shareOf, shares } from './visitors.ts'

it('runs everybody once a round', async () => {
  const order: string[] = []
  const samples = await alternate(['a', 'b', 'c'], 3, async (name, round) => {
    order.push(name)
    return { round }
  })
  const rounds = [0, 3, 6].map((at) => order.slice(at, at + 3).toSorted())
  expect(rounds).toEqual([
    ['a', 'b', 'c'],
    ['a', 'b', 'c'],
    ['a', 'b', 'c'],
  ])
  expect(samples.get('b')).toEqual([{ round: 0 }, { round: 1 }, { round: 2 }])
})

it.each([
  [[1], { median: 1, spread: 0, least: 1, most: 1 }],
  [[3, 1, 2], { median: 2, spread: 1, least: 1, most: 3 }],
  [[4, 1, 2, 3], { median: 2.5, spread: 1.2, least: 1, most: 4 }],
])('summarises %j', (values, expected) => {
  const samples = values.map((x) => ({ x }))
  expect(summarise(samples, 'x')).toEqual(expected)
})

it('reckons ratios within a round', () => {
  const of = [{ x: 10 }, { x: 200 }, { x: 3 }]
  const by = [{ x: 5 }, { x: 100 }, { x: 1 }]
  expect(ratio(of, by, 'x')).toEqual({ median: 2, spread: 0.5, least: 2, most: 3 })
  expect(() => ratio(of, [{ x: 1 }], 'x')).toThrow('no figure x was measured')
})

const measured = (median: number, least = median, most = median) => ({
  ...{ median, least, most, spread: (most - least) / median },
})

it.each([
  [{ atMost: 1.45 }, measured(1.45), 'met'],
  [{ atMost: 1.45 }, measured(1.6, 1.5, 1.7), 'missed by 11 %'],
  [{ atMost: 1.45 }, measured(1.6, 1.4, 1.7), 'missed by 11 %, within the spread'],
  [{ atLeast: 0.9 }, measured(0.95, 0.91, 1), 'met'],
  [{ atLeast: 0.9 }, measured(0.95, 0.8, 1), 'met, within the spread'],
  [{ atLeast: 0.9 }, measured(0.45), 'missed by 50 %'],
  [{ atLeast: 0.9 }, { ...measured(0.45), capped: true }, 'capped by the client'],
])('says of %j at %j: %s', (bound, value, expected) => {
  expect(verdict(bound, value)).toBe(expected)
})

it('has a column a run, and the run in the middle judge', () => {
  const target: Target = {
    ...{ what: 'W', bound: { atMost: 2 }, unit: 'KiB' },
    figures: [
      { where: 'here', name: 'a' },
      { where: 'there', name: 'b' },
    ],
  }
  const runs = [
    { a: measured(3) },
    { a: { ...measured(1, 1, 2.5), note: 'fewer' } },
    { a: measured(0.5) },
  ]
  expect(rowsOf(target, runs)).toEqual([
    '| W | here (fewer) | at most 2 KiB | 3.00 KiB | 1.00 KiB | 0.50 KiB | met, within the spread |',
    '| W | there | at most 2 KiB | not measured | not measured | not measured |  |',
  ])
})

it('shares an order out', () => {
  const clients = { client: {}, parallel: 4, visits: 5, seconds: 1 }
  const order: Order = { kind: 'visit', ...clients, passwords: ['a', 'b', 'c', 'd', 'e'] }
  expect(shares(order, 2)).toEqual([
    { ...order, passwords: ['a', 'c', 'e'], parallel: 2, visits: 3 },
    { ...order, passwords: ['b', 'd'], parallel: 2, visits: 2 },
  ])
  const again: Order = { ...order, passwords: ['a'], visits: Number.POSITIVE_INFINITY }
  expect(shares(again, 2)).toEqual(Array(2).fill({ ...again, parallel: 2 }))
  expect(shares({ kind: 'leave' }, 2)).toEqual([{ kind: 'leave' }, { kind: 'leave' }])
})

it.each([
  { what: 'half of what its threads can', cpuSeconds: 2, idleSeconds: 3, expected: 0.5 },
  { what: 'all that was left', cpuSeconds: 1, idleSeconds: 0, expected: 1 },
  { what: 'half of what was left', cpuSeconds: 1, idleSeconds: 1, expected: 0.5 },
])('says that a client took $what', ({ cpuSeconds, idleSeconds, expected }) => {
  expect(shareOf({ seconds: 2, cpuSeconds }, 2, idleSeconds)).toBe(expected)
})

it('writes a table', () => {
  const rows = [['Postern', 'TLS', 'unix', '1.00 ±4%']]
  const head = ['peer', 'client leg', 'node leg', 'tps']
  expect(render({ title: 'T', commands: ['run'], notes: ['One.', 'Two.'], head, rows })).toBe(
    `### T

\`\`\`sh not-run
run
\`\`\`

One. Two.

| peer | client leg | node leg | tps |
| --- | --- | --- | ---: |
| Postern | TLS | unix | 1.00 ±4% |`,
  )
})

it.runIf(process.platform === 'linux')('counts the CPU of children and of threads', async () => {
  // A shell that waits for a Node, one of whose threads reckons for a while and ends.
  const burn =
    'const until = process.cpuUsage().user + 3e5; while (process.cpuUsage().user < until);'
  const script = `new (require('worker_threads').Worker)(\`${burn}\`, { eval: true }).on('exit', () => console.log('burnt')); setInterval(() => 0, 1e6)`
  const shell = spawn('/bin/sh', ['-c', 'read _; "$0" -e "$1"; :', process.execPath, script])
  try {
    const before = await readCpu(shell.pid ?? 0)
    const [usedBefore, others] = [await readUsed(process.pid), await watchOthers()]
    shell.stdin.write('\n')
    await once(shell.stdout, 'data')
    const used = cpuBetween(before, await readCpu(shell.pid ?? 0))
    expect(used).toBeGreaterThan(0.25)
    expect(used).toBeLessThan(5)
    expect((await readUsed(process.pid)) - usedBefore).toBeGreaterThan(0.25)
    expect(await others()).toBeLessThanOrEqual(1)
  } finally {
    for (const pid of (await readCpu(shell.pid ?? 0)).pids.toReversed())
      process.kill(pid, 'SIGKILL')
  }
})
