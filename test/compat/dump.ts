/**
 * pg_dump of a database with every kind of object, and back in by psql. Debian's pg_dump 15 refuses newer servers,
 * so on PostgreSQL 18 the sample goes in by psql, and what the catalogue says of it is compared.
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { CLIENT_GATES, converse, good, NEEDS, whole } from './clients.ts'
import { libpqEnvironment, type Place } from './place.ts'
import { DEFINITIONS, SAMPLE, SUBSCRIPTION } from './sample.ts'
import { compareText, type Section, type Stage } from './section.ts'

const COPY = 'compat_restored'
const STRICT = ['-X', '-q', '-v', 'ON_ERROR_STOP=1']

export const dump: Section = {
  name: 'dump',
  needs: [NEEDS.psql],
  run: async (stage) => [
    await compareText(
      stage,
      'a database with every kind of object: in by psql 15, its definitions and rows out',
      stage.server.directTls,
      CLIENT_GATES,
      async (place) => {
        await clear(stage)
        const env = libpqEnvironment(place, 'boss')
        const made = good(await converse('psql', STRICT, env, SAMPLE))
        const out = good(await converse('psql', [...STRICT, '-A', '-t', '-e'], env, DEFINITIONS))
        await unsubscribe(place)
        return `${made}\n${out}`
      },
    ),
    await compareText(
      stage,
      stage.server.version === 15
        ? 'pg_dump 15: plain and in again by psql 15, as a directory by two jobs, as INSERTs; pg_dumpall -g'
        : 'pg_dump 15, which refuses so new a server',
      stage.server.directTls,
      CLIENT_GATES.slice(0, stage.server.version === 15 ? CLIENT_GATES.length : 1),
      async (place) => {
        await clear(stage)
        const env = libpqEnvironment(place, 'boss')
        good(await converse('psql', STRICT, env, SAMPLE))
        const said = await dumped(stage, place)
        await unsubscribe(place)
        return said
      },
    ),
  ],
}

/** Without what the last one left behind outside of the database. */
async function clear({ server }: Stage): Promise<void> {
  await server.admin.query(`DROP DATABASE IF EXISTS ${COPY} WITH (FORCE)`)
  await server.reset()
}

async function dumped({ server, dir }: Stage, place: Place): Promise<string> {
  const env = libpqEnvironment(place, 'boss')
  const plain = await converse('pg_dump', ['--no-sync'], env)
  if (plain.code !== 0) return whole(plain).replaceAll(String(place.port), 'PORT')
  const inserts = await converse('pg_dump', ['--inserts', '--rows-per-insert=7', '--create'], env)
  const directory = join(dir, 'dumped')
  rmSync(directory, { recursive: true, force: true })
  const byTwo = await converse('pg_dump', ['-Fd', '-j', '2', '-f', directory], env)
  const back = await converse('pg_restore', ['-f', '-', directory], {})
  await server.admin.query(`CREATE DATABASE ${COPY} OWNER maxroach`)
  const to = libpqEnvironment(place, 'boss', COPY)
  const restored = await converse('psql', STRICT, to, plain.stdout)
  const again = await converse('pg_dump', ['--no-sync'], to)
  const same =
    withoutKeys(again.stdout) === withoutKeys(plain.stdout)
      ? 'the copy is the same'
      : 'the copy is another'
  const globals = await converse('pg_dumpall', ['-g', '-l', 'postgres'], env)
  const listed = back.stdout.replace(/^(?:; Archive created|;\s+dbname).*$/gm, '')
  await unsubscribe(place, COPY)
  const all = [plain, inserts, byTwo, { ...back, stdout: listed }, restored, globals]
  return withoutKeys([...all.map(good), same].join('\n'))
}

/** A database with a subscription can't be dropped. */
async function unsubscribe(place: Place, database?: string): Promise<void> {
  const sql = `ALTER SUBSCRIPTION ${SUBSCRIPTION} SET (slot_name = NONE); DROP SUBSCRIPTION ${SUBSCRIPTION}`
  good(await converse('psql', STRICT, libpqEnvironment(place, 'boss', database), sql))
}

/** Those of \restrict are made anew for each dump. */
function withoutKeys(dump: string): string {
  return dump.replace(/^(\\(?:un)?restrict) .*$/gm, '$1')
}
