/**
 * pgbench in all its modes. What it prints holds times, so counts are compared, and all of the tables: one
 * seed makes the same changes, in whichever order clients come to them.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Environment } from '../bench/program.ts'
import { CLIENT_GATES, converse, good, NEEDS } from './clients.ts'
import { libpqEnvironment } from './place.ts'
import { compareText, type Section } from './section.ts'

const PIPELINE = `\\set aid random(1, 100000)
\\set delta random(-5000, 5000)
\\startpipeline
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
SELECT bid, tbalance FROM pgbench_tellers ORDER BY tid;
INSERT INTO pgbench_history (tid, bid, aid, delta) VALUES (1, 1, :aid, :delta);
\\endpipeline
SELECT :delta AS given \\gset
`

const RUNS: { args: string[]; pipeline?: true }[] = [
  ...['simple', 'extended', 'prepared'].flatMap((mode) =>
    ['tpcb-like', 'simple-update', 'select-only'].map((script) => ({
      args: ['-M', mode, '-b', script, '-c', '4', '-j', '2', '-t', '100'],
    })),
  ),
  ...['extended', 'prepared'].map((mode) => ({
    args: ['-M', mode, '-c', '4', '-j', '2', '-t', '100'],
    pipeline: true as const,
  })),
  { args: ['-M', 'prepared', '-b', 'tpcb-like', '-C', '-c', '2', '-t', '20'] },
]

const TABLES = [
  'SELECT md5(string_agg(t::text, $$,$$ ORDER BY aid)) FROM pgbench_accounts AS t',
  'SELECT * FROM pgbench_tellers ORDER BY tid',
  'SELECT * FROM pgbench_branches ORDER BY bid',
  'SELECT tid, bid, aid, delta FROM pgbench_history ORDER BY 1, 2, 3, 4',
]

export const pgbench: Section = {
  name: 'pgbench',
  needs: [NEEDS.pgbench, NEEDS.psql],
  async run(stage) {
    const script = join(stage.dir, 'pipeline.sql')
    writeFileSync(script, PIPELINE)
    const row = await compareText(
      stage,
      'pgbench 15: simple, extended, prepared, pipelines, a connection a transaction',
      stage.server.directTls,
      CLIENT_GATES,
      async (place) => {
        const env = libpqEnvironment(place, 'maxroach')
        const said = [await timeless(['-i', '-s', '1'], env)]
        for (const { args, pipeline } of RUNS) {
          const all = ['-n', '--random-seed=7', ...args, ...(pipeline ? ['-f', script] : [])]
          said.push(await timeless(all, env))
        }
        const look = ['-X', '-A', '-t', ...TABLES.flatMap((sql) => ['-c', sql])]
        return [...said, good(await converse('psql', look, env))].join('\n')
      },
    )
    return [row]
  },
}

/** @returns what it said but for times, which are those of the moment. */
async function timeless(args: string[], env: Environment): Promise<string> {
  const said = good(await converse('pgbench', args, env))
  return said
    .split('\n')
    .filter(
      (line) =>
        !/^(?:latency|tps|initial connection|average connection)|done in|elapsed/.test(line),
    )
    .join('\n')
    .replace(/\S*pipeline\.sql/g, 'pipeline.sql')
}
