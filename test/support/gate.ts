/** A gate in this process, in front of whatever node a test names, with its lines kept to be read. */
import { expect } from 'vitest'
import { type Config, parseConfig } from '../../src/config/config.ts'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { Failure } from '../../src/failure.ts'
import { openGate } from '../../src/gate.ts'
import type { AuditSink } from '../../src/telemetry/audit_file.ts'
import { AUDIENCE, goodClaims, ISSUER, makeKey, mint, type SigningKey, tokensIn } from './tokens.ts'

export interface TestGate {
  port: number
  caPem: string
  key: SigningKey
  opsUrl: string
  /** A token that the gate accepts for this user. */
  token(sub: string, claims?: Record<string, unknown>): Promise<string>
  /** Every token that `token` gave. */
  minted: string[]
  /** The audit stream's events, and the log's lines, so far. */
  audit: Record<string, unknown>[]
  log: Record<string, unknown>[]
  /** Waits for an audit event of the type, after those already seen. */
  event(type: string, matching?: Record<string, unknown>): Promise<Record<string, unknown>>
  /** Also asserts that no line has a token in it. */
  close(): Promise<void>
}

export interface GateOptions {
  /** Address of the node, as in the configuration. */
  node: string
  /** Keys of the cluster's section, over the defaults. */
  cluster?: Record<string, unknown>
  /** Further clusters beside `test`, over the same defaults. */
  clusters?: Record<string, Record<string, unknown>>
  /** Keys of the first listener, over the defaults; and further listeners. */
  listener?: Record<string, unknown>
  listeners?: Record<string, unknown>[]
  limits?: Record<string, unknown>
  /** Further keys of the file. */
  top?: Record<string, unknown>
  peers?: Record<string, unknown>
  nodeTls?: Record<string, unknown>
  /** Files that the configuration names. */
  files?: Record<string, string>
  now?: () => number
  /** A clock that is never set. */
  elapsed?: () => number
  /** Takes the audit stream's lines in the place of what keeps them. */
  auditTo?: AuditSink
  watch?: (files: readonly string[], changed: () => void) => () => void
}

const shared = prepare()

async function prepare() {
  const ca = await makeCa()
  const server = await issue(ca, { cn: 'localhost', sans: ['localhost', '127.0.0.1'] })
  return { ca, server, key: await makeKey('test-key') }
}

export async function startGate(options: GateOptions): Promise<TestGate> {
  const { ca, server, key } = await shared
  const files: Record<string, string> = {
    '/etc/postern/server.crt': server.certPem,
    '/etc/postern/server.key': server.keyPem,
    ...options.files,
  }
  const outside = {
    env: () => undefined,
    fileMode: () => 0o600,
    now: options.now ?? Date.now,
    readFile(path: string) {
      const text = options.files?.[path] ?? files[path]
      if (text === undefined) throw new Error('no such file')
      return text
    },
  }
  const read = (previous?: Config) => {
    const text = JSON.stringify(gateConfig(options, key), null, 1)
    return parseConfig('/etc/postern/postern.yaml', text, outside, previous)
  }
  const parsed = read()
  const audit = keepLines()
  const log = keepLines()
  const gate = await openGate(parsed, {
    version: '0.0.0-test',
    read,
    now: options.now ?? Date.now,
    elapsed: options.elapsed,
    watch: options.watch ?? (() => () => undefined),
    logTo: log.stream,
    auditTo: options.auditTo ?? audit.stream,
  })
  const [bound] = gate.addresses
  const port = bound !== undefined && 'port' in bound ? bound.port : 0
  const minted: string[] = []
  let seen = 0
  return {
    port,
    caPem: ca.certPem,
    key,
    opsUrl: `http://127.0.0.1:${gate.opsPort}`,
    minted,
    async token(sub, claims) {
      const token = await mint(key, { claims: { ...goodClaims(sub), ...claims } })
      minted.push(token)
      return token
    },
    audit: audit.lines,
    log: log.lines,
    async event(type, matching = {}) {
      return await expect
        .poll(
          () => {
            const at = audit.lines.findIndex(
              (line, index) =>
                index >= seen &&
                line.EventType === type &&
                Object.entries(matching).every(([name, value]) => line[name] === value),
            )
            if (at >= 0) seen = at + 1
            return audit.lines[at]
          },
          { timeout: 5_000, interval: 10 },
        )
        .toBeDefined()
        .then(() => audit.lines[seen - 1] as Record<string, unknown>)
    },
    async close() {
      await gate.close(new Failure('shutting_down'))
      expect(tokensIn(JSON.stringify([audit.lines, log.lines]))).toEqual([])
    },
  }
}

/** The configuration of a gate that believes the key; server.crt and server.key are beside it. */
export function gateConfig(options: GateOptions, key: SigningKey): Record<string, unknown> {
  const cluster = {
    kind: 'postgresql',
    nodes: [{ address: options.node, ...(options.nodeTls && { tls: options.nodeTls }) }],
    sign_in: options.node.startsWith('/') ? 'peer' : 'trust',
    'server.jwt_authentication.enabled': true,
    'server.jwt_authentication.issuers.configuration': ISSUER,
    'server.jwt_authentication.audience': AUDIENCE,
    'server.jwt_authentication.jwks': { keys: [key.jwk] },
  }
  return {
    listeners: [
      {
        address: '127.0.0.1:0',
        tls: { cert_file: 'server.crt', key_file: 'server.key' },
        ...options.listener,
      },
      ...(options.listeners ?? []),
    ],
    clusters: {
      test: { ...cluster, ...options.cluster },
      ...Object.fromEntries(
        Object.entries(options.clusters ?? {}).map(([name, own]) => [name, { ...cluster, ...own }]),
      ),
    },
    // Tests fail often, and one after the other.
    limits: { failed_login_delay: '0s', ...options.limits },
    ...options.top,
    ...(options.peers && { peers: options.peers }),
    ops: { listen: '127.0.0.1:0' },
    log: { level: 'debug' },
  }
}

function keepLines() {
  const lines: Record<string, unknown>[] = []
  return { lines, stream: { write: (line: string) => void lines.push(JSON.parse(line)) } }
}
