/**
 * Table 4: integrity. COPY out to a reader that sleeps, and COPY in to a node that does, over every pair of
 * legs that is measured: the MD5 of what arrives must be the one that the direct connection has.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { COPIES, type Copy, narrowFile, QUICK_SHARE } from './copy.ts'
import { nameOf } from './legs.ts'
import { labelOf, type Peer, type PeerSpec } from './peers.ts'
import { endOf, runClient, startClient } from './program.ts'
import type { Bench, Section } from './section.ts'
import type { Stage } from './stage.ts'
import { GROUPS } from './steady.ts'

const SHARE = 0.2
const PAUSE_BYTES = 8_000_000
const PAUSE_MS = 40
const STALL_S = 0.3

/** The node says that it will take the rows, and then doesn't for a while. */
const SLOW_NODE = [
  `CREATE OR REPLACE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS
     'BEGIN PERFORM pg_sleep(${STALL_S}); RETURN NULL; END'`,
  'CREATE OR REPLACE TRIGGER stall BEFORE INSERT ON taken EXECUTE FUNCTION stall()',
]

/** Checksums of one peer, by what was copied. */
type Sums = Record<string, string>

export const integrity: Section = {
  name: 'integrity',
  group: 'steady',
  async run(bench) {
    await runClient('psql', ['-Xq', ...SLOW_NODE.flatMap((sql) => ['-c', sql])], bench.stage.admin)
    const file = await narrowFile(bench, bench.quick ? QUICK_SHARE : SHARE)
    const all = GROUPS.flat()
    const expected = await sumsOf(bench, { name: 'direct', client: 'unix', node: undefined }, file)
    const rows: string[][] = []
    for (const spec of all) {
      bench.say(`integrity: ${labelOf(spec)} (${nameOf(spec)})`)
      const sums = await sumsOf(bench, spec, file)
      for (const [what, sum] of Object.entries(sums))
        if (sum !== expected[what])
          throw new Error(`${what} through ${labelOf(spec)}, ${nameOf(spec)}: another checksum`)
      rows.push([labelOf(spec), spec.client, spec.node ?? '', ...COPIES.map(() => 'equal')])
    }
    await runClient(
      'psql',
      ['-Xqc', 'DROP FUNCTION stall CASCADE; TRUNCATE taken'],
      bench.stage.admin,
    )
    const table = {
      title: 'Integrity: checksums with a slow reader and a slow node',
      commands: [],
      notes: [
        `The reader sleeps ${PAUSE_MS} ms after each ${PAUSE_BYTES / 1e6} MB, the node ${STALL_S} s before`,
        'the first row. MD5 of the stream out, and of the table after the way in, against the direct',
        'connection over a unix socket.',
      ],
      head: ['peer', 'client leg', 'node leg', ...COPIES.map(({ what }) => what)],
      rows,
    }
    return { tables: [table], measured: {} }
  },
}

async function sumsOf(bench: Bench, spec: PeerSpec, file: string): Promise<Sums> {
  const peer = await bench.peers.get(spec)
  const sums: Sums = {}
  for (const copy of COPIES)
    sums[copy.what] =
      copy.direction === 'out'
        ? await sumOut(peer, copy, bench.quick ? QUICK_SHARE : SHARE)
        : await sumIn(bench.stage, peer, file)
  return sums
}

async function sumOut(peer: Peer, copy: Copy, share: number): Promise<string> {
  const psql = startClient('psql', ['-Xqc', copy.sql(share)], peer.client)
  const ended = endOf(psql)
  const hash = createHash('md5')
  let sincePause = 0
  for await (const chunk of psql.stdout ?? []) {
    hash.update(chunk)
    sincePause += chunk.length
    if (sincePause < PAUSE_BYTES) continue
    sincePause = 0
    await delay(PAUSE_MS)
  }
  await ended
  return hash.digest('hex')
}

/** Of the table, in the order in which the rows came. */
async function sumIn({ admin }: Stage, peer: Peer, file: string): Promise<string> {
  await runClient('psql', ['-Xqc', 'TRUNCATE taken'], admin)
  const stdin = openSync(file, 'r')
  await runClient('psql', ['-Xqc', 'COPY taken FROM STDIN'], peer.client, { stdin })
  closeSync(stdin)
  const out = startClient('psql', ['-Xqc', 'COPY taken TO STDOUT'], admin)
  const hash = createHash('md5')
  const [ended] = [endOf(out), out.stdout?.on('data', (chunk: Buffer) => hash.update(chunk))]
  if (out.stdout !== null) await once(out.stdout, 'end')
  await ended
  return hash.digest('hex')
}
