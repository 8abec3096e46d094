/**
 * `npm run fuzz`: cases for every target until the time is over, what was judged of each, and how to
 * repeat what was found. See docs/fuzzing.md.
 */
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { fuzz } from './supervise.ts'
import { TARGETS } from './targets.ts'

const MINUTES = 10
const SEED_MAX = 2 ** 31 - 1
const USAGE = `npm run fuzz -- [--minutes N] [--only NAME[,NAME]] [--seed N]
a name is a target's or its room's: ${TARGETS.map(({ name }) => name).join(' ')}`

function readArguments(args: string[]) {
  const { values } = parseArgs({
    args,
    options: { minutes: { type: 'string' }, only: { type: 'string' }, seed: { type: 'string' } },
  })
  const only = values.only?.split(',')
  const isWanted = (name: string) =>
    only === undefined || only.some((each) => name === each || name.startsWith(`${each}/`))
  const targets = TARGETS.filter(({ name }) => isWanted(name))
  const minutes = Number(values.minutes ?? MINUTES)
  const seed = Number(values.seed ?? randomInt(SEED_MAX))
  const isSeed = Number.isInteger(seed) && seed >= 0 && seed <= SEED_MAX
  if (targets.length === 0 || !(minutes > 0) || !isSeed) throw new Error(USAGE)
  return { targets, seconds: minutes * 60, seed }
}

const interrupted = new AbortController()
process.once('SIGINT', () => interrupted.abort())
const findings = await fuzz({
  ...readArguments(process.argv.slice(2)),
  module: new URL('./targets.ts', import.meta.url),
  say: (text) => void process.stdout.write(text),
  stop: interrupted.signal,
})
process.exitCode = findings.length === 0 ? 0 : 1
