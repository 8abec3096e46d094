/**
 * Which cluster a client means, where a gate has several: `ident.` before the database's name,
 * `--cluster=ident` in `options`, or the first label of the host's name (SNI), as CockroachDB's proxy
 * reads them (pkg/sqlproxy). It is settled before anybody is asked for a token.
 * Rule: names that disagree are refused, whichever way they came.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { Failure } from '../failure.ts'
import { quoted } from '../identity/quoted.ts'
import type { Startup } from '../wire/startup.ts'

/** By their names. */
export type Clusters<C> = ReadonlyMap<string, C>

export interface Routed<C> {
  cluster: C
  /** Without what named the cluster. */
  startup: Startup
}

/** The name that a client's TLS asked for; empty without one. */
export function serverName(socket: Socket): string {
  return socket instanceof TLSSocket && typeof socket.servername === 'string'
    ? socket.servername
    : ''
}

/** @throws Failure `cluster_missing`, `cluster_ambiguous`, `cluster_not_found`, `cluster_flag`, `database_prefix` */
export function route<C>(startup: Startup, server: string, clusters: Clusters<C>): Routed<C> {
  const [only] = clusters.values()
  // One cluster needs no name: a dot in a database, or CockroachDB's own switch, is not ours then.
  if (clusters.size === 1 && only !== undefined) return { cluster: only, startup }
  const prefix = ofDatabase(startup.database)
  const flag = ofOptions(startup.options)
  const named = prefix.name ?? flag.name
  if (prefix.name !== undefined && flag.name !== undefined && prefix.name !== flag.name)
    throw different(prefix.name, flag.name)
  const [label = ''] = server.toLowerCase().split('.')
  const byHost = clusters.has(label) ? label : undefined
  if (named !== undefined && byHost !== undefined && named !== byHost)
    throw different(named, byHost)
  const name = named ?? byHost
  if (name === undefined) throw new Failure('cluster_missing')
  const cluster = clusters.get(name)
  if (cluster === undefined)
    throw new Failure('cluster_not_found', { values: { name: quoted(name) } })
  return { cluster, startup: { ...startup, database: prefix.rest, options: flag.rest } }
}

interface Named<T> {
  name: string | undefined
  rest: T
}

function ofDatabase(database: string | undefined): Named<string | undefined> {
  if (database === undefined || !database.includes('.')) return { name: undefined, rest: database }
  const [name = '', rest = '', ...more] = database.split('.')
  if (name === '' || rest === '' || more.length > 0) throw new Failure('database_prefix')
  return { name, rest }
}

const FLAG = /(^|\s)(?:-c\s*|--)cluster=(\S*)(?=\s|$)/g

function ofOptions(options: string | undefined): Named<string | undefined> {
  const flags = [...(options ?? '').matchAll(FLAG)]
  const [flag] = flags
  if (options === undefined || flag === undefined) return { name: undefined, rest: options }
  if (flags.length > 1)
    throw new Failure('cluster_flag', { values: { problem: 'multiple cluster flags provided' } })
  const name = flag[2] ?? ''
  if (name === '')
    throw new Failure('cluster_flag', { values: { problem: 'invalid cluster flag' } })
  const rest = options.replace(FLAG, '$1').trim()
  // What was cut may have kept two parts of another flag apart.
  if (rest.search(FLAG) >= 0)
    throw new Failure('cluster_flag', { values: { problem: 'multiple cluster flags provided' } })
  return { name, rest: rest === '' ? undefined : rest }
}

function different(one: string, other: string): Failure {
  return new Failure('cluster_ambiguous', { values: { one: quoted(one), other: quoted(other) } })
}
