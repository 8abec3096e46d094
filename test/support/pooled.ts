/**
 * A gate that keeps node sessions, in front of a PostgreSQL of its own, and clients that take them, use
 * them and give them back. The roles maxroach and carl may come in from 127.0.0.1.
 */
import { expect } from 'vitest'
import { hasDebianPostgres } from './debian_postgres.ts'
import { type FreshNode, startFreshNode, type Version } from './fresh_node.ts'
import { type GateOptions, startGate, type TestGate } from './gate.ts'
import { ISSUER } from './tokens.ts'
import {
  fields,
  message,
  openPlain,
  query,
  refusalOf,
  signIn,
  type WireClient,
} from './wire_client.ts'

/** As in test/support/managed_node.ts: where Debian's is installed, and always where all is to be tested. */
export const VERSIONS: Version[] =
  hasDebianPostgres || process.env['CI'] !== undefined ? [18, 15] : [18]
export const TERMINATE = message('X', '')

export interface Guest {
  client: WireClient
  /** What it was told of settings. */
  settings: Record<string, string>
  cancelKey: Buffer
  /** Rows of one Query, all values as text; throws what the node refuses. */
  ask(sql: string): Promise<(string | null)[][]>
  /** The process behind it. */
  pid(): Promise<number>
  /** Says Terminate, and waits for the end. */
  leave(): Promise<void>
}

export interface PooledGate {
  gate: TestGate
  node: FreshNode
  /** @param sub - the principal, or its token, where that is not the user; the map lets anybody be `shared`. */
  enter(user?: string, parameters?: Record<string, string>, sub?: string): Promise<Guest>
  refusal(user: string, parameters?: Record<string, string>): Promise<unknown>
  /** A metric's value, 0 where there is none. */
  count(metric: string): Promise<number>
  /** Waits until so many sessions are idle. */
  idle(sessions: number): Promise<void>
  /** How many were closed for this reason. */
  closedFor(why: string): Promise<number>
  close(): Promise<void>
}

const HBA = [
  'local all admin trust',
  'host all sam 127.0.0.1/32 scram-sha-256',
  'host all all 127.0.0.1/32 trust',
]
/** Of the role sam, whom the node asks for it. */
export const SECRET = 'a secret of the role'
const MAP = 'ISSUER /^(.*)$ \\1\nISSUER /^.*$ shared'

export async function startPooledNode(version: Version): Promise<FreshNode> {
  const node = await startFreshNode(version, HBA)
  await node.sql('CREATE ROLE maxroach LOGIN; CREATE ROLE carl LOGIN; CREATE ROLE shared LOGIN')
  await node.sql(`CREATE ROLE sam LOGIN PASSWORD '${SECRET}'`)
  return node
}

/** @param pool - keys of `pool`; its mode is session. */
export async function startPooledGate(
  node: FreshNode,
  pool: Record<string, unknown> = {},
  more: Partial<GateOptions> = {},
): Promise<PooledGate> {
  const gate = await startGate({
    node: `127.0.0.1:${node.port}`,
    listener: { allow_plaintext: true },
    ...more,
    cluster: {
      pool: { mode: 'session', ...pool },
      'server.identity_map.configuration': MAP.replaceAll('ISSUER', ISSUER),
      'server.identity_map.allow_unanchored': true,
      ...more.cluster,
    },
  })
  const tokens = new Map<string, string>()
  const tokenOf = async (sub: string) => {
    if (sub.includes('.')) return sub
    const token = tokens.get(sub) ?? (await gate.token(sub))
    tokens.set(sub, token)
    return token
  }
  const come = async (user: string, parameters: Record<string, string>, sub = user) => {
    const client = await openPlain({ host: '127.0.0.1', port: gate.port })
    const token = await tokenOf(sub)
    const said = await signIn(client, { user, database: 'postgres', ...parameters }, token)
    return { client, said }
  }
  const count = async (metric: string) => {
    const text = await (await fetch(`${gate.opsUrl}/metrics`)).text()
    const line = text.split('\n').find((each) => each.startsWith(`${metric} `))
    return Number(line?.split(' ').at(-1) ?? 0)
  }
  return {
    gate,
    node,
    count,
    async enter(user = 'maxroach', parameters = {}, sub = user) {
      const { client, said } = await come(user, parameters, sub)
      expect(refusalOf(said)).toBeUndefined()
      return guest(client, said)
    },
    async refusal(user, parameters = {}) {
      const { client, said } = await come(user, parameters)
      client.close()
      return refusalOf(said)
    },
    closedFor: (why) => count(`postern_pool_closed_total{cluster="test",why="${why}"}`),
    async idle(sessions) {
      const now = () => count('postern_pool_idle{cluster="test"}')
      await expect.poll(now, { interval: 2, timeout: 5_000 }).toBe(sessions)
    },
    close: gate.close,
  }
}

function guest(client: WireClient, said: { type: string; body: Buffer }[]): Guest {
  const settings = said
    .filter(({ type }) => type === 'S')
    .map(({ body }) => body.toString().split('\0').slice(0, 2) as [string, string])
  const ask: Guest['ask'] = async (sql) => {
    client.write(query(sql))
    const answer = await client.until('Z')
    const error = answer.find(({ type }) => type === 'E')
    if (error !== undefined) throw new Error(fields(error.body)['M'])
    return answer.filter(({ type }) => type === 'D').map(({ body }) => values(body))
  }
  return {
    client,
    settings: Object.fromEntries(settings),
    cancelKey: Buffer.from(said.find(({ type }) => type === 'K')?.body ?? ''),
    ask,
    pid: async () => Number((await ask('SELECT pg_backend_pid()'))[0]?.[0]),
    async leave() {
      client.write(TERMINATE)
      while ((await client.next()) !== undefined);
      client.close()
    },
  }
}

function values(row: Buffer): (string | null)[] {
  const found: (string | null)[] = []
  for (let at = 2; at < row.length; ) {
    const size = row.readInt32BE(at)
    at += 4
    found.push(size < 0 ? null : row.toString('utf8', at, at + size))
    at += Math.max(size, 0)
  }
  return found
}
