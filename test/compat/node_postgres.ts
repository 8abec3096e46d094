/** node-postgres: queries, prepared statements, its pipelining, a cursor by its raw connection, COPY, notifications. */
import { once } from 'node:events'
import pg from 'pg'
import { CLIENT_GATES } from './clients.ts'
import { DATABASE, optionsFor, type Place } from './place.ts'
import { compareText, type Section } from './section.ts'

export const nodePostgres: Section = {
  name: 'pg',
  run: async (stage) => [
    await compareText(stage, 'node-postgres 8', stage.server.directTls, CLIENT_GATES, converse),
  ],
}

type Say = (...what: unknown[]) => void

async function converse(place: Place): Promise<string> {
  const lines: string[] = []
  const say: Say = (...what) => lines.push(what.map((each) => JSON.stringify(each)).join(' '))
  for (const part of [queries, prepared, pipelined, cursor, copy, notifications]) {
    say(`# ${part.name}`)
    const client = await connect(place, part === pipelined)
    client.on('notice', ({ message, code, severity, detail }) =>
      say('notice', severity, code, message, detail),
    )
    client.on('error', ({ message }) => say('error', message))
    await part(client, say, place)
    await client.end()
  }
  return lines.join('\n')
}

async function connect(place: Place, pipeline = false): Promise<pg.Client> {
  const { port, tls, tokens } = place
  const how = {
    ...{ host: '127.0.0.1', port, user: 'maxroach', password: tokens.maxroach, pipeline },
    ...{ database: DATABASE, ssl: tls === undefined ? false : { ca: tls.pem } },
    options: optionsFor(place),
  }
  const client = new pg.Client(how)
  await client.connect()
  return client
}

async function ask(client: pg.Client, say: Say, query: string | pg.QueryConfig): Promise<void> {
  try {
    const answers = await client.query(query)
    for (const { command, rowCount, fields, rows } of [answers].flat())
      say(
        command,
        rowCount,
        fields.map(({ name, dataTypeID, tableID, format }) => [name, dataTypeID, tableID, format]),
        rows.slice(0, 5),
      )
  } catch (thrown) {
    if (!(thrown instanceof pg.DatabaseError)) throw thrown
    say({ ...thrown, message: thrown.message, stack: undefined })
  }
}

async function queries(client: pg.Client, say: Say): Promise<void> {
  for (const sql of [
    'SELECT 1 AS one; SELECT 2 AS two',
    'SELECT * FROM everything',
    'SELECT 1/0',
    "SELECT shout('notice', 'heard')",
    "SELECT shout('error', 'all fields')",
    'BEGIN; SELECT 1',
    'SELECT nothing',
    'SELECT 1',
    'ROLLBACK',
    '',
    "SELECT repeat('x', 1000000) AS wide",
  ])
    await ask(client, say, sql)
  await ask(client, say, { text: 'SELECT $1::int + 1 AS sum, $2 AS text', values: [41, 'ü'] })
  await ask(client, say, { text: 'SELECT $1::int', values: ['x'] })
}

async function prepared(client: pg.Client, say: Say): Promise<void> {
  for (const id of [1, 2, 'x', 3])
    await ask(client, say, {
      name: 'by name',
      text: 'SELECT * FROM items WHERE id = $1',
      values: [id],
    })
  const binary: pg.QueryConfig & { binary: boolean } = {
    text: 'SELECT id, name FROM items WHERE id < $1 ORDER BY id',
    values: [3],
    binary: true,
  }
  await ask(client, say, binary)
}

/** All are sent before the first is answered. */
async function pipelined(client: pg.Client, say: Say): Promise<void> {
  const asked = Array.from({ length: 200 }, (_, n) =>
    n === 100 ? 'SELECT 1/0' : { text: 'SELECT $1::int AS n', values: [n] },
  )
  const answers = asked.map((query) => ({ lines: [] as unknown[][], query }))
  await Promise.all(
    answers.map(({ lines, query }) => ask(client, (...what) => lines.push(what), query)),
  )
  for (const { lines } of answers) say(...lines)
}

/** Rows by three of a portal, as pg-cursor asks for them. */
async function cursor(client: pg.Client, say: Say): Promise<void> {
  const { connection } = client as pg.Client & { connection: pg.Connection }
  await ask(client, say, 'BEGIN')
  const rows: number[] = []
  const more = () => {
    connection.execute({ portal: 'c', rows: '3' }, true)
    connection.flush()
  }
  await new Promise<void>((resolve) => {
    client.query({
      submit() {
        connection.parse({ text: 'SELECT id FROM items ORDER BY id', name: '', types: [] }, true)
        connection.bind({ portal: 'c', statement: '' } as never, true)
        more()
      },
      handleRowDescription: () => undefined,
      handleDataRow: ({ fields }: { fields: string[] }) => void rows.push(Number(fields[0])),
      handlePortalSuspended() {
        say('suspended', rows.length)
        more()
      },
      handleCommandComplete() {
        say('complete', rows.length, rows)
        connection.sync()
      },
      handleReadyForQuery: () => resolve(),
      handleError: (error: Error) => say(error.message),
    } as unknown as pg.Submittable)
  })
  await ask(client, say, 'COMMIT')
}

/** node-postgres itself has no COPY: its raw connection does. */
async function copy(client: pg.Client, say: Say): Promise<void> {
  const { connection } = client as pg.Client & { connection: pg.Connection }
  const raw = connection as unknown as {
    sendCopyFromChunk(chunk: Buffer): void
    endCopyFrom(): void
    sendCopyFail(why: string): void
  }
  const copied = (sql: string, answer: () => void) =>
    new Promise<void>((resolve) => {
      const query = new pg.Query(sql) as pg.Query & Record<string, unknown>
      query['handleCopyInResponse'] = answer
      query['handleCopyData'] = ({ chunk }: { chunk: Buffer }) => say(chunk.toString())
      query.on('error', ({ message }: Error) => resolve(say(message)))
      query.on('end', ({ rowCount }) => resolve(say('copied', rowCount)))
      client.query(query)
    })
  await copied('COPY taken (id, line) FROM STDIN', () => {
    for (let id = 0; id < 2_000; id++) raw.sendCopyFromChunk(Buffer.from(`${id}\tline ${id}\n`))
    raw.endCopyFrom()
  })
  await copied('COPY taken (id, line) FROM STDIN', () => raw.sendCopyFail('changed its mind'))
  await copied('COPY (SELECT * FROM items ORDER BY id LIMIT 3) TO STDOUT', () => undefined)
  await ask(client, say, 'SELECT count(*), sum(id) FROM taken')
}

async function notifications(client: pg.Client, say: Say, place: Place): Promise<void> {
  await client.query('LISTEN here')
  const other = await connect(place)
  const heard = once(client, 'notification')
  await other.query("NOTIFY here, 'from another'")
  const [{ channel, payload }] = await heard
  say(channel, payload)
  await other.end()
}
