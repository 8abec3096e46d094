/**
 * Every key of the configuration file: its form, its default, what it must agree with. The reference
 * that people read is config/postern.yaml; a test proves that the two say the same.
 * Rule: an unknown key is a mistake, and every value is narrowed here, once.
 */
import { z } from 'zod'
import type { SignIn } from '../cluster/node.ts'
import { accessLists, accessRules, checkAccess, offeredBy } from './access_settings.ts'
import { auditKeys, checkAudit } from './audit_settings.ts'
import { checkConsole, consoleKeys } from './console_settings.ts'
import { checkListeners, checkLogins, loginKeys } from './login_settings.ts'
import { check, passOn } from './mistakes.ts'
import { network } from './networks.ts'
import { addressOf, checkNodes, healthKeys, type NodeSection, nodeKeys } from './node_settings.ts'
import { peers } from './peer_settings.ts'
import { checkPool, poolKeys } from './pool_settings.ts'
import { checkState, state } from './state_settings.ts'
import { type Complain, checkTrust, trustKeys } from './trust_settings.ts'
import {
  duration,
  fileMode,
  fileName,
  type HostPort,
  hostName,
  hostPort,
  isLoopback,
  keepalive,
  listenAddress,
  roleName,
  timeout,
  webAddress,
} from './values.ts'

const strings = z.array(z.string())
const count = z.int().min(1, 'write a number of at least 1')
const COMPARED = [
  'kind',
  'nodes',
  'sign_in',
  'certificate',
  'management',
  'target',
  'prefer',
  'pool',
  'attribution',
  ...Object.keys(loginKeys),
  ...Object.keys(trustKeys),
]
const WORKERS = 'write a number from 1 to 64, or auto'
const NO_PORT = 'write a port from 1 to 65535'

const certificateFiles = { cert_file: fileName, key_file: fileName }

export const tcpListener = z
  .strictObject({
    address: listenAddress,
    tls: z
      .strictObject({
        ...certificateFiles,
        certificates: z.array(z.strictObject(certificateFiles)).default([]),
        client_ca_file: fileName.optional(),
      })
      .optional(),
    allow_plaintext: z.boolean().default(false),
    proxy_protocol: z
      .strictObject({ from: z.array(network).min(1, 'name at least one network') })
      .optional(),
    keepalive: keepalive.default(60_000),
  })
  .superRefine(checkTcpListener, {
    when: readable(['address', 'tls', 'allow_plaintext']),
  })

export const unixListener = z.strictObject({
  directory: fileName.startsWith('/', 'write an absolute path'),
  port: z.int().min(1, NO_PORT).max(65_535, NO_PORT).default(26257),
  mode: fileMode.default(0o770),
})

/** A `directory` makes it a unix socket. (A union would complain about both kinds.) */
export const listener = z.unknown().transform((value, context) => {
  const unix = typeof value === 'object' && value !== null && 'directory' in value
  const read = unix ? check(unixListener, value) : check(tcpListener, value)
  if (read.ok) return read.value
  passOn(read.mistakes, context)
  return z.NEVER
})

export const clusterKeys = z.strictObject({
  kind: z.enum(['postgresql', 'cockroachdb']),
  ...nodeKeys,
  health: section(healthKeys),
  sign_in: z.enum(['peer', 'certificate', 'scram', 'trust', 'forward']),
  certificate: z.strictObject({ ca_cert: fileName, ca_key: fileName }).optional(),
  ...loginKeys,
  management: z.strictObject({ role: roleName }).optional(),
  send_remote_addr: z.boolean().default(false),
  session: section({
    end_at_token_expiry: z.enum(['never', 'when_idle', 'always']).default('never'),
    grace: duration.default(60_000),
  }),
  pool: section(poolKeys),
  attribution: z.enum(['off', 'application_name']).default('off'),
  allow_roles: strings.default([]),
  replication_roles: strings.default([]),
  ...trustKeys,
})

export const cluster = clusterKeys.superRefine(checkCluster, { when: readable(COMPARED) })

const fileKeys = z.strictObject({
  listeners: z.array(listener).min(1, 'name at least one listener'),
  clusters: z.record(z.string(), cluster).superRefine(checkClusters, { when: readable([]) }),
  limits: section({
    connections: count.default(10_000),
    connections_per_address: count.optional(),
    sessions_per_user: count.optional(),
    handshake_timeout: timeout.default(10_000),
    authentication_timeout: timeout.default(15_000),
    idle_timeout: timeout.optional(),
    failed_login_delay: duration.default(1_000),
    handshakes_per_second: count.optional(),
  }),
  workers: z
    .union([z.int().min(1, WORKERS).max(64, WORKERS), z.literal('auto')], WORKERS)
    .default(1),
  peers: peers.optional(),
  access: accessRules.optional(),
  access_lists: accessLists,
  state: state.optional(),
  console: section(consoleKeys),
  shutdown: section({ grace: duration.default(30_000) }),
  ops: section({ listen: hostPort.optional(), hosts: z.array(hostName).default([]) }),
  log: section({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') }),
  audit: section(auditKeys),
  tracing: section({ otlp_endpoint: webAddress.optional() }),
})

export const file = fileKeys
  .superRefine(checkFile, { when: readable(['listeners', 'clusters']) })
  .superRefine(checkShared, { when: readable(['clusters', 'state']) })
  .superRefine(checkOwnConsole, { when: readable(['console', 'clusters', 'state']) })
  .superRefine(checkRules, { when: readable(['clusters', 'access']) })
  .superRefine(checkAuditing, { when: readable(['audit']) })

export type File = z.output<typeof file>
export type ClusterSection = z.output<typeof cluster>
export type Listener = z.output<typeof listener>
export type TcpListener = z.output<typeof tcpListener>
export type UnixListener = z.output<typeof unixListener>

/** May be left out, as every key of it may; with all of them commented out it is there, and empty. */
function section<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.preprocess((value) => value ?? {}, z.strictObject(shape))
}

function checkTcpListener(
  {
    address,
    tls,
    allow_plaintext,
  }: {
    address: HostPort | { fd: number }
    tls?: unknown
    allow_plaintext: boolean
  },
  context: z.RefinementCtx,
): void {
  const complain = complainer(context)
  const where = 'fd' in address ? `what fd:${address.fd} is` : address.host
  if (allow_plaintext && !isLoopback(where))
    complain(
      ['allow_plaintext'],
      `a token must not cross a network in clear: ${where} is not loopback; set tls instead`,
    )
  else if (tls === undefined && !allow_plaintext)
    complain(
      [],
      'a TCP listener needs tls: {cert_file, key_file}; on loopback allow_plaintext: true does',
    )
}

/** Keys are compared as soon as they can be read: mistakes elsewhere don't hide theirs. */
function readable(keys: readonly PropertyKey[]) {
  return ({ value, issues }: z.core.ParsePayload): boolean => {
    const isSection = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isSection && !issues.some(({ path }) => path?.[0] && keys.includes(path[0]))
  }
}

/** With several, a client names its own: in a host's first label, in `options`, before a database. */
function checkClusters(clusters: Record<string, unknown>, context: z.RefinementCtx): void {
  const complain = complainer(context)
  const names = Object.keys(clusters)
  if (names.length === 0) complain([], 'name at least one cluster')
  if (names.length < 2) return
  for (const name of names)
    if (!CLUSTER_NAME.test(name))
      complain([name], 'clients say its name in a host: write letters a-z, digits and -')
}

const CLUSTER_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/** What no single key can know: keys that must agree with each other. */
function checkCluster(section: z.output<typeof cluster>, context: z.RefinementCtx): void {
  const complain = complainer(context)
  for (const [at, node] of section.nodes.entries())
    checkSignIn(section.sign_in, { address: addressOf(node), tls: node.tls }, (path, what) =>
      complain(nodePath(path, at), what),
    )
  checkNodes(section, complain)
  if (section.sign_in === 'certificate' && section.certificate === undefined)
    complain(
      ['sign_in'],
      'certificate needs certificate: {ca_cert, ca_key}; make them by postern ca init',
    )
  const reached = section.nodes.map((node) => {
    return { unix: 'path' in addressOf(node), tls: node.tls !== undefined }
  })
  checkLogins(section, reached, complain)
  checkPool(section, complain)
  checkTrust(section, complain)
}

function checkFile({ listeners, clusters }: z.output<typeof fileKeys>, context: z.RefinementCtx) {
  const reached = listeners.map((listener) => {
    const unix = 'directory' in listener
    return { unix, tls: !unix && listener.tls !== undefined }
  })
  checkListeners(reached, clusters, complainer(context))
}

function checkShared({ state, clusters }: z.output<typeof fileKeys>, context: z.RefinementCtx) {
  if (state !== undefined) checkState(state, clusters, complainer(context))
}

function checkAuditing({ audit }: z.output<typeof fileKeys>, context: z.RefinementCtx) {
  checkAudit(audit, complainer(context))
}

function checkOwnConsole(
  { state, clusters, console: own }: z.output<typeof fileKeys>,
  context: z.RefinementCtx,
) {
  checkConsole(own, Object.keys(clusters), state, complainer(context))
}

function checkRules({ access, clusters }: z.output<typeof fileKeys>, context: z.RefinementCtx) {
  const offered = Object.entries(clusters).map(([name, each]) => [name, offeredBy(each)] as const)
  if (access !== undefined) checkAccess(access, new Map(offered), complainer(context))
}

/** What is said of `nodes` is said of the node's own place. */
function nodePath([first = '', ...rest]: PropertyKey[], at: number): PropertyKey[] {
  return first === 'nodes' ? [first, at, ...rest] : [first, ...rest]
}

function checkSignIn(
  signIn: SignIn,
  { address, tls }: { address: ReturnType<typeof addressOf>; tls: NodeSection['tls'] },
  complain: Complain,
): void {
  const unix = 'path' in address
  const here = unix || isLoopback(address.host)
  if (signIn === 'peer' && !unix)
    complain(['sign_in'], 'peer works over a unix socket only; give the node the path of one')
  if (signIn === 'forward' && unix)
    complain(
      ['sign_in'],
      "forward sends the user's token, over TLS only; give the node host:port and tls: {ca_file}",
    )
  if (signIn === 'forward' && !unix && tls === undefined)
    complain(
      ['sign_in'],
      "forward sends the user's token to the node; give the node tls: {ca_file}",
    )
  if (signIn === 'certificate' && (unix || tls === undefined))
    complain(
      ['sign_in'],
      'a certificate is shown in TLS; give the node host:port and tls: {ca_file}',
    )
  if ((signIn === 'trust' || signIn === 'scram') && !here && tls === undefined)
    complain(['sign_in'], `${signIn} needs a node on this machine, or tls: {ca_file}`)
  if (unix && tls !== undefined)
    complain(['nodes', 'tls'], 'a unix socket takes no TLS; leave it out')
}

function complainer(context: z.RefinementCtx): Complain {
  return (path, message) => context.addIssue({ code: 'custom', path, message })
}
