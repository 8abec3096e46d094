/** What the comparison reckons with: rounds, ratios, verdicts, and CPU time that somebody really used. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, it } from 'vitest'
import { cpuBetween, readCpu } from './cpu.ts'
import { alternate, ratio, summarise } from './rounds.ts'
import { render } from './table.ts'
import { verdict } from './targets.ts'

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
  [[1], { median: 1, spread: 0 }],
  [[3, 1, 2], { median: 2, spread: 1 }],
  [[4, 1, 2, 3], { median: 2.5, spread: 1.2 }],
])('summarises %j', (values, expected) => {
  const samples = values.map((x) => ({ x }))
  expect(summarise(samples, 'x')).toEqual(expected)
})

it('reckons ratios within a round', () => {
  const of = [{ x: 10 }, { x: 200 }, { x: 3 }]
  const by = [{ x: 5 }, { x: 100 }, { x: 1 }]
  expect(ratio(of, by, 'x')).toEqual({ median: 2, spread: 0.5 })
  expect(() => ratio(of, [{ x: 1 }], 'x')).toThrow('no figure x was measured')
})

it.each([
  [{ atMost: 1.45 }, 1.45, 'met'],
  [{ atMost: 1.45 }, 1.6, 'missed by 11 %'],
  [{ atLeast: 0.9 }, 0.95, 'met'],
  [{ atLeast: 0.9 }, 0.45, 'missed by 50 %'],
])('says of %j at %d: %s', (bound, value, expected) => {
  expect(verdict(bound, value)).toBe(expected)
})

it('writes a table', () => {
  const rows = [['Postern', 'TLS', 'unix', '1.00 ±4%']]
  const head = ['peer', 'client leg', 'node leg', 'tps']
  expect(render({ title: 'T', commands: ['run'], notes: ['One.', 'Two.'], head, rows })).toBe(
    `### T

\`\`\`sh
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
    shell.stdin.write('\n')
    await once(shell.stdout, 'data')
    const used = cpuBetween(before, await readCpu(shell.pid ?? 0))
    expect(used).toBeGreaterThan(0.25)
    expect(used).toBeLessThan(5)
  } finally {
    for (const pid of (await readCpu(shell.pid ?? 0)).pids.toReversed())
      process.kill(pid, 'SIGKILL')
  }
})
