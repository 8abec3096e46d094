/**
 * `npm run bench`: Postern beside what people would use in its place, on this machine, in one run or in
 * several. Prints what it found, and with --write keeps it as docs/benchmarks.md. Progress goes to stderr.
 */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { copy } from './copy.ts'
import { fairness } from './fairness.ts'
import { flat } from './flat.ts'
import { integrity } from './integrity.ts'
import { loopDelay } from './loop_delay.ts'
import { machine, OTHERS_MOST, othersNow, watchOthers } from './machine.ts'
import { memory } from './memory.ts'
import { openPeers } from './peers.ts'
import { type Ran, report } from './report.ts'
import { scaling } from './scaling.ts'
import type { Bench, Section } from './section.ts'
import { signIns } from './signins.ts'
import { openStage } from './stage.ts'
import { versions } from './tools.ts'
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

const USAGE = `npm run bench -- [--only NAME[,NAME]] [--rounds N] [--seconds N] [--times N] [--quick] [--write]
sections: ${SECTIONS.map(({ name, group }) => `${name} (${group})`).join(', ')}`

const DOCUMENT = join(import.meta.dirname, '../../docs/benchmarks.md')
/** What the document is made of. */
const TIMES_WRITTEN = 3

interface Wanted {
  sections: Section[]
  rounds: number
  seconds: number
  times: number
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
      times: { type: 'string' },
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
  const seconds = Number(values.seconds ?? 1)
  const times = Number(values.times ?? (write ? TIMES_WRITTEN : 1))
  if (
    sections.length === 0 ||
    !(rounds >= 1) ||
    !Number.isInteger(seconds) ||
    !(seconds >= 1) ||
    !(times >= 1)
  )
    throw new Error(USAGE)
  if (write && (quick || sections.length < SECTIONS.length))
    throw new Error('--write keeps a whole run alone, and no quick one')
  return { sections, rounds, seconds, times, quick, write }
}

/** All sections, once, on a stage of its own. */
async function runAll(wanted: Wanted, say: Bench['say']): Promise<Ran> {
  const started = performance.now()
  say('making certificates, a PostgreSQL and its data')
  const stage = await openStage()
  const peers = openPeers(stage)
  const warm: Bench['warm'] = new WeakSet()
  const ran: Ran = { tables: [], measured: {}, minutes: 0, others: {} }
  try {
    for (const section of wanted.sections) {
      const others = await watchOthers()
      const { tables, measured } = await section.run({ stage, peers, warm, say, ...wanted })
      ran.tables.push(...tables)
      Object.assign(ran.measured, measured)
      ran.others[section.name] = await others()
    }
    return { ...ran, minutes: (performance.now() - started) / 60_000 }
  } finally {
    await peers.close()
    await stage.close()
  }
}

/** What a run found stays in a file: a later one may fail. */
async function runTimes(wanted: Wanted, say: Bench['say']): Promise<Ran[]> {
  const dir = mkdtempSync(join(tmpdir(), 'postern-bench-runs-'))
  const runs: Ran[] = []
  while (runs.length < wanted.times) {
    runs.push(await runAll(wanted, say))
    const file = join(dir, `run-${runs.length}.json`)
    writeFileSync(file, JSON.stringify(runs.at(-1), null, 1))
    say(`run ${runs.length} of ${wanted.times} is done: ${file}`)
  }
  return runs
}

const args = process.argv.slice(2)
const wanted = readArguments(args)
const circumstances = { machine: machine(), versions: versions(), ...wanted }
const started = performance.now()
const say = (line: string) => {
  const seconds = Math.round((performance.now() - started) / 1000)
  process.stderr.write(`${String(seconds).padStart(4)} s  ${line}\n`)
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => process.exit(1))

const othersBefore = await othersNow()
if (othersBefore > OTHERS_MOST) {
  const busy = `the machine is not idle: others take ${Math.round(othersBefore * 100)} % of its CPU`
  if (wanted.write) throw new Error(`${busy}; --write wants it idle`)
  say(`${busy}: numbers will be rough`)
}
const runs = await runTimes(wanted, say)
const text = report(runs, {
  ...circumstances,
  othersBefore,
  command: ['npm run bench', ...(args.length > 0 ? ['--', ...args] : [])].join(' '),
  day: new Date().toISOString().slice(0, 10),
})
process.stdout.write(text)
if (wanted.write) writeFileSync(DOCUMENT, text)
