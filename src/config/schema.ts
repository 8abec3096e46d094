/**
 * Every key of the configuration file: its form, its default, what it must agree with. The reference
 * that people read is config/postern.yaml; a test proves that the two say the same.
 * Rule: an unknown key is a mistake, and every value is narrowed here, once.
 */
import { z } from 'zod'
import { audience, claim, issuers, jwks } from './jwt_settings.ts'
import { duration, fileMode, hostPort, isLoopback, nodeAddress, quote } from './values.ts'

const strings = z.array(z.string())

export const tcpListener = z.strictObject({
  address: hostPort,
  tls: z.strictObject({ cert_file: z.string(), key_file: z.string() }).optional(),
  allow_plaintext: z.boolean().default(false),
})

export const unixListener = z.strictObject({
  directory: z.string().startsWith('/', 'write an absolute path'),
  port: z.int().min(1).max(65_535).default(26257),
  mode: fileMode.default(0o770),
})

export const listener = z.unknown().transform((value, context) => {
  const unix = typeof value === 'object' && value !== null && 'directory' in value
  const read = unix ? unixListener.safeParse(value) : tcpListener.safeParse(value)
  if (!read.success) {
    for (const { path, message } of problems(read.error))
      context.addIssue({ code: 'custom', path, message })
    return z.NEVER
  }
  if ('address' in read.data) {
    const { address, tls, allow_plaintext } = read.data
    if (allow_plaintext && !isLoopback(address.host))
      context.addIssue({
        code: 'custom',
        path: ['allow_plaintext'],
        message: `a token must not cross a network in clear: ${address.host} is not loopback; set tls instead`,
      })
    else if (tls === undefined && !allow_plaintext)
      context.addIssue({
        code: 'custom',
        path: [],
        message:
          'a TCP listener needs tls: {cert_file, key_file}; on loopback allow_plaintext: true does',
      })
  }
  return read.data
})

export const node = z.strictObject({
  address: nodeAddress,
  tls: z.strictObject({ ca_file: z.string(), server_name: z.string().optional() }).optional(),
})

export const issuerOptions = z.strictObject({ jwks: jwks.optional() })

export const cluster = z
  .strictObject({
    kind: z.enum(['postgresql', 'cockroachdb']),
    nodes: z.array(node).length(1, 'a cluster has exactly one node for now'),
    sign_in: z.enum(['peer', 'trust', 'forward']),
    connect_timeout: duration.default(5_000),
    allow_roles: strings.default([]),
    replication_roles: strings.default([]),
    'server.jwt_authentication.enabled': z.boolean().default(false),
    'server.jwt_authentication.audience': audience.default(new Set<string>()),
    'server.jwt_authentication.issuers.configuration': issuers.optional(),
    'server.jwt_authentication.issuers': issuers.optional(),
    'server.jwt_authentication.jwks': jwks.optional(),
    'server.jwt_authentication.claim': claim.default(''),
    'server.jwt_authentication.require_expiry': z.boolean().default(true),
    'server.jwt_authentication.clock_tolerance': duration.default(0),
    'server.identity_map.configuration': z.string().default(''),
    'server.identity_map.allow_unanchored': z.boolean().default(false),
    issuer_options: z.record(z.string(), issuerOptions).default({}),
  })
  .superRefine(checkCluster)

export const file = z.strictObject({
  listeners: z.array(listener).min(1, 'name at least one listener'),
  clusters: z
    .record(z.string(), cluster)
    .refine((all) => Object.keys(all).length === 1, 'name exactly one cluster for now'),
  limits: z
    .strictObject({
      connections: z.int().min(1).default(10_000),
      authentication_timeout: duration.default(15_000),
    })
    .prefault({}),
  ops: z.strictObject({ listen: hostPort.optional() }).prefault({}),
  log: z
    .strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') })
    .prefault({}),
  audit: z.strictObject({ to: z.string().default('stdout') }).prefault({}),
})

export type File = z.output<typeof file>
export type ClusterSection = z.output<typeof cluster>
export type NodeSection = z.output<typeof node>

/** What no single key can know: keys that must agree with each other. */
function checkCluster(section: z.output<typeof cluster>, context: z.RefinementCtx): void {
  const complain = (path: string[], message: string) =>
    context.addIssue({ code: 'custom', path, message })
  const [first] = section.nodes
  const unix = first !== undefined && 'path' in first.address
  const local =
    unix || (first !== undefined && isLoopback((first.address as { host: string }).host))
  if (section.sign_in === 'peer' && !unix)
    complain(['sign_in'], 'peer works over a unix socket only; give the node the path of one')
  if (section.sign_in === 'forward' && first?.tls === undefined)
    complain(
      ['sign_in'],
      "forward sends the user's token to the node; give the node tls: {ca_file}",
    )
  if (section.sign_in === 'trust' && !local && first?.tls === undefined)
    complain(['sign_in'], 'trust needs a node on this machine, or tls: {ca_file}')
  if (unix && first?.tls !== undefined)
    complain(['nodes', '0', 'tls'], 'a unix socket takes no TLS')
  const long = 'server.jwt_authentication.issuers.configuration'
  const short = 'server.jwt_authentication.issuers'
  if (section[long] !== undefined && section[short] !== undefined)
    complain([short], `is an older name of ${long}; keep one of them`)
  const names = (section[long] ?? section[short])?.names
  for (const issuer of Object.keys(section.issuer_options))
    if (!names?.has(issuer))
      complain(
        ['issuer_options', issuer],
        `${quote(issuer)} is not among the accepted issuers (${long})`,
      )
}

export interface Problem {
  path: PropertyKey[]
  message: string
  /** The path names a key that is itself the mistake. */
  key?: true
}

/** A schema's complaints as one line each; an unknown key is pointed at itself. */
export function problems(error: z.ZodError): Problem[] {
  return error.issues.flatMap((issue): Problem[] => {
    const { path } = issue
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({
        path: [...path, key],
        message: `unknown key ${quote(key)}`,
        key: true,
      }))
    if (issue.code === 'invalid_type' && issue.input === undefined)
      return [{ path, message: `${quote(String(path.at(-1) ?? ''))} is required` }]
    return [{ path, message: issue.message }]
  })
}
