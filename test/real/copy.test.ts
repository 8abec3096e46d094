/**
 * COPY of 100 MB both ways by psql, compared by checksum, through a `postern serve` of its own, whose
 * memory is watched: with a client that reads slowly, and with a node that does.
 */
import { createHash, type Hash } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { type Served, startServe } from '../support/serve.ts'
import {
  describeWith,
  expectNoToken,
  PSQL,
  psql,
  residentBytes,
  start,
  url,
} from '../support/tools.ts'

const postgres = inject('postgres')

const LINES = 1_000_000
/** A number, a tab, text: 104 bytes with the newline. */
const LINE_BYTES = 104
const BLOCK_LINES = 1_000
const STALL_MS = 1_000
/** Of the gate; without backpressure it would be the whole of it, or nearly. */
const GROWTH_MAX = 150 * 1024 * 1024

/** The node says that it will take the lines, and then doesn't for a while. */
const TABLE = `
create table lines (n text, line text);
create function stall() returns trigger language plpgsql as
  $$ begin perform pg_sleep(${STALL_MS / 1000}); return null; end $$;
create trigger stall before insert on lines execute function stall();`

describeWith('psql', 'COPY of 100 MB', () => {
  let gate: Served
  let peak: { stop(): Promise<number | undefined> }
  const env = { PGPASSWORD: '' }
  let to = ''

  beforeAll(async () => {
    gate = await startServe({ node: join(postgres.socketDir, `.s.PGSQL.${postgres.port}`) })
    env.PGPASSWORD = await gate.token('maxroach')
    to = url(gate.port, 'maxroach', { sslrootcert: gate.caFile })
    expect(await psql([to, '-c', TABLE], { env })).toMatchObject({ code: 0, stderr: '' })
    peak = watchMemory(gate.child.pid ?? 0)
  })
  afterAll(async () => {
    await psql([to, '-c', 'drop table lines; drop function stall'], { env })
    gate.child.kill('SIGTERM')
    const { code, stdout, stderr } = await gate.ended
    expect(code).toBe(0)
    expectNoToken(gate.minted, stdout, stderr, await gate.auditText())
  })

  it('up, to a node that is slow, and down, to a client that is', async () => {
    const sent = createHash('sha256')
    const up = start('psql', [...PSQL, to, '-c', '\\copy lines from pstdin'], { env })
    for (const block of blocks()) {
      sent.update(block)
      if (!up.child.stdin.write(block)) await once(up.child.stdin, 'drain')
    }
    up.child.stdin.end()
    expect(await up.ended).toMatchObject({ code: 0, stderr: '' })

    const received = createHash('sha256')
    const sql = 'set synchronize_seqscans = off'
    const down = start('psql', [...PSQL, to, '-c', sql, '-c', '\\copy lines to pstdout'], {
      env,
      raw: true,
    })
    const bytes = await readSlowly(down.child.stdout, received)
    expect(await down.ended).toMatchObject({ code: 0, stderr: '' })

    expect(bytes).toBe(LINES * LINE_BYTES)
    expect(received.digest('hex')).toBe(sent.digest('hex'))
    const grown = await peak.stop()
    if (process.platform === 'linux') expect(grown).toBeLessThan(GROWTH_MAX)
  })
})

function* blocks(): Generator<string> {
  for (let n = 0; n < LINES; n += BLOCK_LINES) {
    let block = ''
    for (let line = n; line < n + BLOCK_LINES; line++)
      block += `${String(line).padStart(7, '0')}\t${String(line * 7919).padStart(95, 'postern ')}\n`
    yield block
  }
}

/** Stalls near the beginning, and goes on. */
async function readSlowly(stream: NodeJS.ReadableStream, hash: Hash): Promise<number> {
  let bytes = 0
  let stalled = false
  for await (const chunk of stream) {
    hash.update(chunk)
    bytes += chunk.length
    if (stalled || bytes < 5_000_000) continue
    stalled = true
    await delay(STALL_MS)
  }
  return bytes
}

/** How much a process has grown at most, from now on. */
function watchMemory(pid: number) {
  const first = residentBytes(pid)
  let most = 0
  const timer = setInterval(async () => {
    most = Math.max(most, (await residentBytes(pid)) ?? 0)
  }, 25)
  return {
    async stop() {
      clearInterval(timer)
      const at = await first
      return at === undefined ? undefined : most - at
    },
  }
}
