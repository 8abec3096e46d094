/** The program itself: it finds what is there, says how to repeat it, and goes on. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { beforeAll, expect, test } from 'vitest'
import { TARGETS } from './broken_targets.ts'
import { fuzz } from './supervise.ts'
import type { Finding } from './target.ts'

async function run(seconds: number, stop = new AbortController().signal) {
  let said = ''
  const say = (text: string) => {
    said += text
  }
  const module = new URL('./broken_targets.ts', import.meta.url)
  const settings = { module, targets: TARGETS, seconds, seed: 7, say, stop, hangMs: 3_000 }
  return { findings: await fuzz(settings), said }
}

const of = (findings: Finding[], target: string) =>
  findings.filter((each) => each.target === target)

let long: Awaited<ReturnType<typeof run>>
beforeAll(async () => {
  long = await run(6)
})

test('finds what throws, hangs, grows and is caught by nobody, and goes on behind each', async () => {
  const { findings, said } = long
  expect(findings.map(({ target }) => target).sort()).toEqual([
    'broken/grows',
    'broken/hangs',
    'broken/rejects',
    'broken/throws',
  ])
  const [thrown] = of(findings, 'broken/throws')
  expect(thrown).toMatchObject({
    problem: expect.stringContaining('too much'),
    counterexample: '4711',
  })
  const [hanging] = of(findings, 'broken/hangs')
  expect(hanging?.problem).toContain('a case does not end in 3000 ms')
  expect(Number(hanging?.counterexample)).toBeGreaterThan(10)
  const [unheard] = of(findings, 'broken/rejects')
  expect(unheard?.problem).toContain('nobody hears of it')
  expect(said).toContain(`npm run fuzz -- --only broken/throws --seed ${thrown?.seed} --minutes 1`)
  expect(said).toMatch(/^broken\/nothing +\d+ +\d+\/s/m)
  expect(said).toMatch(/^broken\/nothing_again +[1-9]\d* /m)
  expect(said).toMatch(/findings: 4\n$/)
})

test('the seed that is told finds it again, in the first cases', async () => {
  const throwing = TARGETS.find(({ name }) => name === 'broken/throws')
  const open = await throwing?.open()
  const [thrown] = of(long.findings, 'broken/throws')
  const again = await open?.check({ seed: thrown?.seed ?? 0, cases: 200 })
  expect(again?.counterexample).toBe('4711')
})

test('one that is told to stop stops', async () => {
  const { findings, said } = await run(600, AbortSignal.abort())
  expect([findings, said.includes('findings: 0')]).toEqual([[], true])
})

test.each([
  [['--only', 'wire/phase', '--minutes', '0.001', '--seed', '5'], 0, /seed 5\nwire\/phase +\d+ /],
  [['--only', 'nobody'], 1, /npm run fuzz -- \[--minutes N\]/],
])('the command line: %j', async (args, code, says) => {
  const program = new URL('./fuzz.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [program, ...args])
  const [out, err, exit] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise((resolve) => child.once('close', resolve)),
  ])
  expect(exit).toBe(code)
  expect(out + err).toMatch(says)
})
