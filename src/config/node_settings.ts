/**
 * The nodes of a cluster in the configuration file: where they are, one by one or by a DNS name, which
 * of them sessions go to, and how the gate looks after them.
 * Rule: what can't be asked for later (no node is near, nobody could tell a standby) is a mistake now.
 */
import { z } from 'zod'
import type { Target } from '../cluster/nodes.ts'
import type { Dialect } from '../wire/options.ts'
import { check, passOn } from './mistakes.ts'
import type { Complain } from './trust_settings.ts'
import { fileName, form, type HostPort, isLoopback, nodeAddress, timeout } from './values.ts'

const NO_PORT = 'write a port from 1 to 65535'
const NO_WEIGHT = 'write a weight from 1 to 100'
const NO_COUNT = 'write a number from 1 to 100'
const NAME = /^(?=.{1,253}$)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.?)+$/

const weight = z.int().min(1, NO_WEIGHT).max(100, NO_WEIGHT).default(1)
const locality = z.string().min(1, 'write a name, like eu-west-1').optional()
/** A password in it is no good, and isn't shown. */
const healthUrl = z.string().transform((text, context) => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const plain = url?.username === '' && url.password === '' && url.hash === ''
  if (plain && ['http:', 'https:'].includes(url.protocol)) return url
  context.addIssue('write a URL like http://db.internal:8080/health?ready=1')
  return z.NEVER
})
const dnsName = form('a DNS name; write one like db.internal', (text) =>
  NAME.test(text) ? text : undefined,
)
const tls = z
  .strictObject({
    ca_file: fileName,
    server_name: z.string().optional(),
    sslnegotiation: z.enum(['postgres', 'direct']).default('postgres'),
  })
  .optional()

export const addressNode = z.strictObject({
  address: nodeAddress,
  tls,
  weight,
  locality,
  health_url: healthUrl.optional(),
})

export const dnsNodes = z.strictObject({
  dns: dnsName,
  port: z.int().min(1, NO_PORT).max(65_535, NO_PORT),
  tls,
  weight,
  locality,
  health_url: healthUrl.optional(),
})

export const srvNodes = z.strictObject({ srv: dnsName, tls, locality })

/** `dns` or `srv` make it a name. (A union would complain about all kinds.) */
export const node = z.unknown().transform((value, context) => {
  const has = (key: string) => typeof value === 'object' && value !== null && key in value
  const read = has('dns')
    ? check(dnsNodes, value)
    : has('srv')
      ? check(srvNodes, value)
      : check(addressNode, value)
  if (read.ok) return read.value
  passOn(read.mistakes, context)
  return z.NEVER
})

export type NodeSection = z.output<typeof node>

const TARGETS = ['any', 'read_write', 'read_only'] as const satisfies Target[]

/** Keys of a cluster. */
export const nodeKeys = {
  nodes: z.array(node).min(1, 'name at least one node').max(1_000, 'name at most 1000 nodes'),
  connect_timeout: timeout.default(5_000),
  target: z.enum(TARGETS).default('any'),
  prefer: z.strictObject({ locality: z.string() }).optional(),
}

/** Keys of a cluster's `health`. */
export const healthKeys = {
  interval: timeout.default(5_000),
  timeout: timeout.default(2_000),
  down_after: z.int().min(1, NO_COUNT).max(100, NO_COUNT).default(3),
  up_after: z.int().min(1, NO_COUNT).max(100, NO_COUNT).default(2),
}

/** Where a node is, or those are that its name stands for: the records of SRV have ports of their own. */
export function addressOf(section: NodeSection): HostPort | { path: string } {
  if ('dns' in section) return { host: section.dns, port: section.port }
  if ('srv' in section) return { host: section.srv, port: 0 }
  return section.address
}

interface Section {
  kind: Dialect
  sign_in: string
  nodes: NodeSection[]
  management?: unknown
  target: Target
  prefer?: { locality: string } | undefined
}

/** What no single key can know. */
export function checkNodes(section: Section, complain: Complain): void {
  const { nodes, prefer, target } = section
  for (const [at, node] of nodes.entries()) checkHealthUrl(node, ['nodes', at], complain)
  const seen = new Set<string>()
  for (const [at, node] of nodes.entries()) {
    const place = JSON.stringify(addressOf(node))
    if (seen.has(place)) complain(['nodes', at], 'this node is there already; keep one of them')
    seen.add(place)
  }
  if (prefer !== undefined && !nodes.some((node) => node.locality === prefer.locality))
    complain(['prefer', 'locality'], `no node has locality: ${prefer.locality}`)
  if (target === 'any') return
  if (section.kind === 'cockroachdb')
    complain(['target'], `every node of CockroachDB takes writes: ${target} is for PostgreSQL`)
  else if (section.management === undefined || section.sign_in === 'forward')
    complain(
      ['target'],
      `${target} needs management: {role}, to ask each node whether it is a standby`,
    )
}

/** It tells of this node alone: another host's page would take down a node that is well. */
function checkHealthUrl(node: NodeSection, at: PropertyKey[], complain: Complain): void {
  if (!('health_url' in node) || node.health_url === undefined) return
  const { hostname, protocol } = node.health_url
  const host = hostname.replace(/^\[|\]$/g, '')
  const address = addressOf(node)
  const own = 'path' in address ? isLoopback(host) : host === address.host.toLowerCase()
  if (!own) complain([...at, 'health_url'], `write the node's own host in the place of ${host}`)
  else if (protocol === 'https:' && node.tls === undefined)
    complain([...at, 'health_url'], 'https needs tls: {ca_file}, to verify who answers')
}
