/** PostgreSQL's own programs that replicate: pg_recvlogical and pg_basebackup. */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Environment } from '../bench/program.ts'
import { CLIENT_GATES, converse, good, NEEDS } from './clients.ts'
import { libpqEnvironment, type Place } from './place.ts'
import { compareText, type Section, type Stage } from './section.ts'

const SLOT = 'compat_recvlogical'
const CHANGES = `BEGIN; INSERT INTO parents SELECT generate_series(1, 2000); UPDATE items SET name = 'changed' WHERE id < 9;
  DELETE FROM items WHERE id > 90; COMMIT; INSERT INTO taken VALUES (1, repeat('long ', 100000), '\\xff')`
/** What a server writes by itself, whoever copies it; and what is of the moment. */
const OF_THE_MOMENT =
  /^(?:pg_wal|pg_stat|backup_label|backup_manifest|pg_logical|pg_replslot|base\/pgsql_tmp)/

export const replication: Section = {
  name: 'replication',
  needs: [NEEDS.psql],
  run: async (stage) => [
    await compareText(
      stage,
      'pg_recvlogical 15: test_decoding, a slot made, read and dropped',
      stage.server.directTls,
      CLIENT_GATES,
      (place) => decoded(stage, place),
    ),
    // It refuses newer servers.
    ...(stage.server.version > 15
      ? []
      : [
          await compareText(
            stage,
            'pg_basebackup 15: the names of its files',
            stage.server.directTls,
            CLIENT_GATES,
            (place) => backedUp(stage, place),
          ),
        ]),
  ],
}

async function decoded({ server }: Stage, place: Place): Promise<string> {
  const env = libpqEnvironment(place, 'replica')
  const receive = (...args: string[]) =>
    converse('pg_recvlogical', ['-d', env['PGDATABASE'] ?? '', '-S', SLOT, ...args], env)
  const made = await receive('--create-slot', '-P', 'test_decoding')
  const psql = ['-X', '-q', '-c', CHANGES]
  await converse('psql', psql, libpqEnvironment(place, 'maxroach'))
  const { rows } = await server.admin.query('SELECT pg_current_wal_insert_lsn() AS lsn')
  const options = ['-o', 'include-xids=0', '--endpos', rows[0].lsn, '-f', '-', '--no-loop']
  const said = await receive('--start', ...options)
  const dropped = await receive('--drop-slot')
  return [made, said, dropped].map(good).join('\n')
}

async function backedUp({ dir }: Stage, place: Place): Promise<string> {
  const to = join(dir, 'basebackup')
  rmSync(to, { recursive: true, force: true })
  const env: Environment = libpqEnvironment(place, 'replica')
  good(await converse('pg_basebackup', ['-D', to, '-X', 'none', '-c', 'fast'], env))
  const names = readdirSync(to, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(to.length + 1))
    .filter((name) => !OF_THE_MOMENT.test(name) && !name.startsWith('base'))
  const version = readFileSync(join(to, 'PG_VERSION'), 'utf8')
  rmSync(to, { recursive: true, force: true })
  return [version, ...names.sort()].join('\n')
}
