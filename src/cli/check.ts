/**
 * `postern check`: a configuration file, looked at before a gate is opened with it. Every mistake at
 * once; or, in a file without any, what is unwise, and in one line what the gate would do.
 */
import { nodeOf } from '../cluster/nodes.ts'
import {
  type ClusterConfig,
  type Inspected,
  inspectConfig,
  type ListenerConfig,
} from '../config/config.ts'
import { listed } from '../config/mistakes.ts'
import { warningsOf } from '../config/warnings.ts'
import { Failure } from '../failure.ts'
import { whoDecides } from './check_as.ts'
import { outsideOf, readText } from './serve.ts'
import type { World } from './terminal.ts'

export interface CheckOptions {
  config: string
  strict?: boolean
  /** What is known of somebody: `user=carl,address=192.0.2.7`. */
  as?: string
}

/** @throws Failure `config_unreadable`, `config_invalid`, `usage`, or with `strict` `config_warnings` */
export function check({ config: file, strict, as }: CheckOptions, world: World): void {
  const outside = outsideOf(world)
  const inspected = inspectConfig(file, readText(file, world), outside)
  if (as !== undefined) {
    for (const line of whoDecides(as, inspected.config, world.now()))
      world.stdout.write(`${line}\n`)
    return
  }
  const warnings = warningsOf(inspected, outside)
  for (const { offset, what } of warnings)
    world.stdout.write(`${inspected.document.place(offset)}: warning: ${what}\n`)
  world.stdout.write(`${file}: ${whatItDoes(inspected)}\n`)
  if (!strict || warnings.length === 0) return
  const problem = `${count(warnings.length, 'warning')}, and --strict allows none`
  throw new Failure('config_warnings', { values: { problem } })
}

function whatItDoes({ config, file }: Inspected): string {
  const { listeners, clusters, ops, peers, console: own } = config
  return [
    `listens on ${listeners.map(listening).join(', ')}`,
    ...(ops === undefined ? [] : [`operators on ${address(ops.listen)}`]),
    ...(peers === undefined ? [] : [`other gates on ${address(peers.listen)}`]),
    ...(own === undefined
      ? []
      : [`a console for ${listed([...own.admins])} as database ${own.database}`]),
    ...clusters.flatMap((cluster) => whatClusterDoes(cluster, file)),
  ].join('; ')
}

function whatClusterDoes(
  { name, dialect, signIn, nodes, trust }: ClusterConfig,
  file: Inspected['file'],
): string[] {
  const issuers = trust.issuers.size === 0 ? '' : ` (${listed([...trust.issuers])})`
  const places = nodes.entries.map((entry) => {
    const { name, tls } = nodeOf(entry)
    const records = entry.kind === 'node' ? '' : ` (${entry.kind})`
    return `${entry.kind === 'srv' ? entry.name : name}${records}${tls ? ' over TLS' : ''}`
  })
  return [
    `cluster ${name} (${dialect}) at ${places.join(', ')}, sign-in by ${signIn}`,
    `${trust.enabled ? 'accepts tokens of' : 'accepts nobody; names'} ${count(trust.issuers.size, 'issuer')}${issuers} ${keysOf(name, file)}`,
    count(trust.identityMap.lineCount, 'identity map line'),
  ]
}

/** Keys that stand in the file, and whether others are fetched. */
function keysOf(cluster: string, { clusters }: Inspected['file']): string {
  const section = clusters[cluster]
  const own = Object.values(section?.issuer_options ?? {}).map(({ jwks }) => jwks?.size ?? 0)
  const common = section?.['server.jwt_authentication.jwks']?.size ?? 0
  if (!section?.['server.jwt_authentication.jwks_auto_fetch.enabled'])
    return `with ${count(
      own.reduce((sum, size) => sum + size, common),
      'key',
    )}`
  return 'with the keys that they publish'
}

function listening({ bind, tls, allowPlaintext }: ListenerConfig): string {
  if ('path' in bind) return bind.path
  const how = [...(tls ? ['TLS'] : []), ...(allowPlaintext ? ['in clear'] : [])]
  const where = 'fd' in bind ? `fd:${bind.fd}` : address(bind)
  return `${where} (${how.join(' and ')})`
}

function address({ host, port }: { host: string; port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function count(many: number, noun: string): string {
  return `${many} ${noun}${many === 1 ? '' : 's'}`
}
