/**
 * COPY both ways over every pair of legs, while the reader sleeps: a client that takes the rows with pauses,
 * a node that doesn't take them for a while. What arrives has the checksum of what was sent.
 */
import { createHash, type Hash } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { describeWith, keepFile, PSQL, psql, start, url } from '../support/tools.ts'

const postgres = inject('postgres')
const admin = ['-h', postgres.host, '-p', String(postgres.port), '-U', 'postgres', 'trustdb']
const tcp = `${postgres.host}:${postgres.port}`

/** Rows of 84 bytes and of 100 KB: many a read, and many reads a row. More than sockets hold by themselves. */
const NARROW = { row: 84, rows: 120_000 }
const WIDE = { row: 100_000, rows: 100 }
const PAUSE_BYTES = 3_000_000
const PAUSE_MS = 50
const STALL_MS = 200

/** The node says that it will take the rows, and then doesn't for a while. */
const TABLE = `
create table slow_reader (line text);
grant all on slow_reader to postern_users;
create function slow_reader() returns trigger language plpgsql as
  $$ begin perform pg_sleep(${STALL_MS / 1000}); return null; end $$;
create trigger slow before insert on slow_reader execute function slow_reader();`
/** Of all rows, in the order in which they came, each with the end of its line. */
const SUM = `select encode(sha256(convert_to(rows, 'UTF8')), 'hex')
  from (select string_agg(line || e'\\n', '' order by ctid) as rows from slow_reader) as joined`
const DROP = 'drop table slow_reader; drop function slow_reader;'

const NODES = [
  { node: 'unix', address: join(postgres.socketDir, `.s.PGSQL.${postgres.port}`) },
  { node: 'plaintext', address: tcp },
  { node: 'TLS', address: tcp, sslnegotiation: 'postgres' },
  { node: 'direct TLS', address: tcp, sslnegotiation: 'direct' },
]
const LEGS = NODES.flatMap((node) => [
  { ...node, client: 'plaintext', sslmode: 'disable' },
  { ...node, client: 'TLS', sslmode: 'verify-full' },
])

describeWith('psql', 'a reader that sleeps', () => {
  let caFile = ''
  let gates: Map<string, TestGate>
  let sent: string
  const all = [...lines(NARROW), ...lines(WIDE)].join('')

  beforeAll(async () => {
    expect(await psql([...admin, '-c', TABLE])).toMatchObject({ code: 0, stderr: '' })
    const gateOf = async ({ node, address, sslnegotiation }: (typeof NODES)[number]) => {
      const nodeTls = { ca_file: 'node-ca.crt', sslnegotiation }
      const gate = await startGate({
        node: address,
        listener: { allow_plaintext: true },
        ...(node === 'unix' ? {} : { cluster: { sign_in: 'trust' } }),
        ...(sslnegotiation === undefined ? {} : { nodeTls }),
        files: { '/etc/postern/node-ca.crt': postgres.caPem },
      })
      return [node, gate] as const
    }
    gates = new Map(await Promise.all(NODES.map(gateOf)))
    caFile = await keepFile('ca.crt', [...gates.values()][0]?.caPem ?? '')
    sent = await keepFile('lines', all)
  })
  afterAll(async () => {
    await Promise.all([...gates.values()].map((gate) => gate.close()))
    await psql([...admin, '-c', DROP])
  })

  async function connection(legs: (typeof LEGS)[number]) {
    const gate = gates.get(legs.node)
    if (gate === undefined) throw new Error('every node has a gate')
    const tls = legs.client === 'TLS' ? { sslrootcert: caFile } : {}
    const to = url(gate.port, 'maxroach', { database: 'trustdb', sslmode: legs.sslmode, ...tls })
    return { to, env: { PGPASSWORD: await gate.token('maxroach') } }
  }

  describe.each(LEGS)('$client, and $node to the node', (legs) => {
    it.each([NARROW, WIDE])('gets $rows rows of $row bytes', async ({ row, rows }) => {
      const { to, env } = await connection(legs)
      const sql = `copy (select lpad(n::text, ${row - 1}, 'postern ')
        from (select generate_series(1, ${rows}) as n) as series) to stdout`
      const out = start('psql', [...PSQL, to, '-c', sql], { env, raw: true })
      const received = createHash('sha256')
      await readSlowly(out.child.stdout, received)
      expect(await out.ended).toMatchObject({ code: 0, stderr: '' })
      expect(received.digest('hex')).toBe(sumOf(lines({ row, rows })))
    })

    it('sends rows of both kinds', async () => {
      const { to, env } = await connection(legs)
      const sql = ['truncate slow_reader', `\\copy slow_reader from '${sent}'`]
      const done = await psql([to, ...sql.flatMap((each) => ['-c', each])], { env })
      expect(done).toMatchObject({ code: 0, stderr: '' })
      const sum = await psql([...admin, '-c', SUM])
      expect(sum.stdout.trim()).toBe(createHash('sha256').update(all).digest('hex'))
    })
  })
})

/** As PostgreSQL's lpad makes them. */
function* lines({ row, rows }: typeof NARROW): Generator<string> {
  const padding = 'postern '.repeat(Math.ceil(row / 8))
  for (let n = 1; n <= rows; n++) yield `${padding.slice(0, row - 1 - String(n).length)}${n}\n`
}

function sumOf(texts: Iterable<string>): string {
  const hash = createHash('sha256')
  for (const text of texts) hash.update(text)
  return hash.digest('hex')
}

async function readSlowly(stream: NodeJS.ReadableStream, hash: Hash): Promise<void> {
  let sincePause = 0
  for await (const chunk of stream) {
    hash.update(chunk)
    sincePause += chunk.length
    if (sincePause < PAUSE_BYTES) continue
    sincePause = 0
    await delay(PAUSE_MS)
  }
}
