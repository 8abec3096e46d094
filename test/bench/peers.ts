/**
 * The peers of the comparison. Each is a process tree of its own for one pair of legs, started when it is
 * first asked for; a client is told by libpq's environment variables how to come to it.
 * https://www.postgresql.org/docs/current/libpq-envars.html
 */
import { freePort } from '../../src/dev/free_port.ts'
import { startHaproxy } from './haproxy.ts'
import { type Legs, nameOf } from './legs.ts'
import { startPgbouncer } from './pgbouncer.ts'
import { startPostern } from './postern.ts'
import type { Environment, Server } from './program.ts'
import { APP, DATABASE, DIRECT, PASSWORD, type Stage } from './stage.ts'

export type PeerName = 'direct' | 'Postern' | 'PgBouncer' | 'PgBouncer 64K' | 'HAProxy'

export interface PeerSpec extends Legs {
  name: PeerName
  /** A settings file of its own; unless told, one process serves all who ask for the name and the legs. */
  variant?: {
    /** Distinguishes it in the tables. */
    label: string
    /** Top level of Postern's configuration, over the usual. */
    postern?: Record<string, unknown>
    /** Its cluster's section, over the usual. */
    cluster?: Record<string, unknown>
    /** Options of Node itself, for Postern. */
    node?: string[]
    /** Lines of pgbouncer.ini, over the usual. */
    pgbouncer?: Record<string, string | number>
  }
}

export interface Peer {
  spec: PeerSpec
  /** Its first process; undefined for `direct`. */
  pid: number | undefined
  /** TCP port of 127.0.0.1; for `direct` the node's. */
  port: number
  /** For libpq: where, who, as what, over TLS or not. */
  client: Environment
}

export interface Peers {
  get(spec: PeerSpec): Promise<Peer>
  /** Ends one, so that the next who asks gets a fresh one. */
  end(peer: Peer): Promise<void>
  close(): Promise<void>
}

export function labelOf({ name, variant }: PeerSpec): string {
  return variant === undefined ? name : `${name}, ${variant.label}`
}

export function openPeers(stage: Stage): Peers {
  const open = new Map<string, { peer: Peer; server: Server | undefined }>()
  const keyOf = (spec: PeerSpec) => `${labelOf(spec)} ${nameOf(spec)}`
  return {
    async get(spec) {
      const found = open.get(keyOf(spec)) ?? (await start(stage, spec))
      open.set(keyOf(spec), found)
      return found.peer
    },
    async end({ spec }) {
      const found = open.get(keyOf(spec))
      open.delete(keyOf(spec))
      await found?.server?.stop()
    },
    async close() {
      const servers = [...open.values()].map(({ server }) => server?.stop())
      open.clear()
      await Promise.all(servers)
    },
  }
}

async function start(stage: Stage, spec: PeerSpec) {
  const isDirect = spec.name === 'direct'
  const port = isDirect ? stage.node.port : await freePort()
  const server = isDirect ? undefined : await startProxy(stage, spec, port)
  return {
    peer: { spec, port, pid: server?.pid, client: await clientOf(stage, spec, port) },
    server,
  }
}

/** What a peer's starter is handed. */
export interface ProxyOptions {
  stage: Stage
  spec: PeerSpec
  port: number
  /** Of a directory of its own. */
  directoryName: string
}

async function startProxy(stage: Stage, spec: PeerSpec, port: number): Promise<Server> {
  const options = { stage, spec, port, directoryName: `peer-${port}` }
  switch (spec.name) {
    case 'Postern':
      return await startPostern(options)
    case 'HAProxy':
      return await startHaproxy(options)
    default:
      return await startPgbouncer(options)
  }
}

/** HAProxy passes on what the client says: it signs in as if it came directly. */
async function clientOf(stage: Stage, spec: PeerSpec, port: number): Promise<Environment> {
  const itself = spec.name === 'direct' || spec.name === 'HAProxy'
  const tls = { PGSSLMODE: 'verify-full', PGSSLROOTCERT: stage.caFile }
  const who =
    spec.name === 'Postern'
      ? { PGPASSWORD: await stage.token(APP), PGOPTIONS: '--crdb:jwt_auth_enabled=true' }
      : { PGPASSWORD: PASSWORD }
  return {
    PGHOST: spec.client === 'unix' ? stage.node.socketDir : '127.0.0.1',
    PGPORT: String(port),
    PGDATABASE: DATABASE,
    PGUSER: itself ? DIRECT : APP,
    ...who,
    ...(spec.client === 'TLS' ? tls : { PGSSLMODE: 'disable' }),
  }
}
