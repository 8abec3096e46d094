/**
 * Clients that come and go in every way that clients do: they ask and leave, cancel, give up half way
 * through a login, vanish in the middle of a statement or a COPY, or close one side alone. Each counts
 * what it did, so that a gate's own counts can be held against it.
 */
import { setTimeout as delay } from 'node:timers/promises'
import {
  cancelRequest,
  fields,
  JWT_OPTION,
  message,
  openPlain,
  openTls,
  password,
  query,
  refusalOf,
  signIn,
  sslRequest,
  startup,
  type WireClient,
} from './wire_client.ts'

export interface Weather {
  /** Of a listener that takes both, TLS and clear text. */
  port: number
  caPem: string
  /** How many at one time. */
  clients: number
  /** Once it is aborted, nobody comes again; those that are there finish what they do. */
  stop: AbortSignal
  /** How long a client that has left stays away, in milliseconds. */
  awayMs: number
  /** One that is good for maxroach, and one that isn't. */
  token(): Promise<string>
  badToken(): Promise<string>
}

export interface Done {
  connections: number
  /** Sessions that were seen to begin. Clients that left behind their token may have had more. */
  sessions: number
  cancels: number
  /** How often each way was gone. */
  ways: Record<string, number>
  /** What nobody expected. */
  troubles: string[]
}

/** They ask for this table: a COPY into it never comes to its end. */
export const CHURN_SQL = [
  'CREATE TABLE churned (line text)',
  'GRANT INSERT, SELECT ON churned TO postern_users',
]

export const APPLICATION = 'churn'
const USER = { user: 'maxroach', database: 'defaultdb', application_name: APPLICATION }
const TROUBLES_MAX = 20
/** The notice says that the node is at it. */
const sleep = (seconds: number) =>
  query(`do $$ begin raise notice 'asleep'; perform pg_sleep(${seconds}); end $$`)
/** The node gives up long before. */
const CANCELLED_SECONDS = 60
const LINE = message('d', `${'c'.repeat(1_000)}\n`)

/** Resolves when the last client has left. */
export async function churn(weather: Weather): Promise<Done> {
  const done: Done = { connections: 0, sessions: 0, cancels: 0, ways: {}, troubles: [] }
  const ways = Object.entries(waysOf(weather, done))
  const live = async (_: unknown, client: number) => {
    for (let round = client; !weather.stop.aborted; round++) {
      const [name, go] = ways[round % ways.length] as (typeof ways)[number]
      done.ways[name] = (done.ways[name] ?? 0) + 1
      await go().catch((thrown: unknown) => {
        if (done.troubles.length < TROUBLES_MAX) done.troubles.push(`${name}: ${thrown}`)
      })
      await delay(weather.awayMs)
    }
  }
  await Promise.all(Array.from({ length: weather.clients }, live))
  return done
}

function waysOf(weather: Weather, done: Done): Record<string, () => Promise<void>> {
  const { plain, tls, enter } = doors(weather, done)
  const copy = async () => {
    const { client } = await enter()
    client.write(query('copy churned from stdin'))
    await client.until('G')
    client.write(Buffer.concat([LINE, LINE, LINE.subarray(0, 100)]))
    return client
  }
  return {
    async 'asks and leaves'() {
      const { client } = await enter()
      for (let at = 0; at < 3; at++) {
        client.write(query('select count(*) from accounts'))
        expectTypes(await client.until('Z'), 'TDCZ')
      }
      await leave(client)
    },
    async 'cancels its statement'() {
      const { client, key } = await enter()
      client.write(sleep(CANCELLED_SECONDS))
      await client.until('N')
      const canceller = await plain()
      canceller.write(cancelRequest(key))
      done.cancels++
      await client.until('Z').then((said) => expectState(said, '57014'))
      canceller.close()
      await leave(client)
    },
    async 'vanishes in a statement'() {
      const { client } = await enter()
      client.write(sleep(0.2))
      await client.until('N')
      client.close()
    },
    async 'vanishes in a transaction'() {
      const { client } = await enter()
      client.write(query("begin; insert into churned values ('never')"))
      await client.until('Z')
      client.close()
    },
    async 'vanishes in a COPY'() {
      const client = await copy()
      client.close()
    },
    async 'vanishes under rows, with a reset'() {
      const { client } = await enter()
      client.write(query("select repeat('r', 1000) from generate_series(1, 5000)"))
      await client.until('D')
      client.socket.pause()
      client.close()
    },
    // Without TLS: Node's own may lose what comes while it half closes.
    async 'half closes in a statement'() {
      const { client } = await enter(plain)
      client.write(sleep(0.1))
      await client.until('N')
      client.socket.end()
      expectTypes(await toTheEnd(client), 'CZ')
    },
    async 'half closes in a COPY'() {
      const client = await copy()
      client.socket.end()
      await toTheEnd(client)
    },
    async 'says nothing'() {
      await toTheEnd(await plain())
    },
    async 'resets before TLS'() {
      const client = await plain()
      client.write(sslRequest())
      await client.bytes(1)
      client.socket.resetAndDestroy()
    },
    async 'leaves before its token'() {
      const client = await tls()
      client.write(startup({ ...USER, ...JWT_OPTION }))
      await client.until('R')
      client.close()
    },
    async 'leaves behind its token'() {
      const client = await tls()
      client.write(startup({ ...USER, ...JWT_OPTION }))
      await client.until('R')
      client.write(password(await weather.token()))
      client.close()
    },
    async 'brings a bad token'() {
      const client = await tls()
      expectState(await signIn(client, USER, await weather.badToken()), '28000')
      await toTheEnd(client)
    },
  }
}

/** The ways in, which are counted. */
function doors({ port, caPem, token }: Weather, done: Done) {
  const plain = async () => {
    const client = await openPlain({ host: '127.0.0.1', port })
    done.connections++
    return client
  }
  const tls = async () => {
    const client = await openTls(port, caPem)
    done.connections++
    return client
  }
  const enter = async (by = tls) => {
    const client = await by()
    const said = await signIn(client, USER, await token())
    const refusal = refusalOf(said)
    if (refusal !== undefined || said.at(-1)?.type !== 'Z')
      throw new Error(`was not let in: ${JSON.stringify(refusal)}`)
    done.sessions++
    return { client, key: said.find(({ type }) => type === 'K')?.body ?? Buffer.alloc(0) }
  }
  return { plain, tls, enter }
}

async function leave(client: WireClient): Promise<void> {
  client.write(message('X', ''))
  await toTheEnd(client)
}

/** What the gate still says before it closes. */
async function toTheEnd(client: WireClient): Promise<{ type: string; body: Buffer }[]> {
  const said = []
  for (;;) {
    const next = await client.next()
    if (next === undefined) break
    said.push(next)
  }
  client.close()
  return said
}

function expectTypes(said: { type: string }[], types: string): void {
  const found = said.map(({ type }) => type).join('')
  if (found !== types) throw new Error(`heard ${found} instead of ${types}`)
}

function expectState(said: { type: string; body: Buffer }[], sqlstate: string): void {
  const error = said.find(({ type }) => type === 'E')
  const found = error && fields(error.body)['C']
  if (found !== sqlstate) throw new Error(`heard ${found} instead of ${sqlstate}`)
}
