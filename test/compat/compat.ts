/**
 * `npm run compat`: the proof that the gate is transparent. Everything is run at PostgreSQL itself and again
 * through gates, and compared byte for byte; a difference that differences.ts doesn't name ends it with 1. The
 * table goes to stdout, with --write into docs/compatibility.md as well; progress goes to stderr.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { hasDebianPostgres } from '../support/debian_postgres.ts'
import { dump } from './dump.ts'
import { type Gate, type GateSpec, startGate } from './gates.ts'
import { jdbc } from './jdbc.ts'
import { libpq, psql, psycopg2 } from './libpq.ts'
import { nodePostgres } from './node_postgres.ts'
import { pgbench } from './pgbench.ts'
import { replication } from './replication.ts'
import type { Compared, Need, Section, Stage } from './section.ts'
import { makeTrust, type Server, startServer, type Trust, type Version } from './servers.ts'
import { type Results, tables, withTables } from './tables.ts'
import { wire } from './wire.ts'

const SECTIONS: Section[] = [
  wire,
  psql,
  libpq,
  psycopg2,
  nodePostgres,
  jdbc,
  pgbench,
  dump,
  replication,
]

const USAGE = `npm run compat -- [--only NAME[,NAME]] [--server 15|18] [--write]
sections: ${SECTIONS.map(({ name }) => name).join(', ')}`

const DOCUMENT = join(import.meta.dirname, '../../docs/compatibility.md')

interface Wanted {
  sections: Section[]
  versions: Version[]
  write: boolean
}

function readArguments(args: string[]): Wanted {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string' },
      server: { type: 'string' },
      write: { type: 'boolean', default: false },
    },
  })
  const only = values.only?.split(',')
  const sections = SECTIONS.filter(({ name }) => only?.includes(name) ?? true)
  const versions = ([18, 15] as const).filter(
    (each) => String(each) === (values.server ?? `${each}`),
  )
  if (sections.length === 0 || versions.length === 0) throw new Error(USAGE)
  if (values.write && (sections.length < SECTIONS.length || versions.length < 2))
    throw new Error('--write keeps a whole run alone')
  return { sections, versions, write: values.write }
}

/** Fails with what is to be installed. */
function look({ sections, versions }: Wanted): void {
  const isThere = ({ program, args }: Need) => spawnSync(program, args).status === 0
  const needs = sections.flatMap(({ needs = [] }) => needs).filter((need) => !isThere(need))
  const missing = new Set(needs.map(({ debian }) => debian))
  if (versions.includes(15) && !hasDebianPostgres) missing.add('postgresql')
  if (missing.size > 0)
    throw new Error(
      `not installed: apt-get install --no-install-recommends ${[...missing].join(' ')}`,
    )
}

type Say = (line: string) => void

async function compat(wanted: Wanted, trust: Trust, say: Say): Promise<Results> {
  const results: Results = new Map()
  for (const version of wanted.versions) {
    say(`starting PostgreSQL ${version}`)
    const server = await startServer(version, trust)
    const gates = gatesOf(server)
    try {
      const rows: Compared[] = []
      const stage: Stage = { server, gate: gates.get, dir: trust.dir, say }
      for (const section of wanted.sections) {
        const found = await section.run(stage)
        for (const each of found.flatMap(({ differences }) => differences))
          say(`different, PostgreSQL ${version}: ${each}`)
        rows.push(...found)
      }
      results.set(`PostgreSQL ${version}`, rows)
    } finally {
      await gates.stop()
      await server.close()
    }
  }
  return results
}

/** One gate at a time. One that keeps sessions is started afresh: those of a dropped database are gone. */
function gatesOf(server: Server) {
  let running: { spec: GateSpec; gate: Gate } | undefined
  const stop = async () => {
    await running?.gate.stop()
    running = undefined
  }
  return {
    stop,
    async get(spec: GateSpec) {
      if (running !== undefined && running.spec === spec && !spec.warm) return running.gate
      await stop()
      running = { spec, gate: await startGate(spec, server) }
      return running.gate
    },
  }
}

const wanted = readArguments(process.argv.slice(2))
look(wanted)
const started = performance.now()
const say: Say = (line) => {
  const seconds = Math.round((performance.now() - started) / 1000)
  process.stderr.write(`${String(seconds).padStart(4)} s  ${line}\n`)
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => process.exit(1))
const dir = mkdtempSync(join(tmpdir(), 'postern-compat-'))
chmodSync(dir, 0o711)
process.once('exit', () => {
  if (existsSync(dir)) rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
})

const results = await compat(wanted, await makeTrust(dir), say)
const text = tables(results)
process.stdout.write(`${text}\n`)
if (wanted.write) writeFileSync(DOCUMENT, withTables(readFileSync(DOCUMENT, 'utf8'), text))
if ([...results.values()].flat().some(({ differences }) => differences.length > 0))
  process.exitCode = 1
