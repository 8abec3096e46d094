/**
 * `npm run bench`: Postern beside what people would use in its place, on this machine, in one run. Prints
 * what it found, and with --write keeps it as docs/benchmarks.md. Progress goes to stderr.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { copy } from './copy.ts'
import { fairness } from './fairness.ts'
import { flat } from './flat.ts'
import { integrity } from './integrity.ts'
import { loopDelay } from './loop_delay.ts'
import { memory } from './memory.ts'
import { openPeers } from './peers.ts'
import { report } from './report.ts'
import { scaling } from './scaling.ts'
import type { Bench, Result, Section } from './section.ts'
import { signIns } from './signins.ts'
import { openStage } from './stage.ts'
import { machine, versions } from './tools.ts'
import { transactions } from './transactions.ts'

const SECTIONS: Section[] = [
  transactions,
  copy,
  fairness,
  integrity,
  signIns,
  loopDelay,
  memory,
  flat,
  scaling,
]

const USAGE = `npm run bench -- [--only NAME[,NAME]] [--rounds N] [--seconds N] [--quick] [--write]
sections: ${SECTIONS.map(({ name, group }) => `${name} (${group})`).join(', ')}`

const DOCUMENT = join(import.meta.dirname, '../../docs/benchmarks.md')

interface Wanted {
  sections: Section[]
  rounds: number
  seconds: number
  quick: boolean
  write: boolean
}

function readArguments(args: string[]): Wanted {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  })
  const { quick, write } = values
  const only = values.only?.split(',')
  const sections = SECTIONS.filter(
    ({ name, group }) => only === undefined || only.includes(name) || only.includes(group),
  )
  const rounds = Number(values.rounds ?? (quick ? 1 : 3))
  const seconds = Number(values.seconds ?? (quick ? 1 : 2))
  if (sections.length === 0 || !(rounds >= 1) || !(seconds >= 1)) throw new Error(USAGE)
  if (write && sections.length < SECTIONS.length) throw new Error('--write keeps a whole run alone')
  return { sections, rounds, seconds, quick, write }
}

async function bench(wanted: Wanted, say: Bench['say']): Promise<Result[]> {
  say('making certificates, a PostgreSQL and its data')
  const stage = await openStage()
  const peers = openPeers(stage)
  try {
    const results: Result[] = []
    for (const section of wanted.sections)
      results.push(await section.run({ stage, peers, say, ...wanted }))
    return results
  } finally {
    await peers.close()
    await stage.close()
  }
}

const args = process.argv.slice(2)
const wanted = readArguments(args)
const circumstances = { machine: machine(), versions: versions(), ...wanted }
const started = performance.now()
const say = (line: string) => {
  const seconds = Math.round((performance.now() - started) / 1000)
  process.stderr.write(`${String(seconds).padStart(4)} s  ${line}\n`)
}
if (!circumstances.machine.idle)
  say(
    `the machine is not idle (load ${circumstances.machine.load.toFixed(2)}): numbers will be rough`,
  )
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => process.exit(1))

const results = await bench(wanted, say)
const text = report(results, {
  ...circumstances,
  command: ['npm run bench', ...(args.length > 0 ? ['--', ...args] : [])].join(' '),
  day: new Date().toISOString().slice(0, 10),
  minutes: (performance.now() - started) / 60_000,
})
process.stdout.write(text)
if (wanted.write) writeFileSync(DOCUMENT, text)
