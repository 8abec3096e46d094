/**
 * A PostgreSQL that keeps what gates share: its databases are made by the statements that `postern cluster
 * setup` prints. The superuser is `admin`; everybody else is let in as whom they say.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { stateBlocks } from '../../src/cluster/setup_state.ts'
import { startEmbeddedPostgres } from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import type { StatePlace } from '../../src/state/check.ts'
import type { StateNodes } from '../../src/state/session.ts'
import { startDebianPostgres } from './debian_postgres.ts'
import { nodeAt } from './managed_node.ts'

export interface StateNode {
  /** Of its unix socket. */
  address: string
  port: number
  nodes(): StateNodes
  /** As the superuser, in a database. */
  sql(text: string, database?: string): Promise<Record<string, unknown>[]>
  /** A role and a database of its own, both of one name, as setup prints it. */
  make(name: string): Promise<StatePlace>
  /** Away, with all its sessions; and there again, as it was: of version 18. */
  stop(): Promise<void>
  start(): Promise<void>
  close(): Promise<void>
}

export async function startStateNode(version: number): Promise<StateNode> {
  const dir = await mkdtemp(join(tmpdir(), 'postern-state-'))
  await chmod(dir, 0o711)
  const start = version === 15 ? startDebianPostgres : startEmbeddedPostgres
  const options = {
    dir,
    port: await freePort(),
    uid: process.getuid?.() ?? 0,
    platform: process.platform,
    arch: process.arch,
    hba: ['local all all trust', 'host all all 127.0.0.1/32 trust'],
    ident: [],
    sql: [{ database: 'postgres', statements: ['CREATE ROLE admin SUPERUSER LOGIN'] }],
  }
  let server = await start(options)
  const { socketDir: host, port } = server
  const address = join(host, `.s.PGSQL.${port}`)
  const sql: StateNode['sql'] = async (text, database = 'postgres') => {
    const client = new pg.Client({ host, port, user: 'admin', database })
    await client.connect()
    try {
      return (await client.query(text)).rows ?? []
    } finally {
      await client.end()
    }
  }
  return {
    address,
    port,
    nodes: () => nodesAt({ path: address }),
    sql,
    async make(name) {
      const place = { role: name, database: name }
      const blocks = stateBlocks(place, (role) => [`CREATE ROLE "${role}" LOGIN;`])
      const within = ['postgres', 'postgres', name]
      for (const [at, { lines }] of blocks.entries()) await sql(lines.join('\n'), within[at])
      return place
    },
    stop: () => server.stop(),
    async start() {
      server = await start(options)
    },
    async close() {
      await server.stop()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** One node, as a configuration would name it. */
export function nodesAt(
  address: { path: string } | { host: string; port: number },
  dialect: 'postgresql' | 'cockroachdb' = 'postgresql',
): StateNodes {
  const member = {
    node: nodeAt(address, dialect),
    healthUrl: undefined,
    weight: 1,
    priority: 0,
    locality: '',
  }
  return { entries: [{ kind: 'node', member }], connectTimeoutMs: 2_000 }
}
